//! The sandbox as its commands see it, with the host's own programs as toolbox. Every case runs as the user who started the
//! tests, as root where user namespaces are refused, and, when root started the tests, as an ordinary user.

use sandbox::{Bind, Error, Exit, Io, Network, NoNamespaces, Overlay, Sandbox, probe};
use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};
use types::Cancel;

type Case = (&'static str, fn(&Path));

const CASES: [Case; 18] = [
    ("the_user_is_0_and_the_host_has_another_name", user_and_host),
    ("the_environment_is_fixed", environment),
    ("nothing_outside_the_binds_can_be_written", read_only),
    ("a_writable_bind_inside_a_read_only_one_is_writable", nested),
    ("what_is_not_shown_is_not_there", hidden),
    ("the_network_is_absent_but_loopback_works", network),
    ("the_hosts_network_only_when_asked_for", host_network),
    ("exit_codes_and_signals_are_told", exits),
    ("a_missing_program_is_an_error_with_its_name", missing_program),
    ("a_bad_target_is_an_error_with_its_name", bad_target),
    ("input_and_output_pass_through", streams),
    ("an_overlay_keeps_changes_apart", overlay),
    ("cancel_kills_grandchildren", cancel),
    ("a_left_daemon_dies_with_the_command", daemon),
    ("everything_dies_with_the_caller", orphan),
    ("no_capability_is_left_that_could_undo_the_sandbox", capabilities),
    ("the_hosts_kernel_cannot_be_changed_through_proc", kernel_settings),
    ("doctor_finds_a_working_sandbox", doctor),
];

/// Cases with preparations of their own.
const ALONE: (&str, fn(&Path)) = ("without_any_namespaces_the_error_says_what_to_do", refused);

/// Tells a process started by a case what to be.
const ROLE: &str = "SANDBOX_TEST_ROLE";
/// Tells it to run as root without user namespaces.
const REFUSED: &str = "SANDBOX_TEST_REFUSED";

fn main() -> ExitCode {
    sandbox::maybe_enter();
    match std::env::var(ROLE).as_deref() {
        Ok("caller") => return caller(),
        Ok(name) => {
            if std::env::var(REFUSED).is_ok() {
                refuse_user_namespaces(0);
            }
            let (_, case) = CASES.iter().chain([&ALONE]).find(|(n, _)| *n == name).expect("a case of this name");
            case(tempfile::tempdir().expect("a temporary folder").path());
            return ExitCode::SUCCESS;
        }
        Err(_) => {}
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    // the build folder may be closed to others, so an ordinary user gets a copy of this program
    let copy = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().expect("a folder");
    let program = copy.path().join("sandbox-test");
    fs::copy("/proc/self/exe", &program).expect("a copy of this program");
    let mut users = vec![User::Same, User::Refused];
    if rustix::process::geteuid().is_root() {
        users.push(User::Ordinary);
    }
    let mut failed = 0;
    let cases = CASES.iter().flat_map(|(name, _)| users.iter().map(move |user| (*name, *user)));
    for (name, user) in cases.chain([(ALONE.0, User::Same)]) {
        if !wanted.is_empty() && !wanted.iter().any(|w| name.contains(w.as_str())) {
            continue;
        }
        let mut command = Command::new(&program);
        command.env(ROLE, name).current_dir("/").stdin(Stdio::null());
        let as_whom = match user {
            User::Same => "",
            User::Refused => {
                command.env(REFUSED, "1");
                " (as root without user namespaces)"
            }
            User::Ordinary => {
                command.uid(65534).gid(65534);
                " (as an ordinary user)"
            }
        };
        let output = command.output().expect("this program starts");
        let word = if output.status.success() { "ok" } else { "FAILED" };
        say(&format!("test {name}{as_whom} ... {word}\n{}", String::from_utf8_lossy(&output.stderr)));
        failed += usize::from(!output.status.success());
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Clone, Copy)]
enum User {
    Same,
    Refused,
    Ordinary,
}

/// Moves this process into a user namespace in which no other can be made, as the given user there.
fn refuse_user_namespaces(uid: u32) {
    let (outer_uid, outer_gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    #[allow(deprecated)] // its replacement is unsafe for the sake of a flag that is not used here
    rustix::thread::unshare(rustix::thread::UnshareFlags::NEWUSER).expect("a user namespace");
    fs::write("/proc/self/setgroups", "deny").expect("setgroups");
    fs::write("/proc/self/uid_map", format!("{uid} {outer_uid} 1")).expect("a map");
    fs::write("/proc/self/gid_map", format!("{uid} {outer_gid} 1")).expect("a map");
    fs::write("/proc/sys/user/max_user_namespaces", "0").expect("a limit");
}

fn refused(dir: &Path) {
    refuse_user_namespaces(1000);
    let e = host(dir).output(["true"], b"", &Cancel::default()).expect_err("refused");
    assert!(matches!(e, Error::NoNamespaces { advice: NoNamespaces::Limit, .. }), "{e}");
    let report = probe(dir, None).expect("a report");
    assert!(!report.can_build());
    assert!(report.to_string().contains("hint: the limit of user namespaces is 0"), "{report}");
}

fn say(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(text.trim_end().as_bytes());
    let _ = std::io::stderr().write_all(b"\n");
}

/// The host's programs, and nothing else of it.
fn host(dir: &Path) -> Sandbox {
    let root = dir.join("toolbox");
    fs::create_dir_all(root.join("usr")).expect("a root");
    fs::create_dir_all(root.join("etc")).expect("a root");
    let mut sandbox = Sandbox::new(&root).bind(Bind::read_only("/usr", "/usr"));
    for name in ["bin", "sbin", "lib", "lib64"] {
        let path = Path::new("/").join(name);
        if path.is_symlink() {
            // a case may ask for the same world twice
            let _ = std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name));
        } else if path.is_dir() {
            sandbox = sandbox.bind(Bind::read_only(&path, &path));
        }
    }
    sandbox
}

fn shell(sandbox: &Sandbox, script: &str) -> (Exit, String) {
    let output = sandbox.output(["/bin/sh", "-c", script], b"", &Cancel::default()).expect("the sandbox works");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.exit, text)
}

