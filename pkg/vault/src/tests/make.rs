use super::{Device, STUB_MEASURED};
use crate::{error::Error, make::make, open::open, status::Report};
use device::standing::{Part, Standing};
use std::fs;

const OTHER: &str = "[Partition]\nLabel=IMGB\nSizeMinBytes=1\n";
const P3: &str = "[Partition]\nLabel=P3\nFormat=ext4\n";

fn defined(device: Device) -> Device {
    device.write("disk", "").write("repart.d/30-imgb.conf", OTHER).write("repart.d/50-p3.conf", P3);
    // a partition, attributes and a folder of attributes
    device.write("blocks/disk/disk1/uevent", "PARTNAME=IMGA\n").write("blocks/disk/size", "7\n");
    device.write("blocks/disk/uevent", "DEVTYPE=disk\n").write("blocks/disk/queue/rotational", "0\n");
    device
}

/// The definition of P3 for systemd-repart.
fn defined_p3(device: &Device) -> String {
    assert_eq!(device.text("run/repart.d/30-imgb.conf"), OTHER);
    device.text("run/repart.d/50-p3.conf")
}

const REPART: &str = "systemd-repart --dry-run=no --json=off --definitions=@/run/repart.d";

#[test]
fn with_a_tpm_p3_is_encrypted_and_bound_to_registers_and_images() {
    let device = defined(Device::new().with_tpm().with_policy());
    make(&device.paths).unwrap();
    assert_eq!(defined_p3(&device), "[Partition]\nLabel=P3\nEncrypt=tpm2\nFormat=ext4\n");
    let options = "--tpm2-device=auto --tpm2-pcrs=7:sha256+14:sha256 --tpm2-public-key=@/policy/tpm2-pcr-public-key.pem \
                   --tpm2-public-key-pcrs=11 --tpm2-pcrlock=";
    assert_eq!(device.calls(), [format!("{REPART} {options} @/disk")]);
    assert!(device.paths.made().exists());
}

/// Firmware that shows a TPM and measures nothing into it, or into another bank only.
#[test]
fn nothing_is_sealed_to_registers_that_nobody_extends() {
    let zero = "0".repeat(64) + "\n";
    let without_seven = defined(Device::new().with_tpm().with_policy());
    without_seven.write("tpm/pcr-sha256/7", &zero);
    let without_eleven = defined(Device::new().with_tpm().with_policy());
    without_eleven.write("tpm/pcr-sha256/11", &zero);
    let without_stub = defined(Device::new().with_tpm().with_policy());
    fs::remove_file(without_stub.path(STUB_MEASURED)).unwrap();
    for (device, said) in
        [(without_seven, "(PCR 7 is zero)"), (without_eleven, "(PCR 11 is zero)"), (without_stub, "StubPcrKernelImage")]
    {
        device.write("config/vault.yml", "without_tpm: refuse\n");
        let error = make(&device.paths).unwrap_err();
        assert!(matches!(error, Error::RefusedToMake { .. }) && error.to_string().contains(said), "{error}");
        assert_eq!(device.calls(), [""; 0]);
        fs::remove_file(device.path("config/vault.yml")).unwrap();
        make(&device.paths).unwrap();
        assert_eq!((defined_p3(&device), device.calls()), (P3.to_owned(), vec![format!("{REPART} @/disk")]), "{said}");
        // the new P3 opens, and the status has the reason why it is not sealed
        let device = device.with_plain_p3();
        open(&device.paths).unwrap();
        let status = Report::read(&device.paths).unwrap().text(false).unwrap();
        assert!(status.starts_with("plain: not encrypted\nno TPM protects it: ") && status.contains(said), "{status}");
    }
    // Xen has no stub and no policy for register 11
    let xen = defined(Device::new().with_tpm());
    fs::remove_file(xen.path(STUB_MEASURED)).unwrap();
    xen.write("tpm/pcr-sha256/11", &zero);
    make(&xen.paths).unwrap();
    assert!(defined_p3(&xen).contains("Encrypt=tpm2"));
}

