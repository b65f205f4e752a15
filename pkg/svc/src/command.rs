//! The command line.

use crate::error::Error;
use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
Runs the services of the slot's store as containers

Usage: svc run <package>                    run it, until it ends; for its systemd unit
       svc exec <package> [--] <program>…   run a program inside its container
       svc status [--json]                  list services and their state

Options:
  --store <DIR>         where the store is mounted [/run/evek/store]
  --layers <DIR>        where its layers are mounted [/run/evek/layers]
  --snapshots <DIR>     where containers' writes go [/run/evek/snapshots]
  --run <DIR>           where pipes and states are kept [/run/evek/svc]
  --containerd <PATH>   containerd's socket [/run/containerd/containerd.sock]";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Run { package: String },
    Exec { package: String, args: Vec<String> },
    Status { json: bool },
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) store: PathBuf,
    pub(crate) layers: PathBuf,
    pub(crate) snapshots: PathBuf,
    pub(crate) run: PathBuf,
    pub(crate) containerd: PathBuf,
}

fn usage(what: impl Into<String>) -> Error {
    Error::Usage { what: what.into() }
}

/// Options come before the first word that is not one; what follows `exec <package>` is the program's.
pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<(Command, Options), Error> {
    let mut options = Options {
        store: "/run/evek/store".into(),
        layers: "/run/evek/layers".into(),
        snapshots: "/run/evek/snapshots".into(),
        run: "/run/evek/svc".into(),
        containerd: api::CONTAINERD.into(),
    };
    let verb = loop {
        let arg = args.next().ok_or_else(|| usage("no command given"))?;
        let path = match arg.as_str() {
            "--store" => &mut options.store,
            "--layers" => &mut options.layers,
            "--snapshots" => &mut options.snapshots,
            "--run" => &mut options.run,
            "--containerd" => &mut options.containerd,
            _ => break arg,
        };
        let value = args.next().ok_or_else(|| usage(format!("{arg} needs a value")))?;
        // containerd and its shims, which receive such paths, work in other folders
        *path = std::path::absolute(&value).map_err(|e| usage(format!("{arg} {value}: {e}")))?;
    };
    let mut package = || args.next().ok_or_else(|| usage(format!("{verb} needs the name of a package")));
    let command = match verb.as_str() {
        "run" => Command::Run { package: package()? },
        "exec" => {
            let package = package()?;
            let mut program: Vec<_> = args.by_ref().collect();
            if program.first().is_some_and(|a| a == "--") {
                program.remove(0);
            }
            if program.is_empty() {
                return Err(usage("exec needs a program to run"));
            }
            Command::Exec { package, args: program }
        }
        "status" => match args.next().as_deref() {
            None => Command::Status { json: false },
            Some("--json") => Command::Status { json: true },
            Some(other) => return Err(usage(format!("unexpected argument `{other}`"))),
        },
        other => return Err(usage(format!("unknown command `{other}`"))),
    };
    match args.next() {
        None => Ok((command, options)),
        Some(extra) => Err(usage(format!("unexpected argument `{extra}`"))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<(Command, Options), Error> {
        parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_programs_arguments_are_its_own() {
        let args = ["ls".to_owned(), "--json".into(), "--".into(), "run".into()].to_vec();
        let expected = Command::Exec { package: "kube".into(), args };
        assert_eq!(words("exec kube -- ls --json -- run").unwrap().0, expected);
        assert_eq!(words("exec kube ls --json -- run").unwrap().0, expected);
        assert_eq!(words("--run /x status --json").unwrap().1.run, PathBuf::from("/x"));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, expected) in [
            ("", "no command given"),
            ("start x", "unknown command `start`"),
            ("run", "run needs the name of a package"),
            ("run a b", "unexpected argument `b`"),
            ("exec a --", "exec needs a program to run"),
            ("status -v", "unexpected argument `-v`"),
            ("--store", "--store needs a value"),
        ] {
            assert_eq!(words(text).unwrap_err().to_string(), expected);
        }
    }
}
