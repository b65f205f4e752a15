//! Stage 2: what PID 1 of the sandbox does before and while the command runs.

use crate::{
    Network,
    job::{Job, Kind, Report},
    loopback,
    mounts::{Paths, parse},
};
use rustix::{
    fs::Mode,
    mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, mount_remount,
        unmount,
    },
    process::{WaitOptions, chdir, pivot_root, umask, wait},
    thread::{CapabilitySet, remove_capability_from_bounding_set, set_no_new_privs},
};
use std::{
    ffi::CString,
    fs, io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, symlink},
    },
    path::{Component, Path, PathBuf},
    process::Command,
};

/// A step of building the sandbox that failed.
pub(crate) struct Failed {
    pub(crate) doing: String,
    pub(crate) source: io::Error,
}

impl Failed {
    pub(crate) fn new(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { doing: doing.into(), source: source.into() }
    }

    fn at<E: Into<io::Error>>(doing: &str, path: &Path) -> impl FnOnce(E) -> Self {
        let doing = format!("{doing} {}", path.display());
        move |source| Self::new(doing, source)
    }
}

/// Top-level names of the root that the sandbox makes itself.
const OWN: [&str; 5] = ["dev", "proc", "sys", "tmp", "run"];
/// Below `/proc`: settings and triggers of the host's kernel and buses.
const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];
/// Below `/proc`: secrets and memory of the host's kernel, and what tells of its hardware.
const MASKED: [&str; 9] =
    ["acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list"];
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Builds the file system and moves into it.
pub(crate) fn build(job: &Job, root: &Path) -> Result<(), Failed> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(Failed::at("make mounts private below", Path::new("/")))?;
    let mut places = Paths::default();
    tmpfs(root, "mode=755", MountFlags::NOSUID)?;
    places.add(root.to_owned(), false);
    toolbox(&job.root, root)?;
    devices(root, &mut places)?;
    let proc = folder(root, "proc")?;
    mount("proc", &proc, "proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)
        .map_err(|e| Failed::new("mount /proc; a container that hides parts of its own forbids this", e))?;
    places.add(proc.clone(), true);
    if !job.nested {
        cover(&proc, &mut places)?;
    }
    folder(root, "run")?;
    let tmp = folder(root, "tmp")?;
    match &job.tmp {
        Some(source) => bind(source, &tmp)?,
        None => tmpfs(&tmp, "mode=1777", MountFlags::NOSUID | MountFlags::NODEV)?,
    }
    places.add(tmp, true);
    for overlay in &job.overlays {
        let target = place(root, &overlay.target, true)?;
        let data = overlay_data(overlay, job)?;
        mount("overlay", &target, "overlay", MountFlags::NOSUID | MountFlags::NODEV, data.as_c_str())
            .map_err(Failed::at("mount the overlay", &overlay.target))?;
        places.add(target, true);
    }
    for entry in &job.binds {
        let meta = fs::metadata(&entry.source).map_err(Failed::at("look at", &entry.source))?;
        let target = place(root, &entry.target, meta.is_dir())?;
        bind(&entry.source, &target)?;
        places.add(target, entry.writable);
    }
    protect(&places)?;
    enter(root)?;
    rustix::system::sethostname(b"build").map_err(|e| Failed::new("set the host name", e))?;
    if job.network == Network::None {
        loopback::up().map_err(|e| Failed::new("bring up the loopback interface", e))?;
    }
    Ok(())
}

/// Takes from `/proc` everything that reaches the host's kernel, as runc does. Such files ask for the user alone and not for
/// capabilities: root of a user namespace that is root outside too writes them like root.
fn cover(proc: &Path, places: &mut Paths) -> Result<(), Failed> {
    // not every kernel has all of them
    for path in READ_ONLY.map(|name| proc.join(name)).into_iter().filter(|path| path.exists()) {
        bind(&path, &path)?;
        places.add(path, false);
    }
    for path in MASKED.map(|name| proc.join(name)).into_iter().filter(|path| path.exists()) {
        if path.is_dir() {
            tmpfs(&path, "mode=555", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC)?;
        } else {
            bind(Path::new("/dev/null"), &path)?;
        }
        places.add(path, false);
    }
    Ok(())
}

