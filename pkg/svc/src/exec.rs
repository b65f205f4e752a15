//! Programs inside a running container.

use crate::{NAMESPACE, Options, error::Error, spec, stdio::Pipes};
use api::{
    Code, Containerd, Status,
    message::{
        Any,
        task::{ExecProcessRequest, KillRequest, ProcessRequest},
    },
};
use serde_json::Value;
use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use store::Store;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

/// `SIGKILL`.
pub(crate) const KILL: u32 = 9;

/// A containerd `Any` with JSON, as its Go types are registered (containerd, `typeurl`).
pub(crate) fn any(kind: &str, value: &Value) -> Any {
    Any {
        type_url: format!("types.containerd.io/opencontainers/runtime-spec/1/{kind}"),
        value: value.to_string().into_bytes(),
    }
}

/// A name for a further process, unlike those of other programs and of this one before.
pub(crate) fn new_id() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("svc-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// `svc exec`: runs a program with this program's standard input and output; its exit code.
pub(crate) async fn exec(store: &Store, package: &str, args: &[String], options: &Options) -> Result<u8, Error> {
    let (image, service) = store.service(package)?;
    let process = spec::process(package, image, service, args, &spec::Bounding::own()?)?;
    let connect = Containerd::connect(&options.containerd, NAMESPACE).await;
    let containerd = connect.map_err(Error::containerd("connect"))?;
    let id = new_id();
    let pipes = Pipes::open(options.run.join(&id))?;
    let mut stdin = pipes.stdin()?;
    let request = ExecProcessRequest {
        container_id: package.to_owned(),
        stdin: pipes.path("stdin"),
        stdout: pipes.path("stdout"),
        stderr: pipes.path("stderr"),
        terminal: false,
        spec: Some(any("Process", &process)),
        exec_id: id.clone(),
    };
    let process = ProcessRequest { container_id: package.to_owned(), exec_id: id };
    containerd.exec(request).await.map_err(|status| not_running(package, status))?;
    let begun = containerd.start(process.clone()).await;
    if let Err(status) = begun {
        // what was made but never ran has nothing to lose
        let _ = containerd.delete_process(process).await;
        return Err(Error::Containerd { action: "start the program", status });
    }
    let feed = tokio::spawn({
        let (containerd, process) = (containerd.clone(), process.clone());
        async move {
            let mut buffer = vec![0; 16 << 10];
            let mut input = tokio::io::stdin();
            while let Ok(n @ 1..) = input.read(&mut buffer).await {
                if stdin.write_all(&buffer[..n]).await.is_err() {
                    return;
                }
            }
            drop(stdin);
            // the program may have ended before its input did
            let _ = containerd.close_stdin(process).await;
        }
    });
    let code = containerd.wait(process.clone()).await.map_err(Error::containerd("wait for the program"))?;
    feed.abort();
    containerd.delete_process(process).await.map_err(Error::containerd("delete the program's record"))?;
    pipes.finish().await?;
    // reading of standard input is not to be interrupted: it must not keep this program
    process::exit(i32::from(exit_code(code)))
}

fn not_running(package: &str, status: Status) -> Error {
    if matches!(status.code, Code::NotFound | Code::FailedPrecondition) {
        let what = format!("it does not run; see `systemctl status evek-{package}` ({status})");
        return Error::Unfit { package: package.to_owned(), what };
    }
    Error::Containerd { action: "run a program in the container", status }
}

/// Exit codes are bytes; containerd's own failures are larger.
pub(crate) fn exit_code(code: u32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// How one try of a probe ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Try {
    Ready,
    Failed(u32),
    TimedOut,
}

impl std::fmt::Display for Try {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready => f.write_str("success"),
            Self::Failed(code) => write!(f, "exit code {code}"),
            Self::TimedOut => f.write_str("no answer in time"),
        }
    }
}

/// Where a probe's output goes. Without any, the shim gives a `/dev/null` that is open for reading only, and programs that
/// check their writes fail.
const NOWHERE: &str = "file:///dev/null";

/// How long the container may take to end a program that was killed.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

/// Runs a program in the container without input, drops its output, and waits at most `at_most` for each step of it: making
/// the process, starting it, its end.
pub(crate) async fn probe(
    containerd: &Containerd,
    package: &str,
    process: &Value,
    at_most: Duration,
) -> Result<Try, Status> {
    let exec_id = new_id();
    let request = ExecProcessRequest {
        container_id: package.to_owned(),
        spec: Some(any("Process", process)),
        exec_id: exec_id.clone(),
        stdout: NOWHERE.to_owned(),
        stderr: NOWHERE.to_owned(),
        ..ExecProcessRequest::default()
    };
    let containerd = containerd.within(at_most.max(KILLED_WITHIN));
    containerd.exec(request).await?;
    let id = ProcessRequest { container_id: package.to_owned(), exec_id };
    let end = match containerd.start(id.clone()).await {
        Ok(_) => match timeout(at_most, containerd.wait(id.clone())).await {
            Ok(Ok(0)) => Ok(Try::Ready),
            Ok(Ok(code)) => Ok(Try::Failed(code)),
            Ok(Err(status)) => Err(status),
            Err(_) => kill(&containerd, &id).await.map(|()| Try::TimedOut),
        },
        Err(status) => Err(status),
    };
    // a record left behind goes with the task; the end of the try is more important
    let _ = containerd.delete_process(id).await;
    end
}

/// Kills a program and waits for its end.
async fn kill(containerd: &Containerd, id: &ProcessRequest) -> Result<(), Status> {
    let ProcessRequest { container_id, exec_id } = id.clone();
    match containerd.kill(KillRequest { container_id, exec_id, signal: KILL, all: false }).await {
        Err(status) if status.code == Code::NotFound => return Ok(()),
        killed => killed?,
    }
    let ended = timeout(KILLED_WITHIN, containerd.wait(id.clone())).await;
    ended.map_or_else(
        |_| Err(Status::new(Code::DeadlineExceeded, "the program does not end after SIGKILL")),
        |ended| ended.map(|_| ()),
    )
}
