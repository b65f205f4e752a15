//! QEMU's arguments for a guest.

use crate::hypervisor::{Boot, Card, Disk, Guest};
use app::{DiskFormat, Network};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use types::Arch;

/// The socket on which we listen for QEMU's control connection, in the guest's folder.
pub(crate) const QMP: &str = "qmp";
/// The socket of its TPM.
pub(crate) const TPM: &str = "tpm";

/// UEFI firmware: the code and the template of its variable store (UEFI PI 1.8 vol. 3, firmware volumes in flash).
pub(crate) const fn firmware(arch: Arch) -> (&'static str, &'static str) {
    match arch {
        Arch::Amd64 => ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        Arch::Arm64 => ("/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
    }
}

/// How a guest uses the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accel {
    /// KVM, and emulation where there is none: QEMU tries in this order.
    KvmOrTcg,
    /// Emulation.
    Tcg,
}

/// The arguments. The processor `max` is the host's with KVM, and everything that can be emulated without.
pub(crate) fn arguments(arch: Arch, guest: &Guest, accel: Accel) -> Vec<String> {
    let mut args = Args(Vec::new());
    args.pair("-name", &format!("{},process=vm-{}", guest.name, guest.name));
    args.add("-nodefaults -no-user-config -display none");
    args.pair("-machine", machine(arch));
    if accel == Accel::KvmOrTcg {
        args.add("-accel kvm");
    }
    args.add("-accel tcg,thread=multi -cpu max");
    args.pair("-smp", &guest.cpus.to_string());
    args.pair("-m", &format!("{}M", guest.memory.0 >> 20));
    args.pair("-uuid", &guest.uuid);
    // system calls that a guest which has taken over QEMU could use (QEMU, `qemu-options.hx`, -sandbox); those that change
    // the user are refused by the kernel once QEMU has become one without rights, and until then QEMU needs them
    args.add("-sandbox on,obsolete=deny,spawn=deny,resourcecontrol=deny");
    args.pair("-run-with", &format!("user={0}:{0}", guest.uid));
    // the guest's processors start by `cont`, when QEMU is that user
    args.add("-S");
    args.pair("-chardev", &format!("socket,id=qmp,path={}", escape(&guest.run.join(QMP))));
    args.add("-mon chardev=qmp,mode=control");
    args.add("-chardev stdio,id=console,signal=off -serial chardev:console");
    args.add("-device virtio-rng-pci,romfile=");
    boot(&mut args, arch, &guest.boot);
    for (n, disk) in guest.disks.iter().enumerate() {
        self::disk(&mut args, n, disk, matches!(guest.boot, Boot::Uefi { .. }));
    }
    for (n, card) in guest.cards.iter().enumerate() {
        self::card(&mut args, n, card);
    }
    if guest.tpm.is_some() {
        args.pair("-chardev", &format!("socket,id=tpm,path={}", escape(&guest.run.join(TPM))));
        args.add("-tpmdev emulator,id=tpm0,chardev=tpm -device");
        args.0.push(format!("{},tpmdev=tpm0", if arch == Arch::Amd64 { "tpm-crb" } else { "tpm-tis-device" }));
    }
    args.0
}

const fn machine(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "q35,vmport=off",
        Arch::Arm64 => "virt,gic-version=max",
    }
}

fn boot(args: &mut Args, arch: Arch, boot: &Boot) {
    match boot {
        Boot::Uefi { variables } => {
            let (code, _) = firmware(arch);
            args.pair("-drive", &format!("if=pflash,unit=0,format=raw,readonly=on,file={code}"));
            args.pair("-drive", &format!("if=pflash,unit=1,format=raw,file={}", escape(variables)));
        }
        Boot::Linux { kernel, initrd, cmdline } => {
            args.pair("-kernel", &kernel.display().to_string());
            if let Some(initrd) = initrd {
                args.pair("-initrd", &initrd.display().to_string());
            }
            args.pair("-append", cmdline);
            // a kernel that panics restarts the machine: QEMU ends then, and vmm starts the guest again
            args.add("-action reboot=shutdown");
        }
    }
}

