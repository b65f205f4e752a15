use super::Device;
use crate::{error::Error, measure::measure};
use boot::measure::{Register, config_event};
use std::fs;
use types::Digest;

/// As systemd-pcrextend behaves without an EFI stub, unless the variable forces it.
const EXTENDS: &str = "[ \"$SYSTEMD_FORCE_MEASURE\" = 1 ] && cp \"$here/expected\" \"$here/tpm/pcr-sha256/14\"";

/// A TPM into which nothing is measured, and two files.
fn device() -> (Device, String, Digest) {
    let device = Device::new().with_tpm();
    for file in ["run/config-before", "run/config-measured"] {
        fs::remove_file(device.path(file)).unwrap();
    }
    device.write("tpm/pcr-sha256/14", "0".repeat(64)).write("config/b.yml", "b\n").write("config/apps/a.yml", "a\n");
    let files = [("apps/a.yml", b"a\n"), ("b.yml", b"b\n")].map(|(path, text)| (path.to_owned(), Digest::of(text)));
    let words = config_event(&files.into());
    let value = Register::default().extended(words.as_bytes()).value();
    device.write("expected", value.hex().to_uppercase());
    (device, words, value)
}

#[test]
fn config_is_measured_once_in_a_start() {
    let (device, words, value) = device();
    device.does("systemd-pcrextend", EXTENDS);
    measure(&device.paths).unwrap();
    measure(&device.paths).unwrap();
    assert_eq!(device.calls(), [format!("systemd-pcrextend --pcr=14 {words}")]);
    assert_eq!(device.text("run/config-measured"), words);
    assert_eq!(device.text("tpm/pcr-sha256/14").to_lowercase(), value.hex());
}

#[test]
fn a_start_that_was_too_short_for_the_marker_measures_nothing_twice() {
    let (device, words, value) = device();
    device.write("run/config-before", Register::default().value().hex());
    device.write("tpm/pcr-sha256/14", value.hex().to_uppercase());
    measure(&device.paths).unwrap();
    assert_eq!(device.calls(), [""; 0]);
    assert_eq!(device.text("run/config-measured"), words);
}

#[test]
fn what_others_have_measured_before_is_noted_and_extended() {
    let (device, words, value) = device();
    let shims = Digest::of(b"what shim has measured").hex();
    device.write("tpm/pcr-sha256/14", &shims);
    device.does("systemd-pcrextend", EXTENDS);
    measure(&device.paths).unwrap();
    assert_eq!(device.calls(), [format!("systemd-pcrextend --pcr=14 {words}")]);
    assert_eq!(device.text("run/config-before"), shims);
    assert_eq!(device.text("tpm/pcr-sha256/14").to_lowercase(), value.hex());
}

#[test]
fn a_tool_that_silently_does_nothing_is_found_out() {
    let (device, ..) = device();
    assert!(matches!(measure(&device.paths), Err(Error::Unmoved)));
    assert!(!device.path("run/config-measured").exists());
}

#[test]
fn a_tool_that_fails_is_named_with_what_it_says() {
    let (device, words, _) = device();
    device.does("systemd-pcrextend", "echo 'no such register' >&2; exit 1");
    let error = measure(&device.paths).unwrap_err().to_string();
    assert_eq!(error, format!("`systemd-pcrextend --pcr=14 {words}` failed: no such register"));
}

#[test]
fn without_a_tpm_2_and_its_sha256_registers_nothing_is_measured() {
    for version in [None, Some("1\n"), Some("2\n")] {
        let device = Device::new();
        if let Some(version) = version {
            device.write("tpm/tpm_version_major", version);
        }
        measure(&device.paths).unwrap();
        assert_eq!(device.calls(), [""; 0]);
        assert!(!device.path("run/config-measured").exists());
    }
}
