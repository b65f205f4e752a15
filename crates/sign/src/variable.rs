//! Authenticated variables: writes of the firmware's keys (UEFI 2.10 §8.2.2, §32.4).
//!
//! ```text
//! <name>.auth   EFI_TIME │ WIN_CERTIFICATE_UEFI_GUID with SignedData │ EFI_SIGNATURE_LIST with the certificate
//!                               └ signs: name │ vendor │ attributes │ time │ list
//! ```

use crate::{Certificate, Error, Role, cms};
use const_oid::db::rfc5911;
use der::Encode as _;
use types::Digest;
use x509_cert::time::Time;

/// Mixed-endian form of a GUID (UEFI 2.10 appendix A).
pub(crate) type Guid = [u8; 16];
/// `EFI_GLOBAL_VARIABLE`, 8be4df61-93ca-11d2-aa0d-00e098032b8c.
const GLOBAL: Guid = [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`, d719b2cb-3d3a-4596-a3bc-dad00e67656f.
const DATABASE: Guid = [0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f];
/// `EFI_CERT_X509_GUID`, a5c059a1-94e4-4aa7-87b5-ab155c2bf072.
pub(crate) const X509: Guid =
    [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72];
/// `EFI_CERT_TYPE_PKCS7_GUID`, 4aafd29d-68df-49ee-8aa9-347d375665a7.
const PKCS7: Guid = [0x9d, 0xd2, 0xaf, 0x4a, 0xdf, 0x68, 0xee, 0x49, 0x8a, 0xa9, 0x34, 0x7d, 0x37, 0x56, 0x65, 0xa7];
/// Non-volatile, readable at boot and at run time, changed by signed writes only.
const ATTRIBUTES: u32 = 0x27;
/// `EFI_VARIABLE_APPEND_WRITE`: the write adds to the value.
const APPEND: u32 = 0x40;
const REVISION: u16 = 0x0200;
/// `WIN_CERT_TYPE_EFI_GUID`.
const TYPE_GUID: u16 = 0x0ef1;

/// The variable that holds the certificates of a role; `None` for roles outside of the firmware.
#[must_use]
pub const fn vendor(role: Role) -> Option<[u8; 16]> {
    match role {
        Role::Pk | Role::Kek => Some(GLOBAL),
        Role::Db => Some(DATABASE),
        Role::Update | Role::Pcr | Role::PcrBefore | Role::Debug | Role::Modules => None,
    }
}

/// The key that must sign a change of a role's variable.
#[must_use]
pub const fn authority(role: Role) -> Role {
    match role {
        Role::Db => Role::Kek,
        _ => Role::Pk,
    }
}

/// A certificate as list of signatures (`EFI_SIGNATURE_LIST`) of an owner.
#[must_use]
pub fn list(certificate: &Certificate, owner: Guid) -> Vec<u8> {
    let signature = 16 + certificate.der().len();
    let mut list = X509.to_vec();
    for number in [28 + signature, 0, signature] {
        list.extend((number as u32).to_le_bytes());
    }
    list.extend(owner);
    list.extend(certificate.der());
    list
}

/// The X.509 certificates in the value of a variable such as `db`: consecutive lists of signatures (UEFI 2.10 §32.4.1).
/// Skips other entries, such as digests of single programs, and certificates that are unreadable or have no RSA key:
/// makers of machines enroll such certificates, and they sign nothing of ours.
///
/// # Errors
/// [`Error::Certificate`], when a list is longer than the value.
pub fn certificates(value: &[u8]) -> Result<Vec<Certificate>, Error> {
    let all = signatures(value)?;
    Ok(all
        .into_iter()
        .filter(|(kind, _)| *kind == X509)
        .filter_map(|(_, der)| Certificate::from_der(der).ok())
        .collect())
}

/// The signatures in the value of a variable: the kind of each, and its data without the owner.
pub(crate) fn signatures(mut value: &[u8]) -> Result<Vec<(Guid, &[u8])>, Error> {
    let mut found = Vec::new();
    while !value.is_empty() {
        let number = |at: usize| value.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes).map(|n| n as usize);
        let lengths = || Some((number(16)?, number(20)?, number(24)?));
        let (all, header, one) = lengths().ok_or_else(|| Error::certificate("a list ends in its header"))?;
        let signatures = 28usize.checked_add(header).and_then(|start| value.get(start..all));
        let signatures = signatures.ok_or_else(|| Error::certificate("a list is longer than the variable"))?;
        if one > 16 {
            let mut kind = Guid::default();
            kind.copy_from_slice(&value[..16]);
            found.extend(signatures.chunks_exact(one).map(|signature| (kind, &signature[16..])));
        }
        value = &value[all..];
    }
    Ok(found)
}

/// The value in a signed write (the form of `.auth` files). The signature is not verified.
///
/// # Errors
/// [`Error::Certificate`], if it is no such write.
pub fn written(write: &[u8]) -> Result<&[u8], Error> {
    let len = write.get(16..20).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let value = len.and_then(|len| write.get(16usize.checked_add(len as usize)?..));
    value.ok_or_else(|| Error::certificate("it is no signed write of a variable"))
}

/// A write of a variable before it is signed.
#[derive(Debug)]
pub struct Pending {
    time: [u8; 16],
    data: Vec<u8>,
    digest: Digest,
}

impl Pending {
    /// Prepares the write of a role's certificate into its variable; `None` for a role without variable. Its time is
    /// the certificate's start of validity: firmware accepts only writes with a later time than the last.
    #[must_use]
    pub fn new(role: Role, certificate: &Certificate, owner: Guid) -> Option<Self> {
        Some(Self::of(role.name(), vendor(role)?, ATTRIBUTES, certificate, owner))
    }

    /// Prepares a write that adds a certificate to the variable of a role; `None` for a role without variable. Firmware
    /// accepts it at any time: the time of such a write may be before that of the last (UEFI 2.10 §8.2.2).
    #[must_use]
    pub fn addition(role: Role, certificate: &Certificate, owner: Guid) -> Option<Self> {
        Some(Self::of(role.name(), vendor(role)?, ATTRIBUTES | APPEND, certificate, owner))
    }

    /// Prepares a write that adds a certificate to `dbx`: firmware then refuses everything that its key signed,
    /// although `db` still holds the certificate. The key that signs changes of `db` signs it.
    #[must_use]
    pub fn prohibition(certificate: &Certificate, owner: Guid) -> Self {
        Self::of("dbx", DATABASE, ATTRIBUTES | APPEND, certificate, owner)
    }

    fn of(name: &str, vendor: Guid, attributes: u32, certificate: &Certificate, owner: Guid) -> Self {
        let (time, data) = (time(&certificate.x509().tbs_certificate.validity.not_before), list(certificate, owner));
        let mut signed: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        signed.extend(vendor);
        signed.extend(attributes.to_le_bytes());
        signed.extend(time);
        signed.extend(&data);
        Self { time, digest: Digest::of(&signed), data }
    }

    /// The digest to sign, by the key of [`authority`].
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The signed write, in the form of `.auth` files.
    ///
    /// # Errors
    /// [`Error::BadSignature`], if the signature is not by this certificate's key over this write.
    pub fn attach(&self, certificate: &Certificate, signature: &[u8]) -> Result<Vec<u8>, Error> {
        if !certificate.has_signed(&self.digest, signature) {
            return Err(Error::BadSignature { subject: certificate.subject(), digest: self.digest });
        }
        let message = cms::signed_data(cms::Reader::Firmware, certificate, rfc5911::ID_DATA, None, None, signature)?;
        let message = message.to_der().map_err(Error::encoding)?;
        let mut write = self.time.to_vec();
        write.extend(((24 + message.len()) as u32).to_le_bytes());
        write.extend(REVISION.to_le_bytes());
        write.extend(TYPE_GUID.to_le_bytes());
        write.extend(PKCS7);
        write.extend(message);
        write.extend(&self.data);
        Ok(write)
    }
}

/// `EFI_TIME` with zero below a second, as signed writes require.
fn time(time: &Time) -> [u8; 16] {
    let date = time.to_date_time();
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&date.year().to_le_bytes());
    bytes[2..7].copy_from_slice(&[date.month(), date.day(), date.hour(), date.minutes(), date.seconds()]);
    bytes
}