fn tmpfs(target: &Path, data: &str, flags: MountFlags) -> Result<(), Failed> {
    let data = CString::new(data).map_err(|e| Failed::new("mount a tmpfs", e))?;
    mount("tmpfs", target, "tmpfs", flags, data.as_c_str()).map_err(Failed::at("mount a tmpfs on", target))
}

fn bind(source: &Path, target: &Path) -> Result<(), Failed> {
    // recursive: without, a user namespace may not show what lies under the mounts below (mount_namespaces(7))
    mount_bind_recursive(source, target).map_err(Failed::at("bind", source))
}

fn folder(root: &Path, name: &str) -> Result<PathBuf, Failed> {
    let path = root.join(name);
    fs::create_dir_all(&path).map_err(Failed::at("make the folder", &path))?;
    Ok(path)
}

/// Shows every top-level entry of the toolbox; the root itself is ours, so that `/src` and its like can be made.
fn toolbox(toolbox: &Path, root: &Path) -> Result<(), Failed> {
    let read = |e| Failed::at("read", toolbox)(e);
    for entry in fs::read_dir(toolbox).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.file_name();
        if OWN.iter().any(|own| name == *own) {
            continue;
        }
        let (source, target) = (entry.path(), root.join(&name));
        let kind = entry.file_type().map_err(Failed::at("look at", &source))?;
        if kind.is_symlink() {
            let to = fs::read_link(&source).map_err(Failed::at("read", &source))?;
            symlink(to, &target).map_err(Failed::at("make the link", &target))?;
        } else if kind.is_dir() {
            fs::create_dir(&target).map_err(Failed::at("make the folder", &target))?;
            bind(&source, &target)?;
        } else if kind.is_file() {
            fs::write(&target, "").map_err(Failed::at("make the file", &target))?;
            bind(&source, &target)?;
        }
    }
    Ok(())
}

