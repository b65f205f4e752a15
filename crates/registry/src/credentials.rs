//! Credentials for a registry, from the files that `docker login` and `podman login` write.
//!
//! ```text
//!  $REGISTRY_AUTH_FILE (containers-auth.json(5)), then $DOCKER_CONFIG/config.json or ~/.docker/config.json
//!    {"auths": {"<registry>[/<name>]": {"auth": "<base64 of user:password>"}}}       the longest matching name wins
//! ```

use crate::{Address, Error};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// User and password, if there are any, and the files that were read.
#[derive(Clone, Default)]
pub struct Credentials {
    /// `user:password` in base64, in HTTP's form (RFC 7617 §2).
    basic: Option<String>,
    looked: Vec<Looked>,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Looked {
    path: PathBuf,
    found: Found,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    File,
    NoEntry,
    /// No entry, and a credential helper that may have one.
    Helper,
    Entry,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
}

impl Credentials {
    /// Finds the credentials of a repository. `env` reads variables of the environment.
    ///
    /// # Errors
    /// [`Error::Credentials`], for an unreadable or malformed file. A missing file is an error only if a variable names
    /// it.
    pub fn discover(address: &Address, env: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let folder = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let docker = folder("DOCKER_CONFIG").or_else(|| Some(folder("HOME")?.join(".docker")));
        let named = folder("REGISTRY_AUTH_FILE");
        let mut all = Self::default();
        for (path, is_named) in
            named.map(|path| (path, true)).into_iter().chain(docker.map(|folder| (folder.join("config.json"), false)))
        {
            let found = match fs::read(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound && !is_named => Found::File,
                Err(e) => return Err(Error::Credentials { path, problem: format!("it cannot be read: {e}") }),
                Ok(json) => {
                    let config: Config = serde_json::from_slice(&json).map_err(|e| bad(&path, &e.to_string()))?;
                    all.basic = config.basic(address, &path)?;
                    match &all.basic {
                        Some(_) => Found::Entry,
                        None if config.store.is_some() || !config.helpers.is_empty() => Found::Helper,
                        None => Found::NoEntry,
                    }
                }
            };
            all.looked.push(Looked { path, found });
            if all.basic.is_some() {
                break;
            }
        }
        Ok(all)
    }

    pub(crate) fn basic(&self) -> Option<&str> {
        self.basic.as_deref()
    }

