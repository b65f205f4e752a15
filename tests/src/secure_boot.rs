//! Firmware that starts programs of known owners only, and disks with other programs than the image has.

use crate::{
    Boot, boot,
    builder::{cache, described, scratch, variable},
};
use ::boot::loader;
use cas::Cas;
use sign::{Keys, Purpose, Role, Wanted, efi};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tree::{Content, Entry, TreePath};
use types::{Arch, Bytes};
use vm::{Change, Firmware, Until, Variables};

/// The keys that the images are signed with; a key that there was not yet when they were made is added.
///
/// # Panics
/// When there are none.
#[must_use]
pub fn keys() -> Keys {
    let folder = variable("EVEK_KEYS");
    let keys = match Keys::open(&folder) {
        Err(sign::Error::NoKey { .. }) => Keys::generate(&folder, Purpose::Development, "EVE-k development"),
        other => other,
    };
    // another test may have been faster
    let keys = if matches!(keys, Err(sign::Error::Present { .. })) { Keys::open(&folder) } else { keys };
    keys.unwrap_or_else(|e| panic!("{e}"))
}

/// Makes a folder with the certificates of these keys, and with what `keys.json` says of the place of their private keys:
/// nothing, or a further field.
///
/// # Panics
/// When it cannot be written.
pub fn public_part(folder: &Path, place: &str) {
    let keys = keys();
    fs::create_dir(folder).expect("a folder");
    for role in Role::ALL {
        let name = format!("{role}.crt");
        fs::copy(keys.folder().join(&name), folder.join(&name)).expect("a certificate");
    }
    let about = format!(r#"{{"format": 1, "purpose": "production"{place}}}"#);
    fs::write(folder.join("keys.json"), about).expect("keys.json");
}

/// The same machine with firmware that starts programs with our signatures only.
#[must_use]
pub fn secured(options: Boot) -> Boot {
    Boot { firmware: enrolled(&options), ..options }
}

/// The kernel's arguments that are signed.
///
/// # Panics
/// When the image has no EFI program with arguments.
#[must_use]
pub fn arguments(image: &Path) -> String {
    let text = |name: &str| section(image, name);
    let xen = || Some(text(".config")?.lines().find_map(|line| line.strip_prefix("kernel=kernel "))?.to_owned());
    text(".cmdline").or_else(xen).unwrap_or_else(|| panic!("{} has no arguments", image.display()))
}

/// The hypervisor's arguments that are signed.
///
/// # Panics
/// When the image has no hypervisor.
#[must_use]
pub fn hypervisor_arguments(image: &Path) -> String {
    let config = section(image, ".config");
    let options = config.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("options=")));
    options.unwrap_or_else(|| panic!("{} has no arguments for Xen", image.display())).to_owned()
}

