use crate::{Error, Io, NoNamespaces, Overlay, Sandbox, job::Kind};
use std::{fmt, fs, path::Path, process::Stdio};
use types::{Bytes, Cancel};

/// How good a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Builds work, with something slower or missing.
    Limited,
    /// Builds do not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// How good it is.
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
    /// What to do about it; `None` when it is good.
    pub advice: Option<String>,
}

/// What this host can and cannot do.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct HostReport {
    /// Everything that was looked at, in a fixed order.
    pub findings: Vec<Finding>,
}

impl HostReport {
    /// Whether images can be built here.
    #[must_use]
    pub fn can_build(&self) -> bool {
        self.findings.iter().all(|f| f.verdict != Verdict::Bad)
    }
}

impl fmt::Display for HostReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, finding) in self.findings.iter().enumerate() {
            let word = match finding.verdict {
                Verdict::Good => "ok     ",
                Verdict::Limited => "limited",
                Verdict::Bad => "MISSING",
            };
            let end = if i == 0 { "" } else { "\n" };
            write!(f, "{end}{word}  {}: {}", finding.what, finding.detail)?;
            if let Some(advice) = &finding.advice {
                write!(f, "\n         hint: {advice}")?;
            }
        }
        Ok(())
    }
}

/// What the probes found, before it is judged.
#[derive(Debug)]
struct Facts {
    /// What went wrong, by way of making the sandbox.
    user: Result<(), String>,
    plain: Result<(), String>,
    overlay: Result<(), String>,
    root: bool,
    advice: NoNamespaces,
    kvm: Result<(), std::io::ErrorKind>,
    memory: Option<Bytes>,
    disk: Option<Bytes>,
}

/// A cold build of the largest flavour stays below these.
const MEMORY: Bytes = Bytes::gib(2);
const DISK: Bytes = Bytes::gib(20);

/// Tries out what building needs. `cache` is the folder whose disk is looked at; `entry` as [`Sandbox::entry`].
///
/// # Errors
/// When not even a temporary folder can be made.
pub fn probe(cache: &Path, entry: Option<&Path>) -> Result<HostReport, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("create a folder in", std::env::temp_dir()))?;
    for name in ["root", "lower", "upper", "work"] {
        let path = dir.path().join(name);
        fs::create_dir(&path).map_err(Error::io("create", path))?;
    }
    let mut sandbox = Sandbox::new(dir.path().join("root"));
    sandbox.entry = entry.map(Path::to_owned);
    let user = attempt(&sandbox, Kind::User);
    let plain = attempt(&sandbox, Kind::Plain);
    sandbox.overlays.push(Overlay {
        lower: vec![dir.path().join("lower")],
        upper: dir.path().join("upper"),
        work: dir.path().join("work"),
        target: "/overlay".into(),
    });
    let overlay = attempt(&sandbox, Kind::Best);
    let existing = cache.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let facts = Facts {
        user,
        plain,
        overlay,
        root: rustix::process::geteuid().is_root(),
        advice: NoNamespaces::here(),
        kvm: fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").map(drop).map_err(|e| e.kind()),
        memory: fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text)),
        disk: rustix::fs::statvfs(existing).ok().map(|s| Bytes(s.f_bavail * s.f_frsize)),
    };
    Ok(judge(&facts))
}

/// Why and with what advice sandboxes are made without a user namespace here, because the caller is root and the host refuses
/// one; `None` where they have one, or cannot be made at all.
#[must_use]
pub fn thinner(entry: Option<&Path>) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let dir = tempfile::tempdir().ok()?;
    let mut sandbox = Sandbox::new(dir.path());
    sandbox.entry = entry.map(Path::to_owned);
    let refused = attempt(&sandbox, Kind::User).err()?;
    attempt(&sandbox, Kind::Plain).ok()?;
    Some(format!("{THINNER} ({refused}); {}", NoNamespaces::here()))
}

const THINNER: &str = "build steps run as root without user namespaces";

/// Builds a sandbox in which nothing runs.
fn attempt(sandbox: &Sandbox, kind: Kind) -> Result<(), String> {
    let io = Io { stdin: Stdio::null(), stdout: Stdio::null(), stderr: Stdio::null() };
    let ended = sandbox.start(kind, Vec::new(), io).and_then(|mut child| child.wait(&Cancel::default()));
    match ended {
        Ok(_) => Ok(()),
        // the advice is given once, in the finding
        Err(Error::NoNamespaces { source, .. }) => Err(format!("refused: {source}")),
        Err(e) => Err(e.to_string()),
    }
}

/// `MemAvailable` of /proc/meminfo, which is in units of 1024 bytes.
fn available(meminfo: &str) -> Option<Bytes> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| Bytes(kib << 10))
}