fn user_and_host(dir: &Path) {
    let (exit, text) = shell(&host(dir), "id -u; id -g; uname -n; echo $$; umask; pwd");
    assert_eq!(text, "0\n0\nbuild\n2\n0022\n/\n");
    assert!(exit.success());
}

fn environment(dir: &Path) {
    let sandbox = host(dir).env("EXTRA", "1").env("TZ", "UTC0");
    let output = sandbox.output(["env"], b"", &Cancel::default()).expect("env runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    let expected = [
        "EXTRA=1",
        "HOME=/tmp",
        "LC_ALL=C.UTF-8",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "SOURCE_DATE_EPOCH=1767225600",
        "TZ=UTC0",
    ];
    assert_eq!(lines, expected);
}

fn read_only(dir: &Path) {
    fs::create_dir(dir.join("src")).expect("a folder");
    fs::create_dir(dir.join("out")).expect("a folder");
    let sandbox =
        host(dir).bind(Bind::read_only(dir.join("src"), "/src")).bind(Bind::writable(dir.join("out"), "/out"));
    for place in ["/", "/usr", "/etc", "/src", "/run", "/dev"] {
        let (exit, text) = shell(&sandbox, &format!("echo x > {place}/new"));
        assert!(!exit.success() && text.contains("Read-only file system"), "{place}: {text}");
    }
    let (exit, text) =
        shell(&sandbox, "echo out > /out/new && echo tmp > /tmp/new && echo > /dev/null && cat /tmp/new");
    assert!(exit.success(), "{text}");
    assert_eq!(fs::read_to_string(dir.join("out/new")).expect("the output"), "out\n");
    assert_eq!(fs::read_dir(dir.join("src")).expect("a folder").count(), 0);
    assert!(!dir.join("toolbox/src").exists(), "the toolbox on disk stays as it was");
}

fn nested(dir: &Path) {
    fs::create_dir_all(dir.join("src/target")).expect("a folder");
    fs::create_dir(dir.join("deps")).expect("a folder");
    let sandbox =
        host(dir).bind(Bind::read_only(dir.join("src"), "/src")).bind(Bind::writable(dir.join("deps"), "/src/target"));
    let (_, text) = shell(&sandbox, "echo a > /src/target/a; echo b > /src/b");
    assert!(dir.join("deps/a").exists() && text.contains("/src/b"), "{text}");
    assert!(!dir.join("src/b").exists());
}

fn hidden(dir: &Path) {
    let (_, text) =
        shell(&host(dir), "ls -d /root /home /sys /dev/kvm /dev/vda /var 2>/dev/null; ls /proc | grep -c '^[0-9]'");
    // PID 1, the shell, ls and grep at most
    assert!(text.trim().parse::<u32>().is_ok_and(|n| n <= 4), "{text}");
    let (_, text) = shell(&host(dir), "ls /dev");
    let names: Vec<_> = text.split_whitespace().collect();
    let expected =
        ["fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"];
    assert_eq!(names, expected);
}

fn network(dir: &Path) {
    let (_, text) = shell(&host(dir), "tail -n +3 /proc/net/dev | cut -d: -f1; cat /proc/net/route | tail -n +2");
    assert_eq!(text.trim(), "lo");
    // /proc/net/if_inet6 or fib_trie lists 127.0.0.1 only once the interface is up
    let (_, text) = shell(&host(dir), "grep -c 127.0.0.1 /proc/net/fib_trie");
    assert!(text.trim().parse::<u32>().is_ok_and(|n| n > 0), "loopback is up: {text}");
}

