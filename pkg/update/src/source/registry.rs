//! A registry (OCI distribution-spec 1.1, "Pull"). A registry that demands a token gets one for an anonymous user.

use super::Source;
use crate::{
    error::Error,
    http::{Http, bytes},
};
use artefact::challenge;
use std::{cell::RefCell, io::Read, ops::Range};
use types::{Arch, Digest, Flavour};
use ureq::{Body, http::Response};

pub(crate) struct Registry {
    /// `https://<host>/v2/<name>`
    base: String,
    /// The tag; without one, the tag of the flavour and architecture.
    tag: Option<String>,
    http: Http,
    token: RefCell<Option<String>>,
}

impl Registry {
    /// Of `<host>[:<port>]/<name>[:<tag>]`.
    pub(crate) fn new(scheme: &str, address: &str, http: Http) -> Result<Self, Error> {
        let bad = || Error::Usage { what: format!("`{address}` is not <registry>/<name>[:<tag>]") };
        let (host, path) = address.split_once('/').ok_or_else(bad)?;
        let (name, tag) = path.split_once(':').map_or((path, None), |(name, tag)| (name, Some(tag.to_owned())));
        if host.is_empty() || name.is_empty() {
            return Err(bad());
        }
        Ok(Self { base: format!("{scheme}://{host}/v2/{name}"), tag, http, token: RefCell::new(None) })
    }

    /// Sends a request, and sends it again with a token where the registry demands one.
    fn get(&self, address: &str, headers: &[(&str, &str)]) -> Result<Response<Body>, Error> {
        let ask = || {
            let token = self.token.borrow().as_ref().map(|token| format!("Bearer {token}"));
            let mut headers = headers.to_vec();
            headers.extend(token.as_deref().map(|token| ("Authorization", token)));
            self.http.get(address, &headers)
        };
        let answer = ask()?;
        let wanted = answer.headers().get("WWW-Authenticate").and_then(|value| value.to_str().ok());
        let Some(challenge) = wanted.filter(|_| answer.status().as_u16() == 401).map(str::to_owned) else {
            return Ok(answer);
        };
        *self.token.borrow_mut() = Some(self.token(address, &challenge)?);
        ask()
    }

    /// A token from the server that the registry names (RFC 6750 §3; distribution, "Token Authentication").
    fn token(&self, address: &str, challenge: &str) -> Result<String, Error> {
        let bad = |problem: String| Error::Source { address: address.to_owned(), problem };
        let wanted = challenge::read(challenge).into_iter().find(|wanted| wanted.scheme == "bearer");
        let wanted =
            wanted.ok_or_else(|| bad(format!("it demands `{challenge}`, and offers no token to anonymous users")))?;
        let realm = wanted.field("realm").ok_or_else(|| bad("it names no server for tokens".to_owned()))?;
        let query = ["service", "scope"].into_iter().filter_map(|name| Some((name, wanted.field(name)?)));
        let answer = self.http.ask(realm, query)?;
        let text = self.http.document(realm, answer)?;
        let json: serde_json::Value = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
        let token = json["token"].as_str().or_else(|| json["access_token"].as_str());
        token.map(str::to_owned).ok_or_else(|| bad("no token for anonymous users".to_owned()))
    }
}

impl Source for Registry {
    fn address(&self) -> String {
        self.base.clone()
    }

    fn manifest(&self, flavour: Flavour, arch: Arch) -> Result<Vec<u8>, Error> {
        let tag = self.tag.clone().unwrap_or_else(|| format!("{flavour}-{arch}"));
        let address = format!("{}/manifests/{tag}", self.base);
        self.http.document(&address, self.get(&address, &[("Accept", store::MANIFEST)])?)
    }

    fn open(&self, digest: &Digest, range: Range<u64>) -> Result<Box<dyn Read + '_>, Error> {
        let address = format!("{}/blobs/{digest}", self.base);
        let answer = self.get(&address, &[("Range", &bytes(&range))])?;
        self.http.part(&address, answer, &range)
    }
}
