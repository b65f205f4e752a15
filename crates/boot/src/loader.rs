//! The EFI system partition of systemd-boot: its configuration and its files, as a tree for a FAT volume
//! (UAPI group, *Boot Loader Specification*).

use tree::{BadPath, Clash, Content, Entry, Kind, Tree, TreePath};
use types::Arch;

/// Why the tree cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name of a kernel image that systemd-boot would not show, or that is no file name.
    #[error("`{name}` is no name for a unified kernel image: letters, digits, `.`, `_`, `-` and `+`")]
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

/// The text of `loader/loader.conf` (systemd, `loader.conf(5)`): no menu unless a key is held for it, no editing of the
/// command line, nothing started but our images, and no keys enrolled behind the owner's back.
#[must_use]
pub fn conf(timeout_seconds: u32) -> String {
    format!(
        "timeout {timeout_seconds}\neditor no\nauto-entries no\nauto-firmware no\nconsole-mode keep\nsecure-boot-enroll off\n"
    )
}

/// The path of the removable-media loader, which firmware starts without a boot entry (UEFI 2.10 §3.5.1.1).
#[must_use]
pub fn fallback_path(arch: Arch) -> String {
    format!("EFI/BOOT/BOOT{}.EFI", arch.efi().to_uppercase())
}

/// The files of an EFI system partition: systemd-boot, kernel images by name (without `.efi`; a `+3` at its end starts boot
/// counting with three tries) and the configuration.
///
/// # Errors
/// [`Error::Name`], or [`Error::Clash`] for a name given twice.
pub fn esp(arch: Arch, systemd_boot: Content, images: Vec<(String, Content)>, conf: &str) -> Result<Tree, Error> {
    let file = |content| Entry { kind: Kind::File(content), ..Entry::file(0o644, Vec::new()) };
    let mut tree = Tree::default();
    tree.insert(TreePath::new(&fallback_path(arch))?, file(systemd_boot))?;
    for (name, content) in images {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
        let path = TreePath::new(&format!("EFI/Linux/{name}.efi"))?;
        if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) || tree.get(&path).is_some() {
            return Err(Error::Name { name });
        }
        tree.insert(path, file(content))?;
    }
    tree.insert(TreePath::new("loader/loader.conf")?, Entry::file(0o644, conf.as_bytes().to_vec()))?;
    Ok(tree)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Content {
        Content::Inline(text.as_bytes().into())
    }

    #[test]
    fn the_partition_holds_loader_images_and_configuration() {
        let images = vec![("evek-0.1.0-kvm-arm64+3".to_owned(), bytes("uki"))];
        let tree = esp(Arch::Arm64, bytes("boot"), images, &conf(0)).unwrap();
        let files: Vec<_> = tree.iter().filter(|(_, e)| e.kind != Kind::Dir).map(|(p, _)| p.as_str()).collect();
        assert_eq!(files, ["EFI/BOOT/BOOTAA64.EFI", "EFI/Linux/evek-0.1.0-kvm-arm64+3.efi", "loader/loader.conf"]);
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for bad in ["", "a/b", "../x", ".hidden", "a b"] {
            assert!(esp(Arch::Amd64, bytes("boot"), vec![(bad.to_owned(), bytes("x"))], "").is_err(), "{bad}");
        }
        let twice = vec![("a".to_owned(), bytes("x")), ("a".to_owned(), bytes("y"))];
        assert_eq!(esp(Arch::Amd64, bytes("boot"), twice, ""), Err(Error::Name { name: "a".to_owned() }));
    }
}
