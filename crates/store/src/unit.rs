use crate::service::{Restart, ServiceSpec};
use std::fmt::Write as _;

/// The systemd unit of a service package.
#[must_use]
pub fn unit_name(package: &str) -> String {
    format!("evek-{package}.service")
}

/// The text of the systemd unit that runs a service package, for `/usr/lib/systemd/system/evek-<package>.service`.
///
/// - The unit is active when its readiness probe has succeeded; `svc run` notifies systemd.
/// - It wants containerd and the services before it, but does not require them: a restart of containerd leaves running
///   containers alone.
/// - A failure does not fail the units that wait for it (`RestartMode=direct`, systemd.service(5)); pauses between restarts grow.
/// - The container's processes are in a cgroup below the unit's (`Delegate`), beside `svc` itself, which is in `svc`
///   there: systemd accounts for them, and kills them when `svc` is gone. Limits are the container's cgroup's.
#[must_use]
pub fn unit_text(package: &str, summary: &str, spec: &ServiceSpec) -> String {
    let after: Vec<_> = spec.after.iter().map(|p| unit_name(p)).collect();
    let after = after.join(" ");
    // a `%` begins a specifier in unit files (systemd.unit(5))
    let summary = summary.replace('%', "%%").replace(['\n', '\r'], " ");
    let mut text = format!(
        "[Unit]\nDescription={summary}\nWants=containerd.service stored-register.service {after}\n\
         After=containerd.service stored-register.service {after}\nStartLimitIntervalSec=0\n\n"
    )
    .replace(" \n", "\n");
    text.push_str("[Service]\nType=notify\nNotifyAccess=main\n");
    // writing to a String cannot fail
    let _ = writeln!(text, "ExecStart=/usr/bin/svc run {package}");
    let restart = match spec.restart {
        Restart::Always => "always",
        Restart::OnFailure => "on-failure",
        Restart::No => "no",
    };
    let _ = writeln!(text, "Restart={restart}");
    if spec.restart != Restart::No {
        text.push_str("RestartMode=direct\nRestartSec=1\nRestartSteps=5\nRestartMaxDelaySec=30\n");
    }
    // `svc run` gives up first and logs the reason; systemd's own limit is for a `svc` that hangs
    match spec.ready.as_ref().and_then(|probe| probe.give_up) {
        Some(seconds) => {
            let _ = writeln!(text, "TimeoutStartSec={}", u64::from(seconds) + 60);
        }
        None => text.push_str("TimeoutStartSec=infinity\n"),
    }
    text.push_str("TimeoutStopSec=60\nWatchdogSec=60\nKillMode=mixed\nSlice=evek.slice\n");
    text.push_str("Delegate=yes\nDelegateSubgroup=svc\n");
    let _ = writeln!(text, "SyslogIdentifier={package}\n");
    text.push_str("[Install]\nRequiredBy=evek-ready.target\n");
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn spec(json: &str) -> ServiceSpec {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_plain_service_is_restarted_and_waited_for() {
        let text = unit_text("time", "Keeps 100 % of the clock", &spec(r#"{"exec": ["chronyd"]}"#));
        assert_eq!(
            text,
            "\
[Unit]
Description=Keeps 100 %% of the clock
Wants=containerd.service stored-register.service
After=containerd.service stored-register.service
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart=/usr/bin/svc run time
Restart=always
RestartMode=direct
RestartSec=1
RestartSteps=5
RestartMaxDelaySec=30
TimeoutStartSec=infinity
TimeoutStopSec=60
WatchdogSec=60
KillMode=mixed
Slice=evek.slice
Delegate=yes
DelegateSubgroup=svc
SyslogIdentifier=time

[Install]
RequiredBy=evek-ready.target
"
        );
    }

    #[test]
    fn order_restart_and_time_limit_come_from_the_specification() {
        let text = unit_text(
            "b",
            "B",
            &spec(
                r#"{"exec": ["b"], "after": ["a", "time"], "restart": "no", "ready": {"exec": ["ok"], "give_up": 30}}"#,
            ),
        );
        let has = |line: &str| assert!(text.lines().any(|l| l == line), "no line `{line}` in:\n{text}");
        has("After=containerd.service stored-register.service evek-a.service evek-time.service");
        has("Wants=containerd.service stored-register.service evek-a.service evek-time.service");
        has("Restart=no");
        has("TimeoutStartSec=90");
        assert!(!text.contains("RestartSec"));
    }
}
