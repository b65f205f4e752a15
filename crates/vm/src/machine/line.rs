//! QEMU's command line for a machine.

use super::{Boots, Machine, Network, SSH_PORT_NAME, State};
use crate::{accel::Accel, firmware::flash, tpm};
use std::path::{Path, PathBuf};
use types::Arch;

/// QEMU's program for an architecture.
pub(crate) fn program(arch: Arch) -> String {
    format!("qemu-system-{}", arch.machine())
}

/// The files of one run.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// Firmware code, as QEMU sees the path.
    pub(crate) firmware: PathBuf,
    /// This machine's copy of the firmware's variables.
    pub(crate) variables: PathBuf,
    /// The qcow2 overlay over the image.
    pub(crate) overlay: PathBuf,
    /// What the guest writes to its disk, noted.
    pub(crate) writes: PathBuf,
    /// Socket on which we listen for QEMU's control connection.
    pub(crate) qmp: PathBuf,
    /// Socket on which QEMU listens for the SSH client.
    pub(crate) ssh: PathBuf,
    /// Socket on which the TPM listens for QEMU.
    pub(crate) tpm: PathBuf,
    /// Log that QEMU itself writes of a serial console on a terminal.
    pub(crate) serial_log: PathBuf,
}

/// Where the serial console goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Console {
    /// To QEMU's standard output, which the driver reads; the control socket is ours.
    Driver,
    /// To the user's terminal, together with QEMU's monitor (Ctrl-A C; Ctrl-A X ends QEMU).
    Terminal,
}

/// Which processor and machine model.
pub(crate) fn model(arch: Arch, boots: Boots, accel: Accel) -> Vec<String> {
    let machine = match (arch, boots) {
        (Arch::Amd64, _) => "q35",
        (Arch::Arm64, Boots::Kernel) => "virt",
        // Debian builds Xen for AArch64 without ACPI, which leaves the device tree
        (Arch::Arm64, Boots::Xen) => "virt,virtualization=on,gic-version=3,acpi=off",
    };
    let (accel, cpu) = match (accel, arch, boots) {
        (Accel::Kvm, ..) => ("kvm", "host"),
        // `max` has all of x86-64-v3. Its 57-bit addresses would only cost a fifth step in every emulated page walk.
        (Accel::Tcg, Arch::Amd64, Boots::Kernel) => (TCG, "max,la57=off"),
        // QEMU 10 reports RDTSCP to a hypervisor as RDTSC, which is shorter: Xen refuses to skip what it does not know.
        // With XSAVE, programs of the first domain have computed wrongly under emulation while other domains ran.
        (Accel::Tcg, Arch::Amd64, Boots::Xen) => (TCG, "max,la57=off,rdtscp=off,xsave=off"),
        // The architected pointer authentication cipher is very slow to emulate; QEMU's own stand-in is not.
        (Accel::Tcg, Arch::Arm64, Boots::Kernel) => (TCG, "max,pauth-impdef=on"),
        // `max` has more than Xen 4.20 knows
        // On QEMU 10's newer models (cortex-a76, max) Xen 4.20 faults where it turns its page tables on.
        (Accel::Tcg, Arch::Arm64, Boots::Xen) => (TCG, "cortex-a57"),
    };
    ["-machine", machine, "-accel", accel, "-cpu", cpu].map(str::to_owned).to_vec()
}

const TCG: &str = "tcg,thread=multi";

