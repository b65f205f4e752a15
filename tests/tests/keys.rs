//! Signatures by private keys that are elsewhere: in a token, behind an exchange of files.

use boot_tests::{
    Checks, Copy, image,
    oracles::Oracles,
    secure_boot::{keys, public_part},
    variable,
};
use sign::{Request, Response, Role, Wanted};
use std::{fs, path::Path};
use types::{Arch, Digest, Flavour};

/// Where Debian has SoftHSM.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

#[test]
fn a_token_makes_the_same_signatures_as_the_keys_that_it_was_given() {
    let (dir, keys) = (tempfile::tempdir().expect("a folder"), keys());
    let shared = dir.path().join("shared");
    fs::create_dir_all(shared.join("tokens")).expect("a folder for tokens");
    public_part(&shared.join("public"), &format!(r#", "pkcs11": {{"module": "{MODULE}", "token": "evek"}}"#));
    fs::write(shared.join("softhsm2.conf"), "directories.tokendir = /in/shared/tokens\n").expect("its settings");
    let want = |role| Wanted::new("a test", role, keys.certificate(role), Digest::of(b"a test"));
    let request = Request::new([Role::Db, Role::Kek, Role::Pk, Role::Db].map(want).to_vec());
    fs::write(shared.join("request.json"), request.json()).expect("the request");

    let xtask = variable("EVEK_XTASK");
    let world = |pin: &str| {
        let oracles = Oracles::default().with("keys", keys.folder()).with("xtask", &xtask);
        let oracles = oracles.with_writable("shared", &shared).with_variable("EVEK_PKCS11_PIN", pin);
        oracles.with_variable("SOFTHSM2_CONF", "/in/shared/softhsm2.conf")
    };
    let mut checks = Checks::default();
    let util = |args: &[&str]| world("").run(&[&["softhsm2-util"], args].concat());
    checks.answer("a token", util(&["--init-token", "--free", "--label", "evek", "--so-pin", "0000", "--pin", "1234"]));
    for (n, role) in [(1, Role::Pk), (2, Role::Kek), (3, Role::Db)] {
        let (file, id) = (format!("/in/keys/{role}.key"), format!("0{n}"));
        let import = ["--import", &file, "--token", "evek", "--label", role.name(), "--id", &id, "--pin", "1234"];
        checks.answer("a key goes into the token", util(&import));
    }
    let sign = |pin: &str, answer: &str| {
        let answer = format!("/in/shared/{answer}");
        world(pin).run(&[
            "/in/xtask",
            "keys",
            "sign",
            "/in/shared/request.json",
            &answer,
            "--keys",
            "/in/shared/public",
        ])
    };
    checks.answer("the request is answered", sign("1234", "answer.json"));
    let answer = fs::read(shared.join("answer.json")).map_err(|e| e.to_string());
    let answer = answer.and_then(|json| Response::read(&json).map_err(|e| e.to_string()));
    if let Some(answer) = checks.answer("the answer", answer) {
        checks.equal("the token's signatures", answer.signatures, keys.answer(&request).expect("ours").signatures);
    }
    let refused = sign("4321", "refused.json").expect_err("a wrong PIN opens nothing");
    checks.that("a wrong PIN", refused.contains("token `evek`") && refused.contains("Code(12)"), refused);
    checks.that("no answer then", !shared.join("refused.json").exists(), "there is one");
    checks.finish();
}

/// First what TPMs know an image by, then the programs, which carry that.
#[test]
fn an_image_is_signed_by_private_keys_that_are_elsewhere() {
    let (dir, copy) = (tempfile::tempdir().expect("a folder"), Copy::new());
    let path = |name: &str| dir.path().join(name).to_str().expect("a path of text").to_owned();
    let (public, answer) = (path("public"), path("answer.json"));
    public_part(Path::new(&public), "");
    let private = keys().folder().to_str().expect("a path of text").to_owned();
    let request = copy.path().join("dist/signing-request.json");
    let request = request.to_str().expect("a path of text");
    let build = || copy.xtask(&["image", "--hv", "kvm", "--arch", "amd64", "--keys", &public]);
    let mut checks = Checks::default();
    for (round, wanted) in [("first", "PCR policy of"), ("second", "EFI program of")] {
        let asked = build();
        checks.equal(&format!("the {round} build asks"), asked.code, 12);
        checks.that("it says what to do", asked.stderr.contains("keys import"), &asked.stderr);
        let text = fs::read_to_string(request).unwrap_or_else(|e| e.to_string());
        checks.that(&format!("the {round} request"), text.contains(wanted), &text);
        let signed = copy.xtask(&["keys", "sign", request, &answer, "--keys", &private]);
        checks.equal(&format!("the {round} answer"), signed.code, 0);
        let imported = copy.xtask(&["keys", "import", &answer, "--keys", &public]);
        checks.that(&format!("the {round} import"), imported.code == 0, &imported.stderr);
    }
    let built = build();
    checks.that("the image", built.code == 0, &built.stderr);
    let image = image(Flavour::Kvm, Arch::Amd64);
    let name = image.file_name().expect("a folder of an image");
    let read = |folder: &Path, name: &str| fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let folder = copy.path().join("dist/amd64").join(name);
    let same = read(&folder, "evek.efi") == read(&image, "evek.devkeys.efi");
    checks.that("its program is, byte for byte, as signed with keys at hand", same, "it is another");
    checks.finish();
}

#[test]
fn the_debug_key_is_allowed_by_a_private_key_that_is_elsewhere() {
    let (dir, copy) = (tempfile::tempdir().expect("a folder"), Copy::new());
    let path = |name: &str| dir.path().join(name).to_str().expect("a path of text").to_owned();
    let (public, answer, write) = (path("public"), path("answer.json"), path("debug.auth"));
    public_part(Path::new(&public), "");
    let private = keys().folder().to_str().expect("a path of text").to_owned();
    let request = copy.path().join("dist/signing-request.json");
    let request = request.to_str().expect("a path of text");
    let allow = || copy.xtask(&["debug", "allow", "--to", &write, "--keys", &public]);
    allow().must(12, &["1 signature missing", "keys import"]);
    let asked = Request::read(&fs::read(request).expect("a request")).expect("a request");
    assert_eq!(asked.wanted.iter().map(|wanted| wanted.role).collect::<Vec<_>>(), [Role::Kek]);
    copy.xtask(&["keys", "sign", request, &answer, "--keys", &private]).must(0, &["KEK signs", "variable db"]);
    copy.xtask(&["keys", "import", &answer, "--keys", &public]).must(0, &["1 new signatures"]);
    allow().must(0, &["chattr -i", "dd of=/sys/firmware/efi/efivars/db-", "docs/vault.md"]);
    assert_eq!(fs::read(&write).expect("the write"), steps::allowance(&keys()).expect("ours"));
}
