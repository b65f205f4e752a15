//! The OCI runtime specification of a service's container (OCI runtime-spec, config.md and config-linux.md).

use crate::error::Error;
use serde_json::{Value, json};
use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};
use store::{
    Image, ServiceSpec,
    service::{Limits, Mount, Network},
};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Capabilities by number (kernel, `include/uapi/linux/capability.h`).
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The capabilities that this program may pass on: its bounding set, of which the kernel may have fewer or more than
/// [`CAPABILITIES`].
pub(crate) struct Bounding(u64);

impl Bounding {
    /// This program's own.
    pub(crate) fn own() -> Result<Self, Error> {
        let path = "/proc/self/status";
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::parse(&text).ok_or_else(|| {
            Error::io("find CapBnd in", path)(io::Error::new(io::ErrorKind::InvalidData, "no such line"))
        })
    }

    fn parse(status: &str) -> Option<Self> {
        let set = status.lines().find_map(|l| l.strip_prefix("CapBnd:"))?;
        u64::from_str_radix(set.trim(), 16).ok().map(Self)
    }

    fn names(&self) -> Vec<&'static str> {
        (0..).zip(CAPABILITIES).filter(|(n, _)| self.0 >> n & 1 == 1).map(|(_, name)| name).collect()
    }
}

/// The facts of the host that a specification depends on.
pub(crate) struct Host<'a> {
    /// The container's cgroup.
    pub(crate) cgroup: &'a str,
    /// The capabilities of a privileged container.
    pub(crate) bounding: &'a Bounding,
    /// A file to see as /etc/resolv.conf, for a container on the host's network.
    pub(crate) resolv_conf: &'a Path,
}

/// The process of a container: its main one, or a further one with other arguments.
pub(crate) fn process(
    package: &str,
    image: &Image,
    spec: &ServiceSpec,
    args: &[String],
    bounding: &Bounding,
) -> Result<Value, Error> {
    let (uid, gid) = user(package, &image.document.config.user)?;
    let given = &image.document.config.env;
    let mut env: Vec<String> = given.iter().filter(|e| !overridden(e, spec)).cloned().collect();
    for (name, default) in [("PATH=", PATH), ("HOME=", "HOME=/root")] {
        if !env.iter().any(|e| e.starts_with(name)) && !spec.env.contains_key(name.trim_end_matches('=')) {
            env.push(default.to_owned());
        }
    }
    env.extend(spec.env.iter().map(|(name, value)| format!("{name}={value}")));
    let cwd = Some(image.document.config.working_dir.as_str()).filter(|d| !d.is_empty()).unwrap_or("/");
    let capabilities: Vec<&str> =
        if spec.privileged { bounding.names() } else { spec.capabilities.iter().map(String::as_str).collect() };
    let mut process = json!({
        "terminal": false,
        "user": {"uid": uid, "gid": gid},
        "args": args,
        "env": env,
        "cwd": cwd,
        "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        "noNewPrivileges": !spec.privileged,
    });
    if let Some(n) = spec.limits.open_files {
        process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": n, "hard": n}]);
    }
    Ok(process)
}

fn overridden(variable: &str, spec: &ServiceSpec) -> bool {
    variable.split_once('=').is_some_and(|(name, _)| spec.env.contains_key(name))
}

fn user(package: &str, text: &str) -> Result<(u32, u32), Error> {
    if text.is_empty() {
        return Ok((0, 0));
    }
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    match (uid.parse(), gid.parse()) {
        (Ok(uid), Ok(gid)) => Ok((uid, gid)),
        _ => Err(Error::Unfit {
            package: package.to_owned(),
            what: format!("user `{text}` of the image is not made of numbers"),
        }),
    }
}

