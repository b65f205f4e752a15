//! A slot written from a folder of blobs, a running store, and what was there before.

use crate::{
    error::Error,
    kernel,
    limit::Meter,
    patience::Patience,
    source::{self, Fetch},
    writer::{Partial, Writer},
};
use artefact::{Blob, FORMAT, Program, Update, chunk};
use disk::Guid;
use slots::{Contents, SlotStatus, State};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};
use store::Layout;
use types::{Arch, Bytes, Digest, Flavour, Slot};

fn noise(seed: u8, len: usize) -> Vec<u8> {
    (0..len.div_ceil(32))
        .flat_map(|n| *Digest::of(&[&n.to_le_bytes()[..], &[seed]].concat()).as_bytes())
        .take(len)
        .collect()
}

fn blob_of(bytes: &[u8]) -> Blob {
    Blob { digest: Digest::of(bytes), size: Bytes(bytes.len() as u64) }
}

/// A folder of updates, a running store with the first layer, and an empty slot.
struct World {
    folder: tempfile::TempDir,
    layers: [Vec<u8>; 2],
    layout: Layout,
    update: Update,
    slot: SlotStatus,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layers = [noise(1, 3 << 20), noise(2, 10 << 20)];
        let document = b"{\"a\":\"manifest\"}".to_vec();
        let layout = Layout {
            oci_layout: store::OCI_LAYOUT.to_vec(),
            index: b"{\"an\":\"index\"}".to_vec(),
            documents: [(Digest::of(&document), document)].into(),
            layers: layers.iter().map(|l| (Digest::of(l), Bytes(l.len() as u64))).collect(),
        };
        for name in ["store", "source"] {
            fs::create_dir_all(folder.path().join(name).join("blobs/sha256")).unwrap();
        }
        let put = |root: &str, bytes: &[u8]| fs::write(blob_path(&folder.path().join(root), bytes), bytes).unwrap();
        put("store", &layers[0]);
        put("source", &layers[1]);
        // what the builder would write has the root hash that is signed
        let contents = Contents::new(&layout, |digest| {
            let root = if *digest == Digest::of(&layers[0]) { "store" } else { "source" };
            folder.path().join(root).join("blobs/sha256").join(digest.hex())
        });
        let file = File::options().read(true).write(true).create_new(true).open(folder.path().join("built")).unwrap();
        contents.unwrap().plan().unwrap().write(&file).unwrap();
        let verity = verity::append(&file).unwrap();
        let nothing = blob_of(b"");
        let update = Update {
            format: FORMAT,
            image: "2-kvm-amd64".into(),
            version: "2".into(),
            flavour: Flavour::Kvm,
            arch: Arch::Amd64,
            root_hash: verity.root_hash,
            data_blocks: verity.data_blocks,
            kernel: Program { digest: nothing.digest, size: nothing.size, chunks: Vec::new() },
            loader: nothing,
            index: blob_of(&layout.index),
            documents: layout.documents.values().map(|d| blob_of(d)).collect(),
            layers: layers.iter().map(|l| blob_of(l)).collect(),
        };
        let size = Bytes::mib(32);
        File::create(folder.path().join("slot")).unwrap().set_len(size.0).unwrap();
        let slot = SlotStatus {
            slot: Slot::B,
            number: 3,
            start: Bytes(0),
            size,
            guid: Guid::of_name("slot"),
            state: State::Writing,
            entries: Vec::new(),
        };
        Self { folder, layers, layout, update, slot }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the slot; gives what was fetched and the blobs that were noted as under way.
    fn write(&self, before: Partial) -> (Bytes, Vec<Partial>, Result<Bytes, Error>) {
        let source = source::find(&self.path("source").display().to_string(), &crate::Paths::default()).unwrap();
        let meter = Meter::new(None);
        let fetch = Fetch { source: source.as_ref(), meter: &meter, patience: Patience::default() };
        let store = self.path("store");
        let writer =
            Writer { fetch: &fetch, update: &self.update, slot: &self.slot, device: self.path("slot"), store: &store };
        let mut noted = Vec::new();
        let written = writer.write(&self.layout, before, &mut |partial| {
            noted.push(partial);
            Ok(())
        });
        (meter.read(), noted, written.map(|w| w.reused))
    }

