//! A client of this node's Kubernetes API, over HTTPS with the administrator's certificate that k3s makes.
//!
//! It only reads, and only the values that [`crate::status`] shows: a whole client, or starting the 190 MB `kubectl`,
//! would cost seconds for each probe on a slow device.

use crate::{config::Paths, error::Error};
use serde::de::DeserializeOwned;
use std::{fs, path::Path, sync::Arc, time::Duration};
use ureq::{
    Agent,
    tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem},
};

const SERVER: &str = "https://127.0.0.1:6443";
/// The limit of a request. The server is this device: after this time it is not up.
const PATIENCE: Duration = Duration::from_secs(10);
/// The limit of an answer, above a full node's list of pods.
const LARGEST_ANSWER: u64 = 64 << 20;

/// A connection to the API server.
pub(crate) struct Api {
    agent: Agent,
}

impl Api {
    /// Reads the certificates that k3s made at its first start.
    pub(crate) fn open(paths: &Paths) -> Result<Self, Error> {
        let key_file = paths.tls("client-admin.key");
        let key = PrivateKey::from_pem(&bytes(&key_file)?)
            .map_err(|error| Error::format(key_file.display().to_string(), error))?;
        let client = ClientCert::new_with_certs(&certificates(&paths.tls("client-admin.crt"))?, key);
        let roots = RootCerts::new_with_certs(&certificates(&paths.tls("server-ca.crt"))?);
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .client_cert(Some(client))
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(crypto)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(PATIENCE))
            .proxy(None)
            .http_status_as_error(false)
            .build();
        Ok(Self { agent: config.into() })
    }

    /// The object or list at `path`; `None` if there is none.
    pub(crate) fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        let (code, text) = self.ask(path)?;
        match code {
            200 => serde_json::from_str(&text).map(Some).map_err(|error| Error::format(path, error)),
            404 => Ok(None),
            _ => Err(refused(path, code, &text)),
        }
    }

    /// The object or list at `path`, which must exist.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.find(path)?.ok_or_else(|| refused(path, 404, "not found"))
    }

    /// Whether `path` answers with success at all.
    pub(crate) fn check(&self, path: &str) -> Result<(), Error> {
        match self.ask(path)? {
            (200, _) => Ok(()),
            (code, text) => Err(refused(path, code, &text)),
        }
    }

    fn ask(&self, path: &str) -> Result<(u16, String), Error> {
        let failed = |error: ureq::Error| Error::Api { path: path.to_owned(), text: error.to_string() };
        let mut answer =
            self.agent.get(format!("{SERVER}{path}")).header("Accept", "application/json").call().map_err(failed)?;
        let code = answer.status().as_u16();
        let text = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_string().map_err(failed)?;
        Ok((code, text))
    }
}

fn refused(path: &str, code: u16, text: &str) -> Error {
    let first = text.lines().find(|line| !line.starts_with("[+]")).unwrap_or_default();
    Error::Api { path: path.to_owned(), text: format!("{code} {first}") }
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, Error> {
    let pem = bytes(path)?;
    let items: Result<Vec<_>, _> = parse_pem(&pem).collect();
    let items = items.map_err(|error| Error::format(path.display().to_string(), error))?;
    Ok(items
        .into_iter()
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect())
}

fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| Error::io("read", path, error))
}
