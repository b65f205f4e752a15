//! A guest's TPM 2.0: swtpm, one process a guest.

use crate::error::Error;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tokio::process::Command;

/// A running TPM.
pub(crate) struct Tpm {
    pid_file: PathBuf,
}

/// Starts it. With `--daemon` swtpm returns when its socket is there, and with `--terminate` it ends when QEMU disconnects.
pub(crate) async fn start(state: &Path, socket: &Path) -> Result<Tpm, Error> {
    fs::create_dir_all(state).map_err(Error::io("create", state))?;
    let pid_file = socket.with_extension("pid");
    let (state, path, pid) = (state.display(), socket.display(), pid_file.display());
    let mut command = Command::new("swtpm");
    command.args(["socket", "--tpm2", "--daemon", "--terminate"]);
    command.args(["--tpmstate", &format!("dir={state},mode=0600"), "--ctrl", &format!("type=unixio,path={path}")]);
    command.args(["--pid", &format!("file={pid}")]);
    let output = command.output().await.map_err(Error::io("run", "swtpm"))?;
    if output.status.success() {
        return Ok(Tpm { pid_file });
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Error::NotStarted { what: "the TPM", said: String::from_utf8_lossy(&said).trim().to_owned() })
}

impl Tpm {
    /// Waits for its end: as PID 1 of this container, this program is the parent of every orphan.
    pub(crate) async fn finish(self) {
        let text = fs::read_to_string(&self.pid_file).unwrap_or_default();
        let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else { return };
        // on SIGTERM it writes its state and ends; it may have ended with QEMU
        let _ = kill_process(pid, Signal::TERM);
        // not our child where this program is not PID 1: then someone else has waited for it
        let _ = tokio::task::spawn_blocking(move || waitpid(Some(pid), WaitOptions::empty())).await;
    }
}
