//! `verify` finds what is whole to be whole, as the programs of others do, and every byte that is not.

use boot_tests::{
    Checks, Ran, cache, copy_disk, described, image, oracles::Oracles, scratch, secure_boot::keys, xtask,
};
use cas::Cas;
use disk::{Guid, Window, fat::Edit, gpt};
use sign::Role;
use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};
use steps::ImageJson;
use types::{Arch, Bytes, Digest, Flavour};

/// A copy of an image that can be damaged.
struct Copy {
    folder: tempfile::TempDir,
    image: ImageJson,
    raw: PathBuf,
}

impl Copy {
    fn of(original: &Path) -> Self {
        let place = scratch();
        fs::create_dir_all(&place).expect("a folder for copies");
        let folder = tempfile::tempdir_in(place).expect("a folder for the copy");
        let image = described(original);
        let name = &image.files["raw"];
        let raw = folder.path().join(name);
        copy_disk(original, &raw);
        fs::copy(original.join("image.json"), folder.path().join("image.json")).expect("the description is copied");
        Self { folder, image, raw }
    }

    /// Turns all bits of a byte round.
    fn turn(&self, at: u64) {
        let file = File::options().read(true).write(true).open(&self.raw).expect("the copy");
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("a byte");
        file.write_all_at(&[!byte[0]], at).expect("a byte");
    }

    /// Changes the EFI system partition.
    fn edit(&self, change: impl FnOnce(&mut Edit<Window<File>>)) {
        let file = File::options().read(true).write(true).open(&self.raw).expect("the copy");
        let esp = self.image.partitions.iter().find(|p| p.label == "EFI System").expect("the partition");
        let window = Window::new(file, esp.start, esp.size).expect("the partition");
        change(&mut Edit::open(window).expect("its volume"));
    }

    fn verify(&self) -> Ran {
        xtask(&["verify", &self.folder.path().display().to_string()])
    }

    /// Where a partition starts, and how much of it is written.
    fn partition(&self, label: &str) -> (u64, u64) {
        let found = self.image.partitions.iter().find(|p| p.label == label);
        found.map(|p| (p.start.0, p.written.0)).expect("a partition of that label")
    }
}

#[test]
fn every_damaged_part_is_found() {
    let copy = Copy::of(&image(Flavour::Kvm, Arch::Amd64));
    let mut checks = Checks::default();
    let whole = copy.verify();
    checks.equal("the whole image is good", whole.code, 0);
    let (esp, written) = copy.partition("EFI System");
    let (slot, _) = copy.partition("IMGA");
    let (config, _) = copy.partition("CONFIG");
    let tree = copy.image.data_blocks * 4096;
    let end = fs::metadata(&copy.raw).expect("the copy").len();
    // FAT32: reserved sectors, two tables; the first sector says how long
    let mut first = [0; 512];
    File::open(&copy.raw).expect("the copy").read_exact_at(&mut first, esp).expect("the first sector");
    let reserved = u64::from(u16::from_le_bytes([first[14], first[15]])) * 512;
    let table = u64::from(u32::from_le_bytes([first[36], first[37], first[38], first[39]])) * 512;
    let cases = [
        ("the partition table", 512 + 56, "✗ partition table: "),
        ("an entry of the partition table", 1024 + 200, "✗ partition table: "),
        ("the copy of the partition table", end - 512 + 40, "✗ partition table: "),
        ("FAT's first sector", esp + 40, "✗ EFI system partition: "),
        ("FAT's table of clusters", esp + reserved + 40, "✗ EFI system partition: "),
        ("FAT's second table of clusters", esp + reserved + table + 40, "✗ EFI system partition: "),
        ("a program", esp + written / 2, "✗ evek-"),
        ("the store", slot + tree / 2, "✗ slot IMGA: "),
        ("the store's superblock", slot + 1024, "✗ slot IMGA: "),
        ("the verity superblock", slot + tree, "✗ slot IMGA: "),
        ("the verity tree", slot + tree + 4096 + 100, "✗ slot IMGA: "),
        ("CONFIG", config + 3, "✗ image.json: partition CONFIG: "),
        ("what lies behind CONFIG's content", config + Bytes::mib(4).0, "✗ image.json: partition CONFIG: "),
    ];
    for (what, at, said) in cases {
        copy.turn(at);
        let ran = copy.verify();
        checks.equal(&format!("{what}: exit code"), ran.code, 9);
        checks.that(&format!("{what}: its name"), ran.stdout.contains(said), &ran.stdout);
        copy.turn(at);
    }
    checks.equal("put right, it is good again", copy.verify().code, 0);
    let described = |label: &str| copy.image.partitions.iter().find(|p| p.label == label).expect("the partition");
    for label in ["EFI System", "CONFIG"] {
        // a table without a fault, and not the one of the image
        let (number, own) = (described(label).number, described(label).guid.parse().expect("a GUID"));
        let disk = File::options().read(true).write(true).open(&copy.raw).expect("the copy");
        gpt::set_guid(&disk, number, Guid::of_name("another")).expect("another GUID");
        let ran = copy.verify();
        checks.equal(&format!("GUID of {label}: exit code"), ran.code, 9);
        let said = format!("✗ image.json: partition table: partition {number}, {label}, has the GUID");
        checks.that(&format!("GUID of {label}: its name"), ran.stdout.contains(&said), &ran.stdout);
        gpt::set_guid(&disk, number, own).expect("its own GUID");
    }
    checks.equal("with its GUIDs it is good again", copy.verify().code, 0);
    let program = fs::read(image(Flavour::Kvm, Arch::Amd64).join(&copy.image.files["efi"])).expect("a program");
    let unsigned = sign::efi::strip(&program).expect("the program without its signature");
    for path in ["EFI/BOOT/shell.EFI", "efi/LINUX/addon.Efi"] {
        copy.edit(|esp| esp.create(path, &unsigned).expect("room for a program"));
        let ran = copy.verify();
        checks.equal(&format!("{path}: exit code"), ran.code, 9);
        let name = path.trim_start_matches("efi/LINUX/");
        let said = format!("✗ {name}: the EFI program is not signed");
        checks.that(&format!("{path}: its name"), ran.stdout.contains(&said), &ran.stdout);
        copy.edit(|esp| esp.remove(path).expect("the program"));
    }
    let foreign = xtask(&["verify", "--unsigned", &copy.folder.path().display().to_string()]);
    checks.that(
        "signed programs are not unsigned",
        foreign.stdout.contains("✗ boot loader: is signed"),
        foreign.stdout,
    );
    checks.finish();
}

