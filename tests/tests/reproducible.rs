//! Steps make the same bytes again in another world: umask, time zone, locale and environment of someone else.

use boot_tests::variable;
use std::process::Command;

/// One step of each kind that puts an image together, and a compiled program.
const STEPS: [&str; 9] = [
    "toolbox/files",
    "debs/base@amd64",
    "erofs/base@amd64",
    "rust/init@amd64",
    "initramfs/kvm@amd64",
    "top/rootfs/kvm@amd64",
    "slot/kvm@amd64",
    "uki/kvm@amd64",
    "esp/kvm@amd64",
];

#[test]
fn every_kind_of_step_makes_the_same_bytes_for_another_user() {
    for step in STEPS {
        let output = Command::new("sh")
            .args(["-c", "umask 077; exec \"$0\" replay \"$1\" --hv kvm --offline --jobs 1"])
            .arg(variable("EVEK_XTASK"))
            .arg(step)
            .env("TZ", "Asia/Tokyo")
            .env("LC_ALL", "C")
            .env("SOURCE_DATE_EPOCH", "1")
            .output()
            .expect("a shell is on every host");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{step} is not reproducible:\n{said}");
    }
}
