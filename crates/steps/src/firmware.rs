//! The programs that the firmware starts: the UKI, or Xen's unified image, and the ESP with it and systemd-boot.

use crate::{disk, slot::Root};
use boot::{cpio, loader, uki, xen};
use graph::{Ctx, StepError};
use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc as Shared,
};
use tree::{Content, Entry, Kind, Tree, TreePath};
use types::{Arch, Bytes};

/// The version of the step: raise it when the same parts would give another UKI.
pub(crate) const UKI_VERSION: u32 = 2;
/// The version of the step: raise it when the same parts would give another Xen image.
pub(crate) const XEN_VERSION: u32 = 4;
/// The version of the step: raise it when the same files would give another ESP.
pub(crate) const ESP_VERSION: u32 = 2;
/// The version of the step: raise it when the same packages would give another loader.
pub(crate) const LOADER_VERSION: u32 = 2;

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Uki {
    pub(crate) arch: Arch,
    pub(crate) cmdline: Vec<String>,
    pub(crate) os_release: String,
    /// A line.
    pub(crate) sbat: String,
}

/// Inputs `deb/…` (systemd-boot-efi), `vmlinuz`, `release`, `microcode` where there is any, `initrd`, `root`; output `uki`.
pub(crate) fn uki(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Uki = ctx.params()?;
    let stub = efi_file(ctx, &format!("linux{}.efi.stub", params.arch.efi()), params.arch)?.read()?;
    let microcode = ctx.labels("microcode").next().is_some().then(|| ctx.input("microcode")).transpose()?;
    let microcode = microcode.map(fs::read).transpose()?;
    let cmdline = with_slot(ctx, params.cmdline)?;
    let contents = uki::Contents {
        os_release: &params.os_release,
        cmdline: &cmdline,
        uname: &fs::read_to_string(ctx.input("release")?)?,
        microcode: microcode.as_deref(),
        initrd: &initrd(ctx, &[(CMDLINE, &cmdline)])?,
        linux: &fs::read(ctx.input("vmlinuz")?)?,
        sbat: Some(&params.sbat),
    };
    fs::write(ctx.out_blob("uki"), uki::assemble(&stub, &contents)?)?;
    Ok(())
}

/// The kernel's arguments, including those that name its slot.
fn with_slot(ctx: &Ctx<'_>, mut cmdline: Vec<String>) -> Result<String, StepError> {
    let root: Root = serde_json::from_slice(&fs::read(ctx.input("root")?)?)?;
    cmdline.push(format!("evek.roothash={}", root.root_hash.hex()));
    cmdline.push(format!("evek.datablocks={}", root.data_blocks));
    Ok(cmdline.join(" "))
}

/// The paths of the kernel's and Xen's arguments in the initramfs.
const CMDLINE: &str = "etc/cmdline";
const XEN_CMDLINE: &str = "etc/xen-cmdline";

/// The initramfs, behind an archive with the signed arguments: the first stage compares them with those that kernel and
/// Xen received.
fn initrd(ctx: &Ctx<'_>, arguments: &[(&str, &str)]) -> Result<Vec<u8>, StepError> {
    let mut tree = Tree::default();
    for (path, line) in arguments {
        tree.insert(TreePath::new(path)?, Entry::file(0o444, format!("{line}\n").into_bytes()))?;
    }
    let mut archives = Vec::new();
    cpio::write(&tree, &mut archives)?;
    archives.extend(fs::read(ctx.input("initrd")?)?);
    Ok(archives)
}

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Xen {
    pub(crate) arch: Arch,
    /// Arguments of the hypervisor.
    pub(crate) options: Vec<String>,
    /// Arguments of the first domain's kernel.
    pub(crate) cmdline: Vec<String>,
    pub(crate) os_release: String,
    /// A line.
    pub(crate) sbat: String,
}

/// Inputs `deb/…` (the hypervisor), `vmlinuz`, `initrd`, `root`; output `uki`.
pub(crate) fn xen(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Xen = ctx.params()?;
    let is_xen = |path: &TreePath| path.as_str().starts_with("boot/xen-") && path.name().ends_with(".efi");
    let hypervisor = deb_file(ctx, "boot/xen-*.efi", params.arch, is_xen)?.read()?;
    let cmdline = with_slot(ctx, params.cmdline)?;
    let options = params.options.join(" ");
    let contents = xen::Contents {
        os_release: &params.os_release,
        options: &options,
        cmdline: &cmdline,
        ramdisk: &initrd(ctx, &[(CMDLINE, &cmdline), (XEN_CMDLINE, &options)])?,
        kernel: &fs::read(ctx.input("vmlinuz")?)?,
        sbat: &params.sbat,
    };
    fs::write(ctx.out_blob("uki"), xen::assemble(&hypervisor, &contents)?)?;
    Ok(())
}

/// The length of an EFI program that covers its first headers.
const PAGE: u64 = 4096;

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Loader {
    pub(crate) arch: Arch,
}

