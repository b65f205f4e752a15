//! The kernel: what it must have, and one that is built from source.

use boot_tests::{
    Boot, Booting, Checks, Copy, boot,
    secure_boot::{keys, public_part},
    system, variable,
};
use sign::{Keys, Purpose, Request, Role, Wanted, module};
use std::{fs, time::Duration};
use types::{Arch, Flavour};
use vm::{Guest, Until};

/// As `xtask` promises them.
const STEP_FAILED: i32 = 6;
const SIGNATURES_WANTED: i32 = 12;

/// A module that needs no other, that nobody loads, and that makes nothing without being asked to.
const MODULE: &str = "dummy";
/// `TAINT_UNSIGNED_MODULE` (kernel documentation, *Tainted kernels*).
const TAINT_UNSIGNED_MODULE: u64 = 1 << 13;

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
#[ignore = "long: make test-all"]
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
    modules_are_the_owners(&mut guest, &mut checks);
    other_modules_are_refused(&mut guest, &mut checks, limit);
    if let Some(release) = checks.answer("the kernel's release", guest.sh("uname -r")) {
        checks.that("the kernel is ours", release.ends_with("-evek"), &release);
    }
    if let Some(status) = checks.answer("svc status", guest.sh("svc status --json")) {
        checks.answer("every service is ready", boot_tests::all_ready(&status, &["time", "vmm"]));
    }
    checks.finish();
}

/// The kernel wants signatures by the owner, whom it knows and nobody else, and what it has loaded has them.
fn modules_are_the_owners(guest: &mut Guest, checks: &mut Checks) {
    let owner = keys().certificate(Role::Modules).subject();
    let owner = owner.trim_start_matches("CN=");
    for (what, file, expected) in [
        ("modules must be signed", "/sys/module/module/parameters/sig_enforce", "Y"),
        ("the kernel is locked down", "/sys/kernel/security/lockdown", "[integrity]"),
    ] {
        if let Some(found) = checks.answer(what, guest.sh(&format!("cat {file}"))) {
            checks.that(what, found.contains(expected), &found);
        }
    }
    if let Some(tainted) = checks.answer("what the kernel is tainted by", guest.sh("cat /proc/sys/kernel/tainted")) {
        let unsigned = tainted.parse::<u64>().map(|flags| flags & TAINT_UNSIGNED_MODULE);
        checks.equal("it has loaded no unsigned module", unsigned, Ok(0));
    }
    // Documentation/security/keys/core.rst, `/proc/keys`: serial number, flags, uses, time, mode, owner, group, type, description
    if let Some(all) = checks.answer("the kernel's keys", guest.sh("grep asymmetri /proc/keys")) {
        let others: Vec<_> = all.lines().filter(|line| !line.contains(owner)).collect();
        checks.that("it has the owner's certificate", all.contains(owner), &all);
        checks.that("it has nobody else's", others.is_empty(), others.join("\n"));
    }
    if let Some(signer) = checks.answer("kmod reads a signature", guest.sh(&format!("modinfo -F signer {MODULE}"))) {
        checks.equal("it is the owner's", signer.as_str(), owner);
    }
}

