//! `vmm run`: every declared app with its life, and the socket for commands.
//!
//! A command is one line of JSON, its answer another: `{"do": "status"}`, `{"do": "stop", "app": "web"}`.

use crate::{
    console::{Console, listener},
    declarations::{self, Declared, Fault},
    error::Error,
    hypervisor::{End, Guest, Hypervisor},
    life::{Life, Stage, Wish, stopped},
    paths::Paths,
    prepare,
    status::{AppStatus, Status},
};
use app::{App, Kind};
use guest::{REPORT_AT, Report};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::PermissionsExt as _,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::{JoinHandle, LocalSet, spawn_local},
    time::timeout,
};

/// How long a client may take for a command, with the command itself: a reload waits for guests to end.
const CLIENT_WITHIN: Duration = Duration::from_secs(60);

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Command {
    Status,
    Start {
        app: String,
    },
    Stop {
        app: String,
    },
    Restart {
        app: String,
    },
    /// Reads the declarations again.
    Reload,
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    Done,
    Status(Status),
    Error(String),
}

/// One app of the service.
struct Entry {
    declared: Declared,
    status: Arc<Mutex<AppStatus>>,
    wishes: mpsc::Sender<Wish>,
    life: JoinHandle<()>,
    console: JoinHandle<()>,
}

struct Service {
    paths: Paths,
    hypervisor: Rc<dyn Hypervisor>,
    apps: BTreeMap<String, Entry>,
    faults: Vec<Fault>,
}

/// A declaration and the device that it is for.
struct Declaration {
    app: App,
    paths: Paths,
    hypervisor: Rc<dyn Hypervisor>,
}

impl Stage for Declaration {
    fn prepare(&self) -> Result<Guest, Error> {
        prepare::prepare(&self.app, &self.paths, &*self.hypervisor)
    }

    fn judge(&self, end: End) -> End {
        match self.app.kind() {
            Kind::Machine(_) => end,
            Kind::Container(_) => self.reported().map_or(end, |report| match report {
                Report::Ended(0) => End::Off,
                Report::Ended(code) => End::Failed(format!("exit code {code}")),
                Report::Failed(why) => End::Failed(why),
            }),
        }
    }
}

impl Declaration {
    /// The report that guest-init has left on the spec disk.
    fn reported(&self) -> Option<Report> {
        let mut bytes = Vec::new();
        let mut file = fs::File::open(prepare::spec_disk(&self.paths, &self.app.name)).ok()?;
        file.seek(SeekFrom::Start(REPORT_AT)).and_then(|_| file.read_to_end(&mut bytes)).ok()?;
        Report::from_bytes(&bytes).unwrap_or_else(|e| Some(Report::Failed(e.to_string())))
    }
}

/// Runs all apps until SIGTERM, and then switches every guest off.
pub(crate) async fn run(paths: Paths, hypervisor: Rc<dyn Hypervisor>) -> Result<(), Error> {
    LocalSet::new()
        .run_until(async move {
            let mut stop = signal(SignalKind::terminate()).map_err(Error::io("receive", "signals"))?;
            let socket = paths.socket();
            let commands = listener(&socket)?;
            only_root(&paths)?;
            let mut service = Service { paths, hypervisor, apps: BTreeMap::new(), faults: Vec::new() };
            service.reload().await;
            eprintln!("{} apps by {}, {} faults", service.apps.len(), service.hypervisor.name(), service.faults.len());
            loop {
                let client = tokio::select! {
                    client = commands.accept() => client,
                    _ = stop.recv() => break,
                };
                let (client, _) = client.map_err(Error::io("accept on", &socket))?;
                // a client that goes away, or sends nothing, is no error of ours
                let _ = timeout(CLIENT_WITHIN, service.answer(client)).await;
            }
            let lives: Vec<Entry> = std::mem::take(&mut service.apps).into_values().collect();
            stopped(async {
                let ends: Vec<_> = lives.into_iter().map(Entry::end).collect();
                for end in ends {
                    end.await;
                }
            })
            .await;
            Ok(())
        })
        .await
}

/// Lets only root into the folders with files of guests: a guest that has taken over its QEMU has the rights of that QEMU's
/// user, and must not read another guest's disks.
fn only_root(paths: &Paths) -> Result<(), Error> {
    for folder in [&paths.images, &paths.state, &paths.run] {
        let closed = fs::create_dir_all(folder).and_then(|()| {
            let open = fs::metadata(folder)?.permissions().mode() & 0o077 != 0;
            if open { fs::set_permissions(folder, Permissions::from_mode(0o700)) } else { Ok(()) }
        });
        closed.map_err(Error::io("close", folder))?;
    }
    Ok(())
}

impl Entry {
    /// Ends its life: it is stopped at once, and the future waits for that.
    fn end(self) -> impl Future<Output = ()> {
        drop(self.wishes);
        self.console.abort();
        async { drop(self.life.await) }
    }
}