fn judge(facts: &Facts) -> HostReport {
    use Verdict::{Bad, Good, Limited};
    let mut findings = Vec::new();
    let mut add = |what, verdict, detail: String, advice: Option<String>| {
        findings.push(Finding { what, verdict, detail, advice: advice.filter(|_| verdict != Good) });
    };
    let who = if facts.root { "as root" } else { "as an ordinary user" };
    match (&facts.user, &facts.plain) {
        (Ok(()), _) => add("sandbox", Good, format!("build steps run in user namespaces, {who}"), None),
        (Err(e), Ok(())) => add("sandbox", Limited, format!("{THINNER} ({e})"), Some(facts.advice.to_string())),
        (Err(e), Err(_)) => {
            add("sandbox", Bad, format!("namespaces do not work {who} ({e})"), Some(facts.advice.to_string()));
        }
    }
    match &facts.overlay {
        Ok(()) => add("overlay", Good, "overlay file systems can be mounted in the sandbox".into(), None),
        Err(e) => add(
            "overlay",
            Limited,
            format!("no overlay file system in the sandbox ({e})"),
            Some(
                "use Linux 5.11 or newer with CONFIG_OVERLAY_FS, and keep the cache on ext4, xfs, btrfs or tmpfs"
                    .into(),
            ),
        ),
    }
    match facts.kvm {
        Ok(()) => {
            add("kvm", Good, "/dev/kvm can be opened; whether guests start is seen when one is booted".into(), None)
        }
        Err(kind) => {
            let (detail, advice) = if kind == std::io::ErrorKind::PermissionDenied {
                ("/dev/kvm is there but closed to you", "add yourself to the group that owns /dev/kvm and log in again")
            } else {
                ("no /dev/kvm", "turn on virtualisation in the firmware, or nested virtualisation in the hypervisor")
            };
            add("kvm", Limited, format!("{detail}: images boot in emulation, many times slower"), Some(advice.into()));
        }
    }
    let amounts = [
        ("memory", facts.memory, MEMORY, "close other programs, or lower the number of jobs with -j"),
        ("disk", facts.disk, DISK, "free some space, or make the cache smaller with `cargo xtask gc`"),
    ];
    for (what, found, wanted, advice) in amounts {
        match found {
            None => add(what, Limited, "cannot be read".into(), Some(format!("builds want {wanted} free"))),
            Some(n) if n < wanted => {
                add(what, Limited, format!("{n} free, builds want {wanted}"), Some(advice.into()));
            }
            Some(n) => add(what, Good, format!("{n} free"), None),
        }
    }
    HostReport { findings }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            user: Ok(()),
            plain: Err("refused".into()),
            overlay: Ok(()),
            root: false,
            advice: NoNamespaces::AppArmor,
            kvm: Ok(()),
            memory: Some(Bytes::gib(8)),
            disk: Some(Bytes::gib(100)),
        }
    }

    #[test]
    fn a_good_host_gets_no_advice() {
        let report = judge(&good());
        assert!(report.can_build());
        assert!(report.findings.iter().all(|f| f.verdict == Verdict::Good && f.advice.is_none()), "{report}");
    }

    #[test]
    fn without_any_namespaces_nothing_builds_and_the_advice_is_there() {
        let report = judge(&Facts { user: Err("refused: no".into()), ..good() });
        assert!(!report.can_build());
        let text = report.to_string();
        assert!(
            text.starts_with("MISSING  sandbox: namespaces do not work as an ordinary user (refused: no)"),
            "{text}"
        );
        assert!(text.contains("kernel.apparmor_restrict_unprivileged_userns=0"), "{text}");
    }

    #[test]
    fn root_with_plain_namespaces_can_build() {
        let report = judge(&Facts { user: Err("no".into()), plain: Ok(()), root: true, ..good() });
        assert!(report.can_build());
        assert_eq!(report.findings[0].verdict, Verdict::Limited);
    }

    #[test]
    fn each_lack_has_its_advice() {
        let report = judge(&Facts {
            overlay: Err("no".into()),
            kvm: Err(std::io::ErrorKind::PermissionDenied),
            memory: Some(Bytes::mib(100)),
            disk: Some(Bytes::gib(1)),
            ..good()
        });
        assert!(report.can_build(), "none of them stops a build");
        let advice: Vec<_> = report.findings.iter().filter_map(|f| f.advice.as_deref()).collect();
        assert_eq!(advice.len(), 4);
        for (text, word) in advice.iter().zip(["CONFIG_OVERLAY_FS", "group", "-j", "gc"]) {
            assert!(text.contains(word), "{text}");
        }
        let none = judge(&Facts { kvm: Err(std::io::ErrorKind::NotFound), ..good() });
        assert!(none.findings[2].detail.contains("no /dev/kvm"), "{none}");
    }

    #[test]
    fn memory_is_read_from_meminfo() {
        let text = "MemTotal:       24652376 kB\nMemFree:  1 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(available(text), Some(Bytes::mib(2)));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }
}
