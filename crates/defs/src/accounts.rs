use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A user of the image. No user has a password.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Number. Where absent, the builder chooses it, always the same.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Main group by name; a group of the user's own name is made where absent.
    #[serde(default)]
    pub group: Option<String>,
    /// Further groups by name.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Home folder, `/nonexistent` where absent.
    #[serde(default)]
    pub home: Option<String>,
    /// Login shell, `/usr/sbin/nologin` where absent.
    #[serde(default)]
    pub shell: Option<String>,
    /// The person or purpose, in /etc/passwd's fifth field.
    #[serde(default)]
    pub comment: Option<String>,
}

/// A group of the image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Number. Where absent, the builder chooses it, always the same.
    #[serde(default)]
    pub gid: Option<u32>,
}
