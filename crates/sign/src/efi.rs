//! EFI programs with signatures (Microsoft, *Windows Authenticode Portable Executable Signature Format*; UEFI 2.10 §32.2).
//!
//! The signature follows the program, and two numbers in the program's headers locate it. Nothing else changes, not
//! even the field `CheckSum`, which no firmware reads. A signed program without its signature is therefore the unsigned
//! one again.

use crate::{Certificate, Error, cms};
use ::cms::content_info::ContentInfo;
use ::cms::signed_data::SignedAttributes;
use authenticode::{
    AttributeCertificateIterator, AuthenticodeSignature, DigestInfo, PeOffsets, PeTrait, SPC_INDIRECT_DATA_OBJID,
    SpcAttributeTypeAndOptionalValue, SpcIndirectDataContent, WIN_CERT_REVISION_2_0, WIN_CERT_TYPE_PKCS_SIGNED_DATA,
    authenticode_digest,
};
use const_oid::{ObjectIdentifier, db::rfc5911};
use der::{Any, Decode as _, Encode as _, asn1::OctetString};
use object::read::pe::PeFile64;
use sha2::{Digest as _, Sha256};
use types::Digest;

/// Where signatures begin (*Attribute Certificate Table*): at multiples of this.
const ALIGNMENT: usize = 8;
/// Length of a signature's own header: length, revision and type.
const HEADER: usize = 8;
const SPC_PE_IMAGE_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.15");
/// `SpcPeImageData` without flags and with an empty file name, as all signers write it.
const NO_IMAGE_DATA: [u8; 11] = [0x30, 9, 3, 1, 0, 0xa0, 4, 0xa2, 2, 0x80, 0];

/// A program before it is signed.
#[derive(Debug)]
pub struct Pending<'a> {
    program: &'a [u8],
    content: Any,
    attributes: SignedAttributes,
    digest: Digest,
}

impl<'a> Pending<'a> {
    /// Prepares a signature for a program that has none.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn new(program: &'a [u8]) -> Result<Self, Error> {
        let (pe, _) = parse(program)?;
        if table(&pe)?.is_some() {
            return Err(Error::program("is signed already"));
        }
        if !program.len().is_multiple_of(ALIGNMENT) {
            return Err(Error::program(format!("has a length that is no multiple of {ALIGNMENT} bytes")));
        }
        let content = SpcIndirectDataContent {
            data: SpcAttributeTypeAndOptionalValue {
                value_type: SPC_PE_IMAGE_DATA,
                value: Any::from_der(&NO_IMAGE_DATA).map_err(Error::encoding)?,
            },
            message_digest: DigestInfo {
                digest_algorithm: cms::sha256(),
                digest: OctetString::new(hash(&pe)?.as_bytes().as_slice()).map_err(Error::encoding)?,
            },
        };
        let content = content.to_der().and_then(|der| Any::from_der(&der)).map_err(Error::encoding)?;
        let attributes = cms::attributes(SPC_INDIRECT_DATA_OBJID, &content)?;
        let digest = cms::digest(&attributes)?;
        Ok(Self { program, content, attributes, digest })
    }

    /// The digest to sign.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The program with its signature.
    ///
    /// # Errors
    /// [`Error::BadSignature`], if the signature is not by this certificate's key over this program.
    pub fn attach(self, certificate: &Certificate, signature: &[u8]) -> Result<Vec<u8>, Error> {
        if !certificate.has_signed(&self.digest, signature) {
            return Err(Error::BadSignature { subject: certificate.subject(), digest: self.digest });
        }
        let (content, attributes) = (Some(self.content), Some(self.attributes));
        let data = cms::signed_data(
            cms::Reader::Firmware,
            certificate,
            SPC_INDIRECT_DATA_OBJID,
            content,
            attributes,
            signature,
        )?;
        let info = ContentInfo {
            content_type: rfc5911::ID_SIGNED_DATA,
            content: Any::encode_from(&data).map_err(Error::encoding)?,
        };
        let message = info.to_der().map_err(Error::encoding)?;
        let (_, directory) = parse(self.program)?;
        let (start, len) = (self.program.len(), (HEADER + message.len()).next_multiple_of(ALIGNMENT));
        let mut signed = self.program.to_vec();
        for number in [
            (HEADER + message.len()) as u32,
            u32::from(WIN_CERT_TYPE_PKCS_SIGNED_DATA) << 16 | u32::from(WIN_CERT_REVISION_2_0),
        ] {
            signed.extend(number.to_le_bytes());
        }
        signed.extend(message);
        signed.resize(start + len, 0);
        for (at, value) in [(directory, start), (directory + 4, len)] {
            signed[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
        }
        Ok(signed)
    }
}