#[test]
fn a_tpm_that_cannot_be_used_is_not_called_no_tpm() {
    for (file, said) in [
        ("pcr-sha1/14", "no SHA-256 registers, only SHA-1: switch the SHA-256 bank on"),
        ("pcr-sha384/14", "no SHA-256 registers, only SHA-384: "),
        ("caps", "no SHA-256 registers, none at all: "),
    ] {
        let device = defined(Device::new());
        device.write("tpm/tpm_version_major", "2\n").write(&format!("tpm/{file}"), "");
        make(&device.paths).unwrap();
        assert_eq!(device.calls(), [format!("{REPART} @/disk")]);
        let device = device.with_plain_p3();
        open(&device.paths).unwrap();
        let status = Report::read(&device.paths).unwrap().text(false).unwrap();
        assert!(status.contains(said), "{status}");
    }
    let old = defined(Device::new());
    old.write("tpm/tpm_version_major", "1\n").write("config/vault.yml", "without_tpm: refuse\n");
    let error = make(&old.paths).unwrap_err().to_string();
    assert!(error.contains("the TPM of this machine has version 1, and P3 needs a TPM 2"), "{error}");
}

#[test]
fn registers_that_cannot_be_read_are_no_reason_to_make_a_plain_p3() {
    let device = defined(Device::new().with_tpm().with_policy());
    device.write("tpm/pcr-sha256/7", "none");
    assert!(matches!(make(&device.paths), Err(Error::Register { .. })));
    assert_eq!(device.calls(), [""; 0]);
}

#[test]
fn a_disk_that_cannot_be_read_is_not_a_disk_without_p3() {
    let device = defined(Device::new().with_tpm().with_policy());
    fs::remove_dir_all(device.path("blocks")).unwrap();
    assert!(matches!(make(&device.paths), Err(Error::Io { action: "read", .. })));
    fs::remove_file(device.path("disk")).unwrap();
    assert!(matches!(make(&device.paths), Err(Error::Io { action: "find", .. })));
    assert_eq!(device.calls(), [""; 0]);
}

#[test]
fn an_image_without_signatures_says_that_there_are_none() {
    let device = defined(Device::new().with_tpm());
    // one without the other is of no use
    device.write("policy/tpm2-pcr-public-key.pem", "key");
    make(&device.paths).unwrap();
    let options =
        "--tpm2-device=auto --tpm2-pcrs=7:sha256+14:sha256 --tpm2-public-key= --tpm2-public-key-pcrs= --tpm2-pcrlock=";
    assert_eq!(device.calls(), [format!("{REPART} {options} @/disk")]);
}

#[test]
fn nothing_is_sealed_before_config_is_measured() {
    let device = defined(Device::new().with_tpm());
    fs::remove_file(device.path("run/config-measured")).unwrap();
    assert!(matches!(make(&device.paths), Err(Error::NotMeasured)));
    assert_eq!(device.calls(), [""; 0]);
}

/// An owner whose CONFIG is broken may have said that P3 is to be encrypted.
#[test]
fn nothing_is_made_where_a_stand_in_is_in_config_s_place() {
    let device = defined(Device::new());
    let reason = "bad superblock".to_owned();
    Standing::Temporary { reason }.write(&device.path("run"), Part::Config).unwrap();
    let error = make(&device.paths).unwrap_err();
    assert!(error.to_string().contains("cannot be used: bad superblock"), "{error}");
    assert_eq!(device.calls(), [""; 0]);
    Standing::Kept.write(&device.path("run"), Part::Config).unwrap();
    make(&device.paths).unwrap();
    assert_eq!(device.calls(), [format!("{REPART} @/disk")]);
}

