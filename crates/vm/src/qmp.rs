//! QEMU's control socket: the QEMU Machine Protocol (docs/interop/qmp-spec in QEMU).
//!
//! ```text
//! QEMU: {"QMP": {"version": …}}                 us: {"execute": "qmp_capabilities"}
//! QEMU: {"return": {}}                          us: {"execute": "system_powerdown"}
//! QEMU: {"event": "SHUTDOWN", "data": {…}}      at any time
//! ```
//! One JSON object a line. QEMU connects to *our* listening socket, so that there is no moment at which it runs and its
//! socket does not exist yet. Only the few commands of this crate are known; answers stay untyped JSON.

use crate::{Error, console::Watch};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

/// Something that happened to the machine, such as `SHUTDOWN` or `VSERPORT_CHANGE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// QEMU's name for it.
    pub name: String,
    /// What belongs to it; `null` where nothing does.
    pub data: Value,
}

/// What QEMU sends: a line of the protocol, understood.
#[derive(Debug, PartialEq, Eq)]
enum Message {
    Greeting,
    Event(Event),
    Reply(Result<Value, String>),
}

/// Understands one line.
fn parse(line: &str) -> Result<Message, Error> {
    let bad = || Error::Qmp(format!("QEMU sent `{}`, which is no QMP message", line.trim()));
    let mut message: Value = serde_json::from_str(line).map_err(|_| bad())?;
    let mut take = |key: &str| message.get_mut(key).map(Value::take);
    if take("QMP").is_some() {
        return Ok(Message::Greeting);
    }
    if let Some(Value::String(name)) = take("event") {
        return Ok(Message::Event(Event { name, data: take("data").unwrap_or(Value::Null) }));
    }
    if let Some(value) = take("return") {
        return Ok(Message::Reply(Ok(value)));
    }
    let error = take("error").ok_or_else(bad)?;
    Ok(Message::Reply(Err(error["desc"].as_str().unwrap_or("no reason given").to_owned())))
}

/// The control socket of one machine.
#[derive(Debug)]
pub(crate) struct Qmp {
    socket: PathBuf,
    connected: Receiver<UnixStream>,
    stream: Option<UnixStream>,
    replies: Receiver<Result<Value, String>>,
}

/// How long QEMU may take to answer; it answers from its main loop, which a busy host can hold up.
const ANSWER: Duration = Duration::from_secs(30);

impl Qmp {
    /// Listens on `socket`, where a QEMU started next will connect; its events go to `watch`.
    pub(crate) fn listen(socket: &Path, watch: Watch) -> Result<Self, Error> {
        let listener = UnixListener::bind(socket).map_err(Error::io("listen on", socket))?;
        let (stream_in, connected) = channel();
        let (reply_in, replies) = channel();
        thread::spawn(move || {
            // Every end of this thread closes the channels, which ends every wait for an answer.
            let Ok((stream, _)) = listener.accept() else { return };
            serve(stream, &stream_in, &reply_in, &watch);
        });
        Ok(Self { socket: socket.to_owned(), connected, stream: None, replies })
    }

    /// Runs a command and gives its answer.
    pub(crate) fn execute(&mut self, command: &str) -> Result<Value, Error> {
        self.execute_with(command, &json!({}))
    }

    /// As [`execute`](Self::execute), with arguments.
    pub(crate) fn execute_with(&mut self, command: &str, arguments: &Value) -> Result<Value, Error> {
        if self.stream.is_none() {
            self.stream = Some(self.connected.recv_timeout(ANSWER).map_err(|e| lost(command, e))?);
        }
        let stream = self.stream.as_mut().ok_or_else(|| lost(command, RecvTimeoutError::Disconnected))?;
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        stream.write_all(line.as_bytes()).map_err(|_| lost(command, RecvTimeoutError::Disconnected))?;
        let reply = self.replies.recv_timeout(ANSWER).map_err(|e| lost(command, e))?;
        reply.map_err(|reason| Error::Qmp(format!("QEMU refused `{command}`: {reason}")))
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        // Releases the thread if QEMU never connected.
        drop(UnixStream::connect(&self.socket));
    }
}

