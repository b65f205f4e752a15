//! A folder of keys: always the certificates, and either private keys or signatures that were made elsewhere.

use crate::{Certificate, Error, Request, Response, Role, Signature, TokenAt, Wanted, generate::generate};
use rsa::{
    Pkcs1v15Sign, RsaPrivateKey,
    pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding},
    rand_core::OsRng,
};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};
use types::Digest;

const ABOUT: &str = "keys.json";
const SIGNATURES: &str = "signatures.json";

/// The purpose of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// For trying the system. Images with signatures by these keys are marked.
    Development,
    /// For devices in use.
    Production,
}

/// `keys.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Version of this document's form.
    format: u32,
    /// The purpose of the keys.
    pub purpose: Purpose,
    /// The token with the private keys, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkcs11: Option<TokenAt>,
}

/// The keys of an owner of devices.
#[derive(Debug)]
pub struct Keys {
    folder: PathBuf,
    about: About,
    pin: Option<String>,
    certificates: BTreeMap<Role, Certificate>,
}

impl Keys {
    /// Makes the key pairs that a folder lacks, or all of them in a new folder. Only the user may read them. A new
    /// folder appears with all keys or not at all, even if other processes make keys at the same time. Files of roles
    /// that no longer exist are ignored.
    ///
    /// # Errors
    /// [`Error::Present`] when nothing is missing, or the folder has other content; or when files cannot be written.
    pub fn generate(folder: &Path, purpose: Purpose, owner: &str) -> Result<Self, Error> {
        let parent = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(Error::file("make", parent))?;
        let new = tempfile::Builder::new().prefix(".keys-").tempdir_in(parent).map_err(Error::file("write", parent))?;
        fill(new.path(), purpose, owner)?;
        match fs::rename(new.path(), folder) {
            Err(e) if [io::ErrorKind::DirectoryNotEmpty, io::ErrorKind::AlreadyExists].contains(&e.kind()) => {
                if add(folder, owner)? { Self::open(folder) } else { Err(Error::Present { path: folder.to_owned() }) }
            }
            Err(e) => Err(Error::file("rename into", folder)(e)),
            Ok(()) => Self::open(folder),
        }
    }

