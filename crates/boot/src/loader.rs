//! The EFI system partition of systemd-boot: its configuration and its files, as a tree for a FAT volume
//! (UAPI group, *Boot Loader Specification*).
//!
//! ```text
//!                                                         with shim
//!  EFI/BOOT/BOOTX64.EFI   systemd-boot                    shim, signed by Microsoft
//!  EFI/BOOT/grubx64.efi                                   systemd-boot: shim starts what has this name beside it
//!  EFI/BOOT/mmx64.efi                                     MokManager, by which someone has shim trust a certificate
//!  evek-owner.cer                                         the owner's certificate
//!  loader/keys/auto       what enrolls the owner's keys
//!  EFI/Linux              kernel images                   the same
//! ```

use tree::{BadPath, Clash, Content, Entry, Kind, Tree, TreePath};
use types::Arch;

/// Why there is no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name of a kernel image that systemd-boot would not list, or that is no file name.
    #[error("`{name}` is no name for a unified kernel image: letters, digits, `.`, `_`, `-`, `+` and `~`")]
    Name {
        /// The name as given.
        name: String,
    },
    /// A path that leads out of the partition.
    #[error(transparent)]
    Path(#[from] BadPath),
    /// Two files at one path.
    #[error(transparent)]
    Clash(#[from] Clash),
}

/// The text of `loader/loader.conf` (systemd, `loader.conf(5)`): no menu unless a person holds a key, no editing of the
/// command line, only our images, and the enrolment of keys that `enroll` names (`off`, `manual`, `if-safe`, `force`).
#[must_use]
pub fn conf(timeout_seconds: u32, enroll: &str) -> String {
    format!(
        "timeout {timeout_seconds}\neditor no\nauto-entries no\nauto-firmware no\nconsole-mode keep\nsecure-boot-enroll {enroll}\n"
    )
}

/// The path of the removable-media loader, which firmware starts without a boot entry (UEFI 2.10 §3.5.1.1).
#[must_use]
pub fn fallback_path(arch: Arch) -> String {
    format!("EFI/BOOT/BOOT{}.EFI", arch.efi().to_uppercase())
}

/// The path of systemd-boot beside shim, which shim has compiled in (shim, `Makefile`, `DEFAULT_LOADER`).
#[must_use]
pub fn behind_shim_path(arch: Arch) -> String {
    format!("EFI/BOOT/grub{}.efi", arch.efi())
}

/// The path of MokManager beside shim.
#[must_use]
pub fn manager_path(arch: Arch) -> String {
    format!("EFI/BOOT/mm{}.efi", arch.efi())
}

/// The path of the certificate to enroll by MokManager: X.509 in DER.
pub const CERTIFICATE: &str = "evek-owner.cer";

/// The programs that the firmware starts in place of systemd-boot (shim, `README.md`).
#[derive(Debug, Clone)]
pub struct Shim {
    /// shim itself.
    pub program: Content,
    /// MokManager.
    pub manager: Content,
    /// The owner's certificate, if the image has an owner.
    pub certificate: Option<Vec<u8>>,
}

/// The parts of an EFI system partition.
#[derive(Debug, Clone)]
pub struct Esp {
    /// The architecture of its programs.
    pub arch: Arch,
    /// systemd-boot.
    pub systemd_boot: Content,
    /// shim and its files, if the firmware starts shim.
    pub shim: Option<Shim>,
    /// Kernel images by name (without `.efi`; a `+3` at its end starts boot counting with three tries).
    pub images: Vec<(String, Content)>,
    /// The text of `loader/loader.conf`.
    pub conf: String,
    /// Signed writes of the firmware's variables by name (`PK`, `KEK`, `db`), enrolled by the rule in [`conf`].
    pub keys: Vec<(String, Vec<u8>)>,
}

/// The folder of the keys that systemd-boot may enroll without a person.
const KEYS: &str = "loader/keys/auto";

/// The files of an EFI system partition.
///
/// # Errors
/// [`Error::Name`], or [`Error::Clash`] for a duplicate name.
pub fn esp(esp: Esp) -> Result<Tree, Error> {
    let file = |content| Entry { kind: Kind::File(content), ..Entry::file(0o644, Vec::new()) };
    let mut tree = Tree::default();
    let first = TreePath::new(&fallback_path(esp.arch))?;
    match esp.shim {
        None => tree.insert(first, file(esp.systemd_boot))?,
        Some(shim) => {
            tree.insert(first, file(shim.program))?;
            tree.insert(TreePath::new(&behind_shim_path(esp.arch))?, file(esp.systemd_boot))?;
            tree.insert(TreePath::new(&manager_path(esp.arch))?, file(shim.manager))?;
            if let Some(certificate) = shim.certificate {
                tree.insert(TreePath::new(CERTIFICATE)?, Entry::file(0o644, certificate))?;
            }
        }
    }
    for (name, content) in esp.images {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+~".contains(c);
        let path = TreePath::new(&format!("EFI/Linux/{name}.efi"))?;
        if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) || tree.get(&path).is_some() {
            return Err(Error::Name { name });
        }
        tree.insert(path, file(content))?;
    }
    for (name, write) in esp.keys {
        tree.insert(TreePath::new(&format!("{KEYS}/{name}.auth"))?, Entry::file(0o644, write))?;
    }
    tree.insert(TreePath::new("loader/loader.conf")?, Entry::file(0o644, esp.conf.into_bytes()))?;
    Ok(tree)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Content {
        Content::Inline(text.as_bytes().into())
    }

    fn example(images: &[&str]) -> Esp {
        Esp {
            arch: Arch::Arm64,
            systemd_boot: bytes("boot"),
            shim: None,
            images: images.iter().map(|name| ((*name).to_owned(), bytes("uki"))).collect(),
            conf: conf(0, "off"),
            keys: vec![("PK".to_owned(), b"write".to_vec())],
        }
    }

    #[test]
    fn the_partition_holds_loader_images_keys_and_configuration() {
        let tree = esp(example(&["evek-0.1.0-kvm-arm64+3"])).unwrap();
        let files: Vec<_> = tree.iter().filter(|(_, e)| e.kind != Kind::Dir).map(|(p, _)| p.as_str()).collect();
        let image = "EFI/Linux/evek-0.1.0-kvm-arm64+3.efi";
        assert_eq!(files, ["EFI/BOOT/BOOTAA64.EFI", image, "loader/keys/auto/PK.auth", "loader/loader.conf"]);
    }

    #[test]
    fn shim_stands_where_firmware_looks_and_systemd_boot_where_shim_does() {
        let shim = Shim { program: bytes("shim"), manager: bytes("mm"), certificate: Some(b"owner".to_vec()) };
        let tree = esp(Esp { shim: Some(shim), keys: Vec::new(), ..example(&[]) }).unwrap();
        let text = |path: &str| match &tree.get(&TreePath::new(path).unwrap()).unwrap().kind {
            Kind::File(content) => String::from_utf8(content.read().unwrap()).unwrap(),
            _ => String::new(),
        };
        let found = ["EFI/BOOT/BOOTAA64.EFI", "EFI/BOOT/grubaa64.efi", "EFI/BOOT/mmaa64.efi", CERTIFICATE].map(text);
        assert_eq!(found, ["shim", "boot", "mm", "owner"]);
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for bad in ["", "a/b", "../x", ".hidden", "a b"] {
            assert!(esp(example(&[bad])).is_err(), "{bad}");
        }
        let pre_release = "EFI/Linux/evek-0.2.0~rc1-kvm-arm64+3.efi";
        let tree = esp(example(&["evek-0.2.0~rc1-kvm-arm64+3"])).unwrap();
        assert!(tree.get(&TreePath::new(pre_release).unwrap()).is_some(), "systemd-boot and FAT know `~`");
        assert_eq!(esp(example(&["a", "a"])), Err(Error::Name { name: "a".to_owned() }));
    }
}
