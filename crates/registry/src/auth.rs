//! Authentication in the way that the registry demands: a password, or a token from the server that it names
//! (distribution, "Token Authentication Specification").

use crate::{
    Registry, Seen, answer,
    client::{Content, Failed, Request},
};
use artefact::challenge::{self, Challenge};
use serde::Deserialize;
use std::io::Read as _;
use ureq::{
    Body,
    http::{Method, Response},
};

/// The limit of a token.
const LARGEST: u64 = 1 << 20;

impl Registry {
    /// The header `Authorization` that an answer with status 401 demands; `None` if we have no such credentials.
    pub(crate) fn authorize(&self, answer: &Response<Body>, seen: Seen<'_>) -> Result<Option<String>, Failed> {
        let headers = answer.headers().get_all("WWW-Authenticate").iter();
        let all: Vec<Challenge> = headers.filter_map(|value| value.to_str().ok()).flat_map(challenge::read).collect();
        let of = |scheme: &str| all.iter().find(|challenge| challenge.scheme == scheme);
        if let Some((challenge, realm)) = of("bearer").and_then(|c| Some((c, c.field("realm")?))) {
            return self.token(challenge, realm, seen).map(|token| Some(format!("Bearer {token}")));
        }
        Ok(of("basic").and(self.basic()))
    }

    fn basic(&self) -> Option<String> {
        self.credentials.basic().map(|text| format!("Basic {text}"))
    }

    /// Requests a token; an anonymous one if there are no credentials.
    fn token(&self, challenge: &Challenge, realm: &str, seen: Seen<'_>) -> Result<String, Failed> {
        let ours = format!("repository:{}:", self.address.name());
        // At first a registry demands a token for pulling, and some never demand another one for pushing.
        let theirs = challenge.field("scope").filter(|scope| !scope.is_empty() && !scope.starts_with(&ours));
        let scopes = [Some(format!("{ours}pull,push")), theirs.map(str::to_owned)];
        let service = challenge.field("service").map(|service| ("service", service.to_owned()));
        let fields = service.into_iter().chain(scopes.into_iter().flatten().map(|scope| ("scope", scope)));
        let url = fields.fold(realm.to_owned(), |url, (name, value)| answer::with_field(&url, name, &value));

        let request = Request::new(Method::GET, url, Content::Nothing);
        let answer = self.once(&request, self.basic().as_deref(), seen)?;
        if !answer.status().is_success() {
            return Err(self.refused(&request, answer).into());
        }
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let mut json = Vec::new();
        let read = answer.into_body().into_reader().take(LARGEST).read_to_end(&mut json);
        read.map_err(|e| Failed::Later(self.strange(&request, e.to_string()), None))?;
        // the text is not shown, because it may contain the token
        let token = serde_json::from_slice(&json).ok().and_then(|Token { token, access_token }| token.or(access_token));
        let token = token.filter(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()));
        token.ok_or_else(|| self.strange(&request, "there is no token in it".to_owned()).into())
    }
}