/// The program without its signatures; the same bytes if it has none.
///
/// # Errors
/// [`Error::Program`], also when bytes follow the signatures.
pub fn strip(program: &[u8]) -> Result<Vec<u8>, Error> {
    let (pe, directory) = parse(program)?;
    let Some(table) = table(&pe)? else { return Ok(program.to_vec()) };
    if table.end != program.len() {
        return Err(Error::program("has something behind its signatures"));
    }
    let mut unsigned = program[..table.start].to_vec();
    unsigned.get_mut(directory..directory + 8).ok_or_else(|| Error::program("ends within its headers"))?.fill(0);
    Ok(unsigned)
}

/// The digest that a program's signatures cover and by which `db` and `dbx` name it: of everything except the
/// signatures.
///
/// # Errors
/// [`Error::Program`].
pub fn digest(program: &[u8]) -> Result<Digest, Error> {
    hash(&parse(program)?.0)
}

/// Verifies that one of a program's signatures is by this certificate's key over this program.
///
/// # Errors
/// [`Error::Program`] with the reason.
pub fn verify(program: &[u8], certificate: &Certificate) -> Result<(), Error> {
    let (pe, _) = parse(program)?;
    let digest = hash(&pe)?;
    let mut problem = "is not signed".to_owned();
    for signature in signatures(&pe)? {
        match check(&signature?, &digest, certificate) {
            Ok(()) => return Ok(()),
            Err(reason) => problem = reason,
        }
    }
    Err(Error::program(problem))
}

/// The signer of a program, by the first certificate within its signatures whose key signed it. Verifies the signature,
/// not the identity of the signer.
///
/// # Errors
/// [`Error::Program`] with the reason why no certificate fits.
pub fn signer(program: &[u8]) -> Result<Certificate, Error> {
    let (pe, _) = parse(program)?;
    let digest = hash(&pe)?;
    for signature in signatures(&pe)? {
        let signature = signature?;
        for certificate in signature.certificates() {
            let certificate = certificate.to_der().map_err(Error::certificate)?;
            // a certificate that we cannot use, such as one without an RSA key, is skipped
            let Ok(certificate) = Certificate::from_der(&certificate) else { continue };
            if check(&signature, &digest, &certificate).is_ok() {
                return Ok(certificate);
            }
        }
    }
    Err(Error::program("has no signature by a certificate that comes with it"))
}

fn check(signature: &AuthenticodeSignature, digest: &Digest, certificate: &Certificate) -> Result<(), String> {
    if signature.digest() != digest.as_bytes().as_slice() {
        return Err("was changed after it was signed".to_owned());
    }
    let content = signature.encapsulated_content().ok_or("has a signature without content")?;
    let attributes = signature.signer_info().signed_attrs.as_ref().ok_or("has a signature without attributes")?;
    let digests = attributes.iter().filter(|a| a.oid == rfc5911::ID_MESSAGE_DIGEST).flat_map(|a| a.values.iter());
    if !digests.into_iter().any(|value| value.value() == Sha256::digest(content).as_slice()) {
        return Err("has a signature over something else".to_owned());
    }
    let signed = cms::digest(attributes).map_err(|e| e.to_string())?;
    if !certificate.has_signed(&signed, signature.signature()) {
        return Err(format!("is not signed by the key of {}", certificate.subject()));
    }
    Ok(())
}

/// The program, and where its headers point to the signatures.
fn parse(program: &[u8]) -> Result<(PeFile64<'_>, usize), Error> {
    let pe = PeFile64::parse(program).map_err(|e| Error::program(format!("cannot be read: {e}")))?;
    let PeOffsets { security_data_dir, .. } =
        pe.offsets().map_err(|_| Error::program("has headers that cannot be read"))?;
    Ok((pe, security_data_dir))
}

/// A program's signatures, read one by one: a signature of an unknown kind may follow the accepted one.
fn signatures<'a>(
    pe: &'a PeFile64<'_>,
) -> Result<impl Iterator<Item = Result<AuthenticodeSignature, Error>> + 'a, Error> {
    let signatures = AttributeCertificateIterator::new(pe).map_err(|e| Error::program(e.to_string()))?;
    Ok(signatures.into_iter().flatten().map(|signature| {
        let signature = signature.map_err(|e| Error::program(e.to_string()))?;
        signature.get_authenticode_signature().map_err(|e| Error::program(e.to_string()))
    }))
}

fn table(pe: &PeFile64<'_>) -> Result<Option<std::ops::Range<usize>>, Error> {
    let table = pe.certificate_table_range().map_err(|_| Error::program("has headers that cannot be read"))?;
    Ok(table.filter(|range| !range.is_empty()))
}

fn hash(pe: &PeFile64<'_>) -> Result<Digest, Error> {
    let mut hash = Sha256::new();
    authenticode_digest(pe, &mut hash).map_err(|_| Error::program("has headers that cannot be read"))?;
    Ok(Digest::from_bytes(hash.finalize().into()))
}