fn host_network(dir: &Path) {
    let mut sandbox = host(dir);
    sandbox.network = Network::Host;
    let (_, text) = shell(&sandbox, "cut -d: -f1 /proc/net/dev | tail -n +3");
    let mut inside: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
    let host = fs::read_to_string("/proc/net/dev").expect("the host's interfaces");
    let mut outside: Vec<_> =
        host.lines().skip(2).filter_map(|l| l.split(':').next()).map(|n| n.trim().to_owned()).collect();
    inside.sort();
    outside.sort();
    assert_eq!(inside, outside);
}

fn exits(dir: &Path) {
    assert_eq!(shell(&host(dir), "exit 0").0, Exit::Code(0));
    assert_eq!(shell(&host(dir), "exit 77").0, Exit::Code(77));
    assert_eq!(shell(&host(dir), "kill -9 $$").0, Exit::Signal(9));
    assert_eq!(shell(&host(dir), "kill -ABRT $$").0, Exit::Signal(6));
    assert_eq!(Exit::Signal(9).to_string(), "killed by signal 9");
}

fn missing_program(dir: &Path) {
    let e = host(dir).output(["mkfs.nothing", "x"], b"", &Cancel::default()).expect_err("there is none");
    assert!(matches!(&e, Error::Program { program, .. } if program == "mkfs.nothing"), "{e}");
    assert!(e.to_string().starts_with("cannot start `mkfs.nothing` in the sandbox: No such file"), "{e}");
}

fn bad_target(dir: &Path) {
    let cases = [
        (Bind::read_only(dir, "/usr/share/no/such"), "make it beforehand"),
        (Bind::read_only(dir.join("nothing"), "/src"), "nothing"),
        (Bind::read_only(dir, "/src/../etc"), "without `..`"),
        (Bind::read_only(dir, "/proc/self/x"), "symlink"),
    ];
    assert!(!Path::new("/usr/share/no").exists());
    for (bind, words) in cases {
        let e = host(dir).bind(bind.clone()).output(["true"], b"", &Cancel::default()).expect_err("refused");
        assert!(matches!(e, Error::Setup { .. }) && e.to_string().contains(words), "{bind:?}: {e}");
    }
    assert!(!Path::new("/usr/share/no").exists(), "nothing was made on the host");
}

fn streams(dir: &Path) {
    let input = vec![b'x'; 1 << 20];
    let output = host(dir).output(["sh", "-c", "cat; echo bad >&2"], &input, &Cancel::default()).expect("it runs");
    assert!(output.stdout == input && output.stderr == b"bad\n");
    let log = dir.join("log");
    let file = fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log");
    let exit =
        host(dir).run(["sh", "-c", "echo one; echo two >&2"], Io::log(&file).expect("a copy"), &Cancel::default());
    assert!(exit.expect("it runs").success());
    assert_eq!(fs::read_to_string(&log).expect("the log"), "one\ntwo\n");
}

fn overlay(dir: &Path) {
    for name in ["lower", "upper", "work"] {
        fs::create_dir(dir.join(name)).expect("a folder");
    }
    fs::write(dir.join("lower/old"), "old").expect("a file");
    let mut sandbox = host(dir);
    sandbox.overlays.push(Overlay {
        lower: vec![dir.join("lower")],
        upper: dir.join("upper"),
        work: dir.join("work"),
        target: "/target".into(),
    });
    let (exit, text) = shell(&sandbox, "cat /target/old; echo new > /target/new; rm /target/old; ls /target");
    assert!(exit.success(), "{text}");
    assert_eq!(text, "oldnew\n");
    assert!(dir.join("lower/old").exists() && !dir.join("lower/new").exists() && dir.join("upper/new").exists());
}

/// Waits until the file stops growing, and says whether it does.
fn quiet(path: &Path) -> bool {
    let size = || fs::metadata(path).map_or(0, |m| m.len());
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        let before = size();
        thread::sleep(Duration::from_millis(200));
        if size() == before {
            return true;
        }
    }
    false
}

/// A command whose grandchild writes for ever, in a session of its own.
const TICKING: &str = "setsid sh -c 'while :; do echo x >> /out/ticks; sleep 0.02; done' & ";

fn ticking(dir: &Path) -> Sandbox {
    fs::create_dir_all(dir.join("out")).expect("a folder");
    host(dir).bind(Bind::writable(dir.join("out"), "/out"))
}

fn wait_for(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !path.exists() {
        assert!(Instant::now() < deadline, "{} never came", path.display());
        thread::sleep(Duration::from_millis(10));
    }
}