/// A user namespace may not make device nodes, so the host's are shown.
fn devices(root: &Path, places: &mut Paths) -> Result<(), Failed> {
    let dev = folder(root, "dev")?;
    for name in DEVICES {
        let (source, target) = (Path::new("/dev").join(name), dev.join(name));
        fs::write(&target, "").map_err(Failed::at("make the file", &target))?;
        bind(&source, &target)?;
        places.add(target, true);
    }
    for (name, to) in LINKS {
        symlink(to, dev.join(name)).map_err(Failed::at("make the link", &dev.join(name)))?;
    }
    let shm = folder(&dev, "shm")?;
    tmpfs(&shm, "mode=1777", MountFlags::NOSUID | MountFlags::NODEV)?;
    places.add(shm, true);
    let pts = folder(&dev, "pts")?;
    mount("devpts", &pts, "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, c"newinstance,ptmxmode=0666,mode=620")
        .map_err(Failed::at("mount devpts on", &pts))?;
    places.add(pts, true);
    Ok(())
}

/// Where a target lies below the root; made when it is not there.
fn place(root: &Path, target: &Path, is_dir: bool) -> Result<PathBuf, Failed> {
    let bad = |text: &str| Failed::new(format!("place {}", target.display()), io::Error::other(text.to_owned()));
    let mut path = root.to_owned();
    for part in target.components() {
        match part {
            Component::RootDir => {}
            Component::Normal(name) => path.push(name),
            _ => return Err(bad("a target must be an absolute path without `..`")),
        }
        // a link could lead out of the root, on the host's side
        if path.is_symlink() {
            return Err(bad("a target must not lead through a symlink"));
        }
    }
    if path.exists() {
        return Ok(path);
    }
    // Nothing is made where it would stay: in the toolbox, or in a folder of the host shown before. Only the root is ours.
    let above = path.ancestors().skip(1).find(|p| p.exists()).unwrap_or(root);
    let device = |p: &Path| fs::metadata(p).map(|m| m.dev()).map_err(Failed::at("look at", p));
    if device(above)? != device(root)? {
        return Err(bad("it does not exist, and making it would change what is shown there; make it beforehand"));
    }
    let parent = path.parent().unwrap_or(root);
    fs::create_dir_all(parent).map_err(Failed::at("make the folder", parent))?;
    let made = if is_dir { fs::create_dir(&path) } else { fs::write(&path, "") };
    made.map_err(Failed::at("make the target", target))?;
    Ok(path)
}

fn overlay_data(overlay: &crate::Overlay, job: &Job) -> Result<CString, Failed> {
    let mut data = Vec::new();
    let all = overlay.lower.iter().chain([&overlay.upper, &overlay.work]);
    for path in all {
        // both separate options or layers, and quoting them differs between kernels
        if path.as_os_str().as_bytes().iter().any(|b| b",:\\".contains(b)) {
            let text = "an overlay's folders must not have `,`, `:` or `\\` in their names";
            return Err(Failed::new(format!("place {}", path.display()), io::Error::other(text)));
        }
    }
    for (i, path) in overlay.lower.iter().enumerate() {
        data.extend(if i == 0 { &b"lowerdir="[..] } else { b":" });
        data.extend(path.as_os_str().as_bytes());
    }
    for (name, path) in [(",upperdir=", &overlay.upper), (",workdir=", &overlay.work)] {
        data.extend(name.as_bytes());
        data.extend(path.as_os_str().as_bytes());
    }
    // `trusted.` attributes need real root (Documentation/filesystems/overlayfs.rst, "User xattr")
    if job.kind != Kind::Plain {
        data.extend(b",userxattr");
    }
    CString::new(data).map_err(|e| Failed::new("mount the overlay", e))
}

/// Makes read-only what has to be, in one pass over the mount table.
fn protect(places: &Paths) -> Result<(), Failed> {
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(|e| Failed::new("read the mount table", e))?;
    for mounted in parse(&table) {
        if places.read_only(&mounted.point) && !mounted.flags.contains(MountFlags::RDONLY) {
            mount_remount(&mounted.point, mounted.flags | MountFlags::BIND | MountFlags::RDONLY, c"")
                .map_err(Failed::at("make read-only", &mounted.point))?;
        }
    }
    Ok(())
}

/// Makes `root` the root, and the old one unreachable.
fn enter(root: &Path) -> Result<(), Failed> {
    let failed = |e: rustix::io::Errno| Failed::new("enter the new root", e);
    chdir(root).map_err(failed)?;
    // pivot_root(2), "pivot_root(".", ".")": the old root ends up on top, and is taken off
    pivot_root(".", ".").map_err(failed)?;
    unmount(".", UnmountFlags::DETACH).map_err(failed)?;
    chdir("/").map_err(failed)
}

/// The capabilities that uid 0 inside keeps without a user namespace, where they are those of the host's root: to write into
/// folders that a program has closed to itself, and to change modes.
const KEPT_PLAIN: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::FOWNER);
/// Those that it keeps in a user namespace, where they are good for its one user: enough for tools that change owners and
/// modes, nothing that could undo the sandbox.
const KEPT: CapabilitySet = KEPT_PLAIN
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID);

/// Runs the command, reaps whatever it leaves behind, and says how it ended. The kernel kills the rest when PID 1 exits.
pub(crate) fn run(job: &Job) -> Result<Report, Failed> {
    let Some((program, args)) = job.argv.split_first() else { return Ok(Report::Code(0)) };
    umask(Mode::from_raw_mode(0o022));
    set_no_new_privs(true).map_err(|e| Failed::new("give up new privileges", e))?;
    let kept = if job.kind == Kind::Plain { KEPT_PLAIN } else { KEPT };
    for capability in CapabilitySet::all().difference(kept).iter() {
        // one that this kernel does not know cannot be used either
        match remove_capability_from_bounding_set(capability) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(e) => return Err(Failed::new("give up capabilities", e)),
        }
    }
    let cwd = if job.cwd.as_os_str().is_empty() { Path::new("/") } else { &job.cwd };
    chdir(cwd).map_err(Failed::at("go to", cwd))?;
    let spawned = Command::new(program).args(args).env_clear().envs(&job.env).spawn();
    let command = match spawned {
        Ok(child) => child.id(),
        Err(e) => return Ok(Report::Program { errno: e.raw_os_error().unwrap_or(0) }),
    };
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_pid().cast_unsigned() == command => {
                return Ok(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Report::Code(code),
                    (None, signal) => Report::Signal(signal.unwrap_or(0)),
                });
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Failed::new("wait for the command", e)),
        }
    }
}
