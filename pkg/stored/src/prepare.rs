//! The steps before a containerd starts and after it has ended. Its metadata is an index, and a damaged one is made anew.
//!
//! ```text
//!   stored prepare (ExecStartPre)                                      stored ended (ExecStopPost)
//!     metadata whole (bolt.rs)? of this generation of snapshots?         abnormal end ─► one more failure
//!     fewer than 3 failures in 10 minutes?
//!        │ no: processes left over, metadata, pulled content, snapshots are removed; the metadata is kept aside
//!        ▼
//!     the store's documents in the content store are the store's; blocks for the metadata are reserved
//! ```
//! containerd's metadata names images, content and snapshots. Without it nothing says what the content and the snapshots of
//! pulled images belong to, so they are removed with it. `stored register` registers the store's images again; pulled images
//! must be pulled again.
//!
//! Deliberately absent: repairing a database.

use crate::{
    Options,
    adopt::children_first,
    aside, bolt,
    error::{Error, io_error},
    state,
};
use api::{
    Channel, Code, Context, Status,
    message::{
        Empty, StatSnapshotRequest,
        snapshot::{self, ListSnapshotsRequest, ListSnapshotsResponse},
    },
};
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
    process::{Pid, Signal, kill_process},
};
use std::{
    env,
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process,
};
use store::Store;

/// This many abnormal ends …
const FAILURES: usize = 3;
/// … within so many seconds are the metadata's fault.
const WITHIN: f64 = 600.0;
/// With less than this free, containerd's failures are the full disk's.
const FULL: u64 = 1 << 20;
/// Blocks that the metadata has at least, so that containerd works on a full disk.
const RESERVE: u64 = 1 << 20;

/// The places of one containerd's metadata.
struct Index {
    root: PathBuf,
}

impl Index {
    fn metadata(&self) -> PathBuf {
        self.root.join("io.containerd.metadata.v1.bolt/meta.db")
    }

    fn content(&self) -> PathBuf {
        self.root.join("io.containerd.content.v1.content")
    }

    /// The generation of snapshots that the metadata belongs to; 0 where the file is missing.
    fn generation(&self) -> Result<u64, Error> {
        let path = self.root.join("snapshots.generation");
        match fs::read_to_string(&path) {
            // a damaged number belongs to no list
            Ok(text) => Ok(text.trim().parse().unwrap_or(u64::MAX)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(e) => Err(io_error("read", &path)(e)),
        }
    }

    fn set_generation(&self, generation: u64) -> Result<(), Error> {
        let path = self.root.join("snapshots.generation");
        let text = format!("{generation}\n");
        let mut temporary = path.clone();
        temporary.set_extension("new");
        fs::write(&temporary, text)
            .and_then(|()| File::open(&temporary)?.sync_all())
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| File::open(&self.root)?.sync_all())
            .map_err(io_error("write", &path))
    }

