use std::{io, path::PathBuf};

/// Why P3 is not made, opened or sealed. Its content is unchanged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line is wrong.
    #[error("{what}")]
    Usage { what: String },
    /// A file, folder or device cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A durable file cannot be written.
    #[error("{0}")]
    Durable(#[from] device::Error),
    /// A command of the system failed.
    #[error("`{command}` failed: {problem}")]
    Command { command: String, problem: String },
    /// /config/vault.yml is wrong.
    #[error("{0}")]
    Config(#[from] yaml::Error),
    /// A variable of the firmware that cannot be read.
    #[error("{0}")]
    Firmware(#[from] efivars::Error),
    /// A register that is no SHA-256 value.
    #[error("{} has `{found}`, expected 64 hexadecimal digits: update the TPM, or switch it off", path.display())]
    Register { path: PathBuf, found: String },
    /// The TPM refuses a command, or answers with something else.
    #[error("the TPM cannot {what}: {problem}")]
    Tpm { what: &'static str, problem: String },
    /// A file that cannot be measured.
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
    /// Nobody knows how the owner wants P3.
    #[error("P3 is not made, because CONFIG with vault.yml cannot be used: {reason}; write CONFIG again, then restart")]
    NoConfig { reason: String },
    /// The owner wants no P3 here.
    #[error(
        "P3 is not made, because vault.yml of CONFIG says `without_tpm: refuse`: {problem}; or write `plain` or `key` there"
    )]
    RefusedToMake { problem: String },
    /// The owner wants no plain P3.
    #[error(
        "P3 is not encrypted, and vault.yml of CONFIG says `without_tpm: refuse`; write `plain` there, or delete the \
         partition and restart: it is made anew"
    )]
    RefusedToOpen,
    /// A P3 that is not encrypted, where the TPM would protect it.
    #[error(
        "P3 is not encrypted, and {why}: somebody may have put it there; if it is yours, write `plain_with_tpm: accept` into \
         vault.yml of CONFIG, or delete the partition: it is made anew, sealed; then restart"
    )]
    RefusedPlain { why: &'static str },
    /// A volume that this TPM did not seal.
    #[error(
        "P3 is another volume than the one that the TPM of this machine sealed: somebody may have put it there; if it is \
         yours, run `vault seal --key` with its recovery key on standard input, or delete the partition: it is made anew; \
         then restart"
    )]
    RefusedVolume,
    /// A partition with unknown content.
    #[error(
        "{} is neither LUKS2 nor ext4: it is damaged or not of this system; to start with an empty one, delete the \
         partition and restart",
        path.display()
    )]
    Unknown { path: PathBuf },
    /// A document that is not as expected.
    #[error("the output of `{command}` about P3 cannot be understood: {problem}")]
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
    #[error("P3 cannot be sealed: {problem}")]
    NoTpm { problem: String },
    /// Nothing to be sealed.
    #[error(
        "P3 is not encrypted and cannot be in place: copy what you need from it, delete the partition and restart; it is \
         made anew, sealed"
    )]
    Plain,
    /// The register of CONFIG cannot be predicted.
    #[error(
        "other programs have extended register 14 of the TPM after CONFIG, so that its next value cannot be predicted: \
         restart, and seal before they run"
    )]
    Foreign,
    /// No key to unlock P3 with.
    #[error(
        "no recovery key is kept in {}: insert the medium EVEKEY with the file recovery.key, or run `vault seal --key` with \
         the key on standard input",
        path.display()
    )]
    NoKey { path: PathBuf },
    /// Standard input without a key.
    #[error("standard input has no key: `vault seal --key < recovery.key`")]
    NoInput,
    /// No key to print.
    #[error(
        "no recovery key is kept in {}: a sealed P3 gets one at the next start, any other has none; see `vault status`",
        path.display()
    )]
    NoneKept { path: PathBuf },
    /// A tool that has printed no key.
    #[error("systemd-cryptenroll has printed no recovery key for {}; try again", path.display())]
    NoKeyPrinted { path: PathBuf },
    /// The list of CONFIG's sealed files is damaged.
    #[error("{} is damaged ({problem}); look at the files of CONFIG, remove it, and run `vault seal`", path.display())]
    SealedConfig { path: PathBuf, problem: String },
    /// `open` has not run.
    #[error("nothing has opened P3 in this start: see `journalctl -u evek-vault`")]
    NotOpened,
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// Whether this machine or its owner refuses P3, while nothing failed.
    pub(crate) const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::RefusedToMake { .. } | Self::RefusedToOpen | Self::RefusedPlain { .. } | Self::RefusedVolume
        )
    }
}
