//! Signatures of kernel modules, as the kernel's `scripts/sign-file.c` writes them and its `kernel/module/signing.c` reads them.
//!
//! ```text
//! module │ PKCS #7: one signer by issuer and serial number, no content, │ struct module_signature │ magic
//!        │          no attributes, no certificate                       │ (12 bytes)              │
//! ```
//! The kernel refuses signed attributes for modules (`pkcs7_verify`), so the signature covers the digest of the module
//! itself. The kernel looks for the certificate among its own.

use crate::{
    Certificate, Error,
    cms::{self, Reader},
};
use ::cms::content_info::ContentInfo;
use const_oid::db::rfc5911;
use der::{Any, Encode as _};
use types::Digest;

/// `MODULE_SIG_STRING` (kernel, `include/linux/module_signature.h`).
const MAGIC: &[u8] = b"~Module signature appended~\n";
/// `PKEY_ID_PKCS7`.
const PKCS7: u8 = 2;

/// The digest of a module to sign.
#[must_use]
pub fn digest(module: &[u8]) -> Digest {
    Digest::of(module)
}

/// Appends a signature to a module.
///
/// # Errors
/// [`Error::BadSignature`], if the signature is not by this certificate's key over this module.
pub fn attach(mut module: Vec<u8>, certificate: &Certificate, signature: &[u8]) -> Result<Vec<u8>, Error> {
    let digest = digest(&module);
    if !certificate.has_signed(&digest, signature) {
        return Err(Error::BadSignature { subject: certificate.subject(), digest });
    }
    let signed = cms::signed_data(Reader::Kernel, certificate, rfc5911::ID_DATA, None, None, signature)?;
    let content = Any::encode_from(&signed).map_err(Error::encoding)?;
    let message = ContentInfo { content_type: rfc5911::ID_SIGNED_DATA, content };
    let message = message.to_der().map_err(Error::encoding)?;
    let len = u32::try_from(message.len()).map_err(Error::encoding)?;
    module.extend(message);
    // algo, hash, id_type, signer_len, key_id_len, three of nothing, sig_len: for PKCS #7 all but type and length are zero
    module.extend([0, 0, PKCS7, 0, 0, 0, 0, 0]);
    module.extend(len.to_be_bytes());
    module.extend(MAGIC);
    Ok(module)
}

#[cfg(all(test, feature = "keys"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        Role, Wanted,
        tests::{ours, theirs},
    };

    const MODULE: &[u8] = b"\x7fELF, a module";

    fn sign(module: &[u8]) -> Vec<u8> {
        let certificate = ours().certificate(Role::Modules);
        let wanted = Wanted::new("a module", Role::Modules, certificate, digest(module));
        ours().sign(&[wanted]).unwrap().remove(0)
    }

    /// The message of a signed module, found from the end, as the kernel does.
    fn message(signed: &[u8]) -> &[u8] {
        let rest = signed.strip_suffix(MAGIC).unwrap();
        let (rest, header) = rest.split_at(rest.len() - 12);
        assert_eq!(header[..8], [0, 0, 2, 0, 0, 0, 0, 0]);
        let len = u32::from_be_bytes(header[8..].try_into().unwrap()) as usize;
        &rest[rest.len() - len..]
    }

    #[test]
    fn a_signature_stands_behind_the_module_and_is_the_same_each_time() {
        let certificate = ours().certificate(Role::Modules);
        let signed = attach(MODULE.to_vec(), certificate, &sign(MODULE)).unwrap();
        assert_eq!(signed, attach(MODULE.to_vec(), certificate, &sign(MODULE)).unwrap());
        let message = message(&signed);
        assert_eq!(signed[..signed.len() - message.len() - 12 - MAGIC.len()], *MODULE);
    }

    /// RFC 5652 §5, around the parts that differ from key to key: issuer, serial number, signature. It equals the
    /// output of `openssl cms -sign -binary -noattr -nocerts -outform DER -md sha256 -signer modules.crt -inkey
    /// modules.key -in <module>`, byte for byte.
    #[test]
    fn the_message_is_that_of_sign_file() {
        let certificate = ours().certificate(Role::Modules);
        let signature = sign(MODULE);
        let signed = attach(MODULE.to_vec(), certificate, &signature).unwrap();
        let tlv = |tag: u8, content: &[u8]| {
            let len = content.len();
            let len = match len {
                0..128 => vec![len as u8],
                128..256 => vec![0x81, len as u8],
                _ => vec![0x82, (len >> 8) as u8, len as u8],
            };
            [&[tag], &len[..], content].concat()
        };
        let own = &certificate.x509().tbs_certificate;
        let by = [own.issuer.to_der().unwrap(), own.serial_number.to_der().unwrap()].concat();
        // 2.16.840.1.101.3.4.2.1, 1.2.840.113549.1.1.1, 1.2.840.113549.1.7.1, 1.2.840.113549.1.7.2
        let sha256 = b"\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01";
        let rsa = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
        let data = b"\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
        let signed_data = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
        let version = b"\x02\x01\x01";
        let signer = [&version[..], &tlv(0x30, &by), sha256, rsa, &tlv(0x04, &signature)].concat();
        let signers = tlv(0x31, &tlv(0x30, &signer));
        let content = tlv(0x30, &[&version[..], &tlv(0x31, sha256), data, &signers].concat());
        let expected = tlv(0x30, &[&signed_data[..], &tlv(0xa0, &content)].concat());
        assert_eq!(message(&signed), expected);
    }

    #[test]
    fn a_signature_over_another_module_or_by_another_key_is_refused() {
        let (signature, module) = (sign(MODULE), MODULE.to_vec());
        let refused = |module: &[u8], certificate| attach(module.to_vec(), certificate, &signature).unwrap_err();
        let certificate = ours().certificate(Role::Modules);
        assert!(matches!(refused(b"\x7fELF, a modulE", certificate), Error::BadSignature { .. }));
        for other in [ours().certificate(Role::Db), theirs().certificate(Role::Modules)] {
            assert!(matches!(refused(&module, other), Error::BadSignature { .. }));
        }
    }

    /// `x509_decode_time` (kernel, `crypto/asymmetric_keys/x509_cert_parser.c`) accepts no other.
    #[test]
    fn the_kernel_can_read_the_times_of_a_certificate() {
        let validity = &ours().certificate(Role::Modules).x509().tbs_certificate.validity;
        // UTCTime has tag 23, GeneralizedTime 24 (X.680 §8.4)
        assert_eq!(validity.not_before.to_der().unwrap()[0], 23);
        assert_eq!(validity.not_after.to_der().unwrap()[0], 24);
    }
}