fn cancel(dir: &Path) {
    let (sandbox, cancel, ticks) = (ticking(dir), Cancel::default(), dir.join("out/ticks"));
    let asked = thread::scope(|scope| {
        let asked = scope.spawn(|| {
            wait_for(&ticks);
            cancel.cancel();
            Instant::now()
        });
        let io = Io { stdin: Stdio::null(), stdout: Stdio::null(), stderr: Stdio::null() };
        let result = sandbox.run(["sh", "-c", &format!("{TICKING} sleep 1000")], io, &cancel);
        assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
        asked.join().expect("the other thread")
    });
    assert!(asked.elapsed() < Duration::from_secs(2), "quickly");
    let size = fs::metadata(&ticks).expect("ticks").len();
    thread::sleep(Duration::from_millis(200));
    assert_eq!(fs::metadata(&ticks).expect("ticks").len(), size, "all are dead when `run` returns");
}

fn daemon(dir: &Path) {
    let (exit, _) = shell(&ticking(dir), &format!("{TICKING} while ! test -e /out/ticks; do sleep 0.02; done"));
    assert!(exit.success());
    assert!(quiet(&dir.join("out/ticks")));
}

/// The process that [`orphan`] kills.
fn caller() -> ExitCode {
    let dir = std::env::var("SANDBOX_TEST_DIR").expect("a folder");
    let io = Io { stdin: Stdio::null(), stdout: Stdio::null(), stderr: Stdio::null() };
    let result = ticking(Path::new(&dir)).run(["sh", "-c", &format!("{TICKING} sleep 1000")], io, &Cancel::default());
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn orphan(dir: &Path) {
    let mut child =
        Command::new("/proc/self/exe").env(ROLE, "caller").env("SANDBOX_TEST_DIR", dir).spawn().expect("a caller");
    wait_for(&dir.join("out/ticks"));
    child.kill().expect("a kill");
    child.wait().expect("an end");
    assert!(quiet(&dir.join("out/ticks")), "the sandbox outlives its caller");
}

fn capabilities(dir: &Path) {
    let (_, text) = shell(&host(dir), "grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status");
    // bits of <linux/capability.h>: CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, FSETID 4, KILL 5, SETGID 6, SETUID 7, SETFCAP 31
    let kept = if std::env::var(REFUSED).is_ok() { "000000000000000a" } else { "00000000800000fb" };
    assert_eq!(text, format!("CapEff:\t{kept}\nCapBnd:\t{kept}\nNoNewPrivs:\t1\n"));
    let (exit, _) = shell(&host(dir), "mount -o remount,rw / 2>/dev/null || umount /usr 2>/dev/null");
    assert!(!exit.success());
}

/// Files below /proc ask for the user alone: with a root caller, uid 0 inside is the uid 0 that they ask for.
fn kernel_settings(dir: &Path) {
    let setting = "/proc/sys/kernel/core_pattern";
    let before = fs::read_to_string(setting).expect("the host's setting");
    for place in [setting, "/proc/sys/kernel/sysrq", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity"] {
        if !Path::new(place).exists() {
            continue;
        }
        // appended to: the shell's `>` would ask for truncation first
        let (exit, text) = shell(&host(dir), &format!("echo h >> {place}"));
        let refused = ["Read-only file system", "Permission denied"].iter().any(|words| text.contains(words));
        assert!(!exit.success() && refused, "{place}: {text}");
    }
    assert_eq!(fs::read_to_string(setting).expect("the host's setting"), before);
    let (exit, text) = shell(&host(dir), "cat /proc/keys /proc/kcore /proc/timer_list | wc -c; ls /proc/scsi | wc -l");
    assert!(exit.success(), "{text}");
    assert!(text.lines().filter(|l| !l.contains("No such file")).all(|l| l.trim() == "0"), "{text}");
    let (exit, text) = shell(&host(dir), "umount /proc/sys || mount -o remount,rw /proc/sys");
    assert!(!exit.success(), "{text}");
    // a trusted command that makes sandboxes itself finds nothing covered, or it could not
    let mut nested = host(dir);
    nested.nested = true;
    let (_, text) = shell(&nested, "grep -c ' /proc/' /proc/self/mountinfo");
    assert_eq!(text.trim(), "0");
}

fn doctor(dir: &Path) {
    let report = probe(dir, None).expect("a report");
    assert!(report.can_build(), "{report}");
    let refused = std::env::var(REFUSED).is_ok();
    let said = if refused { "limited  sandbox: build steps run as root without" } else { "ok       sandbox: build" };
    assert!(report.to_string().starts_with(said), "{report}");
    assert_eq!(sandbox::thinner(None).is_some(), refused);
    let names: Vec<_> = report.findings.iter().map(|f| f.what).collect();
    assert_eq!(names, ["sandbox", "overlay", "kvm", "memory", "disk"]);
}
