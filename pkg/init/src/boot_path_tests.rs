use super::*;

fn node(kind: u8, subkind: u8, data: &[u8]) -> Vec<u8> {
    [&[kind, subkind][..], &(4 + data.len() as u16).to_le_bytes(), data].concat()
}

/// An entry as OVMF makes it: active, a description, the path, data of the firmware's.
fn entry(nodes: &[Vec<u8>]) -> Vec<u8> {
    let path = [nodes.concat(), node(0x7f, 0xff, &[])].concat();
    let text: Vec<u8> = "UEFI Misc Device\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    [&1_u32.to_le_bytes()[..], &(path.len() as u16).to_le_bytes(), &text, &path, b"own data"].concat()
}

fn root() -> Vec<u8> {
    node(2, 1, &[0xd0, 0x41, 0x03, 0x0a, 0, 0, 0, 0])
}

fn pci(device: u8, function: u8) -> Vec<u8> {
    node(1, 1, &[function, device])
}

fn path(nodes: &[Vec<u8>]) -> BootPath {
    BootPath::of_entry(&entry(nodes)).unwrap()
}

#[test]
fn a_virtio_disk_is_found_by_its_place_on_the_bus() {
    let path = path(&[root(), pci(3, 0)]);
    let leads = |disk: &str| path.leads_to(Path::new(disk), Path::new("/none"));
    assert!(leads("/sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda"));
    for other in [
        "/sys/devices/pci0000:00/0000:00:02.0/virtio0/block/vda",
        "/sys/devices/pci0000:00/0000:00:03.1/virtio0/block/vda",
        "/sys/devices/pci0000:00/0000:00:1c.0/0000:01:03.0/virtio0/block/vda",
        "/sys/devices/virtual/block/loop0",
    ] {
        assert!(!leads(other), "{other}");
    }
}

#[test]
fn two_disks_on_one_ahci_differ_by_port() {
    let dir = tempfile::tempdir().unwrap();
    for (name, port) in [("ata5", "1\n"), ("ata6", "2\n")] {
        fs::create_dir_all(dir.path().join("ata_port").join(name)).unwrap();
        fs::write(dir.path().join("ata_port").join(name).join("port_no"), port).unwrap();
    }
    let path = path(&[root(), pci(0x1f, 2), node(3, 0x12, &[1, 0, 0xff, 0xff, 0, 0]), node(4, 1, &[0; 38])]);
    let sys = "/sys/devices/pci0000:00/0000:00:1f.2";
    let leads = |rest: &str| path.leads_to(Path::new(&format!("{sys}/{rest}")), dir.path());
    assert!(leads("ata6/host5/target5:0:0/5:0:0:0/block/sdb"));
    assert!(!leads("ata5/host4/target4:0:0/4:0:0:0/block/sda"));
}

#[test]
fn scsi_disks_differ_by_target_and_unit() {
    let path = path(&[root(), pci(4, 0), node(3, 2, &[1, 0, 2, 0])]);
    let leads = |address: &str| {
        let disk = format!("/sys/devices/pci0000:00/0000:00:04.0/virtio1/host2/target2:0:1/{address}/block/sda");
        path.leads_to(Path::new(&disk), Path::new("/none"))
    };
    assert!(leads("2:0:1:2"));
    assert!(!leads("2:0:0:2") && !leads("2:0:1:0"));
}

#[test]
fn namespaces_of_one_nvme_controller_differ() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(&[root(), pci(1, 0), pci(0, 0), node(3, 0x17, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])]);
    for (name, leads) in [("nvme0n1", false), ("nvme0n2", true)] {
        let disk = dir.path().join("pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0").join(name);
        fs::create_dir_all(&disk).unwrap();
        fs::write(disk.join("nsid"), format!("{}\n", &name[6..])).unwrap();
        assert_eq!(path.leads_to(&disk, Path::new("/none")), leads, "{name}");
    }
}

#[test]
fn sticks_on_a_hub_differ_by_port() {
    let (root_port, hub_port) = (node(3, 5, &[8, 0]), node(3, 5, &[1, 0]));
    let path = path(&[root(), pci(2, 0), root_port, hub_port]);
    let leads = |ports: &str| {
        let disk = format!(
            "/sys/devices/pci0000:00/0000:00:02.0/usb2/2-1/{ports}/{ports}:1.0/host6/target6:0:0/6:0:0:0/block/sdb"
        );
        path.leads_to(Path::new(&disk), Path::new("/none"))
    };
    assert!(leads("2-1.2"));
    assert!(!leads("2-1.3") && !leads("2-1"));
}

#[test]
fn a_path_that_names_no_place_or_is_cut_off_is_none() {
    assert_eq!(BootPath::of_entry(&entry(&[node(4, 1, &[0; 38]), node(4, 4, b"x\0\0\0")])), None);
    let whole = entry(&[root(), pci(3, 0)]);
    for length in 0..whole.len() - "own data".len() {
        // never a panic, and never another disk's place
        let found = BootPath::of_entry(&whole[..length]);
        assert!(found.is_none(), "{length}");
    }
    assert_eq!(BootPath::of_entry(&entry(&[vec![1, 1, 0, 0], pci(3, 0)])), None, "a node shorter than its head");
}
