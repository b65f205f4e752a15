use crate::{
    Network, inside,
    job::{Desk, Job, Kind, Report, Source, send},
};
use rustix::{
    io::Errno,
    process::{Signal, getegid, geteuid, getppid, set_parent_process_death_signal},
    thread::UnshareFlags,
};
use std::{
    env, fs,
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The name under which the program knows that it is a stage.
pub(crate) const NAME: &str = "evek-sandbox";
pub(crate) const OUTER: &str = "outer";
const INNER: &str = "inner";
/// The kinds of namespaces that stage 1 has made, for stage 2.
const WITH_USER: &str = "user";
const PLAIN: &str = "plain";
/// This very program, also when its file was replaced meanwhile.
pub(crate) const SELF: &str = "/proc/self/exe";

/// Turns this process into a stage of a sandbox when it was started as one, and then never returns. To be called first in
/// `main`, before any thread exists: only a process with a single thread may make a user namespace.
pub fn maybe_enter() {
    let mut args = env::args_os();
    if args.next().is_none_or(|name| name != NAME) {
        return;
    }
    let (Some(stage), Some(desk)) = (args.next(), args.next()) else { std::process::exit(2) };
    let desk = PathBuf::from(desk);
    let code = match stage.to_str() {
        Some(OUTER) => outer(&Desk(&desk)),
        Some(INNER) => {
            let mut next = || args.next().and_then(|arg| arg.into_string().ok());
            let (outer, kind) = (next().and_then(|pid| pid.parse().ok()), next());
            inner(&Desk(&desk), outer, if kind.as_deref() == Some(PLAIN) { Kind::Plain } else { Kind::User })
        }
        _ => 2,
    };
    std::process::exit(code);
}

/// Stage 1: makes the namespaces, then waits for stage 2. The caller reads its report and ignores its exit status.
fn outer(desk: &Desk<'_>) -> i32 {
    let Ok(report) = desk.report() else { return 1 };
    let failed = |doing: &str, e: io::Error| {
        send(&report, &Report::Setup { doing: doing.to_owned(), source: Source::from(&e) });
        1
    };
    let job = match desk.read_job() {
        Ok(job) => job,
        Err(e) => return failed("read the job", e),
    };
    let kind = match namespaces(&job) {
        Ok(kind) => kind,
        Err(e) => {
            send(&report, &Report::NoNamespaces { errno: e.raw_os_error() });
            return 1;
        }
    };
    // after the change of credentials above, which may clear it (prctl(2), PR_SET_PDEATHSIG)
    if let Err(e) = die_with(job.caller) {
        return failed("tie the sandbox to its caller", e);
    }
    let mut init = match desk.init() {
        Ok(init) => init,
        Err(e) => return failed("note the first process inside", e),
    };
    let kind = if kind == Kind::Plain { PLAIN } else { WITH_USER };
    let mut inner = Command::new(SELF);
    inner.arg0(NAME).arg(INNER).arg(desk.0).arg(std::process::id().to_string()).arg(kind);
    let mut child = match inner.spawn() {
        Ok(child) => child,
        Err(e) => return failed("start the first process inside", e),
    };
    // without the number the caller kills this stage instead, and that kills the next
    let _ = write!(init, "{}", child.id());
    i32::from(child.wait().is_err())
}

/// Stage 2: PID 1 inside, in namespaces of this kind.
fn inner(desk: &Desk<'_>, outer: Option<u32>, kind: Kind) -> i32 {
    let Ok(report) = desk.report() else { return 1 };
    let outcome = die_with_outside(outer)
        .map_err(|e| inside::Failed::new("tie the first process to the caller", e))
        .and_then(|()| desk.read_job().map_err(|e| inside::Failed::new("read the job", e)))
        .and_then(|job| {
            let job = Job { kind, ..job };
            inside::build(&job, &desk.root())?;
            inside::run(&job)
        });
    let said = match outcome {
        Ok(said) => said,
        Err(inside::Failed { doing, source }) => Report::Setup { doing, source: Source::from(&source) },
    };
    send(&report, &said);
    0
}

/// Has the kernel kill this process when its parent dies, and checks that it has not died already.
fn die_with(parent: i32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().is_some_and(|p| p.as_raw_pid() == parent) {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(Errno::SRCH.raw_os_error()))
    }
}

/// As [`die_with`], for a parent outside the PID namespace: it has no number here but in the outer `/proc`, still mounted.
fn die_with_outside(parent: Option<u32>) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let status = fs::read_to_string("/proc/self/status")?;
    let found = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
    if found.is_some() && found == parent { Ok(()) } else { Err(Errno::SRCH.into()) }
}

/// Makes the namespaces, and returns which kind they are: [`Kind::User`] or [`Kind::Plain`].
fn namespaces(job: &Job) -> Result<Kind, Errno> {
    let mut plain = UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if job.network == Network::None {
        plain |= UnshareFlags::NEWNET;
    }
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let with_user = || -> Result<Kind, Errno> {
        unshare(UnshareFlags::NEWUSER | plain)?;
        let write = |name: &str, text: String| {
            fs::write(Path::new("/proc/self").join(name), text)
                .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::PERM))
        };
        // a group map without privilege needs setgroups(2) given up (user_namespaces(7))
        write("setgroups", "deny".into())?;
        write("uid_map", format!("0 {uid} 1"))?;
        write("gid_map", format!("0 {gid} 1"))?;
        Ok(Kind::User)
    };
    let without_user = || unshare(plain).map(|()| Kind::Plain);
    match job.kind {
        Kind::User => with_user(),
        Kind::Plain => without_user(),
        Kind::Best => with_user().or_else(|e| if uid == 0 { without_user() } else { Err(e) }),
    }
}

#[allow(unsafe_code)]
fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: the call is unsafe for the sake of `CLONE_FILES`, which is never among our flags, and this process has one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// A command that starts stage 1.
pub(crate) fn command(entry: Option<&Path>, desk: &Path) -> Command {
    let mut command = Command::new(entry.unwrap_or(Path::new(SELF)));
    command.arg0(NAME).arg(OUTER).arg(desk).stdin(Stdio::null());
    command
}
