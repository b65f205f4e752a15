//! `/init` of the initramfs: from the kernel's first breath to systemd, with the root file system proved by the root hash
//! on the signed command line.
//!
//! ```text
//!  modules ─► watchdog ─► is Xen there, with its arguments? ─► disk whose GPT has the slot (GUID = half the root hash),
//!     the one that the firmware has started ─► arguments that are not the image's? addons ─► dm-verity `evek-store` ─► /run/evek/store (EROFS)
//!     ─► its root image's layers at /run/evek/layers/<hex> (EROFS, from the files) ─► overlay, read-only, at /sysroot
//!     ─► machine-id, host name ─► switch root ─► /usr/lib/systemd/systemd
//! ```
//! The initramfs holds this program, kernel modules and the command lines that the image was made with; the EFI stub adds the
//! owner's policy for the TPM. Every line that is logged begins with `evek-init:`. When a
//! step fails it says which, and what it had found, and restarts the machine after ten seconds, so that the boot loader
//! can count the attempt; with `evek.debug` on the command line it stands still instead.
//!
//! Deliberately absent: udev, a shell, any choice of the slot (the boot loader has chosen the kernel, and with it the
//! root hash), and unlocking of P3 (`vault` does that).

mod addons;
mod boot_path;
mod cmdline;
mod disks;
mod dm;
mod error;
mod files;
mod firmware;
mod gpt;
mod hypervisor;
mod identity;
mod log;
mod modules;
mod switch;
mod udev;
mod uevent;
mod watchdog;

use cmdline::{Cmdline, Received};
use error::Error;
use rustix::{
    mount::{MountFlags, mount, mount_bind},
    system::{RebootCommand, reboot},
};
use std::{convert::Infallible, ffi::CString, fs, os::unix::fs::FileExt as _, path::Path, thread, time::Duration};
use store::Store;
use types::Digest;
use verity::Superblock;

const STORE: &str = "/run/evek/store";
const LAYERS: &str = "/run/evek/layers";
const SYSROOT: &str = "/sysroot";
/// How long a failed start stays readable before the machine restarts.
const RESTART_AFTER: Duration = Duration::from_secs(10);

fn main() {
    let mut debug = false;
    let Err(error) = boot(&mut debug);
    log::failure(&format!("{error}"));
    if debug {
        log::failure("standing still because of evek.debug");
        loop {
            thread::park();
        }
    }
    log::failure(&format!("restarting in {} s", RESTART_AFTER.as_secs()));
    thread::sleep(RESTART_AFTER);
    rustix::fs::sync();
    // nothing is left to do where even this fails: returning makes the kernel panic, which restarts by `panic=`
    let _ = reboot(RebootCommand::Restart);
}

fn boot(debug: &mut bool) -> Result<Infallible, Error> {
    first_mounts()?;
    let signed = files::read_text(Path::new("/etc/cmdline"))?;
    let received = Received::new(&files::read_text(Path::new("/proc/cmdline"))?, &signed)?;
    if let Received::Signed(arguments) = &received {
        *debug = arguments.has_flag("evek.debug");
    }
    let cmdline = Cmdline::parse(&signed)?;
    log::info(&format!("looking for the slot {}", gpt::guid_text(&cmdline.slot_guid())));

    let events = uevent::Events::listen()?;
    modules::load(Path::new("/etc/modules-initramfs"))?;
    watchdog::start();
    hypervisor::check()?;
    let slot = disks::wait_for_slot(&events, &cmdline.slot_guid(), &firmware::Started::ask())?;
    log::info(&format!("slot {} is {}", slot.label, slot.device.display()));
    let arguments = match received {
        Received::Signed(arguments) => arguments,
        Received::More(more) => addons::check(more, &slot)?,
    };
    *debug = arguments.has_flag("evek.debug");
    let init = arguments.init()?;

    open_verity(&cmdline, &slot)?;
    let store = Store::open(Path::new(STORE))?;
    mount_root(&store)?;
    files::write(Path::new("/run/evek/slot.json"), &slot.to_json(cmdline.root_hash, cmdline.data_blocks))?;
    files::write(Path::new("/run/udev/rules.d/61-evek.rules"), &udev::rules(&slot.disk_number))?;
    keep_policy()?;
    identity::set(slot.persist.as_ref(), Path::new(SYSROOT));

    log::info(&format!("starting {init} from {}", store.root().name));
    switch::root(Path::new(SYSROOT), &init)
}

