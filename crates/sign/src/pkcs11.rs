//! Private keys that never leave their token (OASIS, *PKCS #11 Specification* 3.1).

use crate::{Certificate, Error};
use cryptoki::{
    context::{CInitializeArgs, Pkcs11},
    mechanism::Mechanism,
    object::{Attribute, ObjectClass},
    session::{Session, UserType},
    types::AuthPin,
};
use rsa::traits::PublicKeyParts as _;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use types::Digest;

/// `DigestInfo` of a SHA-256 digest up to the digest (RFC 8017 §9.2, note 1).
const DIGEST_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

/// The place of private keys in a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenAt {
    /// The maker's library for it.
    pub module: PathBuf,
    /// Its label.
    pub token: String,
}

/// An open token.
pub(crate) struct Token {
    at: TokenAt,
    session: Session,
    // its drop ends the library, which must come after the session
    _library: Pkcs11,
}

impl TokenAt {
    /// Opens the token.
    pub(crate) fn open(&self, pin: Option<&str>) -> Result<Token, Error> {
        let failed = |e: cryptoki::error::Error| self.bad(&e);
        let library = Pkcs11::new(&self.module).map_err(failed)?;
        library.initialize(CInitializeArgs::OsThreads).map_err(failed)?;
        let slots = library.get_slots_with_initialized_token().map_err(failed)?;
        let named = |slot: &&_| library.get_token_info(**slot).is_ok_and(|info| info.label() == self.token);
        let slot = slots.iter().find(named).ok_or_else(|| self.bad(&"there is no token with this label"))?;
        let session = library.open_ro_session(*slot).map_err(failed)?;
        if let Some(pin) = pin {
            session.login(UserType::User, Some(&AuthPin::new(pin.into()))).map_err(failed)?;
        }
        Ok(Token { at: self.clone(), session, _library: library })
    }

    fn bad(&self, problem: &dyn std::fmt::Display) -> Error {
        Error::Token { token: self.token.clone(), module: self.module.clone(), problem: problem.to_string() }
    }
}

impl Token {
    /// The signature of a digest by the key of a certificate; `None` if the token lacks the key.
    pub(crate) fn sign(&self, certificate: &Certificate, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let modulus = certificate.key().n().to_bytes_be();
        let wanted = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Modulus(modulus)];
        let failed = |e: cryptoki::error::Error| self.at.bad(&e);
        let found = self.session.find_objects(&wanted).map_err(failed)?;
        let Some(key) = found.first() else { return Ok(None) };
        let info = [&DIGEST_INFO[..], digest.as_bytes()].concat();
        self.session.sign(&Mechanism::RsaPkcs, *key, &info).map(Some).map_err(failed)
    }
}