/// QEMU's arguments for a machine.
pub(crate) fn command_line(machine: &Machine, accel: Accel, files: &Files, console: Console) -> Vec<String> {
    let mut args = Args(Vec::new());
    args.add("-name evek -nodefaults -no-user-config -display none");
    args.0.extend(model(machine.arch, machine.boots, accel));
    args.pair("-smp", machine.cpus.to_string());
    args.pair("-m", format!("{}M", machine.memory.0 >> 20));
    args.0.extend(machine.firmware.hardware(machine.arch));
    args.0.extend(flash(&files.firmware, &files.variables));
    disk(&mut args, machine, files);
    args.add("-device virtio-blk-pci,drive=disk,bootindex=1 -device virtio-rng-pci");
    match console {
        Console::Driver => {
            if matches!(machine.state, State::Saved { .. }) {
                args.add("-incoming defer");
            }
            args.add("-chardev stdio,id=serial,signal=off -serial chardev:serial");
            args.pair("-chardev", format!("socket,id=qmp,path={}", escape(&files.qmp)));
            args.add("-mon chardev=qmp,mode=control");
        }
        Console::Terminal => {
            let log = escape(&files.serial_log);
            args.pair("-chardev", format!("stdio,id=serial,mux=on,signal=off,logfile={log}"));
            args.add("-serial chardev:serial -mon chardev=serial,mode=readline");
        }
    }
    args.pair("-chardev", format!("socket,id=ssh,path={},server=on,wait=off", escape(&files.ssh)));
    args.add("-device virtio-serial-pci -device");
    args.0.push(format!("virtserialport,id=ssh,chardev=ssh,name={SSH_PORT_NAME}"));
    args.add(match machine.arch {
        Arch::Amd64 => "-device pvpanic",
        Arch::Arm64 => "-device pvpanic-pci",
    });
    if machine.tpm {
        args.0.extend(tpm::hardware(machine.arch, &escape(&files.tpm)));
    }
    network(&mut args, &machine.network);
    if machine.watchdog {
        args.add("-device i6300esb -action watchdog=reset");
    }
    // A kernel that has panicked restarts the machine: its command line has `panic=`.
    args.add(if machine.reboots { "-action panic=none" } else { "-action reboot=shutdown" });
    args.0.extend(machine.extra.iter().cloned());
    args.0
}

impl Machine {
    /// QEMU's command line without the parts in which a restored machine may differ from the saved one: files, ports of the
    /// host, further drives without a device, and the action at a reset.
    #[must_use]
    pub fn kind(&self, accel: Accel) -> String {
        let mut machine = Self { state: State::Fresh, reboots: false, records: false, ..self.clone() };
        if let Network::User { forwards } = &mut machine.network {
            forwards.clear();
        }
        machine.extra = without_drives(&machine.extra);
        let files = Files {
            firmware: machine.firmware.code(machine.arch).into(),
            variables: "variables".into(),
            overlay: "overlay".into(),
            writes: "writes".into(),
            qmp: "qmp".into(),
            ssh: "ssh".into(),
            tpm: "tpm".into(),
            serial_log: "serial".into(),
        };
        shell_line(&program(machine.arch), &command_line(&machine, accel, &files, Console::Driver))
    }
}

/// Arguments without drives that devices may be plugged in for.
fn without_drives(args: &[String]) -> Vec<String> {
    let is_drive = |n: usize| args[n] == "-drive" && args.get(n + 1).is_some_and(|value| value.starts_with("if=none,"));
    let kept = |n: &usize| !is_drive(*n) && (*n == 0 || !is_drive(*n - 1));
    (0..args.len()).filter(kept).map(|n| args[n].clone()).collect()
}

/// The block device `disk`.
fn disk(args: &mut Args, machine: &Machine, files: &Files) {
    // The overlay outlives neither the host nor a test: nothing is gained by flushing it to the host's disk.
    let overlay = escape(&files.overlay);
    if !machine.records {
        args.pair("-drive", format!("if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file={overlay}"));
        return;
    }
    // Only what is below the filter ignores flushes; the filter itself must see them, and discards too.
    let log =
        format!("log-sector-size=512,log.driver=file,log.cache.no-flush=on,log.filename={}", escape(&files.writes));
    let file = "file.driver=qcow2,file.discard=unmap,file.cache.no-flush=on,file.file.driver=file";
    args.pair(
        "-blockdev",
        format!("driver=blklogwrites,node-name=disk,discard=unmap,{log},{file},file.file.filename={overlay}"),
    );
}