fn lost(command: &str, why: RecvTimeoutError) -> Error {
    Error::Qmp(match why {
        RecvTimeoutError::Timeout => format!("QEMU did not answer `{command}` within {} s", ANSWER.as_secs()),
        RecvTimeoutError::Disconnected => format!("QEMU has closed its control socket before `{command}`"),
    })
}

/// Reads QEMU's side to its end. The connection is handed on once capabilities are negotiated.
fn serve(stream: UnixStream, connected: &Sender<UnixStream>, replies: &Sender<Result<Value, String>>, watch: &Watch) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut negotiated = false;
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        match parse(&line) {
            Ok(Message::Greeting) => {
                if writer.write_all(b"{\"execute\": \"qmp_capabilities\"}\n").is_err() {
                    return;
                }
            }
            Ok(Message::Event(event)) => watch.change(|seen| seen.event(event)),
            Ok(Message::Reply(_)) if !negotiated => {
                negotiated = true;
                let Ok(writer) = writer.try_clone() else { return };
                if connected.send(writer).is_err() {
                    return;
                }
            }
            Ok(Message::Reply(reply)) => {
                if replies.send(reply).is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn lines_of_the_protocol() {
        let event = parse(r#"{"timestamp":{"seconds":1},"event":"SHUTDOWN","data":{"guest":true}}"#).unwrap();
        assert_eq!(event, Message::Event(Event { name: "SHUTDOWN".into(), data: json!({"guest": true}) }));
        let refused = parse(r#"{"error":{"class":"GenericError","desc":"no such device"}}"#).unwrap();
        assert_eq!(refused, Message::Reply(Err("no such device".into())));
        assert_eq!(parse(r#"{"return":{}}"#).unwrap(), Message::Reply(Ok(json!({}))));
        for bad in ["", "QEMU 10.0 monitor", "{}", "[1]"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    /// A QEMU that greets, sends an event between command and answer, refuses one command and hangs up.
    fn fake_qemu(socket: &Path) -> thread::JoinHandle<Vec<String>> {
        let mut stream = UnixStream::connect(socket).unwrap();
        thread::spawn(move || {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut heard = Vec::new();
            let mut say = |text: &str| stream.write_all(format!("{text}\r\n").as_bytes()).unwrap();
            say(r#"{"QMP":{"version":{"qemu":{"major":10}}}}"#);
            heard.push(lines.next().unwrap().unwrap());
            say(r#"{"return":{}}"#);
            heard.push(lines.next().unwrap().unwrap());
            say(r#"{"event":"POWERDOWN"}"#);
            say(r#"{"return":{}}"#);
            heard.push(lines.next().unwrap().unwrap());
            say(r#"{"error":{"class":"CommandNotFound","desc":"never heard of it"}}"#);
            heard
        })
    }

    #[test]
    fn commands_are_answered_in_order_with_events_between() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("qmp");
        let watch = Watch::default();
        let mut qmp = Qmp::listen(&socket, watch.clone()).unwrap();
        let qemu = fake_qemu(&socket);
        assert_eq!(qmp.execute("system_powerdown").unwrap(), json!({}));
        let deadline = Instant::now() + Duration::from_secs(60);
        assert_eq!(watch.until(deadline, |s| s.events.first().map(|e| e.name.clone())).unwrap(), "POWERDOWN");
        let refused = qmp.execute("fly").unwrap_err().to_string();
        assert_eq!(refused, "QEMU refused `fly`: never heard of it");
        let heard = qemu.join().unwrap();
        assert!(heard[0].contains("qmp_capabilities") && heard[1].contains("system_powerdown"), "{heard:?}");
        let gone = qmp.execute("quit").unwrap_err().to_string();
        assert_eq!(gone, "QEMU has closed its control socket before `quit`");
    }
}
