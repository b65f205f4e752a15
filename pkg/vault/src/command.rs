//! The command line.

use crate::{error::Error, seal::Source};

pub(crate) const USAGE: &str = "\
Opens P3, the state of this device, with a key that the TPM releases to the owner's images and CONFIG only

Usage: vault status [--json]          print how P3 is protected, which key has opened it, and what weakens that
       vault seal [--key | --show]    print the changes of CONFIG since the last sealing, and seal P3 to this machine and to
                                      CONFIG as its files are now; --key reads the key that unlocks P3 from standard input,
                                      --show prints the changes and does not seal
       vault recovery-key [--new]     print the key that opens P3 without the TPM; --new makes another one
       vault measure | make | open | keep
                                      for the system's own units

The TPM opens P3 as long as the firmware's keys, Secure Boot (PCR 7) and the files of CONFIG (PCR 14) are those that P3 is
sealed to, and the image is the owner's (PCR 11). To change CONFIG, change it where it is mounted, and seal before the
restart:

       mount -o remount,rw /config
       vi /config/…
       mount -o remount,ro /config
       vault seal

Without that each start asks for the recovery key: the file `recovery.key` on a FAT medium labelled EVEKEY, or typed at the
console. The key opens P3 for that start only. `vault seal` is the owner's consent to CONFIG as it is now.";

/// How `vault seal` acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seal {
    /// It prints the changes only.
    Show,
    /// It seals, with a key from there.
    By(Source),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Status { json: bool },
    Seal(Seal),
    RecoveryKey { new: bool },
    Measure,
    Make,
    Open,
    Keep,
    Help,
}

pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Verb, Error> {
    let args: Vec<String> = args.collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let usage = |what: String| Error::Usage { what };
    Ok(match words[..] {
        ["status"] => Verb::Status { json: false },
        ["status", "--json"] => Verb::Status { json: true },
        ["seal"] => Verb::Seal(Seal::By(Source::Kept)),
        ["seal", "--key"] => Verb::Seal(Seal::By(Source::Input)),
        ["seal", "--show"] => Verb::Seal(Seal::Show),
        ["recovery-key"] => Verb::RecoveryKey { new: false },
        ["recovery-key", "--new"] => Verb::RecoveryKey { new: true },
        ["measure"] => Verb::Measure,
        ["make"] => Verb::Make,
        ["open"] => Verb::Open,
        ["keep"] => Verb::Keep,
        ["help" | "--help" | "-h"] => Verb::Help,
        [] => return Err(usage("no command given".to_owned())),
        _ => return Err(usage(format!("`{}` is not a command", words.join(" ")))),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Verb, Error> {
        parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn commands_are_read_and_others_refused() {
        for (text, verb) in [
            ("status", Verb::Status { json: false }),
            ("status --json", Verb::Status { json: true }),
            ("seal", Verb::Seal(Seal::By(Source::Kept))),
            ("seal --key", Verb::Seal(Seal::By(Source::Input))),
            ("seal --show", Verb::Seal(Seal::Show)),
            ("recovery-key", Verb::RecoveryKey { new: false }),
            ("recovery-key --new", Verb::RecoveryKey { new: true }),
            ("measure", Verb::Measure),
            ("make", Verb::Make),
            ("open", Verb::Open),
            ("keep", Verb::Keep),
            ("--help", Verb::Help),
        ] {
            assert_eq!(words(text).unwrap(), verb, "{text}");
        }
        for (bad, said) in
            [("", "no command"), ("status now", "`status now` is not a command"), ("open --force", "is not a command")]
        {
            let error = words(bad).unwrap_err();
            assert!(matches!(error, Error::Usage { .. }) && error.to_string().contains(said), "{bad}: {error}");
        }
    }
}
