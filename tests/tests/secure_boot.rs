//! Nothing starts that is not signed.

use boot_tests::{
    Boot, Checks, boot,
    secure_boot::{Programs, enrolled, keys, signed},
};
use sign::{Keys, Purpose};
use types::{Arch, Flavour};
use vm::Until;

#[test]
fn programs_without_the_owners_signature_are_refused() {
    let options = || Boot { with_ssh: false, ..Boot::of("secure-boot", Flavour::Kvm, Arch::Amd64) };
    let folder = tempfile::tempdir().expect("a folder");
    let programs = Programs::of(&options());
    let foreign = Keys::generate(&folder.path().join("foreign"), Purpose::Production, "someone else");
    let foreign = foreign.expect("keys of someone else");
    let firmware = enrolled(&options());
    let ours = Programs { loader: signed(&programs.loader, &keys()), uki: signed(&programs.uki, &keys()) };
    let mut changed = ours.uki.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let (by_loader, by_firmware) = ("Access denied", "failed to load");
    let cases = [
        ("with our signatures", ours.clone(), "Linux version"),
        ("without a signature", Programs { uki: programs.uki.clone(), ..ours.clone() }, by_loader),
        (
            "with a signature of someone else",
            Programs { uki: signed(&programs.uki, &foreign), ..ours.clone() },
            by_loader,
        ),
        ("with one byte changed", Programs { uki: changed, ..ours.clone() }, by_loader),
        (
            "with a loader of someone else",
            Programs { loader: signed(&programs.loader, &foreign), ..ours.clone() },
            by_firmware,
        ),
        ("with an unsigned loader", Programs { loader: programs.loader.clone(), ..ours }, by_firmware),
    ];
    let mut checks = Checks::default();
    for (name, programs, said) in cases {
        let changes = vec![programs.on_disk(Arch::Amd64, folder.path())];
        let booting = boot(Boot { firmware: firmware.clone(), changes, ..options() });
        let limit = booting.limit(20);
        let mut guest = booting.guest;
        checks.answer(name, guest.wait_for(Until::Serial(said), limit));
        let started = guest.serial_lines().iter().any(|line| line.contains("Linux version"));
        checks.equal(name, started, said == "Linux version");
        guest.cut_power();
    }
    checks.finish();
}
