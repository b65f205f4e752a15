//! gRPC over HTTP/2 (gRPC's PROTOCOL-HTTP2.md).

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::{RecvStream, SendStream, client, server};
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;
use std::{fmt, future::Future, io, path::Path, sync::Arc, time::Duration};
use tokio::{
    net::{UnixListener, UnixStream},
    time::timeout,
};

/// Longest message accepted, as in containerd (16 MiB).
const MESSAGE_MAX: usize = 16 << 20;

/// gRPC's status codes that occur here (gRPC's statuscodes.md); any other is [`Code::Unknown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// None of the others.
    Unknown = 2,
    /// A malformed request.
    InvalidArgument = 3,
    /// The answer did not come in time.
    DeadlineExceeded = 4,
    /// The object does not exist.
    NotFound = 5,
    /// The object exists already.
    AlreadyExists = 6,
    /// The object's state forbids the call.
    FailedPrecondition = 9,
    /// Not offered.
    Unimplemented = 12,
    /// A fault of the server.
    Internal = 13,
    /// The server is not there, or not yet.
    Unavailable = 14,
}

impl Code {
    fn from_wire(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"0" => return None,
            b"3" => Self::InvalidArgument,
            b"4" => Self::DeadlineExceeded,
            b"5" => Self::NotFound,
            b"6" => Self::AlreadyExists,
            b"9" => Self::FailedPrecondition,
            b"12" => Self::Unimplemented,
            b"13" => Self::Internal,
            b"14" => Self::Unavailable,
            _ => Self::Unknown,
        })
    }
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What kind of failure.
    pub code: Code,
    /// The text for people.
    pub message: String,
}

impl Status {
    /// A status with that text.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.message, self.code)
    }
}

impl std::error::Error for Status {}

fn unavailable(what: &str, e: impl fmt::Display) -> Status {
    Status::new(Code::Unavailable, format!("{what}: {e}"))
}

fn frame(message: &impl Message) -> Bytes {
    let mut out = BytesMut::with_capacity(message.encoded_len() + 5);
    out.put_u8(0);
    out.put_u32(message.encoded_len() as u32);
    // the buffer grows as needed, which is the only way encoding can fail
    message.encode(&mut out).expect("a growing buffer takes every message");
    out.freeze()
}

/// Messages out of the body of a request or an answer.
struct Messages {
    body: RecvStream,
    buffer: BytesMut,
}

impl Messages {
    fn new(body: RecvStream) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(mut prefix) = self.buffer.get(..5) {
                let compressed = prefix.get_u8() != 0;
                let len = prefix.get_u32() as usize;
                if compressed || len > MESSAGE_MAX {
                    let text = format!("message of {len} bytes, compressed: {compressed}; the limit is {MESSAGE_MAX}");
                    return Err(Status::new(Code::Unimplemented, text));
                }
                if self.buffer.len() >= 5 + len {
                    self.buffer.advance(5);
                    return Ok(Some(self.buffer.split_to(len).freeze()));
                }
            }
            match self.body.data().await {
                Some(chunk) => {
                    let chunk = chunk.map_err(|e| unavailable("connection lost", e))?;
                    self.buffer.extend_from_slice(&chunk);
                    self.body
                        .flow_control()
                        .release_capacity(chunk.len())
                        .map_err(|e| unavailable("flow control", e))?;
                }
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(Status::new(Code::Internal, "the stream ends inside a message")),
            }
        }
    }
}

fn status_of(headers: &HeaderMap) -> Result<(), Status> {
    let Some(code) = headers.get("grpc-status") else {
        return Err(Status::new(Code::Unknown, "the answer has no grpc-status"));
    };
    let Some(code) = Code::from_wire(code.as_bytes()) else { return Ok(()) };
    let message = headers.get("grpc-message").map(|m| percent_decode(m.as_bytes())).unwrap_or_default();
    Err(Status { code, message })
}

