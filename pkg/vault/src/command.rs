//! The command line.

use crate::error::Error;

pub(crate) const USAGE: &str = "\
Opens P3, the state of this device, with a key that the TPM gives to the owner's images and CONFIG only

Usage: vault status [--json]          how P3 is protected, what has opened it, and what weakens that
       vault seal                     seal P3 to this machine and to CONFIG as its files are now
       vault recovery-key [--new]     print the key that opens P3 without the TPM; --new makes another one
       vault measure | make | open | keep
                                      for the system's own units

P3 opens by itself as long as the firmware's keys, Secure Boot (PCR 7) and the files of CONFIG (PCR 14) are those that it
is sealed to, and the image is the owner's (PCR 11). To change CONFIG, change it where it is mounted, and seal before the
restart:

       mount -o remount,rw /config
       vi /config/…
       mount -o remount,ro /config
       vault seal

Without that the next start asks for the recovery key: the file `recovery.key` on a FAT medium labelled EVEKEY, or typed at
the console. It is then sealed anew.";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Status { json: bool },
    Seal,
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
        ["seal"] => Verb::Seal,
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
            ("seal", Verb::Seal),
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
