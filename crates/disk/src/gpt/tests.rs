#![allow(clippy::unwrap_used)]
use super::*;
use crate::Layout;
use proptest::prelude::*;
use std::{
    io::{Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
};
use types::Digest;

fn partition(number: u32, label: &str, kind: PartitionType, size: Bytes) -> Partition {
    Partition { number, label: label.to_owned(), kind, guid: Guid::of_name(label), size, attributes: 0, content: None }
}

fn layout() -> Layout {
    let mut partitions = vec![
        partition(1, "EFI System", PartitionType::EfiSystem, Bytes::mib(2)),
        partition(2, "IMGA", PartitionType::Image, Bytes(5000)),
        partition(4, "CONFIG", PartitionType::Config, Bytes::mib(5)),
        partition(9, "P3", PartitionType::Persist, Bytes(0)),
    ];
    // bits that others use: legacy BIOS bootable (UEFI 2.10 §5.3.3); priority 2 and successful (ChromeOS)
    partitions[0].attributes = 1 << 2;
    partitions[1].attributes = 2 << 48 | 1 << 56;
    Layout { guid: Guid::of_name("disk"), size: Some(Bytes::mib(32)), partitions }
}

fn written(layout: &Layout) -> (File, Plan) {
    let file = tempfile::tempfile().unwrap();
    let plan = layout.plan().unwrap();
    plan.write(&file, &mut |_| ()).unwrap();
    (file, plan)
}

// `sgdisk` judges such a table in tests/tests/oracles.rs.
#[test]
fn a_table_is_read_back_as_written_and_its_bytes_are_known() {
    let (mut file, plan) = written(&layout());
    let table = read(&file).unwrap();
    assert_eq!(table.guid, plan.guid);
    assert_eq!(table.partitions, plan.partitions);
    assert_eq!(table.by_label("P3").unwrap().partition.size, Bytes::mib(32 - 1 - 2 - 1 - 5 - 1));
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(Digest::of(&bytes).hex(), GOLDEN);
}
const GOLDEN: &str = "a032ca2330ef362bb32ade53c9db79a6973d7ac99f1cbcd48a4f3e819d00e743";

#[test]
fn layouts_that_cannot_be_are_refused() {
    let problem = |change: &dyn Fn(&mut Layout)| {
        let mut l = layout();
        change(&mut l);
        l.plan().unwrap_err().to_string()
    };
    assert!(problem(&|l| l.partitions[1].number = 1).contains("each once"));
    assert!(problem(&|l| l.partitions[1].number = 129).contains("from 1 to 128"));
    assert!(problem(&|l| l.partitions[1].guid = l.partitions[0].guid).contains("same GUID"));
    assert!(problem(&|l| l.partitions[1].label = "x".repeat(37)).contains("at most 36"));
    assert!(problem(&|l| l.partitions[1].size = Bytes(0)).contains("only the last"));
    assert!(problem(&|l| l.size = None).contains("only the last"));
    assert!(problem(&|l| l.partitions[3].size = Bytes::gib(1)).contains("make the disk larger"));
}

#[test]
fn a_content_larger_than_its_partition_is_refused_before_anything_is_written() {
    let big = tempfile::NamedTempFile::new().unwrap();
    big.as_file().set_len(6 << 20).unwrap();
    let mut l = layout();
    l.partitions[2].content = Some(big.path().to_owned());
    let out = tempfile::tempfile().unwrap();
    let error = l.plan().unwrap().write(&out, &mut |_| ()).unwrap_err();
    assert!(matches!(error, Error::ContentTooLarge { number: 4, .. }));
    assert_eq!(out.metadata().unwrap().len(), 0);
}

#[test]
fn damage_to_either_copy_is_named() {
    for (at, copy) in [(512 + 60, "primary"), (1024 + 5, "primary"), ((32 << 20) - 500, "backup")] {
        let (file, _) = written(&layout());
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
        assert!(matches!(read(&file), Err(Error::Table { copy: c, .. }) if c == copy), "byte {at}");
    }
    let (file, _) = written(&layout());
    file.set_len(31 << 20).unwrap();
    assert!(matches!(read(&file), Err(Error::Table { copy: "backup", .. })));
    file.set_len(700).unwrap();
    assert!(read(&file).is_err());
    file.set_len(0).unwrap();
    assert!(read(&file).is_err());
}

proptest! {
    /// Header fields that lie, under a checksum that does not: what an attacker would write.
    #[test]
    fn a_forged_header_never_panics(at in 16usize..92, value: u32) {
        let (mut file, _) = written(&layout());
        let mut raw = [0; 92];
        file.read_exact_at(&mut raw, 512).unwrap();
        if !(16..20).contains(&at) && at + 4 <= 92 {
            raw[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        file.write_all_at(&raw, 512).unwrap();
        file.seek(SeekFrom::Start(512)).unwrap();
        let crc = match GPTHeader::read_from(&mut file) {
            Err(gptman::Error::InvalidChecksum(_, right)) => right,
            _ => return Ok(()),
        };
        file.write_all_at(&crc.to_le_bytes(), 512 + 16).unwrap();
        let _ = read(&file);
    }
}