fn percent_decode(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let pair = text.get(at + 1..at + 3).and_then(|p| std::str::from_utf8(p).ok());
        match pair.and_then(|p| u8::from_str_radix(p, 16).ok()).filter(|_| text[at] == b'%') {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn percent_encode(text: &str) -> String {
    let plain = |b: u8| (b' '..=b'~').contains(&b) && b != b'%';
    text.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}

/// How long a call may take where its caller sets no other limit. The slowest call makes a container's process, which takes
/// seconds on a busy machine; a server that needs longer than this hangs.
pub const DEADLINE: Duration = Duration::from_secs(120);
/// How long a connection may take to be established.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);

/// Parameters of a call that containerd reads from the request's headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// containerd's namespace.
    pub namespace: String,
    /// The lease that keeps new objects from the garbage collector.
    pub lease: Option<String>,
    /// How long the call may take. `None` is for calls that wait for an event, such as the end of a process.
    pub deadline: Option<Duration>,
}

impl Default for Context {
    fn default() -> Self {
        Self { namespace: String::new(), lease: None, deadline: Some(DEADLINE) }
    }
}

/// The deadline in gRPC's notation: at most eight digits and a unit (PROTOCOL-HTTP2.md, "Timeout").
fn grpc_timeout(deadline: Duration) -> String {
    let millis = deadline.as_millis();
    if millis < 100_000_000 { format!("{millis}m") } else { format!("{}S", deadline.as_secs().min(99_999_999)) }
}

/// One connection to a server; clones share it.
#[derive(Clone)]
pub struct Channel {
    requests: client::SendRequest<Bytes>,
}

impl Channel {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when nobody listens there.
    pub async fn connect(path: &Path) -> Result<Self, Status> {
        let failed = |e: &dyn fmt::Display| unavailable(&format!("cannot connect to {}", path.display()), e);
        let connecting = async {
            let stream = UnixStream::connect(path).await.map_err(|e| failed(&e))?;
            client::handshake(stream).await.map_err(|e| failed(&e))
        };
        let connected = timeout(CONNECT_WITHIN, connecting).await;
        let (requests, connection) = connected.map_err(|_| failed(&"the server does not accept the connection"))??;
        // the task ends with the connection, whose loss is an error of each call on it
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { requests })
    }

    /// Sends `requests` as the whole request stream to `method` (`/<package>.<Service>/<Method>`) and collects the answers.
    /// The server receives the deadline, too, and cancels the call.
    ///
    /// # Errors
    /// The server's status, [`Code::Unavailable`] when the connection is lost, or [`Code::DeadlineExceeded`].
    pub async fn call<Req: Message, Res: Message + Default>(
        &self,
        context: &Context,
        method: &str,
        requests: &[Req],
    ) -> Result<Vec<Res>, Status> {
        let exchange = self.exchange(context, method, requests);
        let Some(deadline) = context.deadline else { return exchange.await };
        timeout(deadline, exchange).await.unwrap_or_else(|_| {
            let text = format!("{method}: no answer within {:.1} s", deadline.as_secs_f32());
            Err(Status::new(Code::DeadlineExceeded, text))
        })
    }

    async fn exchange<Req: Message, Res: Message + Default>(
        &self,
        context: &Context,
        method: &str,
        requests: &[Req],
    ) -> Result<Vec<Res>, Status> {
        let lost = |e: h2::Error| unavailable(method, e);
        let mut request = Request::post(format!("http://localhost{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("containerd-namespace", &context.namespace);
        if let Some(lease) = &context.lease {
            request = request.header("containerd-lease", lease);
        }
        if let Some(deadline) = context.deadline {
            request = request.header("grpc-timeout", grpc_timeout(deadline));
        }
        let request = request.body(()).map_err(|e| Status::new(Code::InvalidArgument, format!("{method}: {e}")))?;
        let mut sender = self.requests.clone().ready().await.map_err(lost)?;
        let (response, mut body) = sender.send_request(request, false).map_err(lost)?;
        for request in requests {
            body.send_data(frame(request), false).map_err(lost)?;
        }
        body.send_data(Bytes::new(), true).map_err(lost)?;
        let (head, body) = response.await.map_err(lost)?.into_parts();
        if head.headers.contains_key("grpc-status") {
            status_of(&head.headers)?;
        }
        let mut messages = Messages::new(body);
        let mut answers = Vec::new();
        while let Some(message) = messages.next().await? {
            answers.push(Res::decode(message).map_err(|e| Status::new(Code::Internal, format!("{method}: {e}")))?);
        }
        match messages.body.trailers().await.map_err(lost)? {
            Some(trailers) => status_of(&trailers)?,
            None => status_of(&head.headers)?,
        }
        Ok(answers)
    }

    /// A call with one request and one answer.
    ///
    /// # Errors
    /// As [`Channel::call`]; [`Code::Internal`] when there is not exactly one answer.
    pub async fn unary<Req: Message, Res: Message + Default>(
        &self,
        context: &Context,
        method: &str,
        request: Req,
    ) -> Result<Res, Status> {
        let answers = self.call(context, method, &[request]).await?;
        <[Res; 1]>::try_from(answers)
            .map(|[answer]| answer)
            .map_err(|all| Status::new(Code::Internal, format!("{method}: {} answers where one is due", all.len())))
    }
}

/// The answer of a served method: encoded messages, one for an unary method.
pub struct Reply(Vec<Bytes>);

impl Reply {
    /// One message.
    pub fn one(message: &impl Message) -> Self {
        Self(vec![frame(message)])
    }

    /// A stream of messages.
    pub fn stream(messages: &[impl Message]) -> Self {
        Self(messages.iter().map(frame).collect())
    }
}

/// Reads a request.
///
/// # Errors
/// [`Code::InvalidArgument`] when it is malformed.
pub fn decode<T: Message + Default>(request: &Bytes) -> Result<T, Status> {
    T::decode(request.clone()).map_err(|e| Status::new(Code::InvalidArgument, format!("malformed request: {e}")))
}

/// A server's methods.
pub trait Service: Send + Sync + 'static {
    /// Answers one call of `method` (`/<package>.<Service>/<Method>`).
    fn call(&self, method: &str, request: Bytes) -> Result<Reply, Status>;
}

/// Serves `service` on the listening socket until `until` completes. Calls are answered one after another, which is what
/// a snapshotter's bookkeeping wants.
///
/// # Errors
/// When the socket cannot accept any more.
pub async fn serve<S: Service>(listener: UnixListener, service: Arc<S>, until: impl Future) -> io::Result<()> {
    tokio::pin!(until);
    loop {
        let stream = tokio::select! {
            _ = &mut until => return Ok(()),
            accepted = listener.accept() => accepted?.0,
        };
        tokio::spawn(connection(stream, Arc::clone(&service)));
    }
}

async fn connection<S: Service>(stream: UnixStream, service: Arc<S>) {
    // a peer that breaks off or breaks the protocol loses its connection, nothing else
    let Ok(mut connection) = server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let service = Arc::clone(&service);
        tokio::spawn(async move { drop(answer(request, respond, &*service).await) });
    }
}

