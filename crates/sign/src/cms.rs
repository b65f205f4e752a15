//! Signed data (CMS, RFC 5652 §5) by one signer, in the forms that UEFI firmware and the kernel read.

use crate::{Certificate, Error};
use cms::{
    cert::{CertificateChoices, IssuerAndSerialNumber},
    content_info::CmsVersion,
    signed_data::{
        CertificateSet, EncapsulatedContentInfo, SignedAttributes, SignedData, SignerIdentifier, SignerInfo,
        SignerInfos,
    },
};
use const_oid::{
    ObjectIdentifier,
    db::{rfc5911, rfc5912},
};
use der::{
    Any, Encode as _,
    asn1::{OctetString, SetOfVec},
};
use sha2::{Digest as _, Sha256};
use types::Digest;
use x509_cert::{attr::Attribute, spki::AlgorithmIdentifierOwned};

/// The reader of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// UEFI firmware, which receives the certificate in the message.
    Firmware,
    /// The kernel, which has the certificate. The message equals OpenSSL's for the kernel's `sign-file`, byte for byte.
    Kernel,
}

impl Reader {
    /// For firmware, SHA-256 has an explicit NULL, as signers of EFI programs write it; for the kernel it has none (RFC
    /// 5754 §2).
    fn sha256(self) -> AlgorithmIdentifierOwned {
        let parameters = (self == Self::Firmware).then(Any::null);
        AlgorithmIdentifierOwned { oid: rfc5912::ID_SHA_256, parameters }
    }
}

/// SHA-256 as firmware reads it.
pub(crate) fn sha256() -> AlgorithmIdentifierOwned {
    Reader::Firmware.sha256()
}

/// The signed attributes for content inside the message, in DER (§5.4): its type and the digest of its bytes.
pub(crate) fn attributes(kind: ObjectIdentifier, content: &Any) -> Result<SignedAttributes, Error> {
    let one = |oid, value: Any| -> Result<Attribute, Error> {
        Ok(Attribute { oid, values: SetOfVec::try_from(vec![value]).map_err(Error::encoding)? })
    };
    let digest = OctetString::new(Sha256::digest(content.value()).as_slice()).map_err(Error::encoding)?;
    let all = vec![
        one(rfc5911::ID_CONTENT_TYPE, Any::encode_from(&kind).map_err(Error::encoding)?)?,
        one(rfc5911::ID_MESSAGE_DIGEST, Any::encode_from(&digest).map_err(Error::encoding)?)?,
    ];
    SetOfVec::try_from(all).map_err(Error::encoding)
}

/// The digest to sign: that of the attributes' DER form.
pub(crate) fn digest(attributes: &SignedAttributes) -> Result<Digest, Error> {
    Ok(Digest::of(&attributes.to_der().map_err(Error::encoding)?))
}

/// The signed data with one signature: over the attributes where there are any, else over the content itself.
pub(crate) fn signed_data(
    reader: Reader,
    certificate: &Certificate,
    kind: ObjectIdentifier,
    content: Option<Any>,
    attributes: Option<SignedAttributes>,
    signature: &[u8],
) -> Result<SignedData, Error> {
    let x509 = certificate.x509();
    let signer = SignerInfo {
        version: CmsVersion::V1,
        sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: x509.tbs_certificate.issuer.clone(),
            serial_number: x509.tbs_certificate.serial_number.clone(),
        }),
        digest_alg: reader.sha256(),
        signed_attrs: attributes,
        signature_algorithm: AlgorithmIdentifierOwned { oid: rfc5912::RSA_ENCRYPTION, parameters: Some(Any::null()) },
        signature: OctetString::new(signature).map_err(Error::encoding)?,
        unsigned_attrs: None,
    };
    let certificates = (reader == Reader::Firmware).then(|| {
        let all = SetOfVec::try_from(vec![CertificateChoices::Certificate(x509.clone())]);
        all.map(CertificateSet).map_err(Error::encoding)
    });
    Ok(SignedData {
        version: CmsVersion::V1,
        digest_algorithms: SetOfVec::try_from(vec![reader.sha256()]).map_err(Error::encoding)?,
        encap_content_info: EncapsulatedContentInfo { econtent_type: kind, econtent: content },
        certificates: certificates.transpose()?,
        crls: None,
        signer_infos: SignerInfos(SetOfVec::try_from(vec![signer]).map_err(Error::encoding)?),
    })
}
