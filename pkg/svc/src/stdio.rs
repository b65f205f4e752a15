//! Pipes between a container's process and this program.
//!
//! Named pipes, because containerd takes paths. Both ends are opened here at once, so that neither side waits for the
//! other to open it and a reader never sees an end: it stops when the process has ended and the pipe is empty.

use crate::error::Error;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};
use tokio::{
    net::unix::pipe::{OpenOptions, Receiver},
    sync::watch,
    task::JoinHandle,
};

/// The pipes of one process; their files are deleted with this value.
pub(crate) struct Pipes {
    folder: PathBuf,
    ended: watch::Sender<bool>,
    copies: Vec<JoinHandle<io::Result<()>>>,
}

impl Pipes {
    /// Makes `stdout` and `stderr` in `folder`, and copies what comes through to this program's own.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, Error> {
        match fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("delete", &folder)(e)),
            _ => {}
        }
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let (ended, end) = watch::channel(false);
        let mut pipes = Self { folder, ended, copies: Vec::new() };
        let (out, err) = (pipe(Path::new(&pipes.path("stdout")))?, pipe(Path::new(&pipes.path("stderr")))?);
        pipes.copies.push(tokio::spawn(copy(out, io::stdout(), end.clone())));
        pipes.copies.push(tokio::spawn(copy(err, io::stderr(), end)));
        Ok(pipes)
    }

    /// The path of `stdin`, `stdout` or `stderr`.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Makes `stdin`, too; the end to write to.
    pub(crate) fn stdin(&self) -> Result<tokio::net::unix::pipe::Sender, Error> {
        let path = self.path("stdin");
        make(Path::new(&path))?;
        OpenOptions::new().read_write(true).open_sender(&path).map_err(Error::io("open", path))
    }

    /// Copies the rest, now that the process has ended.
    pub(crate) async fn finish(mut self) -> Result<(), Error> {
        self.ended.send_replace(true);
        for copy in self.copies.drain(..) {
            let result = copy.await.map_err(io::Error::other).and_then(|copied| copied);
            result.map_err(Error::io("copy the output from", &self.folder))?;
        }
        Ok(())
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        // in /run, and made anew by the next run: nothing depends on it
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn make(path: &Path) -> Result<(), Error> {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .map_err(|e| Error::io("create the pipe", path)(e.into()))
}

fn pipe(path: &Path) -> Result<Receiver, Error> {
    make(path)?;
    OpenOptions::new().read_write(true).open_receiver(path).map_err(Error::io("open", path))
}

async fn copy(from: Receiver, mut to: impl Write, mut ended: watch::Receiver<bool>) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let over = *ended.borrow_and_update();
        match from.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                to.write_all(&buffer[..n])?;
                to.flush()?;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                if over {
                    return Ok(());
                }
                tokio::select! {
                    ready = from.readable() => ready?,
                    // the sender gone means the same as the process ended
                    _ = ended.wait_for(|over| *over) => {}
                }
            }
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn all_that_was_written_before_the_end_comes_through() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let from = pipe(&path).unwrap();
        let (ended, end) = watch::channel(false);
        let got = Shared::default();
        let copying = tokio::spawn(copy(from, got.clone(), end));
        let mut writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
        writer.write_all(b"one ").unwrap();
        tokio::task::yield_now().await;
        drop(writer);
        fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(b"two").unwrap();
        ended.send(true).unwrap();
        copying.await.unwrap().unwrap();
        assert_eq!(*got.0.lock().unwrap(), b"one two");
    }
}