    /// The folders of containerd's plug-ins.
    fn written(&self) -> Result<Vec<PathBuf>, Error> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(io_error("read", &self.root))? {
            let entry = entry.map_err(io_error("read", &self.root))?;
            if entry.file_name().to_string_lossy().starts_with("io.containerd.") {
                all.push(entry.path());
            }
        }
        Ok(all)
    }

    /// containerd has not written its metadata yet.
    fn is_new(&self) -> Result<bool, Error> {
        let path = self.metadata();
        match fs::metadata(&path) {
            Ok(meta) => Ok(meta.len() == 0),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(e) => Err(io_error("look at", &path)(e)),
        }
    }

    /// Why the metadata cannot be used.
    fn damage(&self, state: &Path) -> Result<Option<String>, Error> {
        let path = self.metadata();
        if self.is_new()? {
            // bbolt initialises a missing or an empty file, but other plug-ins must not have begun
            let begun = self.written()?.into_iter().any(|folder| !path.starts_with(folder));
            return Ok(begun.then(|| "it is missing or empty".to_owned()));
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) => return Ok(Some(format!("it cannot be opened: {e}"))),
        };
        if let Err(damage) = bolt::check(&file) {
            return Ok(Some(damage.to_string()));
        }
        if self.generation()? != state::generation(state)? {
            return Ok(Some("the list of snapshots that it names was lost".to_owned()));
        }
        Ok(None)
    }

    /// Removes the metadata and all that only it can name.
    fn clear(&self, why: &str) -> Result<(), Error> {
        let metadata = self.metadata();
        if metadata.exists() {
            aside::keep(&self.root, &metadata, why)?;
        }
        // the metadata first: what is left over without it is removed at the next start
        let folder = self.root.join("io.containerd.metadata.v1.bolt");
        remove(&folder)?;
        self.written()?.iter().try_for_each(|path| remove(path))?;
        eprintln!(
            "containerd's metadata in {} begins anew: the images of the store are registered again, pulled images must be \
             pulled again",
            self.root.display()
        );
        Ok(())
    }

    /// containerd does not verify the content that it reads. So manifests and configurations of the store's images are
    /// compared here, and replaced where they differ.
    fn restore_documents(&self, store: &Store) -> Result<(), Error> {
        for image in store.images() {
            for descriptor in [&image.manifest, &image.config] {
                let path = self.content().join("blobs/sha256").join(descriptor.digest.hex());
                let found = match fs::read(&path) {
                    Ok(found) => Some(found),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(_) => None,
                };
                let expected = store.document(descriptor)?;
                if found.as_ref() != Some(&expected) {
                    eprintln!("{}: {} is not the store's: replaced", image.name, path.display());
                    remove(&path)?;
                    fs::write(&path, &expected).map_err(io_error("write", &path))?;
                }
            }
        }
        Ok(())
    }

    /// bbolt lets its file grow with holes, which take their blocks when they are written: the blocks are reserved here.
    fn reserve(&self) -> Result<(), Error> {
        let path = self.metadata();
        let folder = self.root.join("io.containerd.metadata.v1.bolt");
        let opened = fs::create_dir_all(&folder)
            .and_then(|()| File::options().write(true).create(true).truncate(false).open(&path));
        let file = opened.map_err(io_error("open", &path))?;
        let len = file.metadata().map_err(io_error("look at", &path))?.len();
        let blocks = (len + (len / 2).min(16 << 20)).max(RESERVE);
        if let Err(e) = fallocate(&file, FallocateFlags::KEEP_SIZE, 0, blocks) {
            eprintln!("cannot reserve space for {}: {}", path.display(), io::Error::from(e));
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("delete", path)(e)),
        _ => Ok(()),
    }
}

/// `stored prepare`.
pub(crate) async fn run(options: &Options) -> Result<(), Error> {
    let index = Index { root: options.root.clone() };
    fs::create_dir_all(&index.root).map_err(io_error("create", &index.root))?;
    // as containerd makes it
    let mode = fs::Permissions::from_mode(0o711);
    fs::set_permissions(&index.root, mode).map_err(io_error("set the mode of", &index.root))?;
    let failures = Failures::of(&options.failures);
    let damage = if failures.read()?.len() >= FAILURES {
        Some(format!("containerd failed {FAILURES} times with it"))
    } else {
        index.damage(&options.state)?
    };
    if let Some(why) = damage {
        end_left_over()?;
        index.clear(&why)?;
        remove_snapshots(&options.socket).await?;
        index.set_generation(state::generation(&options.state)?)?;
        failures.clear()?;
    } else if index.is_new()? {
        index.set_generation(state::generation(&options.state)?)?;
    }
    index.restore_documents(&Store::open(&options.store)?)?;
    index.reserve()
}

/// Kills the shims of an earlier containerd: their containers' records are gone. The next containerd removes what they ran.
fn end_left_over() -> Result<(), Error> {
    let path = Path::new("/proc/self/cgroup");
    let own = fs::read_to_string(path).map_err(io_error("read", path))?;
    // outside a unit there is no earlier containerd
    let Some(unit) = unit(&own) else { return Ok(()) };
    let path = PathBuf::from(format!("/sys/fs/cgroup{unit}/cgroup.procs"));
    let listed = fs::read_to_string(&path).map_err(io_error("read", &path))?;
    let others = listed.lines().filter_map(|l| l.parse().ok()).filter(|pid: &i32| *pid as u32 != process::id());
    for pid in others.filter_map(Pid::from_raw) {
        match kill_process(pid, Signal::KILL) {
            Ok(()) => eprintln!("ended process {} of the containerd before", pid.as_raw_nonzero()),
            // it has ended by now
            Err(Errno::SRCH) => {}
            Err(e) => eprintln!("cannot end process {}: {}", pid.as_raw_nonzero(), io::Error::from(e)),
        }
    }
    Ok(())
}

