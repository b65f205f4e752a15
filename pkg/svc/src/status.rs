//! What state services are in: a file a running service, read by `svc status`.

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
}

fn path(options: &Options, package: &str) -> PathBuf {
    options.run.join(format!("{package}.json"))
}

/// Notes the phase that begins now.
pub(crate) fn note(options: &Options, package: &str, phase: Phase) -> Result<(), Error> {
    let path = path(options, package);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let write = |path: &Path| {
        fs::create_dir_all(&options.run)?;
        let temporary = path.with_extension("new");
        fs::write(&temporary, serde_json::to_vec(&Note { phase, since })?)?;
        fs::rename(&temporary, path)
    };
    write(&path).map_err(Error::io("write", &path))
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
        let note: Option<Note> = fs::read(path(options, package)).ok().and_then(|b| serde_json::from_slice(&b).ok());
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
            since: note.map(|n| n.since).filter(|_| state != "stopped"),
            snapshotter: SNAPSHOTTER,
        });
    }
    let text = if json {
        let text = serde_json::to_string_pretty(&lines).map_err(|e| Error::system("write JSON")(e.into()))?;
        format!("{text}\n")
    } else {
        lines.iter().map(|l| format!("{:<16} {:<9} {}\n", l.package, l.state, l.image)).collect()
    };
    io::stdout().write_all(text.as_bytes()).map_err(Error::system("write to standard output"))?;
    Ok(0)
}
