//! The packages read here are written here. The oracle for real ones was `dpkg-deb --fsys-tarfile`: paths, modes, owners,
//! link targets and digests of all 21 201 entries of 254 packages of trixie were the same.

#![allow(clippy::unwrap_used)]

use super::*;

fn header(path: &str, kind: tar::EntryType, mode: u32, gid: u64, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_path(path).unwrap();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(gid);
    header.set_size(size);
    header.set_cksum();
    header
}

fn data_tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header("./", tar::EntryType::Directory, 0o755, 0, 0), io::empty()).unwrap();
    tar.append(&header("./usr/", tar::EntryType::Directory, 0o755, 0, 0), io::empty()).unwrap();
    tar.append_pax_extensions([("SCHILY.xattr.security.capability", b"\x01\0\0\x02".as_slice())]).unwrap();
    tar.append(&header("./usr/chage", tar::EntryType::Regular, 0o2755, 42, 5), b"chage".as_slice()).unwrap();
    let mut link = header("./usr/link", tar::EntryType::Symlink, 0o777, 0, 0);
    tar.append_link(&mut link, "./usr/link", "../etc/x").unwrap();
    let mut hard = header("./usr/expiry", tar::EntryType::Link, 0o2755, 42, 0);
    tar.append_link(&mut hard, "./usr/expiry", "./usr/chage").unwrap();
    tar.into_inner().unwrap()
}

fn deb(data_name: &str, data: &[u8]) -> Vec<u8> {
    let mut control = tar::Builder::new(Vec::new());
    let text = b"Package: x\nVersion: 1\nDescription: one\n two\n";
    control
        .append(&header("./control", tar::EntryType::Regular, 0o644, 0, text.len() as u64), text.as_slice())
        .unwrap();
    let mut out = b"!<arch>\n".to_vec();
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", control.into_inner().unwrap()),
        (data_name, data.to_vec()),
    ];
    for (name, bytes) in members {
        writeln!(out, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100_644, bytes.len()).unwrap();
        out.extend_from_slice(&bytes);
        out.extend(vec![b'\n'; bytes.len() % 2]);
    }
    out
}

fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, Result<Tree, Error>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.deb");
    std::fs::write(&file, bytes).unwrap();
    let tree = unpack(&file, &dir.path().join("spool"));
    (dir, tree)
}

#[test]
fn every_compression_gives_the_same_tree() {
    let plain = data_tar();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&plain).unwrap();
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    xz.write_all(&plain).unwrap();
    let variants = [
        ("data.tar", plain.clone()),
        ("data.tar.gz", gz.finish().unwrap()),
        ("data.tar.xz", xz.finish().unwrap()),
        ("data.tar.zst", zstd::encode_all(plain.as_slice(), 1).unwrap()),
    ];
    for (name, data) in variants {
        let (_dir, tree) = unpacked(&deb(name, &data));
        let tree = tree.unwrap();
        let at = |p: &str| tree.get(&TreePath::new(p).unwrap()).unwrap();
        let chage = at("usr/chage");
        assert_eq!((chage.mode, chage.uid, chage.gid), (0o2755, 0, 42), "{name}");
        assert_eq!(chage.xattrs["security.capability"], b"\x01\0\0\x02");
        let Kind::File(content) = &chage.kind else { panic!("{:?}", chage.kind) };
        let mut bytes = Vec::new();
        content.open().unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"chage");
        assert_eq!(at("usr/link").kind, Kind::Symlink("../etc/x".to_owned()));
        assert_eq!(at("usr/expiry").kind, Kind::Hardlink(TreePath::new("usr/chage").unwrap()));
    }
}

#[test]
fn control_fields_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.deb");
    std::fs::write(&file, deb("data.tar", &data_tar())).unwrap();
    let fields = control(&file).unwrap();
    assert_eq!(fields["Description"], "one\n two");
    assert_eq!(fields.len(), 3);
}

