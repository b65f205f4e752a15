//! Signed policies: for which value of a register a TPM releases a key (TCG, *TPM 2.0 Library* part 3, `TPM2_PolicyPCR`
//! and `TPM2_PolicyAuthorize`), in the form of kernel images (systemd-measure(1), *systemd-stub(7)* `.pcrsig`).

use crate::{Certificate, Error};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rsa::{
    RsaPublicKey,
    pkcs1::EncodeRsaPublicKey as _,
    pkcs8::der::{Document, pem::LineEnding},
};
use serde::{Deserialize, Serialize};
use types::{Digest, Hasher};

/// The command's code (TPM 2.0 Library part 2, `TPM_CC`).
const POLICY_PCR: u32 = 0x17f;
/// The bank's algorithm (part 2, `TPM_ALG_ID`).
const SHA256: u16 = 0x000b;
/// Bytes of a selection of registers on PCs, a bit a register.
const SELECTION: u8 = 3;

/// The policy that a register of the SHA-256 bank has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    register: u32,
    digest: Digest,
}

/// `.pcrsig`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signatures {
    sha256: Vec<Signed>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    /// The registers.
    pcrs: Vec<u32>,
    /// The digest of the public key as `RSAPublicKey` (RFC 8017 §A.1.1) in DER.
    pkfp: String,
    /// The policy's digest.
    pol: String,
    /// The signature.
    sig: String,
}

impl Policy {
    /// The policy that `register` (below 24) has this value.
    #[must_use]
    pub fn new(register: u32, value: Digest) -> Self {
        let mut selected = [0; SELECTION as usize];
        selected[register as usize / 8] = 1 << (register % 8);
        let mut hash = Hasher::default();
        hash.update(&[0; 32]);
        hash.update(&POLICY_PCR.to_be_bytes());
        hash.update(&1_u32.to_be_bytes()); // TPML_PCR_SELECTION with one of
        hash.update(&SHA256.to_be_bytes());
        hash.update(&[SELECTION]);
        hash.update(&selected);
        hash.update(Digest::of(value.as_bytes()).as_bytes());
        Self { register, digest: hash.finish() }
    }

    /// The digest to sign.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.digest.as_bytes())
    }

    /// The section `.pcrsig` with signatures by the keys of these certificates. A TPM releases a key that is bound to
    /// any of them.
    ///
    /// # Errors
    /// [`Error::BadSignature`], if a signature does not cover this policy.
    pub fn section<'a>(&self, signed: impl IntoIterator<Item = (&'a Certificate, &'a [u8])>) -> Result<String, Error> {
        let entry = |(certificate, signature): (&Certificate, &[u8])| {
            if !certificate.has_signed(&self.digest(), signature) {
                return Err(Error::BadSignature { subject: certificate.subject(), digest: self.digest() });
            }
            Ok(Signed {
                pcrs: vec![self.register],
                pkfp: fingerprint(certificate.key()).map_err(Error::Encoding)?,
                pol: self.digest.hex(),
                sig: BASE64_STANDARD.encode(signature),
            })
        };
        let sha256 = signed.into_iter().map(entry).collect::<Result<_, _>>()?;
        serde_json::to_string(&Signatures { sha256 }).map_err(Error::document)
    }

    /// Verifies that a section `.pcrsig` has a signature over this policy by the key of a section `.pcrpkey`.
    ///
    /// # Errors
    /// A text with the keys of the signatures that it has.
    pub fn check(&self, public_key: &[u8], section: &[u8]) -> Result<(), String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let pem = std::str::from_utf8(public_key).map_err(|e| text(&e))?;
        let (_, der) = Document::from_pem(pem).map_err(|e| text(&e))?;
        let key: RsaPublicKey =
            rsa::pkcs8::DecodePublicKey::from_public_key_der(der.as_bytes()).map_err(|e| text(&e))?;
        let signatures: Signatures = serde_json::from_slice(section).map_err(|e| text(&e))?;
        let fingerprint = fingerprint(&key)?;
        let by = |s: &&Signed| s.pkfp == fingerprint && s.pcrs == [self.register];
        let signed = signatures.sha256.iter().find(by).ok_or("no policy is signed by the image's key")?;
        if signed.pol != self.digest.hex() {
            return Err(format!("the signed policy is for another value of register {}", self.register));
        }
        let signature = BASE64_STANDARD.decode(&signed.sig).map_err(|e| text(&e))?;
        let scheme = rsa::Pkcs1v15Sign::new::<sha2::Sha256>();
        let right = key.verify(scheme, self.digest().as_bytes(), &signature);
        right.map_err(|_| "the policy's signature is not by the image's key".to_owned())
    }
}