    fn is_as_built(&self) -> bool {
        let built = fs::read(self.path("built")).unwrap();
        fs::read(self.path("slot")).unwrap().starts_with(&built)
    }
}

fn blob_path(root: &Path, bytes: &[u8]) -> PathBuf {
    root.join("blobs/sha256").join(Digest::of(bytes).hex())
}

#[test]
fn a_slot_has_the_bytes_that_the_builder_wrote_and_only_what_is_missing_is_fetched() {
    let world = World::new();
    let (fetched, noted, reused) = world.write(None);
    assert_eq!((fetched, reused.unwrap()), (Bytes(10 << 20), Bytes(3 << 20)));
    assert!(world.is_as_built());
    let large = Digest::of(&world.layers[1]);
    assert_eq!(noted, [Some((large, Bytes(8 << 20)))]);
    // once more: all of it is there
    let (fetched, _, reused) = world.write(None);
    assert_eq!((fetched, reused.unwrap()), (Bytes(0), Bytes(13 << 20)));
}

#[test]
fn an_interrupted_blob_goes_on_where_it_was_noted() {
    let world = World::new();
    let large = &world.layers[1];
    let whole = blob_path(&world.path("source"), large);
    fs::write(&whole, &large[..9 << 20]).unwrap();
    let (_, noted, failed) = world.write(None);
    assert!(matches!(failed, Err(Error::Truncated { .. })), "{failed:?}");
    assert_eq!(noted, [Some((Digest::of(large), Bytes(8 << 20)))]);
    fs::write(&whole, large).unwrap();
    let (fetched, _, written) = world.write(noted[0]);
    written.unwrap();
    assert_eq!(fetched, Bytes(2 << 20));
    assert!(world.is_as_built());
}

#[test]
fn a_damaged_blob_is_named_and_fetched_anew() {
    let world = World::new();
    let path = blob_path(&world.path("source"), &world.layers[1]);
    let mut bytes = world.layers[1].clone();
    bytes[9 << 20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (_, noted, failed) = world.write(None);
    assert!(matches!(failed, Err(Error::Damaged { .. })), "{failed:?}");
    assert_eq!(noted.last(), Some(&None), "nothing to go on from");
    fs::write(&path, &world.layers[1]).unwrap();
    let (fetched, _, written) = world.write(None);
    written.unwrap();
    assert_eq!(fetched, Bytes(10 << 20));
}

#[test]
fn another_root_hash_than_the_signed_one_is_an_error() {
    let mut world = World::new();
    world.update.root_hash = Digest::of(b"another");
    assert!(matches!(world.write(None).2, Err(Error::RootHash { .. })));
    world.update.data_blocks += 1;
    assert!(matches!(world.write(None).2, Err(Error::Store(_))));
    let mut world = World::new();
    world.slot.size = Bytes::mib(8);
    assert!(matches!(world.write(None).2, Err(Error::NoRoom { .. })));
}

#[test]
fn a_kernel_image_is_made_of_what_is_here_and_the_pieces_that_differ() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
    let own = noise(3, 4 << 20);
    let mut new = own.clone();
    new.splice(1 << 20..(1 << 20) + 7, *b"a longer line of arguments");
    new.truncate(4_000_000);
    fs::write(blob_path(folder.path(), &new), &new).unwrap();
    let source = source::find(&folder.path().display().to_string(), &crate::Paths::default()).unwrap();
    let meter = Meter::new(None);
    let fetch = Fetch { source: source.as_ref(), meter: &meter, patience: Patience::default() };
    let Blob { digest, size } = blob_of(&new);
    let mut program = Program { digest, size, chunks: chunk::chunks(&new) };
    assert_eq!(kernel::assemble(&fetch, &program, &own).unwrap(), new);
    assert!(meter.read() < Bytes(500_000), "{}", meter.read());
    assert_eq!(kernel::assemble(&fetch, &program, &[]).unwrap(), new, "without one of its own");
    program.digest = Digest::of(b"another");
    assert!(kernel::assemble(&fetch, &program, &new).is_err());
}
