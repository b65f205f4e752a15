use std::{io, path::PathBuf};

/// Why P3 is not made, opened or sealed. What is on it is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line makes no sense.
    #[error("{what}")]
    Usage { what: String },
    /// A file, folder or device refuses.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A command of the system failed.
    #[error("`{command}` failed: {problem}")]
    Command { command: String, problem: String },
    /// /config/vault.yml is wrong.
    #[error("{0}")]
    Config(#[from] yaml::Error),
    /// A register that is no SHA-256 value.
    #[error("{} has `{found}`, expected 64 hexadecimal digits: update the TPM, or switch it off", path.display())]
    Register { path: PathBuf, found: String },
    /// What cannot be measured.
    #[error("{} has a name that is not UTF-8 and cannot be measured: rename it", path.display())]
    Name { path: PathBuf },
    /// systemd-pcrextend has silently done nothing.
    #[error(
        "CONFIG is not measured: register 14 of the TPM is as it was before; start the other image, or switch the TPM off"
    )]
    Unmoved,
    /// `measure` has not run.
    #[error(
        "CONFIG is not measured in this start, so that P3 would be sealed to nothing: see `systemctl status evek-measure`"
    )]
    NotMeasured,
    /// Definitions that do not fit.
    #[error(
        "{} has {found} definitions with `Label=P3`, expected one: the image is damaged, start the other one",
        folder.display()
    )]
    Definitions { folder: PathBuf, found: usize },
    /// The owner wants no P3 here.
    #[error(
        "P3 is not made: this machine has no TPM 2, and vault.yml of CONFIG says `without_tpm: refuse`; switch the TPM on \
         in the firmware, or write `plain` or `key` there"
    )]
    RefusedToMake,
    /// The owner wants no plain P3.
    #[error(
        "P3 is not encrypted, and vault.yml of CONFIG says `without_tpm: refuse`; write `plain` there, or delete the \
         partition and restart: it is made anew"
    )]
    RefusedToOpen,
    /// A partition that nobody knows.
    #[error(
        "{} is neither LUKS2 nor ext4: it is damaged or not of this system; to start with an empty one, delete the \
         partition and restart",
        path.display()
    )]
    Unknown { path: PathBuf },
    /// A document that is not what it should be.
    #[error("what `{command}` says of P3 cannot be understood: {problem}")]
    Header { command: String, problem: String },
    /// A medium with the wrong things.
    #[error("the medium {}: {problem}", path.display())]
    Medium { path: PathBuf, problem: String },
    /// An image on trial that cannot open P3.
    #[error(
        "nothing has opened P3 within {seconds} s, and this image is on trial: restarting, so that the other one runs again"
    )]
    Trial { seconds: u64 },
    /// There is nothing to seal to.
    #[error("this machine has no TPM 2: P3 cannot be sealed; switch it on in the firmware and restart")]
    NoTpm,
    /// Nothing to be sealed.
    #[error(
        "P3 is not encrypted and cannot be in place: copy what you need from it, delete the partition and restart; it is \
         made anew, sealed"
    )]
    Plain,
    /// The register of CONFIG cannot be foretold.
    #[error(
        "register 14 of the TPM holds more than CONFIG, so that it cannot be foretold: restart and give the recovery key; \
         P3 is then sealed anew"
    )]
    Foreign,
    /// No key to unlock P3 with.
    #[error("no recovery key is kept in {}: insert the medium EVEKEY with the file recovery.key", path.display())]
    NoKey { path: PathBuf },
    /// No key to print.
    #[error(
        "no recovery key is kept in {}: a sealed P3 gets one at the next start, any other has none; see `vault status`",
        path.display()
    )]
    NoneKept { path: PathBuf },
    /// A tool that has printed no key.
    #[error("systemd-cryptenroll has printed no recovery key for {}; try again", path.display())]
    NoKeyPrinted { path: PathBuf },
    /// `open` has not run, or failed.
    #[error("nothing has opened P3 in this start: see `journalctl -u evek-vault`")]
    NotOpened,
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
