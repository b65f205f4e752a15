//! The kernel: what it must have, and one that is built from source.

use boot_tests::{Boot, Booting, Checks, Copy, boot, system, variable};
use std::fs;
use types::{Arch, Flavour};
use vm::Until;

/// As `xtask` promises it.
const STEP_FAILED: i32 = 6;

fn line_of(folder: &Copy, file: &str, part: &str) -> usize {
    let text = fs::read_to_string(folder.path().join(file)).expect("the checkout has its definitions");
    text.lines().position(|l| l.contains(part)).map_or(0, |n| n + 1)
}

#[test]
fn an_option_that_the_kernel_lacks_is_named_with_who_needs_it_and_where_that_stands() {
    let copy = Copy::new();
    let option = "      - {name: EVEK_NO_SUCH_OPTION, is: [y], why: the test}\n";
    copy.change("kernel/lint.yml", "    options:\n", &format!("    options:\n{option}"));
    let line = line_of(&copy, "kernel/lint.yml", "EVEK_NO_SUCH_OPTION");
    copy.xtask(&["image", "--hv", "kvm", "--offline"]).must(
        STEP_FAILED,
        &[
            &format!("kernel/lint.yml:{line}:"),
            "CONFIG_EVEK_NO_SUCH_OPTION is n, and should be y",
            "init, the first stage",
        ],
    );
}

#[test]
fn an_option_that_does_not_survive_fails_the_build_with_the_line_of_its_fragment() {
    let copy = Copy::new();
    copy.change("kernel/kernel.yml", "\nsource: debian\n", "\nsource: build\n");
    copy.change("kernel/evek.config", "CONFIG_MD=y\n", "# CONFIG_MD is not set\n");
    let line = line_of(&copy, "kernel/evek.config", "CONFIG_DM_VERITY=");
    copy.xtask(&["image", "--hv", "kvm"]).must(
        STEP_FAILED,
        &[&format!("kernel/evek.config:{line}: CONFIG_DM_VERITY=y was asked for, the configuration has n"), "`MD`"],
    );
}

#[test]
#[ignore = "long: make test-all"]
fn a_kernel_from_source_boots_to_the_services() {
    let copy = Copy::new();
    copy.change("kernel/kernel.yml", "\nsource: debian\n", "\nsource: build\n");
    copy.xtask(&["image", "--hv", "kvm"]).must(0, &[]);
    let arch = Arch::Amd64;
    let current = copy.path().join("dist").join(arch.as_str());
    let name = format!("{}-{}-{arch}", variable("EVEK_VERSION").display(), Flavour::Kvm);
    let booting = boot(Boot { image: current.join(name), ..Boot::of("kernel", Flavour::Kvm, arch) });
    let limit = booting.limit(60);
    let Booting { mut guest, image, .. } = booting;
    guest.wait_for(Until::Ssh, limit).unwrap_or_else(|e| panic!("{e}"));
    let mut checks = Checks::default();
    system::system_is_up(&mut guest, &mut checks, arch, limit);
    system::slot_is_verified_and_read_only(&mut guest, &mut checks, &image);
    system::state_is_on_p3_only(&mut guest, &mut checks);
    if let Some(release) = checks.answer("the kernel's release", guest.sh("uname -r")) {
        checks.that("the kernel is ours", release.ends_with("-evek"), &release);
    }
    if let Some(status) = checks.answer("svc status", guest.sh("svc status --json")) {
        checks.answer("every service is ready", boot_tests::all_ready(&status, &["time", "vmm"]));
    }
    checks.finish();
}
