//! A folder of keys: certificates always, private keys where they may be, else signatures that came from elsewhere.

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

/// How far keys are to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Made without a thought for whoever wants to try the system. What they sign says so.
    Development,
    /// Made to be kept.
    Production,
}

/// `keys.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Version of this document's form.
    format: u32,
    /// How far the keys are to be trusted.
    pub purpose: Purpose,
    /// The token that has the private keys, where they are in one.
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
    /// Makes the key pairs that a folder of keys lacks, which is all of them where there is none. Only the user may read them. A
    /// new folder appears with all of them or not at all, whoever else makes keys at the same time.
    ///
    /// # Errors
    /// [`Error::Present`] when nothing is missing, or the folder has something else in it; or when files cannot be written.
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
    /// [`Error::NoKeys`], or for a file that is missing or is not what its name says.
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

    /// Makes another key `pcr`, and keeps the one that there is as `pcr-before`. The power may go in between: [`generate`] makes
    /// what is missing then.
    ///
    /// [`generate`]: Self::generate
    ///
    /// # Errors
    /// [`Error::Rotation`] when there is one from before already, or the keys are in a token; or when files cannot be written.
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
            // it is elsewhere
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(Error::file("rename into", &kept))?,
        }
        fs::rename(public(folder, Role::Pcr), &before).map_err(Error::file("rename into", &before))?;
        make(folder, Role::Pcr, owner)?;
        Self::open(folder)
    }

    /// With what opens their token.
    #[must_use]
    pub fn with_pin(self, pin: Option<String>) -> Self {
        Self { pin, ..self }
    }

    /// Where they are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How far they are to be trusted.
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

    /// Who owns what these keys are put into, as firmware names owners: a GUID, from the platform key.
    #[must_use]
    pub fn owner(&self) -> [u8; 16] {
        let mut owner = [0; 16];
        owner.copy_from_slice(&self.certificate(Role::Pk).fingerprint().as_bytes()[..16]);
        owner
    }

    /// The signatures that are wanted, in their order: those that were imported, else by private keys in the folder, else by
    /// those in the token.
    ///
    /// # Errors
    /// [`Error::Wanted`] with all that are to be made elsewhere.
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

    /// The token that has private keys, where there is one.
    #[must_use]
    pub const fn token(&self) -> Option<&TokenAt> {
        self.about.pkcs11.as_ref()
    }

    /// Whether the private key of a role is in the folder.
    #[must_use]
    pub fn has_private(&self, role: Role) -> bool {
        private(&self.folder, role).exists()
    }

    /// Keeps signatures that were made elsewhere; says how many were new.
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

    /// The private key of a role, where it is in the folder.
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

/// Adds the key pairs that a folder of keys lacks; says whether there were any. The certificate comes last, and makes a pair
/// complete.
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

/// The signature of a digest. Blinded by random numbers, of which none is left in it.
fn raw(key: &RsaPrivateKey, digest: &Digest) -> Result<Vec<u8>, Error> {
    key.sign_with_rng(&mut OsRng, Pkcs1v15Sign::new::<Sha256>(), digest.as_bytes()).map_err(Error::encoding)
}

fn private(folder: &Path, role: Role) -> PathBuf {
    folder.join(format!("{role}.key"))
}

fn public(folder: &Path, role: Role) -> PathBuf {
    folder.join(format!("{role}.crt"))
}

/// Writes a file under another name, and renames it once it is on the disk.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let tmp = path.with_extension("tmp");
    let _ = fs::remove_file(&tmp);
    let mut file =
        File::options().write(true).create_new(true).mode(mode).open(&tmp).map_err(Error::file("create", &tmp))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::file("write", &tmp))?;
    fs::rename(&tmp, path).map_err(Error::file("rename into", path))
}
