//! Signing the programs of an image.
//!
//! No step reads a key: steps build everything without signatures, and this module adds them when the image is written.
//! So an image without its signatures is the same for everyone.

use crate::{
    Error,
    firmware::{Esp, Programs, whole_file},
};
use boot::{loader, measure, uki};
use cas::Cas;
use sign::{
    Certificate, Keys, Purpose, Role, Wanted, efi,
    policy::{self, Policy},
    variable,
};
use types::Digest;

/// The version of signing: raise it when the same programs and keys would give another image.
pub(crate) const VERSION: u32 = 4;

/// The roles whose certificates belong into a device's firmware.
pub(crate) const ENROLLED: [Role; 3] = [Role::Db, Role::Kek, Role::Pk];

/// The part of file names that marks the kind of keys.
pub(crate) fn mark(keys: Option<&Keys>) -> &'static str {
    match keys.map(Keys::purpose) {
        None => ".unsigned",
        Some(Purpose::Development) => ".devkeys",
        Some(Purpose::Production) => "",
    }
}

/// A warning for users of an image with these signatures.
pub(crate) fn warning(keys: &Keys) -> Option<String> {
    (keys.purpose() == Purpose::Development).then(|| {
        "signed with development keys: everyone who can read them can start any program on a device that trusts them".to_owned()
    })
}

/// The signed parts of an image.
pub(crate) struct Signed {
    /// systemd-boot.
    pub(crate) loader: Vec<u8>,
    /// The kernel image, as blob.
    pub(crate) uki: Digest,
    /// Signed writes of the firmware's variables, by name.
    writes: Vec<(String, Vec<u8>)>,
}

/// A kernel image with the signed policy for TPMs, which release the key of P3 to images with this measurement. Xen's
/// image has no stub that measures, and stays unchanged.
///
/// # Errors
/// When the private key is elsewhere, or the image has no room.
pub fn with_policy(keys: &Keys, version: &str, image: Vec<u8>) -> Result<Vec<u8>, Error> {
    let bad = |e: boot::pe::Error| Error::Signed { problem: e.to_string() };
    if !measure::is_measured(&image).map_err(bad)? {
        return Ok(image);
    }
    let image = uki::with_policy_key(&image, &policy::public_key(keys.certificate(Role::Pcr))?).map_err(bad)?;
    let policy = Policy::new(measure::PCR, measure::measure(&image).map_err(bad)?.value());
    let roles = [Role::Pcr, Role::PcrBefore].into_iter();
    let by: Vec<_> = roles.filter_map(|role| Some((role, keys.certificates().get(&role)?))).collect();
    let want = |(role, certificate): &(Role, &Certificate)| {
        Wanted::new(format!("PCR policy of {version}"), *role, certificate, policy.digest())
    };
    let signatures = keys.sign(&by.iter().map(want).collect::<Vec<_>>())?;
    let signed = by.iter().zip(&signatures).map(|((_, certificate), signature)| (*certificate, &signature[..]));
    uki::with_policy(&image, &policy.section(signed)?).map_err(bad)
}

impl Signed {
    /// Signs the EFI programs `loader` and `uki`, and the writes that enroll the certificates. With private keys
    /// elsewhere, this needs two requests, because the signature of a program covers the policy in it.
    pub(crate) fn new(keys: &Keys, version: &str, cas: &Cas, loader: Digest, uki: Digest) -> Result<Self, Error> {
        let (loader, uki) = (cas.read(&loader)?, with_policy(keys, version, cas.read(&uki)?)?);
        let programs = [efi::Pending::new(&loader)?, efi::Pending::new(&uki)?];
        let variable = |role| Some((role, variable::Pending::new(role, keys.certificate(role), keys.owner())?));
        let variables: Vec<_> = ENROLLED.into_iter().filter_map(variable).collect();
        let db = keys.certificate(Role::Db);
        let whats = [format!("systemd-boot of {version}"), format!("EFI program of {version}")];
        let mut wanted: Vec<Wanted> =
            programs.iter().zip(whats).map(|(p, what)| Wanted::new(what, Role::Db, db, p.digest())).collect();
        for (role, write) in &variables {
            let authority = variable::authority(*role);
            let what = format!("write of the firmware's variable {role}");
            wanted.push(Wanted::new(what, authority, keys.certificate(authority), write.digest()));
        }
        let mut signatures = keys.sign(&wanted)?.into_iter();
        let mut next = || signatures.next().unwrap_or_default();
        let [boot, kernel] = programs;
        let (loader, uki) = (boot.attach(db, &next())?, kernel.attach(db, &next())?);
        let mut writes = Vec::new();
        for (role, write) in &variables {
            let certificate = keys.certificate(variable::authority(*role));
            writes.push((role.name().to_owned(), write.attach(certificate, &next())?));
        }
        Ok(Self { loader, uki: cas.put(&uki)?, writes })
    }

    /// The EFI system partition with the signed parts, as blob. An image with shim has no keys to enroll in the
    /// firmware: after enrolling them, the firmware would refuse shim.
    pub(crate) fn esp(self, esp: Esp, shim: Option<loader::Shim>, cas: &Cas) -> Result<Digest, Error> {
        let bad = |problem: String| Error::Signed { problem };
        let folder = tempfile::tempdir_in(cas.tmp()).map_err(|e| bad(e.to_string()))?;
        let path = folder.path().join("esp");
        let loader = tree::Content::Inline(self.loader.into());
        let writes = if shim.is_some() { Vec::new() } else { self.writes };
        let write = |uki| esp.write(&path, Programs { loader, uki, shim }, writes);
        let written = whole_file(cas.path(&self.uki)).and_then(write);
        written.map_err(|e| bad(e.to_string()))?;
        Ok(cas.adopt(&path)?)
    }
}
