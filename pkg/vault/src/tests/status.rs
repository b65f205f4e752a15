use super::{Device, ELEVEN, SEVEN};
use crate::{
    error::Error,
    record::{Opener, Record, State},
    status::Report,
    volume::Volume,
};

fn text(record: &Record, kept: bool) -> String {
    let device = Device::new();
    record.write(&device.paths).unwrap();
    if kept {
        device.write("vault/recovery-key", "key");
    }
    Report::read(&device.paths).unwrap().text(false).unwrap()
}

fn sealed() -> Record {
    let pcrs = [(7, SEVEN), (11, ELEVEN), (14, SEVEN)].map(|(n, value)| (n, value.to_owned())).into();
    let opened_by = Some(Opener::Tpm);
    let (tpm_problem, volume) = (None, Some(Volume::Bound));
    Record {
        state: State::Sealed,
        opened_by,
        secure_boot: true,
        pcrs,
        tpm_problem,
        image_policy: true,
        volume,
        reason: None,
    }
}

#[test]
fn what_is_well_has_no_warning() {
    assert_eq!(
        text(&sealed(), true),
        "sealed: opened by the TPM; bound to PCR 7, PCR 14 and images signed by the owner of this one (PCR 11)\n\
         recovery key: kept, `vault recovery-key` prints it\n"
    );
}

#[test]
fn what_weakens_it_is_a_warning() {
    let reason = Some("CONFIG (PCR 14) differs".to_owned());
    let weak = Record { opened_by: Some(Opener::Key), secure_boot: false, image_policy: false, reason, ..sealed() };
    let text = text(&weak, false);
    for said in [
        "sealed: opened by a key for this start; bound to PCR 7 and PCR 14\n",
        "the TPM did not open it: CONFIG (PCR 14) differs\n",
        "recovery key: none is kept\n",
        "warning: Secure Boot is off: anyone who can start another system on this machine can have the key\n",
        "warning: the key is not bound to the owner's images: Xen is not measured",
        "warning: without a recovery key",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn other_states_have_their_words_and_the_reason_why_no_tpm_protects_p3() {
    let problem = Some("the TPM of this machine has no SHA-256 registers".to_owned());
    let key =
        Record { state: State::Key, opened_by: Some(Opener::Key), tpm_problem: problem, volume: None, ..sealed() };
    let plain = Record { state: State::Plain, opened_by: None, ..key.clone() };
    let late = Record { state: State::Plain, opened_by: None, ..sealed() };
    let why = "no TPM protects it: the TPM of this machine has no SHA-256 registers\n";
    for (record, expected) in [
        (&key, format!("key: opened by the owner's key, which every start needs\n{why}")),
        (&plain, format!("plain: not encrypted\n{why}")),
        (&late, "plain: not encrypted, although this machine has a TPM; CONFIG accepts that\n".to_owned()),
    ] {
        assert_eq!(text(record, false), expected);
    }
}

#[test]
fn changes_of_config_are_listed_and_a_damaged_list_is_a_warning() {
    let device = Device::new();
    sealed().write(&device.paths).unwrap();
    let text = || Report::read(&device.paths).unwrap().text(false).unwrap();
    device.write("config/new", "").write("vault/sealed-config.json", format!("{{\"gone\": \"{SEVEN}\"}}"));
    assert!(text().contains("`vault seal` accepts it:\n  added: new\n  removed: gone\n"), "{}", text());
    device.write("vault/sealed-config.json", "{");
    assert!(text().contains("sealed-config.json is damaged"), "{}", text());
}

#[test]
fn machines_read_the_same() {
    let device = Device::new();
    sealed().write(&device.paths).unwrap();
    let text = Report::read(&device.paths).unwrap().text(true).unwrap();
    let expected = serde_json::json!({"state": "sealed", "opened_by": "tpm", "secure_boot": true,
        "pcrs": {"7": SEVEN, "11": ELEVEN, "14": SEVEN}, "image_policy": true, "reason": null, "recovery_key": false,
        "tpm_problem": null, "volume": "bound", "config": null, "problems": []});
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), expected);
    assert!(matches!(Report::read(&Device::new().paths), Err(Error::NotOpened)));
}
