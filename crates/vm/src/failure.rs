//! Finds out from the serial console why a guest did not get where it should.
//!
//! ```text
//! firmware ──► kernel ──► first stage (evek-init) ──► systemd ──► services
//!    │            │              │                                   │
//! Firmware      Kernel         Init                       Service / Timeout        (Qemu: the machine itself)
//! ```
//! The class names the stage that failed, so that a reader knows where to look. It is a judgement from text that
//! others wrote: where the text says nothing, the class is the stage that the boot had reached.

use std::{fmt, path::PathBuf};

/// The stage of the boot that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Firmware or boot loader: no kernel ever spoke.
    Firmware,
    /// The kernel: panic, oops.
    Kernel,
    /// The first stage: it reported an error, or systemd never spoke.
    Init,
    /// systemd runs, but units failed.
    Service,
    /// Everything looks right, only not within the time given.
    Timeout,
    /// QEMU itself: it did not start, or ended without the guest asking for it.
    Qemu,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Firmware => "firmware",
            Self::Kernel => "kernel",
            Self::Init => "init",
            Self::Service => "service",
            Self::Timeout => "timeout",
            Self::Qemu => "qemu",
        })
    }
}

/// How a line of the kernel that means its end begins, behind its time stamp.
const KERNEL_DEATHS: [&str; 8] = [
    "Kernel panic - not syncing",
    "Oops: ",
    "kernel BUG at ",
    "BUG: unable to handle",
    "general protection fault",
    "Internal error: ",
    "Unable to handle kernel",
    "double fault",
];

/// Judges a serial console.
#[must_use]
pub fn classify<S: AsRef<str>>(lines: &[S]) -> Failure {
    let any = |test: fn(&str) -> bool| lines.iter().any(|l| test(l.as_ref()));
    // The kernel panics when its first process dies, so the first stage's own words come before the panic.
    if any(first_stage_error) {
        Failure::Init
    } else if any(|l| KERNEL_DEATHS.iter().any(|d| kernel_text(l).is_some_and(|t| t.starts_with(d)))) {
        Failure::Kernel
    } else if !any(|l| kernel_text(l).is_some() || l.starts_with("Linux version ")) {
        Failure::Firmware
    } else if !any(|l| l.contains("systemd[1]: ") || l.starts_with("Welcome to ") || status(l).is_some()) {
        Failure::Init
    } else if any(|l| matches!(status(l), Some("FAILED" | "DEPEND"))) {
        Failure::Service
    } else {
        Failure::Timeout
    }
}

/// The last word of `evek-init` when it has failed, on the console itself or through the kernel's log. What failed stands
/// in the line before; not every complaint of its is the end.
pub(crate) fn first_stage_error(line: &str) -> bool {
    let text = kernel_text(line).unwrap_or(line);
    text.strip_prefix("evek-init: ")
        .is_some_and(|t| t.starts_with("restarting in ") || t.starts_with("standing still "))
}

/// The text behind the kernel's time stamp `[    1.234567] `.
fn kernel_text(line: &str) -> Option<&str> {
    let (stamp, text) = line.strip_prefix('[')?.split_once("] ")?;
    let (seconds, fraction) = stamp.trim_start().split_once('.')?;
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    // With CONFIG_PRINTK_CALLER a task or processor follows: `[    1.234567][    T1] `.
    let fraction = fraction.split(']').next()?;
    (digits(seconds) && digits(fraction)).then_some(text)
}

/// The word in systemd's `[  OK  ] Started …`.
fn status(line: &str) -> Option<&str> {
    let (word, _) = line.trim_start().strip_prefix('[')?.split_once("] ")?;
    Some(word.trim()).filter(|w| matches!(*w, "OK" | "FAILED" | "DEPEND"))
}

/// A guest that did not get where it should, with what is needed to look further.
#[derive(Debug, Clone)]
pub struct BootFailure {
    /// The stage that failed.
    pub class: Failure,
    /// What was waited for, and how the waiting ended.
    pub reason: String,
    /// The end of the serial console.
    pub last_lines: Vec<String>,
    /// The whole serial console.
    pub log: PathBuf,
    /// QEMU's own messages; empty where it had none.
    pub qemu: String,
    /// The exact command lines.
    pub commands: PathBuf,
    /// What a user types to see it again.
    pub replay: String,
}

/// How many lines of the serial console an error shows.
pub const SHOWN_LINES: usize = 50;