/// Inputs `deb/…` (systemd-boot-efi); outputs `loader`, and `addon`, the stub of kernel images' addons.
pub(crate) fn loader(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Loader = ctx.params()?;
    let efi = params.arch.efi();
    for (output, name) in [("loader", format!("systemd-boot{efi}.efi")), ("addon", format!("addon{efi}.efi.stub"))] {
        let program = efi_file(ctx, &name, params.arch)?.read()?;
        ctx.put(output, &program)?;
    }
    Ok(())
}

/// The version of the step: raise it when the same packages would give another shim.
pub(crate) const SHIM_VERSION: u32 = 1;

/// Inputs `deb/…` (shim-signed and its helpers); outputs `uefi-shim`, and `mok-manager` beside it. Both keep the
/// signatures of others.
pub(crate) fn shim(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Loader = ctx.params()?;
    for (output, name) in [("uefi-shim", "shim"), ("mok-manager", "mm")] {
        let wanted = format!("usr/lib/shim/{name}{}.efi.signed", params.arch.efi());
        let program = deb_file(ctx, &wanted, params.arch, |path| path.as_str() == wanted)?.read()?;
        ctx.put(output, &program)?;
    }
    Ok(())
}

/// The settings of an EFI system partition.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Esp {
    pub(crate) arch: Arch,
    /// File name of the UKI in EFI/Linux, without `.efi`.
    pub(crate) name: String,
    pub(crate) size: Bytes,
    /// The rule of enrolling keys, in systemd-boot's words.
    pub(crate) enroll_keys: String,
}

impl Esp {
    /// Writes the volume with these programs and keys, up to its last used byte.
    pub(crate) fn write(
        self,
        path: &Path,
        Programs { loader, uki, shim }: Programs,
        keys: Vec<(String, Vec<u8>)>,
    ) -> Result<(), StepError> {
        let tree = loader::esp(loader::Esp {
            arch: self.arch,
            systemd_boot: loader,
            shim,
            images: vec![(self.name, uki)],
            conf: loader::conf(0, &self.enroll_keys),
            keys,
        })?;
        disk::esp_volume(path, &tree, self.size)
    }
}

/// The programs of an EFI system partition.
pub(crate) struct Programs {
    /// systemd-boot.
    pub(crate) loader: Content,
    /// The kernel image.
    pub(crate) uki: Content,
    /// shim and its files, if the firmware starts shim.
    pub(crate) shim: Option<loader::Shim>,
}

/// Inputs `loader`, `uki`, and for an image with shim `uefi-shim`, `mok-manager`; output `esp`.
pub(crate) fn esp(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Esp = ctx.params()?;
    let (loader, uki) = (whole_file(ctx.input("loader")?)?, whole_file(ctx.input("uki")?)?);
    let mut start = Vec::new();
    uki.open()?.take(PAGE).read_to_end(&mut start)?;
    boot::arch::check_arch(&params.name, &start, params.arch)?;
    let shim = match ctx.labels("uefi-shim").next().is_some() {
        true => {
            let (program, manager) = (whole_file(ctx.input("uefi-shim")?)?, whole_file(ctx.input("mok-manager")?)?);
            Some(loader::Shim { program, manager, certificate: None })
        }
        false => None,
    };
    params.write(&ctx.out_blob("esp"), Programs { loader, uki, shim }, Vec::new())
}

pub(crate) fn whole_file(path: PathBuf) -> Result<Content, StepError> {
    let len = fs::metadata(&path)?.len();
    Ok(Content::Range { file: Shared::new(path), offset: 0, len })
}

/// A program of systemd-boot-efi, by name.
fn efi_file(ctx: &Ctx<'_>, name: &str, arch: Arch) -> Result<Content, StepError> {
    let wanted = format!("usr/lib/systemd/boot/efi/{name}");
    deb_file(ctx, &wanted, arch, |path| path.as_str() == wanted)
}

/// The program of this path in the packages `deb/…`, after a check of its architecture. `what` names it in errors.
fn deb_file(ctx: &Ctx<'_>, what: &str, arch: Arch, is_it: impl Fn(&TreePath) -> bool) -> Result<Content, StepError> {
    for (i, label) in ctx.labels("deb/").enumerate() {
        let tree = debian::deb::unpack(&ctx.input(label)?, &ctx.scratch()?.join(format!("deb{i}")))?;
        let found = tree.iter().find_map(|(path, entry)| match entry {
            Entry { kind: Kind::File(content), .. } if is_it(path) => Some((path.clone(), content.clone())),
            _ => None,
        });
        if let Some((path, content)) = found {
            let package = label.trim_start_matches("deb/");
            boot::arch::check_arch(&format!("/{path} of {package}"), &content.read()?, arch)?;
            return Ok(content);
        }
    }
    Err(StepError::msg(format!("no /{what} in the packages {}", ctx.labels("deb/").collect::<Vec<_>>().join(", "))))
}