    /// Reads a folder's certificates.
    ///
    /// # Errors
    /// [`Error::NoKeys`], or for a missing or malformed file.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let about = match fs::read(folder.join(ABOUT)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoKeys { path: folder.to_owned() });
            }
            other => other.map_err(Error::file("read", &folder.join(ABOUT)))?,
        };
        let about: About = serde_json::from_slice(&about).map_err(Error::document)?;
        crate::exchange::known(about.format)?;
        let certificate = |role| {
            let path = public(folder, role);
            match fs::read(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::NoKey { path: folder.to_owned(), role }),
                pem => Ok((role, Certificate::from_pem(&pem.map_err(Error::file("read", &path))?)?)),
            }
        };
        let mut certificates = Role::ALL.into_iter().map(certificate).collect::<Result<BTreeMap<_, _>, Error>>()?;
        match certificate(Role::PcrBefore) {
            Err(Error::NoKey { .. }) => {}
            before => certificates.extend([before?]),
        }
        Ok(Self { folder: folder.to_owned(), about, pin: None, certificates })
    }

    /// Makes another key `pcr`, and keeps the present one as `pcr-before`. After a power cut in between, [`generate`]
    /// makes the missing files.
    ///
    /// [`generate`]: Self::generate
    ///
    /// # Errors
    /// [`Error::Rotation`] when `pcr-before` exists already, or the keys are in a token; or when files cannot be
    /// written.
    pub fn rotate(folder: &Path, owner: &str) -> Result<Self, Error> {
        let keys = Self::open(folder)?;
        let before = public(folder, Role::PcrBefore);
        if keys.certificates.contains_key(&Role::PcrBefore) {
            return Err(Error::Rotation {
                problem: "the one before is still in use: when every device runs an image that both have signed, \
                and has done `vault seal`, remove pcr-before.crt and pcr-before.key",
            });
        }
        if keys.token().is_some() {
            return Err(Error::Rotation {
                problem: "its private keys are in a token: make one there, keep pcr.crt as pcr-before.crt, and \
                put the new one's certificate into the place of pcr.crt",
            });
        }
        let (key, kept) = (private(folder, Role::Pcr), private(folder, Role::PcrBefore));
        match fs::rename(&key, &kept) {
            // the private key is elsewhere
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(Error::file("rename into", &kept))?,
        }
        fs::rename(public(folder, Role::Pcr), &before).map_err(Error::file("rename into", &before))?;
        make(folder, Role::Pcr, owner)?;
        Self::open(folder)
    }

    /// With the PIN of their token.
    #[must_use]
    pub fn with_pin(self, pin: Option<String>) -> Self {
        Self { pin, ..self }
    }

    /// Their folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Their purpose.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        self.about.purpose
    }

    /// The certificate of a role.
    ///
    /// # Panics
    /// Never: [`open`](Self::open) reads those of all roles.
    #[must_use]
    pub fn certificate(&self, role: Role) -> &Certificate {
        &self.certificates[&role]
    }

    /// The certificates.
    #[must_use]
    pub const fn certificates(&self) -> &BTreeMap<Role, Certificate> {
        &self.certificates
    }

    /// The owner, as firmware names the owner of a key: a GUID, derived from the platform key.
    #[must_use]
    pub fn owner(&self) -> [u8; 16] {
        let mut owner = [0; 16];
        owner.copy_from_slice(&self.certificate(Role::Pk).fingerprint().as_bytes()[..16]);
        owner
    }

    /// The requested signatures, in their order: imported ones, else by private keys in the folder, else by private
    /// keys in the token.
    ///
    /// # Errors
    /// [`Error::Wanted`] with all signatures to make elsewhere.
    pub fn sign(&self, wanted: &[Wanted]) -> Result<Vec<Vec<u8>>, Error> {
        let known = self.imported()?;
        let mut keys = BTreeMap::new();
        let mut token = None;
        let mut missing = Vec::new();
        let mut signatures = Vec::new();
        for want in wanted {
            let role = self.role(&want.certificate)?;
            let imported = known
                .signatures
                .iter()
                .find(|s| (s.certificate, s.algorithm, s.digest) == (want.certificate, want.algorithm, want.digest));
            if let Some(signature) = imported {
                signatures.push(signature.bytes()?);
                continue;
            }
            let key = match keys.entry(role) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.private(role)?),
            };
            let signature = match (key, &self.about.pkcs11) {
                (Some(key), _) => Some(raw(key, &want.digest)?),
                (None, Some(at)) => {
                    let token = match &mut token {
                        Some(token) => token,
                        none => none.insert(at.open(self.pin.as_deref())?),
                    };
                    token.sign(self.certificate(role), &want.digest)?
                }
                (None, None) => None,
            };
            match signature {
                Some(signature) => signatures.push(signature),
                None => missing.push(want.clone()),
            }
        }
        if missing.is_empty() { Ok(signatures) } else { Err(Error::Wanted(Request::new(missing))) }
    }

    /// The answer to a request.
    ///
    /// # Errors
    /// As of [`sign`](Self::sign).
    pub fn answer(&self, request: &Request) -> Result<Response, Error> {
        let signatures = self.sign(&request.wanted)?;
        Ok(Response::new(request.wanted.iter().zip(&signatures).map(|(w, s)| Signature::new(w, s)).collect()))
    }

    /// The token with the private keys, if there is one.
    #[must_use]
    pub const fn token(&self) -> Option<&TokenAt> {
        self.about.pkcs11.as_ref()
    }

    /// Whether the private key of a role is in the folder.
    #[must_use]
    pub fn has_private(&self, role: Role) -> bool {
        private(&self.folder, role).exists()
    }

    /// Stores signatures that were made elsewhere. Returns the number of new ones.
    ///
    /// # Errors
    /// As of [`Response::add`]; the folder is unchanged then.
    pub fn import(&self, response: Response) -> Result<usize, Error> {
        let mut all = self.imported()?;
        let count = all.add(response, &self.certificates)?;
        write(&self.folder.join(SIGNATURES), all.json().as_bytes(), 0o644)?;
        Ok(count)
    }

    fn imported(&self) -> Result<Response, Error> {
        let path = self.folder.join(SIGNATURES);
        match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Response::new(Vec::new())),
            other => Response::read(&other.map_err(Error::file("read", &path))?),
        }
    }

    fn role(&self, certificate: &Digest) -> Result<Role, Error> {
        let found = self.certificates.iter().find(|(_, c)| c.fingerprint() == *certificate);
        found.map(|(role, _)| *role).ok_or(Error::Foreign { certificate: *certificate })
    }

    /// The private key of a role, if it is in the folder.
    fn private(&self, role: Role) -> Result<Option<RsaPrivateKey>, Error> {
        let path = private(&self.folder, role);
        let bad = |problem: String| Error::PrivateKey { path: path.clone(), problem };
        let pem = match fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::file("read", &path))?,
        };
        let key = RsaPrivateKey::from_pkcs8_pem(&pem).map_err(|e| bad(format!("not an RSA key in PKCS #8: {e}")))?;
        if key.to_public_key() != *self.certificate(role).key() {
            return Err(bad(format!("the key does not belong to {role}.crt beside it")));
        }
        Ok(Some(key))
    }
}

