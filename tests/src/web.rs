//! A web server of a folder for a guest, which can fail in the middle.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// Where a guest behind QEMU's address translation finds this host.
const HOST: &str = "10.0.2.2";

/// Serves GET, with ranges, as long as the test's process lives.
#[derive(Debug, Clone)]
pub struct Web {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    folder: PathBuf,
    sent: AtomicU64,
    /// Bytes that are still sent before every connection ends.
    left: AtomicU64,
}

impl Web {
    /// Serves a folder on a port of the loopback.
    ///
    /// # Panics
    /// When this host has no port.
    #[must_use]
    pub fn serve(folder: &Path) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap_or_else(|e| panic!("no port: {e}"));
        let port = listener.local_addr().map_or(0, |address| address.port());
        let state = State { folder: folder.to_owned(), sent: AtomicU64::new(0), left: AtomicU64::new(u64::MAX) };
        let state = Arc::new(state);
        let own = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&own);
                // a guest that hangs up is no failure of the server
                thread::spawn(move || drop(answer(&stream, &state)));
            }
        });
        Self { port, state }
    }

    /// The address of a file of the folder, for the guest.
    #[must_use]
    pub fn address(&self, path: &str) -> String {
        format!("http://{HOST}:{}/{path}", self.port)
    }

    /// Bytes of files that were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::Relaxed)
    }

    /// Goes away after so many bytes more.
    pub fn fail_after(&self, bytes: u64) {
        self.state.left.store(bytes, Ordering::Relaxed);
    }

    /// Is there again.
    pub fn recover(&self) {
        self.fail_after(u64::MAX);
    }
}

fn answer(stream: &TcpStream, state: &State) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut range = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some((start, end)) = line.strip_prefix("range: bytes=").and_then(|r| r.split_once('-')) {
            range = Some((start.parse::<u64>().unwrap_or(0), end.parse::<u64>().ok()));
        }
    }
    let mut out = stream;
    let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
    let Ok(mut file) = File::open(state.folder.join(path)) else {
        return out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let len = file.metadata()?.len();
    let (start, end) = range.map_or((0, len), |(start, end)| (start.min(len), end.map_or(len, |e| (e + 1).min(len))));
    let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
    let size = end - start;
    write!(out, "HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n")?;
    file.seek(SeekFrom::Start(start))?;
    let mut buffer = vec![0; 1 << 16];
    let mut rest = file.take(size);
    loop {
        let most = usize::try_from(state.left.load(Ordering::Relaxed)).unwrap_or(usize::MAX).min(buffer.len());
        let n = rest.read(&mut buffer[..most])?;
        if n == 0 {
            return Ok(());
        }
        out.write_all(&buffer[..n])?;
        state.sent.fetch_add(n as u64, Ordering::Relaxed);
        let left = state.left.load(Ordering::Relaxed);
        if left != u64::MAX {
            state.left.store(left.saturating_sub(n as u64), Ordering::Relaxed);
        }
    }
}
