//! The status of the apps, as JSON and as a table.

use crate::{declarations::Fault, hypervisor::Facts};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};

/// The state of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Not running, and nothing is about to start it.
    #[default]
    Stopped,
    /// Being started.
    Starting,
    /// Running.
    Running,
    /// Paused by the hypervisor, because it cannot write to a disk.
    Paused,
    /// An operator or a reload wants it stopped, and it still runs.
    Stopping,
    /// It has ended, and starts again after a pause.
    Waiting,
    /// It has ended, and its declaration does not let it start again.
    Ended,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Waiting => "waiting",
            Self::Ended => "ended",
        })
    }
}

/// One app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppStatus {
    /// Its name.
    pub(crate) name: String,
    /// `machine` or `container`.
    pub(crate) kind: String,
    /// Its declaration.
    pub(crate) file: String,
    /// Its state.
    pub(crate) state: State,
    /// Why it is paused, while it is.
    #[serde(default)]
    pub(crate) paused: Option<String>,
    /// Of the run, while it runs.
    pub(crate) run: Option<Facts>,
    /// How often vmm started it again after it had ended.
    pub(crate) restarts: u32,
    /// How the last run ended, or why it did not start.
    pub(crate) last_end: Option<String>,
}

/// The status of the service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The hypervisor.
    pub(crate) hypervisor: String,
    /// The apps, by name.
    pub(crate) apps: Vec<AppStatus>,
    /// What is wrong with declarations.
    pub(crate) faults: Vec<Fault>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        if self.apps.is_empty() {
            // writing to a String cannot fail
            let _ = writeln!(text, "no app is declared in /config/apps or /persist/apps");
        } else {
            let _ =
                writeln!(text, "{:<20} {:<10} {:<9} {:<5} {:>8}  LAST END", "APP", "KIND", "STATE", "BY", "RESTARTS");
        }
        for app in &self.apps {
            let by = app.run.as_ref().map_or("-", |run| run.acceleration.as_str());
            let end = app.last_end.as_deref().unwrap_or("-").lines().next().unwrap_or("-");
            let _ =
                writeln!(text, "{:<20} {:<10} {:<9} {by:<5} {:>8}  {end}", app.name, app.kind, app.state, app.restarts);
        }
        for app in &self.apps {
            if let Some(why) = &app.paused {
                let _ = writeln!(text, "\n{}: paused: {why}; it goes on when vmm can write again", app.name);
            }
        }
        for fault in &self.faults {
            let _ = writeln!(text, "\n{}", fault.text);
        }
        f.write_str(text.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_apps_and_faults() {
        let web = AppStatus {
            name: "web".into(),
            kind: "container".into(),
            state: State::Running,
            run: Some(Facts { acceleration: "kvm".into(), pid: Some(7), uuid: String::new() }),
            restarts: 2,
            last_end: Some("exit code 1".into()),
            ..AppStatus::default()
        };
        let data = AppStatus {
            name: "data".into(),
            kind: "machine".into(),
            state: State::Paused,
            paused: Some("no space on P3".into()),
            ..AppStatus::default()
        };
        let fault =
            Fault { file: "/config/apps/x.yml".into(), line: 3, column: 1, text: "/config/apps/x.yml:3:1: no".into() };
        let status = Status { hypervisor: "qemu".into(), apps: vec![web, data], faults: vec![fault] };
        let expected = "\
APP                  KIND       STATE     BY    RESTARTS  LAST END
web                  container  running   kvm          2  exit code 1
data                 machine    paused    -            0  -

data: paused: no space on P3; it goes on when vmm can write again

/config/apps/x.yml:3:1: no";
        assert_eq!(status.to_string(), expected);
        assert!(Status::default().to_string().starts_with("no app is declared"));
    }
}
