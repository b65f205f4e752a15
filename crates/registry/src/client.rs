//! One request with authentication, and the meaning of its answer.

use crate::{Error, Progress, Registry, Seen, answer};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::Duration,
};
use types::{Bytes, Cancel};
use ureq::{
    AsSendBody, SendBody,
    http::{self, Method, Response},
};

/// The time in which a registry answers after receiving a blob.
const ANSWER: Duration = Duration::from_secs(300);
/// The time limit of a live connection's reads and writes.
const WRITE: Duration = Duration::from_secs(60);
/// Blobs from this size on are sent only after the server has agreed (RFC 9110 §10.1.1).
const EXPECT: Bytes = Bytes::mib(1);

/// The failure of an attempt.
pub(crate) enum Failed {
    /// A later attempt may succeed; the server may demand a pause.
    Later(Error, Option<Duration>),
    /// No later attempt will succeed.
    Never(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Never(error)
    }
}

/// The body of a request.
pub(crate) enum Content<'a> {
    Nothing,
    /// Bytes of this media type.
    Document(&'a str, &'a [u8]),
    /// A file of this size.
    Blob(&'a Path, Bytes),
}

pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) content: Content<'a>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: Method, url: String, content: Content<'a>) -> Self {
        Self { method, url, content }
    }
}

impl Registry {
    /// Sends a request, and repeats it with authentication if the registry demands that. Returns any status as answer,
    /// except those that may change later.
    pub(crate) fn send(&self, request: &Request<'_>, seen: Seen<'_>) -> Result<Response<ureq::Body>, Failed> {
        // no credentials go to another server to which the registry redirects for blobs
        let is_ours = answer::origin(&request.url) == self.address.origin();
        let known = self.authorization.borrow().clone().filter(|_| is_ours);
        let first = self.once(request, known.as_deref(), seen)?;
        if first.status() != 401 || !is_ours {
            return Ok(first);
        }
        match self.authorize(&first, seen)? {
            Some(wanted) if Some(&wanted) != known.as_ref() => {
                let again = self.once(request, Some(&wanted), seen);
                *self.authorization.borrow_mut() = Some(wanted);
                again
            }
            _ => Ok(first),
        }
    }

    /// Sends a request unchanged.
    pub(crate) fn once(
        &self,
        request: &Request<'_>,
        authorization: Option<&str>,
        seen: Seen<'_>,
    ) -> Result<Response<ureq::Body>, Failed> {
        if self.address.tls() && !request.url.starts_with("https://") {
            let problem = "it is reached by TLS and leads to where there is none: if a proxy is before it, that must tell it \
                           (X-Forwarded-Proto)";
            return Err(self.strange(request, problem.to_owned()).into());
        }
        let mut head = http::Request::builder().method(&request.method).uri(&request.url);
        if let Some(value) = authorization {
            head = head.header("Authorization", value);
        }
        match request.content {
            Content::Nothing if request.method == Method::POST => {
                self.run(request, head.header("Content-Length", 0), ())
            }
            Content::Nothing => self.run(request, head, ()),
            Content::Document(kind, bytes) => self.run(request, head.header("Content-Type", kind), bytes),
            Content::Blob(path, size) => {
                let mut upload = Upload::open(path, size, &self.options.cancel, seen)?;
                head = head.header("Content-Type", "application/octet-stream").header("Content-Length", size.0);
                if size >= EXPECT {
                    head = head.header("Expect", "100-continue");
                }
                let answer = self.run(request, head, SendBody::from_reader(&mut upload));
                upload.broken.map_or(answer, |error| Err(error.into()))
            }
        }
    }

