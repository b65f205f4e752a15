use crate::Error;
use der::{Decode as _, DecodePem as _, Encode as _, pem::LineEnding};
use rsa::{Pkcs1v15Sign, RsaPublicKey, pkcs8::DecodePublicKey as _};
use sha2::Sha256;
use types::Digest;
use x509_cert::Certificate as X509;

/// A certificate (X.509, RFC 5280) of an RSA key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    x509: X509,
    key: RsaPublicKey,
}

impl Certificate {
    /// Reads its DER form.
    ///
    /// # Errors
    /// [`Error::Certificate`].
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        Self::new(X509::from_der(der).map_err(Error::certificate)?)
    }

    /// Reads its PEM form.
    ///
    /// # Errors
    /// [`Error::Certificate`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        Self::new(X509::from_pem(pem).map_err(Error::certificate)?)
    }

    fn new(x509: X509) -> Result<Self, Error> {
        let der = x509.to_der().map_err(Error::certificate)?;
        let key = &x509.tbs_certificate.subject_public_key_info;
        let key = key.to_der().map_err(Error::certificate)?;
        let key = RsaPublicKey::from_public_key_der(&key).map_err(Error::certificate)?;
        Ok(Self { der, x509, key })
    }

    /// Its DER form.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its PEM form.
    ///
    /// # Errors
    /// [`Error::Certificate`].
    pub fn pem(&self) -> Result<String, Error> {
        der::EncodePem::to_pem(&self.x509, LineEnding::LF).map_err(Error::certificate)
    }

    /// The digest of its DER form, which identifies it.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.der)
    }

    /// Its subject, as RFC 4514 writes names.
    #[must_use]
    pub fn subject(&self) -> String {
        self.x509.tbs_certificate.subject.to_string()
    }

    /// Its issuer, as RFC 4514 writes names.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.x509.tbs_certificate.issuer.to_string()
    }

    /// Its key, as `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7) in DER.
    ///
    /// # Errors
    /// [`Error::Certificate`].
    pub fn public_key(&self) -> Result<Vec<u8>, Error> {
        self.x509.tbs_certificate.subject_public_key_info.to_der().map_err(Error::certificate)
    }

    /// The digest of its signed part (`TBSCertificate`), by which `dbx` revokes it.
    pub(crate) fn signed_part(&self) -> Result<Digest, Error> {
        Ok(Digest::of(&self.x509.tbs_certificate.to_der().map_err(Error::certificate)?))
    }

    pub(crate) const fn x509(&self) -> &X509 {
        &self.x509
    }

    pub(crate) const fn key(&self) -> &RsaPublicKey {
        &self.key
    }

    /// Whether its key has made this signature (RSASSA-PKCS1-v1_5) over a SHA-256 digest.
    #[must_use]
    pub fn has_signed(&self, digest: &Digest, signature: &[u8]) -> bool {
        self.key.verify(Pkcs1v15Sign::new::<Sha256>(), digest.as_bytes(), signature).is_ok()
    }
}