/// The whole specification.
pub(crate) fn container(package: &str, image: &Image, spec: &ServiceSpec, host: &Host<'_>) -> Result<Value, Error> {
    let host_network = spec.network == Network::Host;
    let mut namespaces = vec!["mount"];
    for (own, name) in [
        (!spec.host_pid, "pid"),
        (!spec.host_ipc, "ipc"),
        (!host_network, "network"),
        (!host_network, "uts"),
        (!spec.privileged, "cgroup"),
    ] {
        if own {
            namespaces.push(name);
        }
    }
    let namespaces: Vec<_> = namespaces.iter().map(|kind| json!({"type": kind})).collect();
    let shared = spec.mounts.iter().any(|m| m.shared);
    let (devices, rules) = devices(spec)?;
    let mut linux = json!({
        "namespaces": namespaces,
        "cgroupsPath": host.cgroup,
        "devices": devices,
        "resources": resources(&spec.limits, &rules),
        // mounts made inside reach the host only where the whole root lets them (as with Kubernetes' Bidirectional)
        "rootfsPropagation": if shared { "rshared" } else { "rslave" },
    });
    if !spec.privileged {
        linux["maskedPaths"] = json!([
            "/proc/acpi",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/sched_debug",
            "/proc/scsi",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/sys/devices/virtual/powercap",
            "/sys/firmware",
        ]);
        linux["readonlyPaths"] =
            json!(["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]);
    }
    let mut all = system_mounts(spec);
    if host_network {
        all.push(json!({
            "destination": "/etc/resolv.conf", "type": "bind", "source": host.resolv_conf,
            "options": ["bind", "ro"],
        }));
    }
    all.extend(spec.mounts.iter().filter(|m| !m.optional || Path::new(&m.source).exists()).map(mount));
    let mut text = json!({
        "ociVersion": "1.0.2",
        "process": process(package, image, spec, &spec.exec, host.bounding)?,
        "root": {"path": "rootfs", "readonly": !spec.writable_root},
        "mounts": all,
        "linux": linux,
    });
    if !host_network {
        text["hostname"] = json!(package);
    }
    Ok(text)
}

fn system_mounts(spec: &ServiceSpec) -> Vec<Value> {
    let one = |target: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": source, "options": options});
    let access = if spec.privileged { "rw" } else { "ro" };
    let mut all = vec![one("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])];
    if spec.privileged {
        // devices come and go
        all.push(one("/dev", "bind", "/dev", &["rbind", "rslave", "rw"]));
    } else {
        all.extend([
            one("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            one("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            one("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            one("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        ]);
    }
    all.extend([
        one("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
        one("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", access]),
        one("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
        one("/run", "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=755"]),
    ]);
    all
}

fn mount(mount: &Mount) -> Value {
    // a slave sees what the host mounts there later, and lets go of what the host unmounts
    let propagation = if mount.shared { "rshared" } else { "rslave" };
    let access = if mount.writable { "rw" } else { "ro" };
    json!({
        "destination": mount.target.as_ref().unwrap_or(&mount.source),
        "type": "bind",
        "source": mount.source,
        "options": ["rbind", propagation, access],
    })
}

/// The device nodes to make, and the rules of the device cgroup.
fn devices(spec: &ServiceSpec) -> Result<(Vec<Value>, Vec<Value>), Error> {
    if spec.privileged {
        return Ok((Vec::new(), vec![json!({"allow": true, "access": "rwm"})]));
    }
    let (mut nodes, mut rules) = (Vec::new(), vec![json!({"allow": false, "access": "rwm"})]);
    let optional = spec.optional_devices.iter().map(|path| (path, true));
    for (path, optional) in spec.devices.iter().map(|path| (path, false)).chain(optional) {
        let meta = match fs::metadata(path) {
            Err(e) if optional && e.kind() == io::ErrorKind::NotFound => continue,
            meta => meta.map_err(Error::io("look at the device", path))?,
        };
        let number = meta.rdev();
        let kind = match meta.mode() & 0o170_000 {
            0o020_000 => "c",
            0o060_000 => "b",
            _ => return Err(Error::Unfit { package: path.clone(), what: "it is not a device node".to_owned() }),
        };
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        nodes.push(json!({
            "path": path, "type": kind, "major": major, "minor": minor,
            "fileMode": meta.mode() & 0o7777, "uid": meta.uid(), "gid": meta.gid(),
        }));
        rules.push(json!({"allow": true, "type": kind, "major": major, "minor": minor, "access": "rwm"}));
    }
    Ok((nodes, rules))
}

fn resources(limits: &Limits, devices: &[Value]) -> Value {
    /// Microseconds over which CPU time is counted.
    const PERIOD: u64 = 100_000;
    let mut resources = json!({"devices": devices});
    if let Some(memory) = limits.memory {
        resources["memory"] = json!({"limit": memory.0});
    }
    if let Some(pids) = limits.pids {
        resources["pids"] = json!({"limit": pids});
    }
    if let Some(milli) = limits.cpu_milli {
        resources["cpu"] = json!({"quota": u64::from(milli) * PERIOD / 1000, "period": PERIOD});
    }
    resources
}

#[cfg(test)]
#[path = "spec_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
