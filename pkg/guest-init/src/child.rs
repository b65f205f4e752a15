//! The container's process.
//!
//! This program runs itself again, and that run becomes the process: between the two nothing has to be done in the shadow of
//! a fork, where hardly anything is allowed.

use crate::{error::Error, mounts, user::User};
use guest::Process;
use rustix::{
    process::{chdir, chroot, ioctl_tiocsctty, setsid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use std::{
    env, fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command},
};

/// The first argument of the run that becomes the process. More follow: uid, gid, other groups, folder, the program and its
/// arguments.
pub(crate) const VERB: &str = "become";

/// Starts it on the console.
pub(crate) fn start(process: &Process, user: &User) -> Result<Child, Error> {
    let groups: Vec<String> = user.groups.iter().map(u32::to_string).collect();
    let mut command = Command::new("/proc/self/exe");
    command.arg(VERB).arg(user.uid.to_string()).arg(user.gid.to_string()).arg(groups.join(","));
    command.arg(&process.cwd).args(&process.args).env_clear();
    for variable in &process.env {
        if let Some((name, value)) = variable.split_once('=') {
            command.env(name, value);
        }
    }
    for (name, value) in [("HOME", user.home.as_str()), ("TERM", "linux")] {
        if !process.env.iter().any(|v| v.split_once('=').is_some_and(|(n, _)| n == name)) {
            command.env(name, value);
        }
    }
    let terminal = terminal();
    let open = || fs::File::options().read(true).write(true).open(&terminal).map_err(Error::io("open", &terminal));
    command.stdin(open()?).stdout(open()?).stderr(open()?);
    command.spawn().map_err(Error::io("start", "/proc/self/exe"))
}

/// The device behind `/dev/console`, which itself cannot be a controlling terminal.
fn terminal() -> String {
    let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    active.split_whitespace().last().map_or_else(|| "/dev/console".to_owned(), |name| format!("/dev/{name}"))
}

/// Becomes the process; the exit codes are those of a shell that cannot run a command.
pub(crate) fn become_the_process() {
    let arguments: Vec<String> = env::args().skip(2).collect();
    let [uid, gid, groups, cwd, program, rest @ ..] = arguments.as_slice() else { return };
    if let Err(error) = enter(uid, gid, groups, cwd) {
        eprintln!("guest-init: {error}");
        std::process::exit(126);
    }
    // `PATH` is the container's own: the program is looked for in its root
    let error = Command::new(program).args(rest).exec();
    eprintln!("guest-init: cannot run {program}: {error}");
    std::process::exit(127);
}

fn enter(uid: &str, gid: &str, groups: &str, cwd: &str) -> Result<(), Error> {
    let failed = |action| move |e: rustix::io::Errno| Error::io(action, "the container")(e.into());
    setsid().map_err(failed("make a session for"))?;
    // a console without a terminal behind it is one that nobody types at
    let _ = ioctl_tiocsctty(std::io::stdin());
    chdir(mounts::ROOT).and_then(|()| chroot(".")).map_err(failed("enter"))?;
    chdir(cwd).map_err(|e| Error::io("enter", Path::new(cwd))(e.into()))?;
    let number = |text: &str| text.parse().unwrap_or(u32::MAX);
    let (uid, gid) = (rustix::fs::Uid::from_raw(number(uid)), rustix::fs::Gid::from_raw(number(gid)));
    let groups: Vec<_> =
        groups.split(',').filter(|g| !g.is_empty()).map(|g| rustix::fs::Gid::from_raw(number(g))).collect();
    // this program has one thread, so what is set for it is set for the process
    set_thread_groups(&groups)
        .and_then(|()| set_thread_res_gid(gid, gid, gid))
        .and_then(|()| set_thread_res_uid(uid, uid, uid))
        .map_err(failed("change to the user of"))
}
