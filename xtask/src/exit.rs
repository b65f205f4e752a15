//! Exit codes. They are an interface: scripts and pipelines depend on them, so a number never changes its meaning.

use std::process::ExitCode;

/// Why the program ended, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A failure of no other class; most likely a defect of ours.
    Other = 1,
    /// The command line is wrong, or `HV` or `ARCH` name no choice. clap uses this number too.
    Usage = 2,
    /// A definition (`pkg.yml`, `hv/*.yml`, …) is wrong.
    Definition = 3,
    /// The lock is stale or damaged, or cannot be resolved.
    Lock = 4,
    /// An input is missing (mirror down, wrong bytes, offline), or a registry refuses an update.
    Input = 5,
    /// A step of the build failed.
    Step = 6,
    /// This host lacks something; `cargo xtask doctor` names it.
    Host = 7,
    /// The disk is full.
    DiskFull = 8,
    /// A test or a check failed.
    Check = 9,
    /// A virtual machine did not start, or started with faults.
    Boot = 10,
    /// An image exceeds its budgets, or does not fit a layout that it must fit.
    TooLarge = 11,
    /// Signatures are missing, wrong, or cannot be made.
    Signature = 12,
    /// A medium is refused, or does not keep what is written to it.
    Medium = 13,
    /// Ctrl-C, in the form of shells.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
