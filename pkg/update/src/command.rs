//! The command line.

use crate::{apply::Options, error::Error};
use types::Bytes;

pub(crate) const USAGE: &str = "\
Updates this device: another image into the slot that is not running

Usage: update status [--json]         both slots, the next start, and the result of the last update
       update apply [<source>] [options]
                                      fetch, verify and write an update; it starts with the next restart
       update rollback [--reboot]     go back to the other slot
       update resume                  go on with an update that was interrupted
       update report | trial | bless | emergency
                                      for the system's own units

Sources: a folder or .tar file; http(s)://… of a web server with such a folder; oci://<registry>/<name>[:<tag>], or
oci+http://… without TLS; `usb` for the first removable medium that has one. The default is the source in /config/update.yml.

Options: --limit <size>    bytes a second, such as 1MiB
         --allow-older     accept a version that is older, too
         --reboot          restart when it is done";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Status { json: bool },
    Apply(Options),
    Resume,
    Rollback { reboot: bool },
    Report,
    Trial,
    Bless,
    Emergency,
    Help,
}

pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Verb, Error> {
    let args: Vec<String> = args.collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    Ok(match words[..] {
        ["status"] => Verb::Status { json: false },
        ["status", "--json"] => Verb::Status { json: true },
        ["apply", ref rest @ ..] => Verb::Apply(apply(rest)?),
        ["resume"] => Verb::Resume,
        ["rollback"] => Verb::Rollback { reboot: false },
        ["rollback", "--reboot"] => Verb::Rollback { reboot: true },
        ["report"] => Verb::Report,
        ["trial"] => Verb::Trial,
        ["bless"] => Verb::Bless,
        ["emergency"] => Verb::Emergency,
        ["help" | "--help" | "-h"] => Verb::Help,
        [] => return Err(usage("no command given")),
        _ => return Err(usage(format!("`{}` is not a command", words.join(" ")))),
    })
}

fn apply(words: &[&str]) -> Result<Options, Error> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--allow-older" => options.allow_older = true,
            "--reboot" => options.reboot = true,
            "--limit" => {
                let value = words.next().ok_or_else(|| usage("--limit needs a size, such as 1MiB"))?;
                let limit: Bytes = value.parse().map_err(|e| usage(format!("--limit: {e}")))?;
                options.limit = Some(limit);
            }
            flag if flag.starts_with('-') => return Err(usage(format!("`{flag}` is not an option of apply"))),
            source if options.source.is_none() => options.source = Some(source.to_owned()),
            more => return Err(usage(format!("`{more}`: one source is enough"))),
        }
    }
    Ok(options)
}

fn usage(what: impl Into<String>) -> Error {
    Error::Usage { what: what.into() }
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
        assert_eq!(words("status --json").unwrap(), Verb::Status { json: true });
        let options =
            Options { source: Some("/media".into()), limit: Some(Bytes::mib(1)), allow_older: true, reboot: true };
        assert_eq!(words("apply /media --limit 1MiB --allow-older --reboot").unwrap(), Verb::Apply(options));
        assert_eq!(words("apply").unwrap(), Verb::Apply(Options::default()));
        for (bad, said) in [
            ("", "no command"),
            ("status now", "is not a command"),
            ("apply a b", "one source"),
            ("apply --limit", "needs a size"),
            ("apply --limit fast", "--limit: "),
            ("apply --force", "is not an option"),
        ] {
            assert!(words(bad).unwrap_err().to_string().contains(said), "{bad}");
        }
    }
}