/// The cgroup of the unit that this program runs for; systemd has commands beside the main one in `.control` below it
/// (systemd.resource-control(5), `Delegate=`).
fn unit(cgroup: &str) -> Option<&str> {
    let path = cgroup.lines().find_map(|l| l.strip_prefix("0::"))?;
    Some(path.strip_suffix("/.control").unwrap_or(path)).filter(|unit| unit.ends_with(".service"))
}

/// Removes all snapshots that are not the store's, children before parents.
async fn remove_snapshots(socket: &Path) -> Result<(), Error> {
    let failed = |status| Error::Snapshots { socket: socket.to_owned(), status };
    let channel = Channel::connect(socket).await.map_err(failed)?;
    let context = Context::default();
    let method = |name: &str| format!("{}{name}", snapshot::SERVICE);
    let request = ListSnapshotsRequest { snapshotter: String::new(), filters: Vec::new() };
    let listed: Vec<ListSnapshotsResponse> =
        channel.call(&context, &method("List"), &[request]).await.map_err(failed)?;
    let listed: Vec<_> = listed.into_iter().flat_map(|l| l.info).collect();
    for key in children_first(&listed, None) {
        let request = StatSnapshotRequest { snapshotter: String::new(), key };
        let removed: Result<Empty, Status> = channel.unary(&context, &method("Remove"), request).await;
        removed.map(|_| ()).or_else(|s| if s.code == Code::NotFound { Ok(()) } else { Err(failed(s)) })?;
    }
    Ok(())
}

/// When containerd failed: seconds since the machine's start, one a line. In /run, so that each start begins without.
struct Failures {
    path: PathBuf,
}

impl Failures {
    fn of(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Those that are recent.
    fn read(&self) -> Result<Vec<f64>, Error> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(recent(text.lines().filter_map(|l| l.parse().ok()), uptime()?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(io_error("read", &self.path)(e)),
        }
    }

    fn add(&self) -> Result<usize, Error> {
        let mut all = self.read()?;
        all.push(uptime()?);
        let text: String = all.iter().map(|at| format!("{at}\n")).collect();
        fs::write(&self.path, text).map_err(io_error("write", &self.path))?;
        Ok(all.len())
    }

    fn clear(&self) -> Result<(), Error> {
        remove(&self.path)
    }
}

fn recent(all: impl Iterator<Item = f64>, now: f64) -> Vec<f64> {
    all.filter(|at| (now - WITHIN..=now).contains(at)).collect()
}

/// Seconds since the machine's start (proc_uptime(5)).
fn uptime() -> Result<f64, Error> {
    let path = Path::new("/proc/uptime");
    let text = fs::read_to_string(path).map_err(io_error("read", path))?;
    let seconds = text.split(' ').next().and_then(|seconds| seconds.parse().ok());
    seconds.ok_or_else(|| io_error("understand", path)(io::ErrorKind::InvalidData.into()))
}

/// `stored ended`: notes an abnormal end of containerd, from what systemd says of it (systemd.exec(5), `$SERVICE_RESULT`).
pub(crate) fn ended(options: &Options) -> Result<(), Error> {
    let word = |name| env::var(name).unwrap_or_default();
    let (result, code, status) = (word("SERVICE_RESULT"), word("EXIT_CODE"), word("EXIT_STATUS"));
    if !abnormal(&result, &code, &status) {
        return Ok(());
    }
    if aside::free(&options.root)? < FULL {
        eprintln!("{} is full: containerd cannot work until there is room", options.root.display());
        return Ok(());
    }
    let n = Failures::of(&options.failures).add()?;
    eprintln!(
        "containerd ended abnormally ({result}, {code} {status}): {n} of {FAILURES} until its metadata begins anew"
    );
    Ok(())
}

/// Whether damaged metadata may be the cause: bbolt panics (exit code 2, or SIGABRT), reads past the end of its file
/// (SIGBUS, SIGSEGV), refuses the file (exit code 1), or loops until the start takes too long.
fn abnormal(result: &str, code: &str, status: &str) -> bool {
    match (result, code) {
        ("oom-kill" | "success", _) => false,
        ("timeout", _) | (_, "dumped") => true,
        (_, "exited") => status != "0",
        (_, "killed") => matches!(status, "ABRT" | "BUS" | "SEGV"),
        _ => false,
    }
}

#[cfg(test)]
#[path = "prepare_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