#[test]
fn programs_of_others_agree() {
    let mut checks = Checks::default();
    let cas = Cas::open(&cache()).expect("the cache");
    for flavour in [Flavour::Kvm, Flavour::Xen] {
        let folder = image(flavour, Arch::Amd64);
        let image = described(&folder);
        let file = |form: &str| folder.join(&image.files[form]);
        let (raw, efi) = (file("raw"), file("efi"));
        let certificate = keys().folder().join("db.crt");
        let blob = |label: &str| {
            let partition = image.partitions.iter().find(|p| p.label == label).expect("the partition");
            cas.path(&partition.digest.expect("its digest"))
        };
        let table = Oracles::default().with("disk", &raw).run(&["sgdisk", "-v", "/in/disk"]);
        if let Some(said) = checks.answer("sgdisk", table) {
            checks.that("sgdisk finds no problem", said.contains("No problems found"), said);
        }
        let signed = ["sbverify", "--cert", "/in/crt", "/in/efi"];
        let efi = || Oracles::default().with("efi", &efi);
        checks.answer("sbverify", efi().with("crt", &certificate).run(&signed));
        let kek = keys().folder().join(format!("{}.crt", Role::Kek));
        let refused = efi().with("crt", &kek).run(&signed);
        checks.that("sbverify refuses another key", refused.is_err(), "it does not");
        let (hash, offset) = (image.root_hash.hex(), format!("--hash-offset={}", image.data_blocks * 4096));
        let verity = ["veritysetup", "verify", &offset, "/in/slot", "/in/slot", &hash];
        checks.answer("veritysetup", Oracles::default().with("slot", &blob("IMGA")).run(&verity));
    }
    checks.finish();
}

#[test]
fn without_its_signatures_an_image_is_the_unsigned_one() {
    let folder = image(Flavour::Kvm, Arch::Amd64);
    let out = tempfile::tempdir_in(scratch()).expect("a folder");
    let disk = out.path().join("disk");
    let (from, to) = (folder.display().to_string(), disk.display().to_string());
    let ran = xtask(&["verify", &from, "--strip-signatures", &to]);
    let mut checks = Checks::default();
    checks.equal("exit code", ran.code, 0);
    // every partition of the unsigned disk is a step's output; only the EFI system partition is another one
    let image = described(&folder);
    let unsigned = image.blobs.iter().find(|(id, _)| id.starts_with("esp/")).map(|(_, blob)| (blob.digest, blob.size));
    let (digest, size) = unsigned.expect("the unsigned partition");
    let esp = image.partitions.iter().find(|p| p.label == "EFI System").expect("the partition");
    let mut bytes = vec![0; usize::try_from(size.0).expect("a length")];
    File::open(&disk).expect("the disk").read_exact_at(&mut bytes, esp.start.0).expect("the partition");
    checks.equal("the EFI system partition", Digest::of(&bytes), digest);
    let again = xtask(&["verify", "--unsigned", &to]);
    checks.equal("it is a good unsigned disk", again.code, 0);
    checks.finish();
}
