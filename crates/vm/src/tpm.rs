//! A TPM 2.0 for a machine: swtpm, which keeps its state beside the machine and ends with it.

use crate::{
    Error,
    tools::{Call, Running, Tools, Uses, heard},
};
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use std::{fs, io::Read as _, mem::MaybeUninit, path::Path, sync::mpsc::channel, thread, time::Duration};
use types::Arch;

/// Names within the sockets' folder and the machine's.
pub(crate) const SOCKET: &str = "tpm";
const STATE: &str = "tpm";
/// It starts in milliseconds.
const START: Duration = Duration::from_secs(30);

/// Removes a TPM's state: the next one is new from the factory.
pub(crate) fn forget(dir: &Path) -> Result<(), Error> {
    let state = dir.join(STATE);
    match fs::remove_dir_all(&state) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &state)(e)),
        _ => Ok(()),
    }
}

/// Copies the state of the TPM of another machine.
pub(crate) fn copy(from: &Path, dir: &Path) -> Result<(), Error> {
    let (from, state) = (from.join(STATE), dir.join(STATE));
    fs::create_dir(&state).map_err(Error::io("make folder", &state))?;
    for file in fs::read_dir(&from).map_err(Error::io("take over", &from))? {
        let file = file.map_err(Error::io("take over", &from))?;
        fs::copy(file.path(), state.join(file.file_name())).map_err(Error::io("take over", &file.path()))?;
    }
    Ok(())
}

/// Starts a TPM with the state that is in its folder, or as new from the factory; QEMU may connect to it when this is done.
pub(crate) fn start(tools: &Tools, dir: &Path, sockets: &Path) -> Result<Running, Error> {
    let state = dir.join(STATE);
    fs::create_dir_all(&state).map_err(Error::io("make folder", &state))?;
    let io = |e: rustix::io::Errno| Error::io("watch", sockets)(e.into());
    let watch = inotify::init(CreateFlags::CLOEXEC).map_err(io)?;
    inotify::add_watch(&watch, sockets, WatchFlags::CREATE).map_err(io)?;

    let (machine, shared) = (Uses::machine(dir), Uses::sockets(sockets));
    let state = format!("dir={}", machine.view().join(STATE).display());
    let control = format!("type=unixio,path={}", shared.view().join(SOCKET).display());
    let args = ["socket", "--tpm2", "--tpmstate", &state, "--ctrl", &control];
    let mut tpm = tools.spawn(&Call::new("swtpm", args).uses(machine).uses(shared), heard())?;

    let (tell, told) = channel();
    let ready = tell.clone();
    thread::spawn(move || {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(watch, &mut buffer);
        while let Ok(event) = events.next() {
            if event.file_name().is_some_and(|name| name.to_bytes() == SOCKET.as_bytes()) {
                return ready.send(None);
            }
        }
        Ok(())
    });
    if let Some(mut errors) = tpm.stderr() {
        // what it says ends when it ends
        thread::spawn(move || {
            let mut said = String::new();
            let _ = errors.read_to_string(&mut said);
            tell.send(Some(said))
        });
    }
    match told.recv_timeout(START) {
        Ok(None) => Ok(tpm),
        Ok(Some(said)) => Err(Error::Program { program: "swtpm".to_owned(), exit: tpm.wait()?, said }),
        Err(_) => Err(Error::Program {
            program: "swtpm".to_owned(),
            exit: sandbox::Exit::Signal(9),
            said: format!("it was not ready within {} s", START.as_secs()),
        }),
    }
}

/// QEMU's arguments for it.
pub(crate) fn hardware(arch: Arch, socket: &str) -> Vec<String> {
    let device = match arch {
        Arch::Amd64 => "tpm-tis,tpmdev=tpm",
        Arch::Arm64 => "tpm-tis-device,tpmdev=tpm",
    };
    let chardev = format!("socket,id=tpm,path={socket}");
    ["-chardev", &chardev, "-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", device].map(str::to_owned).to_vec()
}
