//! The exchange with private keys: a request with a list of digests, a response with a list of signatures, both as
//! JSON.

use crate::{Certificate, Error, Role};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::Digest;

/// Version of the documents' form.
const FORMAT: u32 = 1;

/// The algorithm of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2).
    #[serde(rename = "rsa-pkcs1-sha256")]
    RsaPkcs1Sha256,
}

/// A requested signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The signed object, for people.
    pub what: String,
    /// The key's role.
    pub role: Role,
    /// The fingerprint of the key's certificate.
    pub certificate: Digest,
    /// The algorithm.
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

/// A request: signatures to make where the private keys are.
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
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The signed digest.
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

/// A response with signatures. A folder of keys stores signatures in the same form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// Version of this document's form.
    format: u32,
    /// The signatures.
    pub signatures: Vec<Signature>,
}

impl Request {
    /// Requests these signatures.
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
    /// A response with these signatures.
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

    /// Verifies signatures against their certificates and adds the new ones. Returns the number of new ones.
    ///
    /// # Errors
    /// [`Error::Foreign`] for an unknown certificate, [`Error::BadSignature`]. Nothing is added then.
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
    Err(Error::Document { problem: format!("it has format {format}, this program supports {FORMAT}") })
}