/// The text of a section of an image's EFI program.
fn section(image: &Path, name: &str) -> Option<String> {
    let path = image.join(&described(image).files["efi"]);
    let program = fs::read(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    let sections = ::boot::pe::sections(&program).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    sections.iter().find(|s| s.name == name).map(|s| String::from_utf8_lossy(s.data).into_owned())
}

/// Firmware that has enrolled the keys of an image, as the firmware of a new device does at its first start. It starts once for
/// all tests.
///
/// # Panics
/// When it does not.
#[must_use]
pub fn enrolled(options: &Boot) -> Firmware {
    let name = format!("keys-{}-{}.fd", options.arch, keys().certificate(Role::Pk).fingerprint().short());
    let path = scratch().join(name);
    if !path.is_file() {
        let new = Boot { with_ssh: false, ..Boot::of("enrolling", options.flavour, options.arch) };
        let booting = boot(Boot { firmware: Firmware::SecureBoot(Variables::None), ..new });
        let limit = booting.limit(20);
        let mut guest = booting.guest;
        guest.wait_for(Until::Serial("keys successfully enrolled"), limit).unwrap_or_else(|e| panic!("{e}"));
        // the loader resets the machine then
        guest.wait_for(Until::Event("SHUTDOWN"), limit).unwrap_or_else(|e| panic!("{e}"));
        let left = guest.dir().join("variables.fd");
        guest.cut_power();
        fs::copy(&left, &path).unwrap_or_else(|e| panic!("cannot copy {}: {e}", left.display()));
    }
    Firmware::SecureBoot(Variables::Left(path))
}

/// The EFI programs of an image, without signatures.
#[derive(Debug, Clone)]
pub struct Programs {
    /// systemd-boot.
    pub loader: Vec<u8>,
    /// What it starts.
    pub uki: Vec<u8>,
    /// What starts the loader, as others have signed it: shim and its manager.
    pub shim: Option<(Vec<u8>, Vec<u8>)>,
}

impl Programs {
    /// Those of the image in a folder.
    ///
    /// # Panics
    /// When they are not in the cache any more.
    #[must_use]
    pub fn of(options: &Boot) -> Self {
        let has_shim = described(&options.image).blobs.keys().any(|id| id.ends_with(":uefi-shim"));
        let shim = has_shim.then(|| (blob(options, "uefi-shim"), blob(options, "mok-manager")));
        Self { loader: blob(options, "loader"), uki: blob(options, "uki"), shim }
    }

    /// With an EFI system partition that has these programs and nothing else of importance.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn on_disk(&self, arch: Arch, folder: &Path) -> Change {
        self.on_disk_with(arch, folder, &[])
    }

    /// The same with further files, by their paths.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn on_disk_with(&self, arch: Arch, folder: &Path, files: &[(&str, &[u8])]) -> Change {
        let content = |bytes: &[u8]| Content::Inline(bytes.into());
        let tree = loader::esp(loader::Esp {
            arch,
            systemd_boot: content(&self.loader),
            shim: self.shim.as_ref().map(|(program, manager)| loader::Shim {
                program: content(program),
                manager: content(manager),
                certificate: None,
            }),
            images: vec![("evek-changed".to_owned(), content(&self.uki))],
            conf: loader::conf(0, "off"),
            keys: Vec::new(),
        });
        fs::create_dir_all(folder).unwrap_or_else(|e| panic!("cannot make {}: {e}", folder.display()));
        let path: PathBuf = folder.join("esp.img");
        let file = fs::File::create(&path).unwrap_or_else(|e| panic!("cannot make {}: {e}", path.display()));
        let volume = disk::fat::Volume { size: Bytes::mib(128), label: "EFI".to_owned(), id: 1 };
        let mut tree = tree.unwrap_or_else(|e| panic!("{e}"));
        for (path, bytes) in files {
            let path = TreePath::new(path).unwrap_or_else(|e| panic!("{e}"));
            tree.insert(path, Entry::file(0o644, bytes.to_vec())).unwrap_or_else(|e| panic!("{e}"));
        }
        disk::fat::write(&file, &volume, &tree).unwrap_or_else(|e| panic!("{e}"));
        Change::Content { label: "EFI System".to_owned(), file: path }
    }
}

/// What a step of an image has made, from the cache.
fn blob(options: &Boot, name: &str) -> Vec<u8> {
    let cas = Cas::open(&cache()).unwrap_or_else(|e| panic!("{e}"));
    let blobs = described(&options.image).blobs;
    let found = blobs.iter().find(|(id, _)| id.ends_with(&format!(":{name}")));
    let digest = found.unwrap_or_else(|| panic!("image.json names no {name}")).1.digest;
    cas.read(&digest).unwrap_or_else(|e| panic!("{e}"))
}

/// An addon of the image in a folder with these arguments, with the signature of the debug key.
///
/// # Panics
/// When what addons are made of is not in the cache any more.
#[must_use]
pub fn addon(options: &Boot, arguments: &str, keys: &Keys) -> Vec<u8> {
    let program = ::boot::addon::assemble(&blob(options, "addon"), arguments, "evek,1,a test\n");
    signed_as(Role::Debug, &program.unwrap_or_else(|e| panic!("{e}")), keys)
}

/// A program with the signature of an owner of devices.
///
/// # Panics
/// When it cannot be signed.
#[must_use]
pub fn signed(program: &[u8], keys: &Keys) -> Vec<u8> {
    signed_as(Role::Db, program, keys)
}

fn signed_as(role: Role, program: &[u8], keys: &Keys) -> Vec<u8> {
    let certificate = keys.certificate(role);
    let pending = efi::Pending::new(program).unwrap_or_else(|e| panic!("{e}"));
    let wanted = Wanted::new("a test's program", role, certificate, pending.digest());
    let signature = keys.sign(&[wanted]).unwrap_or_else(|e| panic!("{e}")).remove(0);
    pending.attach(certificate, &signature).unwrap_or_else(|e| panic!("{e}"))
}