fn disk(args: &mut Args, n: usize, disk: &Disk, boots: bool) {
    args.pair("-blockdev", &block_device(n, disk).to_string());
    let order = if boots { format!(",bootindex={}", n + 1) } else { String::new() };
    // a guest whose disk cannot grow is paused, and told nothing (QEMU, `qemu-options.hx`, werror)
    let errors = if disk.read_only { "" } else { ",werror=enospc" };
    args.pair("-device", &format!("virtio-blk-pci,drive=disk{n}{order}{errors},romfile="));
}

/// A disk's file with its declared format, which QEMU does not guess. No name in a qcow2's header is followed: `backing` is
/// none, and [`qcow2`](crate::qcow2) refuses an external data file, which no option can switch off.
fn block_device(n: usize, disk: &Disk) -> Value {
    let file = json!({"driver": "file", "filename": disk.file.display().to_string()});
    let mut device = json!({"driver": disk.format.as_str(), "node-name": format!("disk{n}"), "file": file});
    if disk.format == DiskFormat::Qcow2 {
        device["backing"] = Value::Null;
    }
    if disk.read_only {
        device["read-only"] = Value::Bool(true);
    } else {
        device["discard"] = Value::from("unmap");
    }
    device
}

fn card(args: &mut Args, n: usize, card: &Card) {
    let backend = match &card.network {
        Network::Nat(nat) => nat.forwards.iter().fold(format!("user,id=net{n}"), |line, f| {
            format!("{line},hostfwd={}::{}-:{}", f.protocol.as_str(), f.host.value, f.guest.value)
        }),
        Network::Bridge(_) => format!("tap,id=net{n},ifname={},script=no,downscript=no,vhost=on", tap_name(card)),
    };
    args.pair("-netdev", &backend);
    args.pair("-device", &format!("virtio-net-pci,netdev=net{n},mac={},romfile=", card.mac));
}

/// The device's end of a card on a bridge: `vm` and the last four bytes of the card's own address.
pub(crate) fn tap_name(card: &Card) -> String {
    let digits: String = card.mac.split(':').skip(2).collect();
    format!("vm{digits}")
}

struct Args(Vec<String>);

impl Args {
    /// Adds words that hold no blanks.
    fn add(&mut self, words: &str) {
        self.0.extend(words.split(' ').map(str::to_owned));
    }

    fn pair(&mut self, option: &str, value: &str) {
        self.0.extend([option.to_owned(), value.to_owned()]);
    }
}