#[test]
fn without_a_tpm_p3_is_made_as_the_owner_says() {
    let device = defined(Device::new());
    make(&device.paths).unwrap();
    assert_eq!((defined_p3(&device), device.calls()), (P3.to_owned(), vec![format!("{REPART} @/disk")]));

    let device = defined(Device::new());
    device.write("config/vault.yml", "without_tpm: refuse\n");
    assert!(matches!(make(&device.paths), Err(Error::RefusedToMake { .. })));
    assert_eq!(device.calls(), [""; 0]);

    let device = defined(Device::new());
    device.write("config/vault.yml", "without_tpm: key\n").insert("the owner's\r\n");
    make(&device.paths).unwrap();
    assert_eq!(defined_p3(&device), "[Partition]\nLabel=P3\nEncrypt=key-file\nFormat=ext4\n");
    assert_eq!(device.calls_of("systemd-repart"), [format!("{REPART} --key-file=@/run/vault.key @/disk")]);
    assert_eq!(device.text("run/vault.key"), "the owner's");
}

#[test]
fn p3_keeps_the_machine_id_as_its_guid() {
    let device = defined(Device::new());
    device.write("machine-id", "0de00b1c5f434f639f1d7e4b52e6a1d0\n");
    make(&device.paths).unwrap();
    let expected = "[Partition]\nLabel=P3\nUUID=0de00b1c-5f43-4f63-9f1d-7e4b52e6a1d0\nFormat=ext4\n";
    assert_eq!(defined_p3(&device), expected);
}

#[test]
fn a_medium_without_a_key_is_no_key() {
    let device = defined(Device::new());
    device.write("config/vault.yml", "without_tpm: key\n").insert("\n");
    // the owner comes with another one
    let next = "rm -f \"$1\"/*; printf good > \"$here/stick/recovery.key\"; touch \"$here/m\"; mv \"$here/m\" \"$here/EVEKEY\"";
    device.does("umount", next);
    make(&device.paths).unwrap();
    assert_eq!(device.calls_of("mount").len(), 2);
    assert_eq!(device.text("run/vault.key"), "good");
}

#[test]
fn a_p3_that_is_there_stays_as_it_is_and_the_others_are_made() {
    for config in ["", "without_tpm: key\n", "without_tpm: refuse\n"] {
        let by_link = defined(Device::new().with_plain_p3());
        let by_kernel = defined(Device::new());
        by_kernel.write("blocks/disk/disk9/uevent", "DEVTYPE=partition\nPARTN=9\nPARTNAME=P3\n");
        for device in [by_link, by_kernel] {
            device.write("config/vault.yml", config);
            make(&device.paths).unwrap();
            assert_eq!(
                (defined_p3(&device), device.calls()),
                (P3.to_owned(), vec![format!("{REPART} @/disk")]),
                "{config}"
            );
        }
    }
    let sealed = defined(Device::new().with_tpm().with_sealed_p3());
    make(&sealed.paths).unwrap();
    assert_eq!((defined_p3(&sealed), sealed.calls()), (P3.to_owned(), vec![format!("{REPART} @/disk")]));
}

#[test]
fn definitions_that_do_not_fit_and_a_tool_that_fails_are_errors() {
    let device = defined(Device::new());
    device.write("repart.d/60-p3.conf", P3);
    assert!(matches!(make(&device.paths), Err(Error::Definitions { found: 2, .. })));
    device.write("repart.d/60-p3.conf", OTHER).write("repart.d/50-p3.conf", OTHER);
    assert!(matches!(make(&device.paths), Err(Error::Definitions { found: 0, .. })));

    let device = defined(Device::new());
    device.does("systemd-repart", "echo 'no space' >&2; exit 1");
    let error = make(&device.paths).unwrap_err().to_string();
    assert!(error.starts_with("`systemd-repart --dry-run=no ") && error.ends_with("failed: no space"), "{error}");

    let device = defined(Device::new());
    device.write("config/vault.yml", "\nwithout_tpm: maybe\n");
    let error = make(&device.paths).unwrap_err().to_string();
    assert!(error.contains("vault.yml:2") && error.contains("key, plain, refuse"), "{error}");
}