    fn run(
        &self,
        request: &Request<'_>,
        head: http::request::Builder,
        body: impl AsSendBody,
    ) -> Result<Response<ureq::Body>, Failed> {
        let whole = head.body(body).map_err(|e| self.strange(request, e.to_string()))?;
        // a request that changes something never follows a redirection
        let redirects = if request.method == Method::HEAD || request.method == Method::GET { 5 } else { 0 };
        let whole = self
            .agent
            .configure_request(whole)
            .https_only(self.address.tls())
            .max_redirects(redirects)
            .timeout_recv_response(Some(ANSWER))
            .timeout_per_read(Some(ANSWER))
            .timeout_per_write(Some(WRITE))
            .build();
        match self.agent.run(whole) {
            _ if self.options.cancel.is_cancelled() => Err(Error::Cancelled.into()),
            Ok(answer) => self.judge(request, answer),
            Err(e) => Err(self.unreachable(request, &e)),
        }
    }

    /// Whether an answer may change later.
    fn judge(&self, request: &Request<'_>, answer: Response<ureq::Body>) -> Result<Response<ureq::Body>, Failed> {
        match answer.status().as_u16() {
            408 | 429 | 500..=599 => {
                let pause = answer::retry_after(&answer);
                Err(Failed::Later(self.refused(request, answer), pause))
            }
            _ => Ok(answer),
        }
    }

    /// The error of a refusing answer.
    pub(crate) fn refused(&self, request: &Request<'_>, answer: Response<ureq::Body>) -> Error {
        let status = answer.status().as_u16();
        let hint = match status {
            300..=399 => match answer::header(&answer, "Location") {
                Some(other) => {
                    format!("it is at {}: name that one", answer::origin(&answer::resolve(&request.url, other)))
                }
                None => String::new(),
            },
            401 | 403 => self.credentials.hint(&self.address),
            404 => format!("has it `{}`? some registries want to be told before", self.address.name()),
            413 => "it, or a proxy before it, is set to take no blob of this size".to_owned(),
            _ => String::new(),
        };
        Error::Refused {
            registry: self.address.to_string(),
            request: request.to_string(),
            status,
            text: answer::error_text(answer),
            hint,
        }
    }

    /// The error of an answer that makes no sense.
    pub(crate) fn strange(&self, request: &Request<'_>, problem: String) -> Error {
        Error::Answer { registry: self.address.to_string(), request: request.to_string(), problem }
    }

    fn unreachable(&self, request: &Request<'_>, error: &ureq::Error) -> Failed {
        let unreachable =
            Error::Unreachable { registry: self.address.to_string(), request: request.to_string(), text: chain(error) };
        match error {
            ureq::Error::BadUri(_) | ureq::Error::InvalidProxyUrl | ureq::Error::RequireHttpsOnly(_) => {
                Failed::Never(unreachable)
            }
            _ => Failed::Later(unreachable, None),
        }
    }
}

impl std::fmt::Display for Request<'_> {
    /// Without the query, which may contain secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.url.split('?').next().unwrap_or_default())
    }
}

/// A file on its way.
struct Upload<'a> {
    file: File,
    path: &'a Path,
    left: u64,
    cancel: &'a Cancel,
    seen: Seen<'a>,
    /// A failure on this side of the connection.
    broken: Option<Error>,
}

impl<'a> Upload<'a> {
    fn open(path: &'a Path, size: Bytes, cancel: &'a Cancel, seen: Seen<'a>) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Io { action: "open", path: path.to_owned(), source })?;
        Ok(Self { file, path, left: size.0, cancel, seen, broken: None })
    }
}

impl Read for Upload<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = match self.file.read(&mut buffer[..room]) {
            // the client would wait for the rest for ever
            Ok(0) if room > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            other => other,
        };
        match read {
            Ok(n) => {
                self.left -= n as u64;
                (self.seen)(Progress::Sent { bytes: Bytes(n as u64) });
                Ok(n)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(e),
            Err(source) => {
                self.broken = Some(Error::Io { action: "read", path: self.path.to_owned(), source });
                Err(io::Error::other("the file cannot be read"))
            }
        }
    }
}

/// An error with its causes: TLS problems hide behind "io".
fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