fn network(args: &mut Args, network: &Network) {
    let backend = match network {
        Network::None => {
            args.add("-nic none");
            return;
        }
        Network::Isolated => "user,id=net0,restrict=on".to_owned(),
        Network::User { forwards } => forwards
            .iter()
            .fold("user,id=net0".to_owned(), |line, f| format!("{line},hostfwd=tcp:127.0.0.1:{}-:{}", f.host, f.guest)),
    };
    args.pair("-netdev", backend);
    // No boot from the network, so no option ROM (which would need one more package).
    args.add("-device virtio-net-pci,netdev=net0,romfile=");
}

struct Args(Vec<String>);

impl Args {
    /// Adds words that hold no blanks.
    fn add(&mut self, words: &str) {
        self.0.extend(words.split(' ').map(str::to_owned));
    }

    fn pair(&mut self, option: &str, value: String) {
        self.0.extend([option.to_owned(), value]);
    }
}

/// A path as the value of a key in QEMU's comma-separated options, where a comma is written twice.
pub(crate) fn escape(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// A command line as a POSIX shell reads it.
pub(crate) fn shell_line(program: &str, args: &[String]) -> String {
    let quote = |word: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,/:+@%".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.to_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    std::iter::once(program).chain(args.iter().map(String::as_str)).map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Forward, machine::example as machine};
    use types::Flavour;

    fn files() -> Files {
        Files {
            firmware: "/fw/CODE.fd".into(),
            variables: "vm/vars.fd".into(),
            overlay: "a,b/overlay.qcow2".into(),
            writes: "a,b/writes.log".into(),
            qmp: "/s/qmp".into(),
            ssh: "/s/ssh".into(),
            tpm: "/s/tpm".into(),
            serial_log: "vm/serial.log".into(),
        }
    }

    fn line(machine: &Machine, accel: Accel, console: Console) -> String {
        shell_line(&program(machine.arch), &command_line(machine, accel, &files(), console))
    }

    #[test]
    fn the_whole_command_line_of_a_test_machine() {
        let expected = "qemu-system-x86_64 -name evek -nodefaults -no-user-config -display none -machine q35 \
            -accel tcg,thread=multi -cpu max,la57=off -smp 2 -m 4096M \
            -drive if=pflash,unit=0,format=raw,readonly=on,file=/fw/CODE.fd \
            -drive if=pflash,unit=1,format=raw,file=vm/vars.fd \
            -drive if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file=a,,b/overlay.qcow2 \
            -device virtio-blk-pci,drive=disk,bootindex=1 -device virtio-rng-pci \
            -chardev stdio,id=serial,signal=off -serial chardev:serial -chardev socket,id=qmp,path=/s/qmp \
            -mon chardev=qmp,mode=control -chardev socket,id=ssh,path=/s/ssh,server=on,wait=off \
            -device virtio-serial-pci -device virtserialport,id=ssh,chardev=ssh,name=org.evek.ssh -device pvpanic \
            -nic none -action reboot=shutdown -snapshot";
        assert_eq!(line(&machine(), Accel::Tcg, Console::Driver), expected);
    }

    #[test]
    fn machines_of_one_kind_differ_in_ports_and_what_a_reset_does_and_in_nothing_else() {
        let user = |host| Network::User { forwards: vec![Forward { host, guest: 22 }] };
        let m = Machine { network: user(1), ..machine() };
        let kind = m.kind(Accel::Tcg);
        let saved = State::Saved { from: "saved".into() };
        let same =
            Machine { network: user(2), reboots: true, records: true, state: saved, dir: "b".into(), ..m.clone() };
        assert_eq!(same.kind(Accel::Tcg), kind);
        let stick = ["-drive", "if=none,id=stick", "-snapshot"].map(str::to_owned).to_vec();
        assert_eq!(Machine { extra: stick, ..m.clone() }.kind(Accel::Tcg), kind);
        assert!(line(&same, Accel::Tcg, Console::Driver).contains(" -incoming defer "));
        assert_ne!(m.kind(Accel::Kvm), kind);
        for other in [
            Machine { tpm: true, ..m.clone() },
            Machine { watchdog: true, ..m.clone() },
            Machine { cpus: 3, ..m.clone() },
            Machine { network: Network::None, ..m.clone() },
            Machine { extra: Vec::new(), ..m.clone() },
        ] {
            assert_ne!(other.kind(Accel::Tcg), kind, "{other:?}");
        }
    }

    #[test]
    fn network_none_has_no_card_and_isolated_no_way_out() {
        let mut m = machine();
        assert!(!line(&m, Accel::Kvm, Console::Driver).contains("virtio-net"));
        m.network = Network::Isolated;
        assert!(line(&m, Accel::Kvm, Console::Driver).contains("-netdev user,id=net0,restrict=on -device virtio-net"));
        m.network = Network::User { forwards: vec![Forward { host: 2222, guest: 22 }] };
        assert!(line(&m, Accel::Kvm, Console::Driver).contains("user,id=net0,hostfwd=tcp:127.0.0.1:2222-:22"));
    }

    #[test]
    fn a_machine_on_the_terminal_has_no_control_socket_that_nobody_listens_to() {
        let mut m = machine();
        m.reboots = true;
        let line = line(&m, Accel::Tcg, Console::Terminal);
        assert!(line.contains("mux=on") && !line.contains("qmp") && line.contains("-action panic=none"), "{line}");
    }

    #[test]
    fn a_recorded_disk_sees_flushes_and_discards_and_the_host_does_not() {
        let m = Machine { records: true, ..machine() };
        let line = line(&m, Accel::Tcg, Console::Driver);
        let expected = " -blockdev driver=blklogwrites,node-name=disk,discard=unmap,log-sector-size=512,\
            log.driver=file,log.cache.no-flush=on,log.filename=a,,b/writes.log,\
            file.driver=qcow2,file.discard=unmap,file.cache.no-flush=on,file.file.driver=file,\
            file.file.filename=a,,b/overlay.qcow2 -device virtio-blk-pci,drive=disk,bootindex=1 ";
        assert!(line.contains(expected) && !line.contains("id=disk"), "{line}");
    }

    #[test]
    fn a_reset_ends_qemu_unless_the_machine_reboots() {
        let actions = |reboots, watchdog| {
            let m = Machine { reboots, watchdog, extra: Vec::new(), ..machine() };
            let line = line(&m, Accel::Tcg, Console::Driver);
            line.split_once("-nic none ").unwrap().1.to_owned()
        };
        assert_eq!(actions(false, false), "-action reboot=shutdown");
        assert_eq!(actions(true, false), "-action panic=none");
        assert_eq!(actions(true, true), "-device i6300esb -action watchdog=reset -action panic=none");
        assert_eq!(actions(false, true), "-device i6300esb -action watchdog=reset -action reboot=shutdown");
    }

    #[test]
    fn arm64_uses_its_own_machine_and_a_cheap_pointer_authentication() {
        let m = Machine { arch: Arch::Arm64, ..machine() };
        let line = line(&m, Accel::Tcg, Console::Driver);
        assert!(line.starts_with("qemu-system-aarch64 ") && line.contains("-machine virt"), "{line}");
        assert!(line.contains("max,pauth-impdef=on") && line.contains("pvpanic-pci"), "{line}");
    }

    #[test]
    fn xen_gets_a_processor_that_runs_guests() {
        let m = Machine { boots: Flavour::Xen.into(), ..machine() };
        assert!(line(&m, Accel::Tcg, Console::Driver).contains("-cpu max,la57=off,rdtscp=off,xsave=off "));
        let line = line(&Machine { arch: Arch::Arm64, ..m }, Accel::Tcg, Console::Driver);
        assert!(line.contains("-machine virt,virtualization=on,gic-version=3,acpi=off "), "{line}");
    }

    #[test]
    fn words_are_quoted_only_where_a_shell_needs_it() {
        let args = ["a b", "it's", "", "x=1,y"].map(str::to_owned);
        assert_eq!(shell_line("qemu", &args), r"qemu 'a b' 'it'\''s' '' x=1,y");
    }
}