/// Writes a new key pair.
fn make(folder: &Path, role: Role, owner: &str) -> Result<(), Error> {
    let (key, certificate) = generate(role, owner, SystemTime::now())?;
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(Error::encoding)?;
    write(&private(folder, role), pem.as_bytes(), 0o600)?;
    write(&public(folder, role), certificate.pem()?.as_bytes(), 0o644)
}

/// Adds the key pairs that a folder of keys lacks. Returns whether one was missing. The certificate comes last and
/// completes a pair.
fn add(folder: &Path, owner: &str) -> Result<bool, Error> {
    let about = match File::open(folder.join(ABOUT)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(Error::file("read", &folder.join(ABOUT)))?,
    };
    // one at a time
    about.lock().map_err(Error::file("lock", &folder.join(ABOUT)))?;
    let missing: Vec<_> = Role::ALL.into_iter().filter(|role| !public(folder, *role).exists()).collect();
    for role in &missing {
        make(folder, *role, owner)?;
    }
    Ok(!missing.is_empty())
}

/// Writes new key pairs into an empty folder.
fn fill(folder: &Path, purpose: Purpose, owner: &str) -> Result<(), Error> {
    for role in Role::ALL {
        make(folder, role, owner)?;
    }
    let about = About { format: 1, purpose, pkcs11: None };
    let about = serde_json::to_string_pretty(&about).map_err(Error::encoding)? + "\n";
    write(&folder.join(ABOUT), about.as_bytes(), 0o644)
}

/// The signature of a digest. Random numbers blind the computation and do not change the signature.
fn raw(key: &RsaPrivateKey, digest: &Digest) -> Result<Vec<u8>, Error> {
    key.sign_with_rng(&mut OsRng, Pkcs1v15Sign::new::<Sha256>(), digest.as_bytes()).map_err(Error::encoding)
}

fn private(folder: &Path, role: Role) -> PathBuf {
    folder.join(format!("{role}.key"))
}

fn public(folder: &Path, role: Role) -> PathBuf {
    folder.join(format!("{role}.crt"))
}

/// Writes a file under another name, syncs it, and renames it.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let tmp = path.with_extension("tmp");
    let _ = fs::remove_file(&tmp);
    let mut file =
        File::options().write(true).create_new(true).mode(mode).open(&tmp).map_err(Error::file("create", &tmp))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::file("write", &tmp))?;
    fs::rename(&tmp, path).map_err(Error::file("rename into", path))
}
