//! Updates of an image that is there: the same with other words in its kernel image and its store, signed as an owner signs.

use crate::{
    builder::{cache, described},
    secure_boot::{keys, signed},
};
use cas::Cas;
use sign::Keys;
use slots::Contents;
use std::{fs::File, path::Path};
use steps::{Root, StoreParts, Target, UpdateParts, with_policy};
use types::{Arch, Digest, Flavour};

/// In the kernel image's arguments; what takes its place must have its length.
const REPLACED: &str = "systemd.import_credentials=no";

/// What is other than in the image.
#[derive(Debug, Clone)]
pub struct Variant<'a> {
    /// Its version, as long as that of the image.
    pub version: &'a str,
    /// What systemd is replaced by, as the kernel's argument `init=`.
    pub init: Option<&'a str>,
    /// Another argument of the kernel.
    pub argument: Option<&'a str>,
    /// What replaces text in the manifests of the store, `from` by `to`.
    pub store: Vec<(&'a str, &'a str)>,
    /// Its boot loader.
    pub loader: Loader,
    /// Whether it has the owner's signature for the TPM's policy.
    pub policy: bool,
}

/// A boot loader of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loader {
    /// That of the image.
    Same,
    /// One that works.
    Other,
    /// One that returns to the firmware at once, with an error (x86).
    Broken,
}

impl Loader {
    fn of(self, mut program: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Same => {}
            Self::Other => replace(&mut program, "LoaderInfo: systemd-boot", "LoaderInfo: systemd-BOOT"),
            Self::Broken => {
                let sections = boot::pe::sections(&program).unwrap_or_else(|e| panic!("{e}"));
                let number = |at: usize| program[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
                // PE Format, *Optional Header*: AddressOfEntryPoint
                let entry = u64::from(number(number(0x3c) as usize + 24 + 16));
                let holds = |s: &&boot::pe::Section<'_>| (s.address..s.address + s.data.len() as u64).contains(&entry);
                let section = sections.iter().find(holds).unwrap_or_else(|| panic!("no section has the entry"));
                let start = section.data.as_ptr() as usize - program.as_ptr() as usize;
                let at = start + (entry - section.address) as usize;
                // mov rax, EFI_LOAD_ERROR; ret. Where a program returns without an error, firmware shows its menu (UEFI 2.10 §3.1.1)
                program[at..at + 11].copy_from_slice(&[0x48, 0xb8, 1, 0, 0, 0, 0, 0, 0, 0x80, 0xc3]);
            }
        }
        program
    }
}

impl<'a> Variant<'a> {
    /// The same image of another version.
    #[must_use]
    pub fn of(version: &'a str) -> Self {
        Self { version, init: None, argument: None, store: Vec::new(), loader: Loader::Same, policy: true }
    }

    /// Adds it, signed by `keys`, to a folder of updates.
    ///
    /// # Panics
    /// When the image lacks something, or something cannot be written.
    pub fn publish(&self, image: &Path, keys: &Keys, folder: &Path) {
        let cas = Cas::open(&cache()).unwrap_or_else(|e| panic!("{e}"));
        let about = described(image);
        let store = self.changed(store(image));
        let root = root(&store, &cas);
        let old = (about.version.split('-').next().unwrap_or_default(), about.root_hash, about.data_blocks);
        assert_eq!(old.0.len(), self.version.len(), "versions must have one length");
        assert_eq!(old.2.to_string().len(), root.data_blocks.to_string().len(), "so must stores");
        let mut kernel = blob(image, &cas, "uki");
        let (flavour, arch): (Flavour, Arch) = target(&about.version);
        let suffix = format!("-{flavour}-{arch}");
        for (from, to) in [
            (old.1.hex(), root.root_hash.hex()),
            (format!("evek.datablocks={}", old.2), format!("evek.datablocks={}", root.data_blocks)),
            (format!("{}{suffix}", old.0), format!("{}{suffix}", self.version)),
            (format!("VERSION_ID=\"{}\"", old.0), format!("VERSION_ID=\"{}\"", self.version)),
        ] {
            replace(&mut kernel, &from, &to);
        }
        let argument = self.init.map(|init| format!("init={init}")).or(self.argument.map(str::to_owned));
        if let Some(argument) = argument {
            replace(&mut kernel, REPLACED, &format!("{argument:width$}", width = REPLACED.len()));
        }
        if self.policy {
            kernel = with_policy(keys, self.version, kernel).unwrap_or_else(|e| panic!("{e}"));
        }
        let parts = UpdateParts {
            image: format!("{}{suffix}", self.version),
            version: self.version.to_owned(),
            target: Target { flavour, arch },
            root,
            kernel: signed(&kernel, keys),
            loader: signed(&self.loader.of(blob(image, &cas, "loader")), keys),
            store,
        };
        parts.write(keys, &cas, folder).unwrap_or_else(|e| panic!("{e}"));
    }

