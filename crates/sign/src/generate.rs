//! New key pairs, each with a self-signed certificate.

use crate::{Certificate, Error, Role};
use der::{
    DateTime,
    asn1::{GeneralizedTime, UtcTime},
};
use rsa::{
    RsaPrivateKey,
    pkcs1v15::SigningKey,
    pkcs8::EncodePublicKey as _,
    rand_core::{OsRng, RngCore as _},
    signature::Keypair as _,
};
use sha2::Sha256;
use std::{
    str::FromStr as _,
    time::{Duration, SystemTime},
};
use x509_cert::{
    builder::{Builder as _, CertificateBuilder, Profile},
    ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages},
    name::Name,
    serial_number::SerialNumber,
    spki::SubjectPublicKeyInfoOwned,
    time::{Time, Validity},
};

/// RFC 5280 §4.1.2.5: the end of a certificate without a well-defined end. Firmware has no clock that it could trust.
const NO_END: (u16, u8, u8) = (9999, 12, 31);

/// Makes a key pair whose certificate names `owner`.
pub(crate) fn generate(role: Role, owner: &str, now: SystemTime) -> Result<(RsaPrivateKey, Certificate), Error> {
    let key = RsaPrivateKey::new(&mut OsRng, role.bits()).map_err(Error::encoding)?;
    let signer = SigningKey::<Sha256>::new(key.clone());
    let public = signer.verifying_key().to_public_key_der().map_err(Error::encoding)?;
    let public = SubjectPublicKeyInfoOwned::try_from(public.as_bytes()).map_err(Error::encoding)?;
    let mut serial = [0; 16];
    OsRng.fill_bytes(&mut serial);
    serial[0] = serial[0] & 0x7f | 0x40; // positive, and of this length
    let serial = SerialNumber::new(&serial).map_err(Error::encoding)?;
    let subject = Name::from_str(&format!("CN={} {}", escape(owner), role.title())).map_err(Error::encoding)?;
    let profile = Profile::Manual { issuer: None };
    let mut builder =
        CertificateBuilder::new(profile, serial, validity(now)?, subject, public, &signer).map_err(Error::encoding)?;
    let leaf = BasicConstraints { ca: false, path_len_constraint: None };
    builder.add_extension(&leaf).map_err(Error::encoding)?;
    builder.add_extension(&KeyUsage(KeyUsages::DigitalSignature.into())).map_err(Error::encoding)?;
    if matches!(role, Role::Db | Role::Debug) {
        let usage = ExtendedKeyUsage(vec![const_oid::db::rfc5280::ID_KP_CODE_SIGNING]);
        builder.add_extension(&usage).map_err(Error::encoding)?;
    }
    let certificate = builder.build::<rsa::pkcs1v15::Signature>().map_err(Error::encoding)?;
    let der = der::Encode::to_der(&certificate).map_err(Error::encoding)?;
    Ok((key, Certificate::from_der(&der)?))
}

/// Valid from a whole second on, without an end.
fn validity(now: SystemTime) -> Result<Validity, Error> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let start = DateTime::from_unix_duration(Duration::from_secs(since.as_secs())).map_err(Error::encoding)?;
    let (year, month, day) = NO_END;
    let end = DateTime::new(year, month, day, 23, 59, 59).map_err(Error::encoding)?;
    Ok(Validity { not_before: time(start)?, not_after: time(end)? })
}

/// A time in the form of certificates: years up to 2049 have two digits (RFC 5280 §4.1.2.5); the kernel reads no other
/// form (`x509_decode_time`).
fn time(date: DateTime) -> Result<Time, Error> {
    if date.year() <= UtcTime::MAX_YEAR {
        return Ok(Time::UtcTime(UtcTime::from_date_time(date).map_err(Error::encoding)?));
    }
    Ok(Time::GeneralTime(GeneralizedTime::from_date_time(date)))
}

/// As a value in RFC 4514's text (§2.4).
fn escape(text: &str) -> String {
    text.chars().flat_map(|c| (",+\"\\<>;=#".contains(c)).then_some('\\').into_iter().chain([c])).collect()
}
