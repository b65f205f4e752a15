//! The states of services: one file in /run for each running service, read by `svc status`.

use crate::{Options, SNAPSHOTTER, error::Error};
use api::{Containerd, message::task::State};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};
use store::Store;

/// Where a service is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    Starting,
    Ready,
    Stopping,
}

#[derive(Serialize, Deserialize)]
struct Note {
    phase: Phase,
    /// Seconds since 1970.
    since: u64,
    /// Folders of the state partition that could not be made: the service has empty ones in memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    volatile: Vec<String>,
}

fn path(options: &Options, package: &str) -> PathBuf {
    options.run.join(format!("{package}.json"))
}

/// Notes the phase that begins now, and the folders that the service has in memory only.
pub(crate) fn note(options: &Options, package: &str, phase: Phase, volatile: &[String]) -> Result<(), Error> {
    let path = path(options, package);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let write = |path: &Path| {
        fs::create_dir_all(&options.run)?;
        let temporary = path.with_extension("new");
        fs::write(&temporary, serde_json::to_vec(&Note { phase, since, volatile: volatile.to_vec() })?)?;
        fs::rename(&temporary, path)
    };
    write(&path).map_err(Error::io("write", &path))
}

/// Notes the phase that begins now; the folders stay.
pub(crate) fn change(options: &Options, package: &str, phase: Phase) -> Result<(), Error> {
    let volatile = read(options, package)?.map(|note| note.volatile).unwrap_or_default();
    note(options, package, phase, &volatile)
}

/// The note of a service; `None` for one that does not run.
fn read(options: &Options, package: &str) -> Result<Option<Note>, Error> {
    let path = path(options, package);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::io("read", &path)(e.into())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read", &path)(e)),
    }
}

/// Notes that it has ended.
pub(crate) fn forget(options: &Options, package: &str) -> Result<(), Error> {
    let path = path(options, package);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("delete", &path)(e)),
        _ => Ok(()),
    }
}

#[derive(Serialize)]
struct Line {
    package: String,
    image: String,
    state: &'static str,
    /// Process id on the host.
    pid: Option<u32>,
    /// Seconds since 1970; when the state began.
    since: Option<u64>,
    snapshotter: &'static str,
    /// Folders of the state partition in whose place the service has empty ones in memory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    volatile: Vec<String>,
}

impl Line {
    fn text(&self) -> String {
        let mut text = format!("{:<16} {:<9} {}\n", self.package, self.state, self.image);
        if !self.volatile.is_empty() {
            let folders = self.volatile.join(", ");
            text.push_str(&format!("{:<16} in memory only, see its log: {folders}\n", ""));
        }
        text
    }
}

/// Lists all services of the store, on standard output.
pub(crate) async fn print(store: &Store, json: bool, options: &Options) -> Result<u8, Error> {
    let containerd = Containerd::connect(&options.containerd, crate::NAMESPACE).await;
    let tasks = match containerd {
        Ok(containerd) => containerd.tasks().await,
        Err(status) => Err(status),
    }
    .map_err(Error::containerd("list tasks"))?;
    let mut lines = Vec::new();
    for (image, _) in store.services() {
        let package = image.name.package();
        let task = tasks.iter().find(|t| t.id == package && t.status() == State::Running);
        let note = read(options, package)?;
        let state = match (task, note.as_ref().map(|n| n.phase)) {
            (Some(_), Some(Phase::Ready)) => "ready",
            (_, Some(Phase::Stopping)) => "stopping",
            (_, Some(Phase::Starting)) => "starting",
            _ => "stopped",
        };
        lines.push(Line {
            package: package.to_owned(),
            image: image.name.to_string(),
            state,
            pid: task.map(|t| t.pid),
            since: note.as_ref().map(|n| n.since).filter(|_| state != "stopped"),
            snapshotter: SNAPSHOTTER,
            volatile: note.map(|n| n.volatile).unwrap_or_default(),
        });
    }
    let text = if json {
        let text = serde_json::to_string_pretty(&lines).map_err(|e| Error::system("write JSON")(e.into()))?;
        format!("{text}\n")
    } else {
        lines.iter().map(Line::text).collect()
    };
    io::stdout().write_all(text.as_bytes()).map_err(Error::system("write to standard output"))?;
    Ok(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_keeps_in_memory_is_in_its_status() {
        let dir = tempfile::tempdir().unwrap();
        let (_, mut options) = crate::command::parse(["status".to_owned()].into_iter()).unwrap();
        options.run = dir.path().join("svc");
        assert!(read(&options, "time").unwrap().is_none());
        note(&options, "time", Phase::Starting, &["/persist/time".into()]).unwrap();
        change(&options, "time", Phase::Ready).unwrap();
        let note = read(&options, "time").unwrap().unwrap();
        assert_eq!((note.phase, note.volatile), (Phase::Ready, vec!["/persist/time".to_owned()]));
        let line = |volatile| Line {
            package: "time".into(),
            image: "evek.local/time:1".into(),
            state: "ready",
            pid: None,
            since: None,
            snapshotter: SNAPSHOTTER,
            volatile,
        };
        assert_eq!(line(vec![]).text().lines().count(), 1);
        assert!(line(vec!["/persist/time".into()]).text().contains("in memory only, see its log: /persist/time"));
        forget(&options, "time").unwrap();
        assert!(read(&options, "time").unwrap().is_none());
    }
}
