//! Opening a URL from a given byte on.

use std::{
    fs::File,
    io::{Read, Seek as _, SeekFrom},
    sync::Arc,
    time::Duration,
};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

/// Why a place does not give a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not have it; asking again is of no use.
    No(String),
    /// It failed; it may work later.
    Broken(String),
}

/// A file being received, from byte `start` on.
pub(crate) struct Opened {
    pub(crate) start: u64,
    pub(crate) body: Box<dyn Read>,
}

pub(crate) struct Transport {
    /// None where the network is forbidden.
    agent: Option<ureq::Agent>,
}

impl Transport {
    pub(crate) fn new(offline: bool) -> Self {
        Self { agent: (!offline).then(agent) }
    }

    /// Opens a `file://`, `http://` or `https://` URL. A server that cannot resume starts at 0.
    pub(crate) fn open(&self, url: &str, from: u64) -> Result<Opened, Refusal> {
        if let Some(path) = url.strip_prefix("file://") {
            return open_file(path, from);
        }
        let Some(agent) = &self.agent else { return Err(Refusal::No("not asked, --offline".to_owned())) };
        let mut request = agent.get(url);
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let response = request.call().map_err(|e| match e {
            ureq::Error::BadUri(_) | ureq::Error::InvalidProxyUrl => Refusal::No(e.to_string()),
            e => Refusal::Broken(chain(&e)),
        })?;
        let status = response.status();
        let start = match status.as_u16() {
            200 => 0,
            206 => {
                let range = response.headers().get("Content-Range").and_then(|v| v.to_str().ok());
                match range.and_then(first_byte) {
                    Some(start) if start == from => from,
                    _ => return Err(Refusal::No("answers a request for a range with another range".to_owned())),
                }
            }
            // The file ends before the byte asked for: have it from the start.
            416 if from > 0 => return self.open(url, 0),
            408 | 429 | 500..=599 => return Err(Refusal::Broken(format!("HTTP status {status}"))),
            _ => return Err(Refusal::No(format!("HTTP status {status}"))),
        };
        Ok(Opened { start, body: Box::new(response.into_body().into_reader()) })
    }
}

fn open_file(path: &str, from: u64) -> Result<Opened, Refusal> {
    let open = || {
        let mut file = File::open(path)?;
        let start = if file.metadata()?.len() < from { 0 } else { from };
        file.seek(SeekFrom::Start(start))?;
        Ok(Opened { start, body: Box::new(file) as Box<dyn Read> })
    };
    open().map_err(|e: std::io::Error| Refusal::No(e.to_string()))
}

/// `bytes 100-199/200`
fn first_byte(content_range: &str) -> Option<u64> {
    content_range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// An error with its causes: TLS problems hide behind "io".
fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// The builder's one way to web servers. Proxies come from the environment; certificates from the host (`SSL_CERT_FILE`,
/// `SSL_CERT_DIR`, its store), because companies inspect TLS with certificates of their own. A status is no error.
#[must_use]
pub fn agent() -> ureq::Agent {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let seconds = |n| Some(Duration::from_secs(n));
    ureq::Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        // The bytes are wanted as they lie on the server: digests and ranges are of those.
        .accept_encoding("identity")
        .user_agent(concat!("evek/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(seconds(20))
        .timeout_recv_response(seconds(60))
        .timeout_per_read(seconds(60))
        .max_idle_connections_per_host(super::CONNECTIONS)
        .build()
        .new_agent()
}