fn first_mounts() -> Result<(), Error> {
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for (kind, target, flags, options) in [
        ("devtmpfs", "/dev", MountFlags::NOSUID, c"mode=0755"),
        ("proc", "/proc", plain, c""),
        ("sysfs", "/sys", plain, c""),
        ("tmpfs", "/run", MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755"),
    ] {
        files::make_folder(Path::new(target))?;
        mount(kind, target, kind, flags, options).map_err(|e| Error::mount(kind, target, e))?;
    }
    Ok(())
}

/// Keeps what the EFI stub has taken out of the kernel image for the TPM: whose images get the key of P3, and that this is one.
/// Where systemd's tools look for it (systemd-stub(7), "Initrd Resources").
fn keep_policy() -> Result<(), Error> {
    for name in ["tpm2-pcr-public-key.pem", "tpm2-pcr-signature.json"] {
        let from = Path::new("/.extra").join(name);
        if from.exists() {
            files::write(&Path::new("/run/systemd").join(name), &files::read_text(&from)?)?;
        }
    }
    Ok(())
}

/// Opens the slot as a device whose every block is checked against the root hash, and mounts the store on it.
fn open_verity(cmdline: &Cmdline, slot: &disks::Slot) -> Result<(), Error> {
    let offset = cmdline.data_blocks * verity::BLOCK;
    let mut raw = [0; 512];
    fs::File::open(&slot.device).and_then(|file| file.read_exact_at(&mut raw, offset)).map_err(|source| Error::Io {
        action: "read the verity superblock of",
        path: slot.device.clone(),
        source,
    })?;
    let superblock = Superblock::parse(&raw).map_err(|source| Error::Verity { device: slot.device.clone(), source })?;
    if superblock.data_blocks() != cmdline.data_blocks {
        return Err(Error::DataBlocks {
            device: slot.device.clone(),
            found: superblock.data_blocks(),
            expected: cmdline.data_blocks,
        });
    }
    let device = dm::create_verity(&superblock, &slot.device_number, cmdline.root_hash)?;
    files::make_folder(Path::new(STORE))?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(&device, STORE, "erofs", flags, None).map_err(|e| Error::mount(device.display(), STORE, e))
}

/// Mounts the root image's layers, straight from their files, and puts them on top of each other.
fn mount_root(store: &Store) -> Result<(), Error> {
    let mut folders = Vec::new();
    for layer in &store.root().layers {
        let folder = format!("{LAYERS}/{}", layer.blob.hex());
        files::make_folder(Path::new(&folder))?;
        let blob = store.blob(&layer.blob);
        mount(&blob, &folder, "erofs", MountFlags::RDONLY | MountFlags::NODEV, None)
            .map_err(|e| Error::mount(blob.display(), &folder, e))?;
        folders.push(folder);
    }
    files::make_folder(Path::new(SYSROOT))?;
    if let [only] = folders.as_slice() {
        return mount_bind(only.as_str(), SYSROOT).map_err(|e| Error::mount(only, SYSROOT, e));
    }
    let options = overlay_options(&folders);
    let options = CString::new(options).map_err(|e| Error::mount("overlay", SYSROOT, e))?;
    mount("overlay", SYSROOT, "overlay", MountFlags::RDONLY, options.as_c_str())
        .map_err(|e| Error::mount("overlay", SYSROOT, e))
}

/// `folders` are bottom first, as in an image; overlayfs wants the top first.
fn overlay_options(folders: &[String]) -> String {
    let top_first: Vec<_> = folders.iter().rev().map(String::as_str).collect();
    format!("lowerdir={}", top_first.join(":"))
}

/// The GUID of the slot that holds the store with this root hash: its first half, in the order of the text form.
fn slot_guid(root_hash: &Digest) -> [u8; 16] {
    let mut guid = [0; 16];
    guid.copy_from_slice(&root_hash.as_bytes()[..16]);
    guid
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_top_layer_comes_first_in_an_overlay() {
        assert_eq!(super::overlay_options(&["/base".into(), "/mid".into(), "/top".into()]), "lowerdir=/top:/mid:/base");
    }
}
