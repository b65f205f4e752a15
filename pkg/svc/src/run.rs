//! The life of a service's container.
//!
//! The image's configuration and the container's specification come from the store, which dm-verity covers. containerd
//! contributes the mounts of the container's root, and those are compared with the image's layers before they are used
//! (`api::Root`).

use crate::{
    NAMESPACE, Options, SNAPSHOTTER,
    error::Error,
    exec::{KILL, Try, any, exit_code, probe},
    folders,
    spec::{self, Bounding, Host},
    status::{self, Phase},
    stdio::Pipes,
};
use api::{
    Code, Containerd, LayerMount, Root, Status,
    message::{
        Labels, Mount,
        snapshot::PrepareSnapshotRequest,
        task::{Container, CreateTaskRequest, KillRequest, ProcessRequest, Runtime},
    },
    notify::{notify, watchdog},
};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};
use store::{Image, ServiceSpec, Store};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, timeout},
};

const TERM: u32 = 15;
/// How long a service may take to end after SIGTERM; shorter than the unit's `TimeoutStopSec`.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// How long containerd may be away, for a restart of it.
const AWAY_AT_MOST: Duration = Duration::from_secs(60);
/// systemd-resolved's own address (resolved.conf(5)); unlike its file, it never changes.
const RESOLV_CONF: &str = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n";

/// Runs the service until it ends or systemd stops this program; the exit code for systemd.
pub(crate) async fn run(store: &Store, package: &str, options: &Options) -> Result<u8, Error> {
    let (image, service) = store.service(package)?;
    let mut stop = signal(SignalKind::terminate()).map_err(Error::system("receive signals"))?;
    keep_watchdog();
    status::note(options, package, Phase::Starting, &[])?;
    let connect = Containerd::connect(&options.containerd, NAMESPACE).await;
    let containerd = connect.map_err(Error::containerd("connect"))?;
    // left over when this program was killed
    remove(&containerd, package).await?;
    let pipes = Pipes::open(options.run.join(package))?;
    let made = start(&containerd, store, image, service, &pipes, options).await;
    let ended = match made {
        Ok(()) => watch(&containerd, package, image, service, &mut stop, options).await,
        Err(e) => Err(e),
    };
    let connect = Containerd::connect(&options.containerd, NAMESPACE).await;
    let containerd = connect.map_err(Error::containerd("connect"))?;
    let removed = remove(&containerd, package).await;
    pipes.finish().await?;
    status::forget(options, package)?;
    let code = ended?;
    removed?;
    Ok(code)
}

fn tell(state: &str) -> Result<(), Error> {
    notify(state).map_err(Error::system("notify systemd"))
}

/// Notifies systemd, at the period of the unit's watchdog, that this program's one thread still turns.
fn keep_watchdog() {
    let Some(period) = watchdog() else { return };
    tokio::spawn(async move {
        loop {
            // a notice that systemd does not receive is the watchdog's concern
            let _ = notify("WATCHDOG=1");
            sleep(period).await;
        }
    });
}

/// The cgroup beside this program's own in the unit's: `0::/evek.slice/evek-x.service/svc` → `…/container`.
fn cgroup(own: &str, package: &str) -> String {
    let unit = own.lines().find_map(|l| l.strip_prefix("0::")).and_then(|path| path.strip_suffix("/svc"));
    unit.map_or_else(|| format!("/evek/{package}"), |unit| format!("{unit}/container"))
}

