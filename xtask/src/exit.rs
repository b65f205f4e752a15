//! Exit codes. They are an interface: scripts and pipelines branch on them, so a number never changes its meaning.

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
    /// An input cannot be had: mirror down, wrong bytes, offline; or a registry does not take an update.
    Input = 5,
    /// A step of the build failed.
    Step = 6,
    /// This host cannot do it; `cargo xtask doctor` says what to do.
    Host = 7,
    /// The disk is full.
    DiskFull = 8,
    /// A test or a check failed.
    Check = 9,
    /// A virtual machine did not come up, or not as it should.
    Boot = 10,
    /// An image is larger than its definition allows.
    TooLarge = 11,
    /// Signatures are missing, wrong, or cannot be made.
    Signature = 12,
    /// Ctrl-C, as shells report it.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
