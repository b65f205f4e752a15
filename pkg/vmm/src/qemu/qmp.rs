//! QEMU's control protocol (QEMU, `docs/interop/qmp-spec.rst`): JSON, one message a line.

use serde_json::{Value, json};
use std::io;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// A control connection.
pub(crate) struct Qmp {
    lines: Lines<BufReader<OwnedReadHalf>>,
    write: OwnedWriteHalf,
}

impl Qmp {
    /// Negotiates a connection that QEMU has made.
    pub(crate) async fn open(stream: UnixStream) -> io::Result<Self> {
        let (read, write) = stream.into_split();
        let mut qmp = Self { lines: BufReader::new(read).lines(), write };
        qmp.message().await?;
        qmp.ask("qmp_capabilities").await?;
        Ok(qmp)
    }

    /// Sends a command without waiting for its answer.
    pub(crate) async fn send(&mut self, command: &str) -> io::Result<()> {
        self.write.write_all(format!("{}\n", json!({ "execute": command })).as_bytes()).await
    }

    /// Sends a command and returns its answer. It drops events that come first, so call it before the guest runs.
    pub(crate) async fn ask(&mut self, command: &str) -> io::Result<Value> {
        self.send(command).await?;
        loop {
            let mut message = self.message().await?;
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
            if let Some(error) = message.get("error") {
                return Err(io::Error::other(format!("{command}: {error}")));
            }
        }
    }

    /// The next message. May be dropped while it waits: nothing is lost.
    pub(crate) async fn message(&mut self) -> io::Result<Value> {
        let line = self.lines.next_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(serde_json::from_str(&line)?)
    }
}

/// QEMU's reason for its end, such as `guest-shutdown`, where the message is that event.
pub(crate) fn shutdown_reason(message: &Value) -> Option<&str> {
    (message["event"] == "SHUTDOWN").then(|| message["data"]["reason"].as_str().unwrap_or("unknown"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn answers_are_told_from_events() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let qemu = async move {
            let (read, mut write) = theirs.into_split();
            let mut lines = BufReader::new(read).lines();
            write.write_all(b"{\"QMP\": {}}\n").await.unwrap();
            assert_eq!(lines.next_line().await.unwrap().unwrap(), r#"{"execute":"qmp_capabilities"}"#);
            write.write_all(b"{\"return\": {}}\n").await.unwrap();
            assert_eq!(lines.next_line().await.unwrap().unwrap(), r#"{"execute":"query-kvm"}"#);
            write.write_all(b"{\"event\": \"RESUME\"}\n{\"return\": {\"enabled\": true}}\n").await.unwrap();
            write.write_all(b"{\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"guest-shutdown\"}}\n").await.unwrap();
        };
        let vmm = async move {
            let mut qmp = Qmp::open(ours).await.unwrap();
            assert_eq!(qmp.ask("query-kvm").await.unwrap()["enabled"], true);
            assert_eq!(shutdown_reason(&qmp.message().await.unwrap()), Some("guest-shutdown"));
            assert_eq!(qmp.message().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        };
        tokio::join!(qemu, vmm);
    }
}
