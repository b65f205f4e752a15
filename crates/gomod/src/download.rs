//! What `go mod download -json <module>@<query>` says.

use crate::file::Module;
use serde::Deserialize;
use std::path::PathBuf;

/// A module that the go client resolved, downloaded and hashed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Download {
    /// The module's path.
    pub path: String,
    /// The version that the query resolved to, perhaps a pseudo-version.
    #[serde(default)]
    pub version: String,
    /// What was asked for, such as a tag; absent when that was a version.
    #[serde(default)]
    pub query: Option<String>,
    /// Folder with the unpacked module.
    #[serde(default)]
    pub dir: PathBuf,
    /// Hash of the zip, `h1:…`.
    #[serde(default)]
    pub sum: String,
    /// Hash of the `go.mod`, `h1:…`.
    #[serde(default)]
    pub go_mod_sum: String,
    /// Why it failed; then nothing else but `path` is to be relied on.
    #[serde(default)]
    pub error: Option<String>,
}

impl Download {
    /// Reads the client's answer. The caller must check [`Download::error`].
    ///
    /// # Errors
    /// The text is not the JSON that the client writes.
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// The module at the version that the query resolved to.
    #[must_use]
    pub fn module(&self) -> Module {
        Module { path: self.path.clone(), version: self.version.clone() }
    }

    /// What was asked for, where that differs from the version.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.query.as_deref().filter(|query| *query != self.version)
    }
}
