//! A guest's serial console. The service keeps the last of its output for later clients, and every client may type.
//!
//! ```text
//! guest ──► last 64 KiB ──► every client          any client ──► guest
//! ```
//! The console outlives its guest: a client stays connected over a restart.

use crate::error::Error;
use std::{
    collections::VecDeque,
    fs, io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::{broadcast, mpsc},
};

/// How much of the past is kept.
const KEPT: usize = 64 << 10;
/// How many pieces a slow client may be behind before it misses some.
const BEHIND: usize = 256;

/// A console.
#[derive(Debug, Clone)]
pub(crate) struct Console {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    past: Mutex<VecDeque<u8>>,
    now: broadcast::Sender<Vec<u8>>,
    /// The guest's input, while there is a guest.
    keyboard: Mutex<Option<mpsc::Sender<Vec<u8>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Console {
    /// Without a past.
    pub(crate) fn new() -> Self {
        let (now, _) = broadcast::channel(BEHIND);
        Self { inner: Arc::new(Inner { past: Mutex::default(), now, keyboard: Mutex::default() }) }
    }

    /// Connects a guest; the task ends with the guest's output.
    pub(crate) fn connect(
        &self,
        mut output: impl AsyncRead + Send + Unpin + 'static,
        mut input: impl AsyncWrite + Send + Unpin + 'static,
    ) {
        let (keyboard, mut typed) = mpsc::channel::<Vec<u8>>(BEHIND);
        *lock(&self.inner.keyboard) = Some(keyboard);
        tokio::spawn(async move {
            while let Some(bytes) = typed.recv().await {
                if input.write_all(&bytes).await.and(input.flush().await).is_err() {
                    return;
                }
            }
        });
        let console = self.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            while let Ok(n @ 1..) = output.read(&mut buffer).await {
                console.write(&buffer[..n]);
            }
        });
    }

    /// Sends text to all clients, and keeps it for later ones.
    pub(crate) fn write(&self, bytes: &[u8]) {
        // the lock is held while it is sent, so that a new client neither misses nor repeats it
        let mut past = lock(&self.inner.past);
        past.extend(bytes);
        let over = past.len().saturating_sub(KEPT);
        past.drain(..over);
        // there may be no client
        let _ = self.inner.now.send(bytes.to_vec());
    }

    fn listen(&self) -> (Vec<u8>, broadcast::Receiver<Vec<u8>>) {
        let past = lock(&self.inner.past);
        (past.iter().copied().collect(), self.inner.now.subscribe())
    }

    /// Serves the console on a socket, for ever.
    pub(crate) fn serve(&self, socket: &Path) -> Result<tokio::task::JoinHandle<()>, Error> {
        let listener = listener(socket)?;
        let console = self.clone();
        Ok(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let console = console.clone();
                // a client that goes away is no error of ours
                tokio::spawn(async move { drop(console.client(client).await) });
            }
        }))
    }

    async fn client(&self, client: UnixStream) -> io::Result<()> {
        let (mut read, mut write) = client.into_split();
        let (past, mut now) = self.listen();
        write.write_all(&past).await?;
        let typing = async {
            let mut buffer = vec![0; 4096];
            while let Ok(n @ 1..) = read.read(&mut buffer).await {
                let keyboard = lock(&self.inner.keyboard).clone();
                if let Some(keyboard) = keyboard {
                    // input is lost while there is no guest, as with any machine that is off
                    let _ = keyboard.send(buffer[..n].to_vec()).await;
                }
            }
            // a client that types no more may go on reading
            std::future::pending::<()>().await;
        };
        let reading = async {
            loop {
                match now.recv().await {
                    Ok(bytes) => write.write_all(&bytes).await?,
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                }
            }
        };
        tokio::select! { () = typing => Ok(()), end = reading => end }
    }
}

/// Listens on a socket, in place of an earlier one.
pub(crate) fn listener(socket: &Path) -> Result<UnixListener, Error> {
    if let Some(folder) = socket.parent() {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    match fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", socket)(e)),
        _ => {}
    }
    UnixListener::bind(socket).map_err(Error::io("listen on", socket))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn read(stream: &mut UnixStream, length: usize) -> String {
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_comes_late_reads_the_past_and_goes_on_with_the_present() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("web/console");
        let console = Console::new();
        console.serve(&socket).unwrap();
        let (guest, vmm) = tokio::io::duplex(64);
        let (output, input) = tokio::io::split(vmm);
        console.connect(output, input);
        let (mut listens, mut speaks) = tokio::io::split(guest);
        let mut first = UnixStream::connect(&socket).await.unwrap();
        speaks.write_all(b"login: ").await.unwrap();
        assert_eq!(read(&mut first, 7).await, "login: ");
        let mut late = UnixStream::connect(&socket).await.unwrap();
        assert_eq!(read(&mut late, 7).await, "login: ");
        late.write_all(b"root\n").await.unwrap();
        let mut typed = [0; 5];
        listens.read_exact(&mut typed).await.unwrap();
        assert_eq!(&typed, b"root\n");
        speaks.write_all(b"hi").await.unwrap();
        assert_eq!((read(&mut first, 2).await, read(&mut late, 2).await), ("hi".to_owned(), "hi".to_owned()));
    }

    #[test]
    fn only_the_last_of_the_past_is_kept() {
        let console = Console::new();
        console.write(&vec![b'a'; KEPT]);
        console.write(b"end");
        let (past, _) = console.listen();
        assert_eq!(past.len(), KEPT);
        assert!(past.ends_with(b"aend"));
    }
}