    /// The hint when the registry refuses us.
    pub(crate) fn hint(&self, address: &Address) -> String {
        let host = address.host();
        let files = self.looked.iter().map(|looked| {
            let path = looked.path.display();
            match looked.found {
                Found::File => format!("{path}, which does not exist"),
                Found::NoEntry => format!("{path}, which has none for {host}"),
                Found::Helper => {
                    format!("{path}, which has none for {host} but names a helper, and helpers are not asked")
                }
                Found::Entry => path.to_string(),
            }
        });
        let files = files.collect::<Vec<_>>().join("; and in ");
        match (&self.basic, files.is_empty()) {
            (Some(_), _) => {
                format!("the credentials for {host} are those of {files}; may they push to `{}`?", address.name())
            }
            (None, false) => format!("credentials were looked for in {files}: `docker login {host}` writes some"),
            (None, true) => format!("name a file with credentials for {host} in REGISTRY_AUTH_FILE"),
        }
    }
}

impl Config {
    /// The entry of the repository, of one of its parents, or of the registry.
    fn basic(&self, address: &Address, path: &Path) -> Result<Option<String>, Error> {
        let whole = format!("{}/{}", address.host(), address.name());
        let mut wanted = Some(whole.as_str());
        while let Some(key) = wanted {
            let entry = self.auths.iter().find(|(name, entry)| registry(name) == key && !entry.auth.is_empty());
            if let Some((name, entry)) = entry {
                return basic(&entry.auth).map(Some).ok_or_else(|| {
                    bad(path, &format!("`auth` of `{name}` is not user and password with a colon between, in base64"))
                });
            }
            wanted = key.rsplit_once('/').map(|(outer, _)| outer);
        }
        Ok(None)
    }
}

/// The registry of a key: docker also wrote URLs, `https://<registry>/v1/`.
fn registry(key: &str) -> &str {
    let url = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    url.map_or(key, |rest| rest.split('/').next().unwrap_or(rest))
}

/// The same without the padding of docker's old versions.
fn basic(auth: &str) -> Option<String> {
    let bytes = BASE64_STANDARD.decode(auth.trim()).ok()?;
    let text = std::str::from_utf8(&bytes).ok()?.trim_end_matches('\0');
    text.contains(':').then(|| BASE64_STANDARD.encode(text))
}

fn bad(path: &Path, problem: &str) -> Error {
    Error::Credentials { path: path.to_owned(), problem: format!("these are no credentials for registries: {problem}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn look(file: &str, json: &str) -> (tempfile::TempDir, Result<Credentials, Error>) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), json).unwrap();
        let address = Address::read("oci://registry.example:5000/team/evek").unwrap().unwrap();
        let path = dir.path().to_str().unwrap().to_owned();
        let found = Credentials::discover(&address, |name| {
            (name == file)
                .then(|| if file == "REGISTRY_AUTH_FILE" { format!("{path}/config.json") } else { path.clone() })
        });
        (dir, found)
    }

    fn user(json: &str) -> Option<String> {
        let basic = look("DOCKER_CONFIG", json).1.unwrap().basic;
        basic.map(|text| String::from_utf8(BASE64_STANDARD.decode(text).unwrap()).unwrap())
    }

    fn entries(all: &[(&str, &str)]) -> String {
        let auths: BTreeMap<_, _> =
            all.iter().map(|(key, user)| (key, BTreeMap::from([("auth", BASE64_STANDARD.encode(user))]))).collect();
        serde_json::to_string(&BTreeMap::from([("auths", auths)])).unwrap()
    }

    #[test]
    fn the_longest_matching_name_wins() {
        let host = "registry.example:5000";
        assert_eq!(user(&entries(&[(host, "a:b")])).as_deref(), Some("a:b"));
        assert_eq!(user(&entries(&[(host, "a:b\0\0")])).as_deref(), Some("a:b"));
        assert_eq!(user(&entries(&[(&format!("https://{host}/v1/"), "a:b")])).as_deref(), Some("a:b"));
        let both = entries(&[(host, "a:b"), (&format!("{host}/team"), "c:d")]);
        assert_eq!(user(&both).as_deref(), Some("c:d"));
        for other in ["registry.example", "registry.example:500", "registry.example:5000/tea", "other.example"] {
            assert_eq!(user(&entries(&[(other, "a:b")])), None, "{other}");
        }
    }

    #[test]
    fn where_was_looked_is_said() {
        let address = Address::read("oci://registry.example:5000/team/evek").unwrap().unwrap();
        let said = |file: &str, json: &str| look(file, json).1.unwrap().hint(&address);
        assert!(said("DOCKER_CONFIG", "{}").contains("config.json, which has none for registry.example:5000"));
        assert!(said("DOCKER_CONFIG", r#"{"credsStore": "desktop"}"#).contains("helpers are not asked"));
        let found = said("REGISTRY_AUTH_FILE", &entries(&[("registry.example:5000", "me:secret")]));
        assert!(found.starts_with("the credentials for registry.example:5000 are those of /"), "{found}");
        assert!(!found.contains("secret"));
        let none = Credentials::discover(&address, |name| (name == "HOME").then(|| "/nowhere".to_owned())).unwrap();
        assert!(none.hint(&address).contains("in /nowhere/.docker/config.json, which does not exist"));
    }

    #[test]
    fn files_that_are_wrong_are_named() {
        for json in ["", "7", r#"{"auths": {"registry.example:5000": {"auth": "%%"}}}"#] {
            let (dir, found) = look("DOCKER_CONFIG", json);
            let said = found.err().unwrap().to_string();
            assert!(said.starts_with(&dir.path().join("config.json").display().to_string()), "{said}");
        }
        assert!(look("DOCKER_CONFIG", &entries(&[("registry.example:5000", "no colon")])).1.is_err());
        let address = Address::read("oci://registry.example/evek").unwrap().unwrap();
        let named = |name: &str| (name == "REGISTRY_AUTH_FILE").then(|| "/nowhere/auth.json".to_owned());
        assert!(Credentials::discover(&address, named).err().unwrap().to_string().contains("/nowhere/auth.json"));
    }
}