    /// Signed by the image's owner.
    pub fn publish_ours(&self, image: &Path, folder: &Path) {
        self.publish(image, &keys(), folder);
    }

    /// The store with other words, and every digest that follows from them.
    fn changed(&self, mut store: StoreParts) -> StoreParts {
        // in every version by something that means nothing: as many `./` as its digits say
        let digits: String = self.version.chars().filter(char::is_ascii_digit).collect();
        let path = format!("/etc/chrony/{}evek.conf", "./".repeat(digits.parse().unwrap_or(0)));
        for document in &mut store.documents {
            let mut changed = document.replace("/etc/chrony/evek.conf", &path);
            for (from, to) in &self.store {
                // a service's specification is JSON within JSON
                let quoted = |text: &str| text.replace('"', "\\\"");
                changed = changed.replace(&quoted(from), &quoted(to));
            }
            if changed == *document {
                continue;
            }
            let digest = |text: &str| Digest::of(text.as_bytes()).to_string();
            let sized = |text: &str| format!("\"digest\":\"{}\",\"size\":{}", digest(text), text.len());
            let (old, new) = (sized(document), sized(&changed));
            assert!(store.index.contains(&old), "index.json has no {old}");
            store.index = store.index.replace(&old, &new);
            *document = changed;
        }
        store
    }
}

/// The store of an image.
///
/// # Panics
/// When the cache does not have it any more.
#[must_use]
pub fn store(image: &Path) -> StoreParts {
    let cas = Cas::open(&cache()).unwrap_or_else(|e| panic!("{e}"));
    serde_json::from_slice(&blob(image, &cas, "store")).unwrap_or_else(|e| panic!("{e}"))
}

/// What a step has made for an image.
fn blob(image: &Path, cas: &Cas, name: &str) -> Vec<u8> {
    let blobs = described(image).blobs;
    let found = blobs.iter().find(|(id, _)| id.ends_with(&format!(":{name}")));
    let digest = found.unwrap_or_else(|| panic!("image.json names no {name}")).1.digest;
    cas.read(&digest).unwrap_or_else(|e| panic!("{e}"))
}

fn target(version: &str) -> (Flavour, Arch) {
    let mut words = version.rsplit('-');
    let arch = words.next().and_then(|word| word.parse().ok());
    let flavour = words.next().and_then(|word| word.parse().ok());
    flavour.zip(arch).unwrap_or_else(|| panic!("`{version}` does not end in flavour and architecture"))
}

/// Replaces every occurrence by something as long.
fn replace(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len(), "`{from}` and `{to}`");
    let places: Vec<_> = bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from.as_bytes()).collect();
    let places: Vec<_> = places.into_iter().map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the kernel image has no `{from}`");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
}

/// What a slot with this store has for a root hash.
fn root(store: &StoreParts, cas: &Cas) -> Root {
    let layout = store::Layout {
        oci_layout: store::OCI_LAYOUT.to_vec(),
        index: store.index.clone().into_bytes(),
        documents: store.documents.iter().map(|d| (Digest::of(d.as_bytes()), d.clone().into_bytes())).collect(),
        layers: store.layers.iter().copied().collect(),
    };
    let contents = Contents::new(&layout, |digest| cas.path(digest)).unwrap_or_else(|e| panic!("{e}"));
    let file: File = tempfile::tempfile().unwrap_or_else(|e| panic!("{e}"));
    contents.plan().and_then(|plan| Ok(plan.write(&file)?)).unwrap_or_else(|e| panic!("{e}"));
    let verity = verity::append(&file).unwrap_or_else(|e| panic!("{e}"));
    Root { root_hash: verity.root_hash, data_blocks: verity.data_blocks }
}