impl Service {
    async fn answer(&mut self, client: UnixStream) -> io::Result<()> {
        let (read, mut write) = client.into_split();
        let line = BufReader::new(read).lines().next_line().await?.unwrap_or_default();
        let answer = match serde_json::from_str(&line) {
            Ok(command) => self.carry_out(command).await,
            Err(e) => Answer::Error(format!("not a command: {e}")),
        };
        write.write_all(format!("{}\n", serde_json::to_string(&answer)?).as_bytes()).await
    }

    async fn carry_out(&mut self, command: Command) -> Answer {
        let wishes: &[Wish] = match &command {
            Command::Status => return Answer::Status(self.status()),
            Command::Reload => {
                self.reload().await;
                return Answer::Done;
            }
            Command::Start { .. } => &[Wish::Start],
            Command::Stop { .. } => &[Wish::Stop],
            Command::Restart { .. } => &[Wish::Stop, Wish::Start],
        };
        let (Command::Start { app } | Command::Stop { app } | Command::Restart { app }) = &command else {
            return Answer::Done;
        };
        let Some(entry) = self.apps.get(app) else {
            let known: Vec<_> = self.apps.keys().map(String::as_str).collect();
            return Answer::Error(format!("there is no app `{app}`: there is {}", known.join(", ")));
        };
        for wish in wishes {
            if entry.wishes.try_send(*wish).is_err() {
                return Answer::Error(format!("`{app}` is still busy with earlier commands"));
            }
        }
        Answer::Done
    }

    fn status(&self) -> Status {
        let status = |entry: &Entry| entry.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Status {
            hypervisor: self.hypervisor.name().to_owned(),
            apps: self.apps.values().map(status).collect(),
            faults: self.faults.clone(),
        }
    }

    /// Reads the declarations. New apps begin, removed ones end, and changed ones end and begin.
    async fn reload(&mut self) {
        let (declared, faults) = declarations::read(&self.paths.declared);
        self.faults = faults;
        for fault in &self.faults {
            eprintln!("{}", fault.text);
        }
        let changed = |(name, entry): &(&String, &Entry)| declared.get(*name) != Some(&entry.declared);
        let gone: Vec<String> = self.apps.iter().filter(changed).map(|(name, _)| name.clone()).collect();
        let ends: Vec<_> = gone.iter().filter_map(|name| self.apps.remove(name)).map(Entry::end).collect();
        for end in ends {
            end.await;
        }
        for (name, declared) in declared {
            if self.apps.contains_key(&name) {
                continue;
            }
            match self.begin(declared) {
                Ok(entry) => drop(self.apps.insert(name, entry)),
                Err(e) => {
                    let text = format!("{name}: {e}");
                    eprintln!("{text}");
                    self.faults.push(Fault { file: String::new(), line: 0, column: 0, text });
                }
            }
        }
    }

    fn begin(&self, declared: Declared) -> Result<Entry, Error> {
        let app = &declared.app;
        let console = Console::new();
        let served = console.serve(&self.paths.console(&app.name))?;
        let status = Arc::new(Mutex::new(AppStatus {
            name: app.name.value.clone(),
            kind: if app.machine.is_some() { "machine" } else { "container" }.to_owned(),
            file: declared.file.display().to_string(),
            ..AppStatus::default()
        }));
        let (wishes, inbox) = mpsc::channel(8);
        let (paths, hypervisor) = (self.paths.clone(), Rc::clone(&self.hypervisor));
        let stage = Declaration { app: app.clone(), paths, hypervisor };
        let (restart, wanted, noted) = (app.restart, app.autostart, Arc::clone(&status));
        let hypervisor = Rc::clone(&self.hypervisor);
        let life = spawn_local(async move {
            let hypervisor = &*hypervisor;
            Life { stage, restart, hypervisor, console, status: noted, wishes: inbox }.live(wanted).await;
        });
        Ok(Entry { declared, status, wishes, life, console: served })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_one_json_object() {
        let text = serde_json::to_string(&Command::Stop { app: "web".into() }).unwrap_or_default();
        assert_eq!(text, r#"{"do":"stop","app":"web"}"#);
        assert!(serde_json::from_str::<Command>(r#"{"do":"explode"}"#).is_err());
    }

    #[test]
    fn only_root_enters_the_folders_of_guests() {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let at = |name: &str| dir.path().join(name);
        let paths = Paths { images: at("images"), state: at("vmm"), run: at("run"), ..Paths::default() };
        assert!(fs::create_dir(&paths.images).is_ok());
        for _ in 0..2 {
            only_root(&paths).unwrap_or_else(|e| panic!("{e}"));
            for folder in [&paths.images, &paths.state, &paths.run] {
                let mode = fs::metadata(folder).map(|meta| meta.permissions().mode() & 0o777).ok();
                assert_eq!(mode, Some(0o700), "{}", folder.display());
            }
        }
    }
}
