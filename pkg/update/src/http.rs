//! The client of web servers. Every call ends: see [`Patience`].

use crate::{error::Error, paths::Paths, patience::Patience};
use std::{
    fs,
    io::{self, Read},
    ops::Range,
    path::Path,
    sync::Arc,
};
use ureq::{
    Agent, Body,
    http::Response,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};

/// Documents are no larger.
const LARGEST: u64 = 4 << 20;
/// Certificates of further authorities, for the owner's own servers.
const OWN: &str = "update-ca.pem";

/// A client of web servers.
pub(crate) struct Http {
    agent: Agent,
    patience: Patience,
}

impl Http {
    /// Trusts the authorities of the image and those that the owner has put into CONFIG.
    pub(crate) fn new(paths: &Paths) -> Result<Self, Error> {
        Self::patient(paths, Patience::default())
    }

    /// The same with other limits.
    pub(crate) fn patient(paths: &Paths, patience: Patience) -> Result<Self, Error> {
        let mut roots = Vec::new();
        for path in [paths.authorities.clone(), paths.config.join(OWN)] {
            match fs::read(&path) {
                Ok(pem) => roots.extend(certificates(&path, &pem)?),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("read", path)(e)),
            }
        }
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(crypto)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_send_request(Some(patience.answer))
            .timeout_recv_response(Some(patience.answer))
            .timeout_per_read(Some(patience.silence))
            .timeout_per_write(Some(patience.silence))
            .http_status_as_error(false)
            .build();
        Ok(Self { agent: config.into(), patience })
    }

    /// Whether a server answers at all; every answer is accepted.
    pub(crate) fn answers(&self, address: &str) -> Result<(), String> {
        self.agent.get(address).call().map(drop).map_err(|e| e.to_string())
    }

    /// Sends a request.
    pub(crate) fn get(&self, address: &str, headers: &[(&str, &str)]) -> Result<Response<Body>, Error> {
        let mut request = self.agent.get(address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.call().map_err(|e| Error::Unavailable { address: address.to_owned(), problem: e.to_string() })
    }

    /// Sends a request with a query.
    pub(crate) fn ask<'a>(
        &self,
        address: &str,
        query: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Response<Body>, Error> {
        let answer = self.agent.get(address).query_pairs(query).call();
        answer.map_err(|e| Error::Unavailable { address: address.to_owned(), problem: e.to_string() })
    }

    /// Reads a document.
    pub(crate) fn document(&self, address: &str, answer: Response<Body>) -> Result<Vec<u8>, Error> {
        let status = answer.status();
        if !status.is_success() {
            return Err(Error::Source { address: address.to_owned(), problem: status.to_string() });
        }
        let mut bytes = Vec::new();
        let body = answer.into_body().into_with_config().limit(LARGEST).reader();
        let read = self.patience.document(body).read_to_end(&mut bytes);
        read.map_err(|e| Error::Unavailable { address: address.to_owned(), problem: e.to_string() })?;
        Ok(bytes)
    }

    /// The requested range of a body. A server that supports no ranges sends the bytes before it, too.
    pub(crate) fn part(
        &self,
        address: &str,
        answer: Response<Body>,
        range: &Range<u64>,
    ) -> Result<Box<dyn Read + 'static>, Error> {
        let status = answer.status().as_u16();
        let gone = |problem: String| Error::Unavailable { address: address.to_owned(), problem };
        match status {
            200 | 206 => {}
            // it may be back in a moment
            500..=599 | 429 => return Err(gone(answer.status().to_string())),
            _ => return Err(Error::Source { address: address.to_owned(), problem: answer.status().to_string() }),
        }
        let mut body = self.patience.steady(answer.into_body().into_with_config().limit(u64::MAX).reader());
        if status == 200 && range.start > 0 {
            let skipped = io::copy(&mut (&mut body).take(range.start), &mut io::sink());
            skipped.map_err(|e| gone(e.to_string()))?;
        }
        Ok(Box::new(body.take(range.end - range.start)))
    }
}

/// The header that asks for a range (RFC 9110 §14.2).
pub(crate) fn bytes(range: &Range<u64>) -> String {
    format!("bytes={}-{}", range.start, range.end.saturating_sub(1))
}

/// The certificates of a file. One that cannot be read is an error: without it a server would be refused for no visible reason.
fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<Certificate<'static>>, Error> {
    let bad = |problem: String| Error::Certificates { path: path.to_owned(), problem };
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|e| bad(e.to_string()))? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(bad("it has no certificate".to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_certificate_of_the_owner_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { config: folder.path().to_owned(), authorities: "/nowhere".into(), ..Paths::default() };
        assert!(Http::new(&paths).is_ok(), "there need not be one");
        let good = include_str!("../../init/recorded/owner.crt");
        let cut = &good[..good.len() - 40];
        let broken = good.replacen("M", "!", 1);
        for (text, is_good) in [(good, true), ("", false), ("not a certificate", false), (cut, false), (&broken, false)]
        {
            fs::write(folder.path().join(OWN), text).unwrap();
            let made = Http::new(&paths).map(drop).map_err(|e| e.to_string());
            assert_eq!(made.is_ok(), is_good, "{made:?}: {text}");
            assert!(is_good || made.unwrap_err().contains(OWN));
        }
    }
}
