//! What the firmware starts: the UKI, and the ESP that holds it beside systemd-boot.

use crate::{disk, slot::Root};
use boot::{loader, uki};
use graph::{Ctx, StepError};
use std::{fs, path::PathBuf, sync::Arc as Shared};
use tree::{Content, Entry, Kind, TreePath};
use types::{Arch, Bytes};

/// Raised when the same parts would give another UKI.
pub(crate) const UKI_VERSION: u32 = 1;
/// Raised when the same files would give another ESP.
pub(crate) const ESP_VERSION: u32 = 1;

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Uki {
    pub(crate) arch: Arch,
    pub(crate) cmdline: Vec<String>,
    pub(crate) os_release: String,
}

/// Inputs `deb/…` (systemd-boot-efi), `vmlinuz`, `release`, `initrd`, `root`; output `uki`.
pub(crate) fn uki(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Uki = ctx.params()?;
    let root: Root = serde_json::from_slice(&fs::read(ctx.input("root")?)?)?;
    let stub = efi_file(ctx, &format!("linux{}.efi.stub", params.arch.efi()))?.read()?;
    let mut cmdline = params.cmdline.clone();
    cmdline.push(format!("evek.roothash={}", root.root_hash.hex()));
    cmdline.push(format!("evek.datablocks={}", root.data_blocks));
    let contents = uki::Contents {
        os_release: &params.os_release,
        cmdline: &cmdline.join(" "),
        uname: &fs::read_to_string(ctx.input("release")?)?,
        initrd: &fs::read(ctx.input("initrd")?)?,
        linux: &fs::read(ctx.input("vmlinuz")?)?,
        sbat: None,
    };
    fs::write(ctx.out_blob("uki"), uki::assemble(&stub, &contents)?)?;
    Ok(())
}

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Esp {
    pub(crate) arch: Arch,
    /// File name of the UKI in EFI/Linux, without `.efi`.
    pub(crate) name: String,
    pub(crate) size: Bytes,
}

/// Inputs `deb/…` (systemd-boot-efi), `uki`; output `esp`, cut off behind its last used byte.
pub(crate) fn esp(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Esp = ctx.params()?;
    let systemd_boot = efi_file(ctx, &format!("systemd-boot{}.efi", params.arch.efi()))?;
    let uki = whole_file(ctx.input("uki")?)?;
    let tree = loader::esp(params.arch, systemd_boot, vec![(params.name, uki)], &loader::conf(0))?;
    disk::volume(ctx, "esp", &tree, params.size, "EFI")
}

fn whole_file(path: PathBuf) -> Result<Content, StepError> {
    let len = fs::metadata(&path)?.len();
    Ok(Content::Range { file: Shared::new(path), offset: 0, len })
}

/// A file of systemd-boot-efi, by name.
fn efi_file(ctx: &Ctx<'_>, name: &str) -> Result<Content, StepError> {
    let path = TreePath::new(&format!("usr/lib/systemd/boot/efi/{name}"))?;
    for (i, label) in ctx.labels("deb/").enumerate() {
        let tree = debian::deb::unpack(&ctx.input(label)?, &ctx.scratch()?.join(format!("efi{i}")))?;
        if let Some(Entry { kind: Kind::File(content), .. }) = tree.get(&path) {
            return Ok(content.clone());
        }
    }
    Err(StepError::msg(format!("no /{path} in the packages of set boot")))
}