impl fmt::Display for BootFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.class, self.reason)?;
        for line in self.qemu.lines() {
            writeln!(f, "  qemu said: {line}")?;
        }
        if self.last_lines.is_empty() {
            writeln!(f, "  the serial console is empty")?;
        } else {
            writeln!(f, "  the last {} lines of the serial console:", self.last_lines.len())?;
            self.last_lines.iter().try_for_each(|line| writeln!(f, "  | {line}"))?;
        }
        writeln!(f, "  whole console: {}", self.log.display())?;
        writeln!(f, "  command lines: {}", self.commands.display())?;
        write!(f, "  to see it again: {}", self.replay)
    }
}

impl std::error::Error for BootFailure {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FIRMWARE: [&str; 2] =
        ["BdsDxe: loading Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x2,0x0)", "BdsDxe: starting Boot0001"];
    const KERNEL: [&str; 2] =
        ["[    0.000000] Linux version 6.12.63+deb13-amd64", "[    0.421000] pci 0000:00:02.0: BAR 0"];
    const SYSTEMD: [&str; 3] = [
        "[    3.120000] systemd[1]: systemd 257 running in system mode",
        "Welcome to EVE-k!",
        "[  OK  ] Reached target",
    ];

    #[test]
    fn the_class_is_the_stage_that_failed() {
        let cases: [(&[&[&str]], Failure); 13] = [
            (&[], Failure::Firmware),
            (&[&FIRMWARE, &["BdsDxe: failed to load Boot0001", "Access Denied"]], Failure::Firmware),
            (&[&FIRMWARE, &KERNEL], Failure::Init),
            (&[&KERNEL, &["[    1.200000] Kernel panic - not syncing: VFS: Unable to mount root fs"]], Failure::Kernel),
            (&[&KERNEL, &SYSTEMD, &["[   12.300000] Oops: 0000 [#1] PREEMPT SMP PTI"]], Failure::Kernel),
            (&[&KERNEL, &SYSTEMD, &["[   12.300000][  T831] Oops: 0000 [#1] PREEMPT SMP PTI"]], Failure::Kernel),
            (&[&KERNEL, &["evek-init: restarting in 10 s"]], Failure::Init),
            (&[&KERNEL, &["evek-init: cannot free the initramfs: busy"], &SYSTEMD], Failure::Timeout),
            (
                &[
                    &KERNEL,
                    &[
                        "[    1.000000] evek-init: no partition has the GUID 12ab",
                        "[    1.0] evek-init: restarting in 10 s",
                    ],
                    &["[    1.200000] Kernel panic - not syncing: Attempted to kill init!"],
                ],
                Failure::Init,
            ),
            (&[&KERNEL, &["evek-init: slot IMGA, root hash 12ab"]], Failure::Init),
            (&[&KERNEL, &SYSTEMD, &["[FAILED] Failed to start containerd.service"]], Failure::Service),
            (&[&KERNEL, &SYSTEMD, &["[DEPEND] Dependency failed for evek-kube.service"]], Failure::Service),
            (&[&KERNEL, &SYSTEMD, &["kube[411]: failed to list pods, Oops: again"]], Failure::Timeout),
        ];
        for (parts, class) in cases {
            let lines = parts.concat();
            assert_eq!(classify(&lines), class, "{lines:#?}");
        }
    }

    #[test]
    fn a_kernel_that_names_the_caller_is_a_kernel_all_the_same() {
        assert_eq!(kernel_text("[    1.234567][    T1] Run /init as init process"), Some("Run /init as init process"));
        assert_eq!(kernel_text("[  OK  ] Started sshd"), None);
        assert_eq!(kernel_text("[FAILED] 1.5"), None);
    }

    #[test]
    fn the_error_shows_class_console_and_the_way_back() {
        let text = BootFailure {
            class: Failure::Kernel,
            reason: "waiting for ssh".into(),
            last_lines: vec!["[    1.200000] Kernel panic".into()],
            log: "vm/serial.log".into(),
            qemu: "qemu: terminating".into(),
            commands: "vm/qemu.txt".into(),
            replay: "cargo xtask run kvm".into(),
        }
        .to_string();
        let expected = "kernel: waiting for ssh\n  qemu said: qemu: terminating\n  the last 1 lines of the serial console:\n\
            \x20 | [    1.200000] Kernel panic\n  whole console: vm/serial.log\n  command lines: vm/qemu.txt\n\
            \x20 to see it again: cargo xtask run kvm";
        assert_eq!(text, expected);
    }
}
