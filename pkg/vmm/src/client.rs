//! The commands of an operator, which reach the service by its socket.

use crate::{
    error::Error,
    paths::Paths,
    service::{Answer, Command},
    status::Status,
    terminal::{Escape, Filter},
};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    thread,
};

/// Sends a command to the service and returns its answer.
pub(crate) fn ask(paths: &Paths, command: &Command) -> Result<Option<Status>, Error> {
    let socket = paths.socket();
    let no_answer = |what: String| Error::NoAnswer { path: socket.clone(), what };
    let mut answer = String::new();
    let asked = UnixStream::connect(&socket).and_then(|mut service| {
        service.write_all(format!("{}\n", serde_json::to_string(command)?).as_bytes())?;
        BufReader::new(service).read_line(&mut answer)
    });
    asked.map_err(|e| no_answer(e.to_string()))?;
    match serde_json::from_str(&answer).map_err(|e| no_answer(e.to_string()))? {
        Answer::Done => Ok(None),
        Answer::Status(status) => Ok(Some(status)),
        Answer::Error(text) => Err(Error::Refused(text)),
    }
}

/// The key that ends a session at a console: Ctrl-], as with telnet.
const LEAVE: u8 = 0x1d;

/// Connects standard input and output with an app's console, until Ctrl-], the service's end, or the last text of `until`. The
/// end of the input does not end it, because answers to a pipe come later.
///
/// A guest may write anything: a terminal gets the output through [`Filter`], anything else through [`Escape`].
pub(crate) fn console(paths: &Paths, app: &str, until: &[String]) -> Result<(), Error> {
    let status = ask(paths, &Command::Status)?.unwrap_or_default();
    if !status.apps.iter().any(|a| a.name == app) {
        let known: Vec<_> = status.apps.iter().map(|a| a.name.as_str()).collect();
        return Err(Error::Refused(format!("there is no app `{app}`: there is {}", known.join(", "))));
    }
    let socket = paths.console(app);
    let mut console = UnixStream::connect(&socket).map_err(Error::io("connect to", &socket))?;
    let mut keyboard = console.try_clone().map_err(Error::io("use", &socket))?;
    let raw = Raw::enter()?;
    if raw.is_some() {
        eprint!("[console of {app}; Ctrl-] leaves]\r\n");
    }
    let interactive = raw.is_some();
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(n @ 1..) = io::stdin().read(&mut buffer) {
            let typed = &buffer[..n];
            let leave = typed.iter().position(|b| *b == LEAVE).filter(|_| interactive);
            let sent = keyboard.write_all(&typed[..leave.unwrap_or(n)]);
            if leave.is_some() || sent.is_err() {
                // the other side of this program sees the end and leaves
                let _ = keyboard.shutdown(Shutdown::Both);
                return;
            }
        }
    });
    let mut wait = Until::new(until);
    let mut buffer = [0; 4096];
    let mut out = io::stdout().lock();
    let (mut filter, mut escape, to_terminal) = (Filter::default(), Escape::default(), isatty(io::stdout()));
    while let Ok(n @ 1..) = console.read(&mut buffer) {
        let text = if to_terminal { filter.pass(&buffer[..n]) } else { escape.pass(&buffer[..n]).into_bytes() };
        out.write_all(&text).and_then(|()| out.flush()).map_err(Error::io("write to", "standard output"))?;
        if wait.have_come(&buffer[..n]) {
            return Ok(());
        }
    }
    match wait.texts.first() {
        Some(text) => Err(Error::Refused(format!("the console ended without the text `{text}`"))),
        None => Ok(()),
    }
}

/// Looks for texts in a stream.
struct Until<'a> {
    /// Texts that have not come.
    texts: &'a [String],
    seen: Vec<u8>,
}

impl<'a> Until<'a> {
    const fn new(texts: &'a [String]) -> Self {
        Self { texts, seen: Vec::new() }
    }

    /// Whether the last text has come with this piece. Without texts it never has.
    fn have_come(&mut self, piece: &[u8]) -> bool {
        self.seen.extend_from_slice(piece);
        while let [text, more @ ..] = self.texts {
            let text = text.as_bytes();
            let Some(at) = self.seen.windows(text.len().max(1)).position(|w| w.starts_with(text)) else {
                // the last bytes may be the beginning of it
                let over = self.seen.len().saturating_sub(text.len());
                self.seen.drain(..over);
                return false;
            };
            self.seen.drain(..at + text.len());
            self.texts = more;
            if more.is_empty() {
                return true;
            }
        }
        self.seen.clear();
        false
    }
}

/// Makes the terminal pass every key on, until this is dropped.
struct Raw(Termios);

impl Raw {
    /// `None` where standard input is no terminal.
    fn enter() -> Result<Option<Self>, Error> {
        if !isatty(io::stdin()) {
            return Ok(None);
        }
        let failed = |e: rustix::io::Errno| Error::io("set up", "the terminal")(e.into());
        let before = tcgetattr(io::stdin()).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw).map_err(failed)?;
        Ok(Some(Self(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // the terminal may be gone
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_over_the_edges_of_pieces() {
        let texts = ["42\r\n".to_owned()];
        let mut until = Until::new(&texts);
        assert!(!until.have_come(b"echo $((6*7))\r\n4"));
        assert!(!until.have_come(b"2"));
        assert!(until.have_come(b"\r\n# "));
        assert!(!Until::new(&texts).have_come(b"4 2"));
        assert!(!Until::new(&[]).have_come(b"anything"));
    }

    #[test]
    fn texts_must_come_one_after_the_other() {
        let texts = ["signal 9", "ready"].map(str::to_owned);
        let mut until = Until::new(&texts);
        assert!(!until.have_come(b"ready signal 9"));
        assert!(until.have_come(b" ready"));
        assert!(Until::new(&texts).have_come(b"ready signal 9 ready"));
    }
}