/// The digest by which a section `.pcrsig` names a key.
fn fingerprint(key: &RsaPublicKey) -> Result<String, String> {
    let der = key.to_pkcs1_der().map_err(|e| e.to_string())?;
    Ok(Digest::of(der.as_bytes()).hex())
}

/// The section `.pcrpkey` for the key of a certificate: `SubjectPublicKeyInfo` as PEM.
///
/// # Errors
/// [`Error::Encoding`].
pub fn public_key(certificate: &Certificate) -> Result<String, Error> {
    let document = Document::try_from(certificate.public_key()?).map_err(Error::encoding)?;
    document.to_pem("PUBLIC KEY", LineEnding::LF).map_err(Error::encoding)
}

#[cfg(all(test, feature = "keys"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Keys, Purpose, Role, Wanted};

    #[test]
    fn a_policy_is_signed_for_one_value_by_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::generate(&dir.path().join("keys"), Purpose::Development, "Test").unwrap();
        let value = Digest::of(b"abc");
        let policy = Policy::new(11, value);
        let certificate = keys.certificate(Role::Pcr);
        let signature =
            keys.sign(&[Wanted::new("a policy", Role::Pcr, certificate, policy.digest())]).unwrap().remove(0);
        let (pem, section) =
            (public_key(certificate).unwrap(), policy.section([(certificate, &signature[..])]).unwrap());
        let check = |policy: Policy, pem: &str, section: &str| policy.check(pem.as_bytes(), section.as_bytes());
        assert_eq!(check(policy, &pem, &section), Ok(()));
        let refused = |policy, pem: &str, section: &str| check(policy, pem, section).unwrap_err();
        assert!(refused(Policy::new(11, Digest::of(b"abd")), &pem, &section).contains("another value of register 11"));
        assert!(refused(Policy::new(12, value), &pem, &section).contains("no policy"));
        let other = public_key(keys.certificate(Role::Db)).unwrap();
        assert!(refused(policy, &other, &section).contains("no policy is signed by the image's key"));
        let forged = section.replace(&BASE64_STANDARD.encode(&signature), &BASE64_STANDARD.encode([1; 256]));
        assert!(refused(policy, &pem, &forged).contains("is not by the image's key"));
        let by_db = policy.section([(keys.certificate(Role::Db), &signature[..])]);
        assert!(matches!(by_db, Err(Error::BadSignature { .. })));

        let keys = Keys::rotate(keys.folder(), "Test").unwrap();
        let sign = |role| {
            let certificate = keys.certificate(role);
            keys.sign(&[Wanted::new("a policy", role, certificate, policy.digest())]).unwrap().remove(0)
        };
        let signatures = [Role::Pcr, Role::PcrBefore].map(|role| (keys.certificate(role), sign(role)));
        let both = policy.section(signatures.iter().map(|(certificate, s)| (*certificate, &s[..]))).unwrap();
        assert_eq!(check(policy, &pem, &both), Ok(()), "by the key before");
        assert_eq!(check(policy, &public_key(keys.certificate(Role::Pcr)).unwrap(), &both), Ok(()), "by the new one");
    }

    /// `hashlib.sha256(bytes(32) + bytes.fromhex("0000017f" "00000001" "000b" "03" "000800") + hashlib.sha256(value).digest())`
    #[test]
    fn the_digest_is_that_of_the_library_specification() {
        let value = "589f9ffed4c477966bfb8d41f37895b08c69047df8f911d6f3b57fbe08faee8d";
        let value: Digest = format!("sha256:{value}").parse().unwrap();
        assert_eq!(Policy::new(11, value).digest.hex(), KNOWN);
    }
    const KNOWN: &str = "b69a28b0dc5cbfd43a39f791530222f3b6908411eb57918d73908bac98c38786";
}