async fn start(
    containerd: &Containerd,
    store: &Store,
    image: &Image,
    service: &ServiceSpec,
    pipes: &Pipes,
    options: &Options,
) -> Result<(), Error> {
    let package = image.name.package();
    let begin = Instant::now();
    let volatile = options.run.join(package).join("volatile");
    let service = &folders::made(service, &volatile)?;
    status::note(options, package, Phase::Starting, &folders::replaced(service, &volatile))?;
    let resolv_conf = options.run.join("resolv.conf");
    fs::write(&resolv_conf, RESOLV_CONF).map_err(Error::io("write", &resolv_conf))?;
    let path = Path::new("/proc/self/cgroup");
    let own = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let host = Host { cgroup: &cgroup(&own, package), bounding: &Bounding::own()?, resolv_conf: &resolv_conf };
    let container = spec::container(package, image, service, &host)?;
    let top = image
        .top()
        .ok_or_else(|| Error::Unfit { package: package.to_owned(), what: "its image has no layers".to_owned() })?;

    // the record first: it keeps the snapshot from the garbage collector
    let record = Container {
        id: package.to_owned(),
        labels: Labels::new(),
        image: image.name.to_string(),
        runtime: Some(Runtime { name: "io.containerd.runc.v2".to_owned(), options: None }),
        spec: Some(any("Spec", &container)),
        snapshotter: SNAPSHOTTER.to_owned(),
        snapshot_key: package.to_owned(),
    };
    containerd.create_container(record).await.map_err(Error::containerd("make the container"))?;
    let request = PrepareSnapshotRequest {
        snapshotter: SNAPSHOTTER.to_owned(),
        key: package.to_owned(),
        parent: top.to_string(),
        labels: Labels::new(),
    };
    let rootfs = containerd.prepare(request).await.map_err(Error::containerd("make the container's root"))?;
    verify_root(store, image, &rootfs, options)?;
    let task = CreateTaskRequest {
        container_id: package.to_owned(),
        rootfs,
        stdin: String::new(),
        stdout: pipes.path("stdout"),
        stderr: pipes.path("stderr"),
        options: None,
    };
    containerd.create_task(task).await.map_err(Error::containerd("make the container's process"))?;
    let pid = containerd.start(main_process(package)).await.map_err(Error::containerd("start the process"))?;
    eprintln!("{} started as process {pid} in {} ms", image.name, begin.elapsed().as_millis());
    Ok(())
}

/// The root is the image's layers in the store, with a writable folder above.
fn verify_root(store: &Store, image: &Image, rootfs: &[Mount], options: &Options) -> Result<(), Error> {
    let mount = |layer: &store::Layer| LayerMount {
        folder: options.layers.join(layer.blob.hex()),
        blob: store.blob(&layer.blob),
    };
    let layers: Vec<_> = image.layers.iter().map(mount).collect();
    let path = Path::new("/proc/self/mountinfo");
    let mountinfo = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let root = Root { layers: &layers, writable: Some(&options.snapshots) };
    root.verify(rootfs, &mountinfo).map_err(|source| Error::Root { package: image.name.package().to_owned(), source })
}

fn main_process(package: &str) -> ProcessRequest {
    ProcessRequest { container_id: package.to_owned(), exec_id: String::new() }
}

/// Waits for the end of the process, over restarts of containerd.
async fn wait(options: &Options, package: &str) -> Result<u32, Error> {
    let mut away: Option<Instant> = None;
    loop {
        let result = match Containerd::connect(&options.containerd, NAMESPACE).await {
            Ok(containerd) => {
                away = None;
                containerd.wait(main_process(package)).await
            }
            Err(status) => Err(status),
        };
        match result {
            Ok(code) => return Ok(code),
            Err(status) if status.code == Code::Unavailable => {
                if away.get_or_insert_with(Instant::now).elapsed() > AWAY_AT_MOST {
                    return Err(Error::Containerd { action: "wait for the process", status });
                }
                sleep(Duration::from_secs(1)).await;
            }
            Err(status) => return Err(Error::Containerd { action: "wait for the process", status }),
        }
    }
}