async fn answer<S: Service>(
    request: Request<RecvStream>,
    mut respond: server::SendResponse<Bytes>,
    service: &S,
) -> Result<(), h2::Error> {
    let method = request.uri().path().to_owned();
    let result = match Messages::new(request.into_body()).next().await {
        Ok(message) => service.call(&method, message.unwrap_or_default()),
        Err(status) => Err(status),
    };
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut stream: SendStream<Bytes> = respond.send_response(response, false)?;
    let mut trailers = HeaderMap::new();
    match result {
        Ok(Reply(messages)) => {
            for message in messages {
                stream.send_data(message, false)?;
            }
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
        }
        Err(status) => {
            trailers.insert("grpc-status", HeaderValue::from(status.code as u16));
            if let Ok(text) = HeaderValue::from_str(&percent_encode(&status.message)) {
                trailers.insert("grpc-message", text);
            }
        }
    }
    stream.send_trailers(trailers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::message::{StatSnapshotRequest, StatSnapshotResponse, snapshot::Info};

    struct Echo;
    impl Service for Echo {
        fn call(&self, method: &str, request: Bytes) -> Result<Reply, Status> {
            let request: StatSnapshotRequest = decode(&request)?;
            let info = Some(Info { name: request.key, ..Info::default() });
            match method {
                "/e/One" => Ok(Reply::one(&StatSnapshotResponse { info })),
                "/e/Many" => Ok(Reply::stream(&vec![StatSnapshotResponse { info }; 3])),
                _ => Err(Status::new(Code::NotFound, format!("no 100 % `{method}` – ü"))),
            }
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn answers_streams_and_statuses_come_through() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(serve(listener, Arc::new(Echo), std::future::pending::<()>()));
        let n = Context::default();
        let channel = Channel::connect(&path).await.unwrap();
        let request = |key: String| StatSnapshotRequest { snapshotter: String::new(), key };
        // longer than HTTP/2's first window of 64 KiB
        let long = "k".repeat(1 << 20);
        let one: StatSnapshotResponse = channel.unary(&n, "/e/One", request(long.clone())).await.unwrap();
        assert_eq!(one.info.unwrap().name, long);
        let many: Vec<StatSnapshotResponse> = channel.call(&n, "/e/Many", &[request("a".into())]).await.unwrap();
        assert_eq!(many.len(), 3);
        let none = channel.unary::<_, StatSnapshotResponse>(&n, "/e/None", request("a".into())).await.unwrap_err();
        assert_eq!(none, Status::new(Code::NotFound, "no 100 % `/e/None` – ü"));
    }

    /// A server that accepts the connection and never answers.
    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn a_server_that_does_not_answer_is_given_up_at_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let channel = Channel::connect(&path).await.unwrap();
        let ask = |context: Context| {
            let channel = channel.clone();
            async move {
                let request = StatSnapshotRequest::default();
                channel.unary::<_, StatSnapshotResponse>(&context, "/e/One", request).await
            }
        };
        let begin = tokio::time::Instant::now();
        let status = ask(Context::default()).await.unwrap_err();
        assert_eq!(status, Status::new(Code::DeadlineExceeded, "/e/One: no answer within 120.0 s"));
        assert_eq!(begin.elapsed().as_secs(), DEADLINE.as_secs());
        let short = Context { deadline: Some(Duration::from_millis(1500)), ..Context::default() };
        assert_eq!(ask(short).await.unwrap_err().code, Code::DeadlineExceeded);
        assert!((DEADLINE.as_secs()..DEADLINE.as_secs() + 3).contains(&begin.elapsed().as_secs()));
    }

    #[test]
    fn deadlines_are_written_as_grpc_reads_them() {
        for (deadline, text) in [(Duration::from_millis(1500), "1500m"), (DEADLINE, "120000m")] {
            assert_eq!(grpc_timeout(deadline), text);
        }
        assert_eq!(grpc_timeout(Duration::from_secs(200_000)), "200000S");
        assert_eq!(grpc_timeout(Duration::MAX), "99999999S");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn nobody_listening_is_unavailable() {
        let Err(status) = Channel::connect(Path::new("/nonexistent")).await else { panic!("connected to nothing") };
        assert_eq!(status.code, Code::Unavailable);
    }
}