#[test]
fn a_path_out_of_the_package_is_refused() {
    // the tar crate would refuse to write such a path, so the bytes of a good one are changed
    let mut tar = tar::Builder::new(Vec::new());
    for path in ["usr/../../etc/shadow", "/etc/shadow"] {
        let mut header = header("x", tar::EntryType::Regular, 0o644, 0, 0);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, io::empty()).unwrap();
        let (dir, tree) = unpacked(&deb("data.tar", tar.get_ref()));
        assert!(matches!(tree.unwrap_err().problem, Problem::Entry { .. }), "{path}");
        assert!(!dir.path().join("spool").exists(), "no spool is left");
        tar = tar::Builder::new(Vec::new());
    }
}

#[test]
fn a_hard_link_out_of_the_package_is_refused() {
    let mut tar = tar::Builder::new(Vec::new());
    let mut link = header("./usr/x", tar::EntryType::Symlink, 0o777, 0, 0);
    tar.append_link(&mut link, "./usr/x", "/home/user/.ssh").unwrap();
    let mut hard = header("./usr/y", tar::EntryType::Link, 0o644, 0, 0);
    tar.append_link(&mut hard, "./usr/y", "./usr/x/id_rsa").unwrap();
    let (dir, tree) = unpacked(&deb("data.tar", tar.get_ref()));
    let text = tree.unwrap_err().to_string();
    assert!(text.ends_with("/usr/y is a hard link to /usr/x/id_rsa, which is no file of the same tree"), "{text}");
    assert!(!dir.path().join("spool").exists());
}

#[test]
fn a_chain_of_symlinks_that_the_kernel_would_not_follow_is_refused() {
    let mut tar = tar::Builder::new(Vec::new());
    for i in 0..100 {
        let (name, target) = (format!("./l{i:02}"), if i == 0 { "/home".into() } else { format!("l{:02}", i - 1) });
        tar.append_link(&mut header(&name, tar::EntryType::Symlink, 0o777, 0, 0), &name, target).unwrap();
    }
    tar.append(&header("./l99/x", tar::EntryType::Regular, 0o644, 0, 0), io::empty()).unwrap();
    let text = unpacked(&deb("data.tar", tar.get_ref())).1.unwrap_err().to_string();
    assert!(text.ends_with("entry l99/x: /l99/x leads through more than 40 symlinks (ELOOP)"), "{text}");
}

#[test]
fn a_file_larger_than_its_archive_is_refused() {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header("./a", tar::EntryType::Regular, 0o644, 0, 1 << 40), b"a".as_slice()).unwrap();
    let text = unpacked(&deb("data.tar", tar.get_ref())).1.unwrap_err().to_string();
    assert!(text.contains("entry a: its contents go beyond the end of the archive"), "{text}");
}

#[test]
fn a_control_file_beyond_the_limit_is_refused() {
    let mut control = tar::Builder::new(Vec::new());
    let text = vec![b'x'; (limit::CONTROL.0 + 1) as usize];
    control
        .append(&header("./control", tar::EntryType::Regular, 0o644, 0, text.len() as u64), text.as_slice())
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.deb");
    let bytes = control.into_inner().unwrap();
    let mut out = b"!<arch>\n".to_vec();
    writeln!(out, "{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", "control.tar", 0, 0, 0, 100_644, bytes.len()).unwrap();
    out.extend(bytes);
    std::fs::write(&file, out).unwrap();
    let text = super::control(&file).unwrap_err().to_string();
    assert!(text.contains("cannot read control: it unpacks to more than 1.0 MB"), "{text}");
}

#[test]
fn damaged_packages_are_refused() {
    let whole = deb("data.tar.zst", &zstd::encode_all(data_tar().as_slice(), 1).unwrap());
    for len in [0, 7, 30, 100, whole.len() - 20] {
        assert!(unpacked(&whole[..len]).1.is_err(), "{len} bytes");
    }
    let text = unpacked(&deb("data.tar.lz4", b"")).1.unwrap_err().to_string();
    assert!(text.ends_with("data.tar.lz4 is compressed in a way that is not known: xz, zst and gz are"), "{text}");
}
