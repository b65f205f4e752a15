use super::{Device, ELEVEN, SEVEN};
use crate::{
    error::Error,
    record::{Opener, Record, State},
    status::Report,
};

fn text(record: &Record, kept: bool) -> String {
    let device = Device::new();
    record.write(&device.places).unwrap();
    if kept {
        device.write("vault/recovery-key", "key");
    }
    Report::read(&device.places).unwrap().text(false)
}

fn sealed() -> Record {
    let pcrs = [(7, SEVEN), (11, ELEVEN), (14, SEVEN)].map(|(n, value)| (n, value.to_owned())).into();
    let opened_by = Some(Opener::Tpm);
    Record { state: State::Sealed, opened_by, secure_boot: true, pcrs, image_policy: true, reason: None }
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
fn what_weakens_it_is_told() {
    let reason = Some("CONFIG (PCR 14) differs".to_owned());
    let weak = Record { opened_by: Some(Opener::Key), secure_boot: false, image_policy: false, reason, ..sealed() };
    let text = text(&weak, false);
    for said in [
        "sealed: opened by a key; bound to PCR 7 and PCR 14\n",
        "the TPM did not open it: CONFIG (PCR 14) differs\n",
        "recovery key: none is kept\n",
        "warning: Secure Boot is off: whoever can start another system on this machine can have the key\n",
        "warning: the key is not bound to the owner's images: Xen is not measured",
        "warning: without a recovery key",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn other_states_are_told_in_words() {
    let key = Record { state: State::Key, opened_by: Some(Opener::Key), pcrs: [].into(), ..sealed() };
    let plain = Record { state: State::Plain, opened_by: None, ..key.clone() };
    let late = Record { state: State::Plain, opened_by: None, ..sealed() };
    for (record, said) in [
        (&key, "key: opened by a key, which every start needs; this machine has no TPM\n"),
        (&plain, "plain: not encrypted, this machine has no TPM\n"),
        (&late, "plain: not encrypted, although this machine has a TPM; it was made without\n"),
    ] {
        assert_eq!(text(record, false), said);
    }
}

#[test]
fn machines_read_the_same() {
    let device = Device::new();
    sealed().write(&device.places).unwrap();
    let text = Report::read(&device.places).unwrap().text(true);
    let expected = serde_json::json!({"state": "sealed", "opened_by": "tpm", "secure_boot": true,
        "pcrs": {"7": SEVEN, "11": ELEVEN, "14": SEVEN}, "image_policy": true, "reason": null, "recovery_key": false});
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), expected);
    assert!(matches!(Report::read(&Device::new().places), Err(Error::NotOpened)));
}
