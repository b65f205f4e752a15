//! The command line.

use crate::error::Error;
use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
Lets containerd use the images of the slot's store in place

Usage: stored [OPTIONS]            serve as containerd's snapshotter `stored`
       stored prepare [OPTIONS]    before containerd starts: make damaged metadata anew
       stored ended [OPTIONS]      after containerd has ended: note a failure
       stored register [OPTIONS]   register the store's images with containerd

Options:
  --store <DIR>         where the store is mounted [/run/evek/store]
  --layers <DIR>        where its layers are mounted [/run/evek/layers]
  --state <DIR>         where snapshots are kept [/run/evek/snapshots]
  --socket <PATH>       where the snapshotter listens [/run/evek/stored.sock]
  --root <DIR>          containerd's root [/run/evek/containerd]
  --failures <PATH>     where failures of containerd are noted [/run/evek/containerd.failures]
  --containerd <PATH>   containerd's socket [/run/containerd/containerd.sock]
  --slot <PATH>         the first stage's record of the slot [/run/evek/slot.json]
  --payload             register the images for Kubernetes, not those of services";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Serve,
    Prepare,
    Ended,
    Register,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) verb: Verb,
    pub(crate) store: PathBuf,
    pub(crate) layers: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) failures: PathBuf,
    pub(crate) containerd: PathBuf,
    pub(crate) slot: PathBuf,
    pub(crate) payload: bool,
}

impl Options {
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Self, Error> {
        let mut args = args.peekable();
        let verb = match args.peek().map(String::as_str) {
            Some("prepare") => Verb::Prepare,
            Some("ended") => Verb::Ended,
            Some("register") => Verb::Register,
            _ => Verb::Serve,
        };
        if verb != Verb::Serve {
            args.next();
        }
        let mut options = Self {
            verb,
            store: "/run/evek/store".into(),
            layers: "/run/evek/layers".into(),
            state: "/run/evek/snapshots".into(),
            socket: "/run/evek/stored.sock".into(),
            root: "/run/evek/containerd".into(),
            failures: "/run/evek/containerd.failures".into(),
            containerd: api::CONTAINERD.into(),
            slot: "/run/evek/slot.json".into(),
            payload: false,
        };
        while let Some(arg) = args.next() {
            let path = match arg.as_str() {
                "--payload" => {
                    options.payload = true;
                    continue;
                }
                "--store" => &mut options.store,
                "--layers" => &mut options.layers,
                "--state" => &mut options.state,
                "--socket" => &mut options.socket,
                "--root" => &mut options.root,
                "--failures" => &mut options.failures,
                "--containerd" => &mut options.containerd,
                "--slot" => &mut options.slot,
                _ => return Err(Error::Usage { found: arg }),
            };
            let value = args.next().ok_or(Error::Usage { found: arg })?;
            // containerd and its shims, which receive such paths, work in other folders
            *path = std::path::absolute(&value).map_err(|_| Error::Usage { found: value })?;
        }
        Ok(options)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Options, Error> {
        Options::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn services_are_the_default_and_live_in_run() {
        let options = words("").unwrap();
        assert_eq!(options.verb, Verb::Serve);
        for path in [&options.state, &options.root, &options.failures] {
            assert!(path.starts_with("/run/evek"), "{}", path.display());
        }
        let kube = words("register --payload --state /persist/stored").unwrap();
        assert_eq!((kube.verb, kube.payload, kube.state), (Verb::Register, true, "/persist/stored".into()));
    }

    #[test]
    fn unknown_words_and_missing_values_are_named() {
        for text in ["serve", "--root", "prepare register", "--stat /x"] {
            let found = words(text).unwrap_err().to_string();
            assert!(found.contains(text.split(' ').next_back().unwrap()) || found.contains("--stat"), "{found}");
        }
    }
}