/// A module loads as the owner has signed it, and in no other form.
fn other_modules_are_refused(guest: &mut Guest, checks: &mut Checks, limit: Duration) {
    let Some(signed) = checks.answer("a module", read(guest, &format!("$(modinfo -n {MODULE})"))) else { return };
    let Some(plain) = unsigned(&signed) else {
        return checks.that("the module is signed", false, format!("the last of {} bytes say nothing", signed.len()));
    };
    // what no program looks at: the padding of `e_ident` (System V gABI, *ELF Identification*)
    let changed = |at: usize| signed.iter().enumerate().map(|(n, b)| if n == at { b ^ 1 } else { *b }).collect();
    let theirs = tempfile::tempdir().expect("a folder");
    let theirs = Keys::generate(&theirs.path().join("keys"), Purpose::Development, "Theirs").expect("keys");
    let certificate = theirs.certificate(Role::Modules);
    let wanted = Wanted::new("a module", Role::Modules, certificate, module::digest(plain));
    let theirs = theirs.sign(&[wanted]).expect("a signature").remove(0);
    let theirs = module::attach(plain.to_vec(), certificate, &theirs).expect("a signed module");
    checks.answer("it can be loaded and unloaded", guest.sh(&format!("modprobe {MODULE} && modprobe -r {MODULE}")));
    let cases: [(&str, Vec<u8>, bool); 5] = [
        ("a copy of a module", signed.clone(), true),
        ("a module without its signature", plain.to_vec(), false),
        ("a module with one byte changed", changed(9), false),
        ("a module with one byte of its signature changed", changed(plain.len() + 300), false),
        ("a module with somebody else's signature", theirs, false),
    ];
    // EKEYREJECTED; EBADMSG where what is left of a signature has nothing to compare (kernel, `crypto/rsa-pkcs1pad.c`)
    let refusals = ["Key was rejected by service", "Bad message"];
    for (what, bytes, is_owners) in cases {
        let load = "cat >/run/module.ko && insmod /run/module.ko";
        let Some(loaded) = checks.answer(what, guest.ssh_within(load, &bytes, limit)) else { continue };
        if is_owners {
            checks.that(&format!("{what} is loaded"), loaded.success(), &loaded.stderr);
            checks.answer("it is unloaded", guest.sh(&format!("rmmod {MODULE}")));
            continue;
        }
        let refused = !loaded.success() && refusals.iter().any(|refusal| loaded.stderr.contains(refusal));
        checks.that(&format!("{what} is refused for its signature"), refused, format!("{loaded:?}"));
        let there = guest.ssh(&format!("test -d /sys/module/{MODULE}")).map_or(true, |there| there.success());
        checks.that(&format!("{what} is not loaded"), !there, "it is");
    }
}

/// A file's bytes.
fn read(guest: &mut Guest, path: &str) -> Result<Vec<u8>, String> {
    let hex = guest.sh(&format!("od -An -v -tx1 {path}")).map_err(|e| e.to_string())?;
    let bytes = hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16));
    bytes.collect::<Result<_, _>>().map_err(|e| e.to_string())
}

/// A module without its signature (kernel, `include/linux/module_signature.h`).
fn unsigned(signed: &[u8]) -> Option<&[u8]> {
    let rest = signed.strip_suffix(b"~Module signature appended~\n")?;
    let (rest, len) = rest.split_last_chunk::<4>()?;
    let len = u32::from_be_bytes(*len) as usize + 8;
    rest.get(..rest.len().checked_sub(len)?)
}

/// The kernel is that of the test before: it knows certificates only.
#[test]
#[ignore = "long: make test-all"]
fn modules_of_a_kernel_from_source_are_signed_by_a_private_key_that_is_elsewhere() {
    let (dir, copy) = (tempfile::tempdir().expect("a folder"), Copy::new());
    let path = |name: &str| dir.path().join(name).to_str().expect("a path of text").to_owned();
    let (public, answer) = (path("public"), path("answer.json"));
    public_part(dir.path().join("public").as_path(), "");
    let private = keys().folder().to_str().expect("a path of text").to_owned();
    let request = copy.path().join("dist/signing-request.json");
    let request = request.to_str().expect("a path of text");
    copy.change("kernel/kernel.yml", "\nsource: debian\n", "\nsource: build\n");
    // signatures of modules are wanted where the image has no others
    let build = || copy.xtask(&["image", "--hv", "kvm", "--unsigned", "--keys", &public]);
    build().must(SIGNATURES_WANTED, &["keys import"]);
    let asked = Request::read(&fs::read(request).expect("a request")).expect("a request").wanted;
    assert!(asked.iter().all(|wanted| wanted.role == Role::Modules), "{:?}", asked.first());
    let one = format!("/{MODULE}.ko of ");
    assert!(asked.iter().any(|wanted| wanted.what.contains(&one)), "{} modules, {one} is none of them", asked.len());
    copy.xtask(&["plan", "--hv", "kvm", "--keys", &public]).must(0, &["are not signed yet"]);
    copy.xtask(&["keys", "sign", request, &answer, "--keys", &private]).must(0, &["modules signs"]);
    copy.xtask(&["keys", "import", &answer, "--keys", &public]).must(0, &[&format!("{} new", asked.len())]);
    build().must(0, &[]);
    let ours = copy.xtask(&["image", "--hv", "kvm", "--unsigned", "--keys", &private]);
    ours.must(0, &["unchanged"]);
}
