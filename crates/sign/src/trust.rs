//! Decides as firmware does whether it trusts a program (UEFI 2.10 §32.5.3.3, "Authorization Process"), and whether it
//! trusts the signer of other documents.
//!
//! ```text
//! db   certificates that may sign        other entries, such as digests, are skipped
//! dbx  certificates, digests of certificates, digests of programs: all refused, although db accepts the signer
//! ```
//! Deliberately absent: chains. The signer's certificate itself must be in `db`.

use crate::{
    Certificate, Error, efi,
    variable::{self, Guid, X509},
};
use types::Digest;

/// `EFI_CERT_SHA256_GUID`, c1c41626-504c-4092-aca9-41f936934328: the digest of a program.
const PROGRAM: Guid = [0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28];
/// `EFI_CERT_X509_SHA256_GUID`, 3bd2a492-96c0-4079-b420-fcf98ef103ed: the digest of a certificate's signed part, and
/// the time from which it is revoked.
const HASHED: Guid = [0x92, 0xa4, 0xd2, 0x3b, 0xc0, 0x96, 0x79, 0x40, 0xb4, 0x20, 0xfc, 0xf9, 0x8e, 0xf1, 0x03, 0xed];

/// The accepted and revoked certificates and programs of `db` and `dbx`.
#[derive(Debug)]
pub struct Trust {
    allowed: Vec<Certificate>,
    forbidden: Vec<(Guid, Vec<u8>)>,
}

impl Trust {
    /// Reads the values of `db` and `dbx`; the value of a missing variable is empty.
    ///
    /// # Errors
    /// [`Error::Certificate`], also when `dbx` has a list of an unknown kind.
    pub fn read(db: &[u8], dbx: &[u8]) -> Result<Self, Error> {
        let forbidden = variable::signatures(dbx)?;
        if let Some((kind, _)) = forbidden.iter().find(|(kind, _)| ![X509, PROGRAM, HASHED].contains(kind)) {
            return Err(Error::certificate(format!("dbx has a list of a kind that is not known: {kind:02x?}")));
        }
        let forbidden = forbidden.into_iter().map(|(kind, what)| (kind, what.to_owned())).collect();
        Ok(Self { allowed: variable::certificates(db)?, forbidden })
    }

    /// Whether no certificate may sign.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allowed.is_empty()
    }

    /// The certificate whose key signed a program, if firmware starts this program.
    ///
    /// # Errors
    /// [`Error::Program`] with the reason why firmware refuses the program.
    pub fn signer(&self, program: &[u8]) -> Result<&Certificate, Error> {
        if self.forbids(PROGRAM, efi::digest(program)?.as_bytes()) {
            return Err(Error::program("is forbidden by its digest in dbx"));
        }
        let mut signer = Err(Error::program("is signed by nobody in db, which is empty"));
        for certificate in &self.allowed {
            match efi::verify(program, certificate) {
                // one signature by a revoked certificate refuses the program
                Ok(()) if self.forbids_certificate(certificate)? => {
                    return Err(Error::program(format!("is signed by {}, whom dbx forbids", certificate.subject())));
                }
                Ok(()) => signer = Ok(certificate),
                Err(problem) if signer.is_err() => signer = Err(problem),
                Err(_) => {}
            }
        }
        signer
    }

    /// The certificate whose key made a signature over a digest.
    ///
    /// # Errors
    /// [`Error::Unknown`], if no certificate in `db` matches; [`Error::Forbidden`], if `dbx` revokes the certificate.
    pub fn voucher(&self, digest: &Digest, signature: &[u8]) -> Result<&Certificate, Error> {
        let mut voucher = None;
        for certificate in self.allowed.iter().filter(|certificate| certificate.has_signed(digest, signature)) {
            // a key may have several certificates; one revoked certificate refuses the signature
            self.permits(certificate)?;
            voucher = Some(certificate);
        }
        let known = || self.allowed.iter().map(Certificate::subject).collect::<Vec<_>>().join("; ");
        voucher.ok_or_else(|| Error::Unknown { known: known() })
    }

    /// Verifies that `dbx` does not revoke a certificate.
    ///
    /// # Errors
    /// [`Error::Forbidden`], if it does.
    pub fn permits(&self, certificate: &Certificate) -> Result<(), Error> {
        if self.forbids_certificate(certificate)? {
            return Err(Error::Forbidden { subject: certificate.subject() });
        }
        Ok(())
    }

    fn forbids_certificate(&self, certificate: &Certificate) -> Result<bool, Error> {
        // the time of revocation has no effect: our signatures carry no time
        let hashed = self.forbids(HASHED, certificate.signed_part()?.as_bytes());
        Ok(hashed || self.forbids(X509, certificate.der()))
    }

    fn forbids(&self, kind: Guid, what: &[u8]) -> bool {
        self.forbidden.iter().any(|(k, forbidden)| *k == kind && forbidden.starts_with(what))
    }
}

#[cfg(all(test, feature = "keys"))]
#[path = "trust_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
