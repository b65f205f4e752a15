//! The one way to a private key: a list of digests there, a list of signatures back, both as JSON.

use crate::{Certificate, Error, Role};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::Digest;

/// Version of the documents' form.
const FORMAT: u32 = 1;

/// How a digest is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2).
    #[serde(rename = "rsa-pkcs1-sha256")]
    RsaPkcs1Sha256,
}

/// A signature that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// What is signed, for people.
    pub what: String,
    /// What the key is for.
    pub role: Role,
    /// The fingerprint of the key's certificate.
    pub certificate: Digest,
    /// How.
    pub algorithm: Algorithm,
    /// The digest to sign.
    pub digest: Digest,
}

impl Wanted {
    /// A signature by the key of a certificate.
    #[must_use]
    pub fn new(what: impl Into<String>, role: Role, certificate: &Certificate, digest: Digest) -> Self {
        let algorithm = Algorithm::RsaPkcs1Sha256;
        Self { what: what.into(), role, certificate: certificate.fingerprint(), algorithm, digest }
    }
}

/// Signatures that are wanted: what goes to where the private keys are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Version of this document's form.
    format: u32,
    /// The signatures.
    pub wanted: Vec<Wanted>,
}

/// A signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The fingerprint of the key's certificate.
    pub certificate: Digest,
    /// How it was made.
    pub algorithm: Algorithm,
    /// The digest that is signed.
    pub digest: Digest,
    /// The signature's bytes, base64 (RFC 4648 §4).
    pub signature: String,
}

impl Signature {
    #[cfg(feature = "keys")]
    pub(crate) fn new(wanted: &Wanted, signature: &[u8]) -> Self {
        Self {
            certificate: wanted.certificate,
            algorithm: wanted.algorithm,
            digest: wanted.digest,
            signature: BASE64_STANDARD.encode(signature),
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`Error::Document`], when they are not base64.
    pub fn bytes(&self) -> Result<Vec<u8>, Error> {
        BASE64_STANDARD.decode(&self.signature).map_err(|e| Error::Document { problem: e.to_string() })
    }
}

/// Signatures: what comes back. The form in which signatures are kept, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// Version of this document's form.
    format: u32,
    /// The signatures.
    pub signatures: Vec<Signature>,
}

impl Request {
    /// Asks for these.
    #[must_use]
    pub const fn new(wanted: Vec<Wanted>) -> Self {
        Self { format: FORMAT, wanted }
    }

    /// Reads its JSON.
    ///
    /// # Errors
    /// [`Error::Document`].
    pub fn read(json: &[u8]) -> Result<Self, Error> {
        let request: Self = serde_json::from_slice(json).map_err(Error::document)?;
        known(request.format)?;
        Ok(request)
    }

    /// Its JSON.
    #[must_use]
    pub fn json(&self) -> String {
        json(self)
    }
}

impl Response {
    /// With these.
    #[must_use]
    pub const fn new(signatures: Vec<Signature>) -> Self {
        Self { format: FORMAT, signatures }
    }

    /// Reads its JSON.
    ///
    /// # Errors
    /// [`Error::Document`].
    pub fn read(json: &[u8]) -> Result<Self, Error> {
        let response: Self = serde_json::from_slice(json).map_err(Error::document)?;
        known(response.format)?;
        Ok(response)
    }

    /// Its JSON.
    #[must_use]
    pub fn json(&self) -> String {
        json(self)
    }

    /// Adds signatures that it has not yet, after a check of each against its certificate; says how many were new.
    ///
    /// # Errors
    /// [`Error::Foreign`] for a certificate that is none of these, [`Error::BadSignature`]; nothing is added then.
    pub fn add(&mut self, other: Self, certificates: &BTreeMap<Role, Certificate>) -> Result<usize, Error> {
        for signature in &other.signatures {
            let foreign = || Error::Foreign { certificate: signature.certificate };
            let of = certificates.values().find(|c| c.fingerprint() == signature.certificate).ok_or_else(foreign)?;
            if !of.has_signed(&signature.digest, &signature.bytes()?) {
                return Err(Error::BadSignature { subject: of.subject(), digest: signature.digest });
            }
        }
        let new: Vec<_> = other.signatures.into_iter().filter(|s| !self.signatures.contains(s)).collect();
        let count = new.len();
        self.signatures.extend(new);
        Ok(count)
    }
}

fn json(document: &impl Serialize) -> String {
    serde_json::to_string_pretty(document).expect("it has no maps") + "\n"
}

pub(crate) fn known(format: u32) -> Result<(), Error> {
    if format == FORMAT {
        return Ok(());
    }
    Err(Error::Document { problem: format!("it has format {format}, this program knows {FORMAT}") })
}
