//! The one way to web servers.

use crate::{error::Error, places::Places};
use std::{
    fs,
    io::{self, Read},
    ops::Range,
    sync::Arc,
    time::Duration,
};
use ureq::{
    Agent, Body,
    http::Response,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};

/// What a server that is there takes no longer for.
const CONNECT: Duration = Duration::from_secs(20);
const ANSWER: Duration = Duration::from_secs(60);
/// Documents are no larger.
const LARGEST: u64 = 4 << 20;
/// Further authorities, of the owner's own servers.
const OWN: &str = "update-ca.pem";

/// A client of web servers.
pub(crate) struct Http {
    agent: Agent,
}

impl Http {
    /// Trusts the authorities of the image and those that the owner has put into CONFIG.
    pub(crate) fn new(places: &Places) -> Result<Self, Error> {
        let mut roots = Vec::new();
        for path in [places.authorities.clone(), places.config.join(OWN)] {
            match fs::read(&path) {
                Ok(pem) => roots.extend(certificates(&pem)),
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
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .http_status_as_error(false)
            .build();
        Ok(Self { agent: config.into() })
    }

    /// Whether a server answers at all, whatever it says.
    pub(crate) fn answers(&self, address: &str) -> Result<(), String> {
        self.agent.get(address).call().map(drop).map_err(|e| e.to_string())
    }

    /// Asks for something.
    pub(crate) fn get(&self, address: &str, headers: &[(&str, &str)]) -> Result<Response<Body>, Error> {
        let mut request = self.agent.get(address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.call().map_err(|e| Error::Gone { address: address.to_owned(), problem: e.to_string() })
    }

    /// Asks with a query.
    pub(crate) fn ask<'a>(
        &self,
        address: &str,
        query: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Response<Body>, Error> {
        let answer = self.agent.get(address).query_pairs(query).call();
        answer.map_err(|e| Error::Gone { address: address.to_owned(), problem: e.to_string() })
    }

    /// A document.
    pub(crate) fn document(address: &str, mut answer: Response<Body>) -> Result<Vec<u8>, Error> {
        let status = answer.status();
        if !status.is_success() {
            return Err(Error::Source { address: address.to_owned(), problem: status.to_string() });
        }
        let body = answer.body_mut().with_config().limit(LARGEST).read_to_vec();
        body.map_err(|e| Error::Gone { address: address.to_owned(), problem: e.to_string() })
    }

    /// The range of a body that was asked for; a server that knows no ranges sends what is before it, too.
    pub(crate) fn part(
        address: &str,
        answer: Response<Body>,
        range: &Range<u64>,
    ) -> Result<Box<dyn Read + 'static>, Error> {
        let status = answer.status().as_u16();
        let gone = |problem: String| Error::Gone { address: address.to_owned(), problem };
        match status {
            200 | 206 => {}
            // it may be back in a moment
            500..=599 | 429 => return Err(gone(answer.status().to_string())),
            _ => return Err(Error::Source { address: address.to_owned(), problem: answer.status().to_string() }),
        }
        let mut body = answer.into_body().into_with_config().limit(u64::MAX).reader();
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

fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    let items = parse_pem(pem).filter_map(Result::ok);
    items.filter_map(|item| if let PemItem::Certificate(c) = item { Some(c) } else { None }).collect()
}
