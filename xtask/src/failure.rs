//! The failure of a verb: a text for people, and the class as exit code for scripts.

use crate::exit::Exit;
use std::fmt::Display;

/// A failed verb.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) text: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl Display) -> Self {
        Self { exit, text: text.to_string(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }
}

/// Errors whose type alone decides the class.
macro_rules! class {
    ($($type:ty => $exit:ident),* $(,)?) => {
        $(impl From<$type> for Failure {
            fn from(error: $type) -> Self {
                Self::new(Exit::$exit, error)
            }
        })*
    };
}

class! {
    defs::Error => Definition,
    lock::Error => Lock,
    lock::Stale => Lock,
    lock::UpdateError => Lock,
    fetch::NoMirror => Input,
    fetch::ArchiveError => Input,
    disk::Error => Other,
    sign::Error => Signature,
    vm::Error => Boot,
    sandbox::Error => Host,
    flash::Error => Medium,
    std::io::Error => Other,
    serde_json::Error => Other,
}

impl From<Vec<defs::Error>> for Failure {
    fn from(errors: Vec<defs::Error>) -> Self {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Self::new(Exit::Definition, texts.join("\n"))
    }
}

impl From<cas::Error> for Failure {
    fn from(error: cas::Error) -> Self {
        let full = matches!(&error, cas::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
        let exit = if full { Exit::DiskFull } else { Exit::Other };
        Self::new(exit, error)
    }
}

impl From<fetch::Error> for Failure {
    fn from(error: fetch::Error) -> Self {
        match error {
            fetch::Error::Store(error) => error.into(),
            fetch::Error::Cancelled => Self::new(Exit::Interrupted, "interrupted; what was fetched is kept"),
            other => Self::new(Exit::Input, other),
        }
    }
}

impl From<fetch::IndexError> for Failure {
    fn from(error: fetch::IndexError) -> Self {
        let expired = matches!(&error, fetch::IndexError::Release { source: debian::ReleaseError::Expired { .. }, .. });
        let failure = Self::new(Exit::Input, error);
        if expired {
            failure.hint("a mirror that is no longer updated is accepted with --allow-expired")
        } else {
            failure
        }
    }
}

impl From<registry::Error> for Failure {
    fn from(error: registry::Error) -> Self {
        use registry::Error;
        let exit = match &error {
            Error::Cancelled => {
                return Self::new(Exit::Interrupted, "interrupted; blobs that have arrived are not sent again");
            }
            Error::Address { .. } | Error::Tag { .. } => Exit::Usage,
            Error::Layout { .. } | Error::Io { .. } => Exit::Other,
            // the same class as inputs: a server on the network refuses
            Error::Credentials { .. } | Error::Refused { .. } | Error::Unreachable { .. } | Error::Answer { .. } => {
                Exit::Input
            }
        };
        Self::new(exit, error)
    }
}

impl From<graph::Error> for Failure {
    fn from(error: graph::Error) -> Self {
        use graph::{Error, FailureClass};
        let exit = match &error {
            Error::Cancelled => return Self::new(Exit::Interrupted, "interrupted; what was built is kept"),
            Error::DiskFull { .. } => Exit::DiskFull,
            Error::Failed(failures) => match failures.first().map(|f| f.class) {
                Some(FailureClass::DiskFull) => Exit::DiskFull,
                Some(FailureClass::Input) => Exit::Input,
                _ if failures.iter().any(|f| f.error.contains("namespace")) => Exit::Host,
                _ => Exit::Step,
            },
            Error::UnknownStep { .. } => Exit::Usage,
            _ => Exit::Other,
        };
        let failure = Self::new(exit, error);
        if exit == Exit::Host {
            failure.hint("`cargo xtask doctor` says what this host lacks and what to do")
        } else {
            failure
        }
    }
}

impl From<steps::Error> for Failure {
    fn from(error: steps::Error) -> Self {
        use steps::Error;
        match error {
            Error::Definition(e) => e.into(),
            Error::Graph(e) => e.into(),
            Error::Fetch(e) => e.into(),
            Error::Cas(e) => e.into(),
            Error::Disk(e) => e.into(),
            Error::Sign(e) => e.into(),
            e @ (Error::NoSet { .. } | Error::NoVendor { .. }) => Self::new(Exit::Lock, e),
            e @ (Error::Vendor { .. } | Error::VendorMismatch { .. }) => Self::new(Exit::Input, e),
            e @ Error::Publish { .. } => {
                let full =
                    matches!(&e, Error::Publish { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
                Self::new(if full { Exit::DiskFull } else { Exit::Other }, e)
            }
            e @ (Error::OverBudget(_) | Error::DoesNotFit(_)) => {
                Self::new(Exit::TooLarge, e).hint("`cargo xtask size` shows everything, `--html <file>` as a picture")
            }
            e @ Error::Host => Self::new(Exit::Host, e),
            e @ Error::NoStub { .. } => Self::new(Exit::Usage, e),
            e => Self::new(Exit::Definition, e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::FailureClass;
    use std::{io, path::PathBuf};

    fn full() -> io::Error {
        io::Error::from(io::ErrorKind::StorageFull)
    }

    fn failed(class: FailureClass, error: &str) -> Failure {
        let (log, error) = (PathBuf::from("step.log"), error.to_owned());
        graph::Error::Failed(vec![graph::Failure { id: "step".into(), source: None, class, error, log, tail: vec![] }])
            .into()
    }

    #[test]
    fn every_class_of_failure_has_its_exit_code() {
        let path = || PathBuf::from("file");
        let wrong_bytes =
            fetch::Failure { name: "bash".into(), sha256: types::Digest::of(b""), tried: vec![], hint: None };
        let unsolved = lock::UpdateError::Unsolved {
            place: Some("rootfs/rootfs.yml:4".into()),
            set: "rootfs".into(),
            arch: types::Arch::Amd64,
            source: debian::Unsolved::Conflict { tree: "a conflicts with b".into() },
        };
        let unreachable =
            registry::Error::Unreachable { registry: String::new(), request: String::new(), text: String::new() };
        let cases: [(Failure, Exit); 16] = [
            (lock::Error::Absent(path()).into(), Exit::Lock),
            (unsolved.into(), Exit::Lock),
            (fetch::Error::Failed { failures: vec![wrong_bytes] }.into(), Exit::Input),
            (fetch::Error::Offline { names: vec!["bash".into()], count: 1 }.into(), Exit::Input),
            (fetch::NoMirror { archive: debian::Archive::Main, unusable: vec![] }.into(), Exit::Input),
            (registry::Error::Tag { found: "a b".into() }.into(), Exit::Usage),
            (unreachable.into(), Exit::Input),
            (registry::Error::Cancelled.into(), Exit::Interrupted),
            (cas::Error::Io { action: "write", path: path(), source: full() }.into(), Exit::DiskFull),
            (graph::Error::DiskFull { path: path() }.into(), Exit::DiskFull),
            (steps::Error::Publish { action: "write", path: path(), source: full() }.into(), Exit::DiskFull),
            (failed(FailureClass::Step, "gcc: exit code 1"), Exit::Step),
            (failed(FailureClass::DiskFull, "no space"), Exit::DiskFull),
            (graph::Error::Cancelled.into(), Exit::Interrupted),
            (steps::Error::NoStub { flavour: types::Flavour::Xen }.into(), Exit::Usage),
            (steps::Error::NoSet { set: "rootfs".into(), arch: types::Arch::Arm64 }.into(), Exit::Lock),
        ];
        for (failure, exit) in cases {
            assert_eq!(failure.exit, exit, "{}", failure.text);
        }
    }
}
