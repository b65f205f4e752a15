//! QEMU reads the disk of an image out of the files for hypervisors, and finds their tables sound.

use boot_tests::{Checks, described, image, oracles::Oracles, scratch};
use std::{
    fs::{self, File},
    io,
};
use types::{Arch, Flavour};

const GUID: [u8; 16] = [9; 16];

#[test]
fn qemu_reads_the_disk_out_of_every_format() {
    let folder = image(Flavour::Kvm, Arch::Amd64);
    let path = folder.join(&described(&folder).files["raw"]);
    let raw = File::open(&path).expect("the disk");
    let place = tempfile::tempdir_in(scratch()).expect("a folder");
    let mut checks = Checks::default();
    type Write = fn(&File, &File) -> io::Result<()>;
    // QEMU cannot check a vmdk of this kind
    let all: [(&str, bool, Write); 4] = [
        ("qcow2", true, |raw, out| disk::qcow2::write(raw, out, &mut |_| ()).map_err(io::Error::other)),
        ("vmdk", false, |raw, out| formats::vmdk(raw, out, "disk.vmdk", GUID)),
        ("vhdx", true, |raw, out| formats::vhdx(raw, out, GUID)),
        ("vdi", true, |raw, out| formats::vdi(raw, out, GUID)),
    ];
    for (format, has_check, write) in all {
        let file = place.path().join(format!("disk.{format}"));
        write(&raw, &File::create_new(&file).expect("a file")).unwrap_or_else(|e| panic!("{format}: {e}"));
        let name = format!("disk.{format}");
        let qemu = Oracles::qemu().with("raw", &path).with(&name, &file);
        let inside = format!("/in/{name}");
        let same = qemu.run(&["qemu-img", "compare", "-f", "raw", "-F", format, "/in/raw", &inside]);
        checks.that(format, same.as_ref().is_ok_and(|said| said.contains("identical")), format!("{same:?}"));
        if has_check {
            let sound = qemu.run(&["qemu-img", "check", "-f", format, &inside]);
            checks.that(&format!("{format}: tables"), sound.is_ok(), format!("{sound:?}"));
        }
        fs::remove_file(&file).expect("its room");
    }
    checks.finish();
}