async fn watch(
    containerd: &Containerd,
    package: &str,
    image: &Image,
    service: &ServiceSpec,
    stop: &mut Signal,
    options: &Options,
) -> Result<u8, Error> {
    let end = wait(options, package);
    tokio::pin!(end);
    tokio::select! {
        code = &mut end => return code.map(|code| ended(package, code)),
        _ = stop.recv() => {}
        result = async {
            become_ready(containerd, package, image, service).await?;
            status::change(options, package, Phase::Ready)?;
            tell(&format!("READY=1\nSTATUS={} is ready", image.name))?;
            std::future::pending::<Result<(), Error>>().await
        } => result?,
    }
    // systemd stops the service: no exit code is a failure
    tell("STOPPING=1")?;
    status::change(options, package, Phase::Stopping)?;
    send(options, package, TERM, false).await.map_err(Error::containerd("stop the process"))?;
    match timeout(STOP_WITHIN, &mut end).await {
        Ok(code) => drop(code?),
        Err(_) => {
            eprintln!("{package} has not ended {} s after SIGTERM: killing it", STOP_WITHIN.as_secs());
            send(options, package, KILL, true).await.map_err(Error::containerd("kill the process"))?;
            let ended = timeout(STOP_WITHIN, end).await.map_err(|_| Error::Unfit {
                package: package.to_owned(),
                what: format!("its process does not end within {} s after SIGKILL", STOP_WITHIN.as_secs()),
            })?;
            ended?;
        }
    }
    Ok(0)
}

fn ended(package: &str, code: u32) -> u8 {
    eprintln!("{package} ended with exit code {code}");
    exit_code(code)
}

async fn become_ready(
    containerd: &Containerd,
    package: &str,
    image: &Image,
    service: &ServiceSpec,
) -> Result<(), Error> {
    let Some(ready) = &service.ready else { return Ok(()) };
    let process = spec::process(package, image, service, &ready.exec, &Bounding::own()?)?;
    let begin = Instant::now();
    let mut noted = None;
    loop {
        let last = match probe(containerd, package, &process, Duration::from_secs(ready.timeout.into())).await {
            Ok(Try::Ready) => {
                eprintln!("{package} is ready after {:.1} s", begin.elapsed().as_secs_f32());
                return Ok(());
            }
            Ok(last) => last.to_string(),
            // its process may be ending, or containerd restarting: `wait` reports both
            Err(status) => status.to_string(),
        };
        if let Some(seconds) = ready.give_up.filter(|s| begin.elapsed() > Duration::from_secs((*s).into())) {
            let probe = ready.exec.join(" ");
            return Err(Error::NotReady { package: package.to_owned(), seconds, probe, last });
        }
        if noted.as_ref() != Some(&last) {
            tell(&format!("STATUS=Not ready: probe ended with {last}"))?;
            noted = Some(last);
        }
        sleep(Duration::from_secs(ready.period.into())).await;
    }
}

async fn send(options: &Options, package: &str, signal: u32, all: bool) -> Result<(), Status> {
    let containerd = Containerd::connect(&options.containerd, NAMESPACE).await?;
    let request = KillRequest { container_id: package.to_owned(), exec_id: String::new(), signal, all };
    gone(containerd.kill(request).await)
}

/// An object that does not exist is removed already.
fn gone<T>(result: Result<T, Status>) -> Result<(), Status> {
    match result {
        Err(status) if status.code != Code::NotFound => Err(status),
        _ => Ok(()),
    }
}

/// Removes task, container and snapshot, whatever of them there is.
async fn remove(containerd: &Containerd, package: &str) -> Result<(), Error> {
    let kill = KillRequest { container_id: package.to_owned(), exec_id: String::new(), signal: KILL, all: true };
    match containerd.kill(kill).await {
        Ok(()) => {
            let end = timeout(STOP_WITHIN, containerd.wait(main_process(package))).await;
            end.map_or(Ok(()), gone).map_err(Error::containerd("wait for the process"))?;
        }
        // not there, or ended already
        Err(status) if matches!(status.code, Code::NotFound | Code::FailedPrecondition) => {}
        Err(status) => return Err(Error::Containerd { action: "kill the process", status }),
    }
    gone(containerd.delete_task(package).await).map_err(Error::containerd("delete the process's record"))?;
    gone(containerd.delete_container(package).await).map_err(Error::containerd("delete the container's record"))?;
    gone(containerd.remove_snapshot(SNAPSHOTTER, package).await)
        .map_err(Error::containerd("remove the container's root"))
}

#[cfg(test)]
#[path = "run_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