/// A path as the value of a key in QEMU's comma-separated options, where a comma is written twice.
fn escape(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// QEMU's program for an architecture.
pub(crate) fn program(arch: Arch) -> PathBuf {
    format!("/usr/bin/qemu-system-{}", arch.machine()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use app::{Bridge, DiskFormat, Forward, Located, Nat, Place, Protocol};
    use types::Bytes;

    fn at<T>(value: T) -> Located<T> {
        Located::new(value, Place::file(""))
    }

    fn container() -> Guest {
        Guest {
            name: "web".into(),
            uuid: "01234567-89ab-8def-8123-456789abcdef".into(),
            uid: 2_000_000_007,
            cpus: 1,
            memory: Bytes::mib(128),
            boot: Boot::Linux {
                kernel: "/usr/share/vmm/vmlinuz".into(),
                initrd: Some("/usr/share/vmm/initrd".into()),
                cmdline: "console=ttyS0 quiet".into(),
            },
            disks: vec![Disk::raw("/run/vmm/web/spec", false), Disk::raw("/run/evek/store/blobs/sha256/ab", true)],
            cards: vec![],
            tpm: None,
            run: "/run/vmm/web".into(),
        }
    }

    #[test]
    fn the_whole_command_line_of_a_container() {
        let expected = "-name web,process=vm-web -nodefaults -no-user-config -display none -machine q35,vmport=off \
            -accel kvm -accel tcg,thread=multi -cpu max -smp 1 -m 128M -uuid 01234567-89ab-8def-8123-456789abcdef \
            -sandbox on,obsolete=deny,spawn=deny,resourcecontrol=deny -run-with user=2000000007:2000000007 -S \
            -chardev socket,id=qmp,path=/run/vmm/web/qmp -mon chardev=qmp,mode=control \
            -chardev stdio,id=console,signal=off -serial chardev:console -device virtio-rng-pci,romfile= \
            -kernel /usr/share/vmm/vmlinuz -initrd /usr/share/vmm/initrd -append console=ttyS0 quiet \
            -action reboot=shutdown \
            -blockdev {\"discard\":\"unmap\",\"driver\":\"raw\",\
            \"file\":{\"driver\":\"file\",\"filename\":\"/run/vmm/web/spec\"},\"node-name\":\"disk0\"} \
            -device virtio-blk-pci,drive=disk0,werror=enospc,romfile= \
            -blockdev {\"driver\":\"raw\",\
            \"file\":{\"driver\":\"file\",\"filename\":\"/run/evek/store/blobs/sha256/ab\"},\
            \"node-name\":\"disk1\",\"read-only\":true} \
            -device virtio-blk-pci,drive=disk1,romfile=";
        assert_eq!(arguments(Arch::Amd64, &container(), Accel::KvmOrTcg).join(" "), expected);
    }

    #[test]
    fn the_whole_command_line_of_a_machine_with_everything() {
        let guest = Guest {
            boot: Boot::Uefi { variables: "/persist/vmm/web/variables.fd".into() },
            disks: vec![Disk { file: "/persist/images/a,b.qcow2".into(), format: DiskFormat::Qcow2, read_only: false }],
            cards: vec![
                Card {
                    mac: "52:54:00:01:02:03".into(),
                    network: Network::Nat(Nat {
                        forwards: vec![Forward { host: at(8080), guest: at(80), protocol: Protocol::Tcp }],
                    }),
                },
                Card {
                    mac: "52:54:00:0a:0b:0c".into(),
                    network: Network::Bridge(Bridge {
                        name: at("br0".into()),
                        address: None,
                        gateway: None,
                        dns: vec![],
                    }),
                },
            ],
            tpm: Some("/persist/vmm/web/tpm".into()),
            ..container()
        };
        let line = arguments(Arch::Arm64, &guest, Accel::Tcg).join(" ");
        let (_, own) = line.split_once("virtio-rng-pci,romfile= ").unwrap_or_default();
        let expected = "-drive if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd \
            -drive if=pflash,unit=1,format=raw,file=/persist/vmm/web/variables.fd \
            -blockdev {\"backing\":null,\"discard\":\"unmap\",\"driver\":\"qcow2\",\
            \"file\":{\"driver\":\"file\",\"filename\":\"/persist/images/a,b.qcow2\"},\"node-name\":\"disk0\"} \
            -device virtio-blk-pci,drive=disk0,bootindex=1,werror=enospc,romfile= \
            -netdev user,id=net0,hostfwd=tcp::8080-:80 \
            -device virtio-net-pci,netdev=net0,mac=52:54:00:01:02:03,romfile= \
            -netdev tap,id=net1,ifname=vm000a0b0c,script=no,downscript=no,vhost=on \
            -device virtio-net-pci,netdev=net1,mac=52:54:00:0a:0b:0c,romfile= \
            -chardev socket,id=tpm,path=/run/vmm/web/tpm -tpmdev emulator,id=tpm0,chardev=tpm \
            -device tpm-tis-device,tpmdev=tpm0";
        assert_eq!(own, expected);
        assert!(line.contains("-machine virt,gic-version=max -accel tcg,"), "{line}");
        assert!(!line.contains("-kernel"), "{line}");
    }
}
