use crate::{Located, PartitionType};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};
use types::{Bytes, Flavour};

/// `layouts/<name>.yml`: the partitions of a disk, as a version of EVE made them, or as ours does.
///
/// A device keeps the partitions of its installation, so `size` compares each image with all layouts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskLayout {
    /// One line for people.
    pub summary: String,
    /// The first version of EVE that installed it; absent for a layout that is not EVE's.
    #[serde(default)]
    pub since: Option<EveVersion>,
    /// The flavours that were installed with it; all where absent.
    #[serde(default)]
    #[schemars(with = "Option<Vec<crate::schema::FlavourName>>")]
    pub flavours: Option<Vec<FlavourName>>,
    /// Its source: EVE's commit, and the pull request or issue where there is one.
    #[serde(default)]
    pub source: Option<String>,
    /// The partitions in the order they have on the disk.
    pub partitions: Vec<LayoutPartition>,
}

/// One partition of a layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LayoutPartition {
    /// Its number in the partition table, from 1.
    pub number: Located<u32>,
    /// Its label in the partition table.
    pub label: Located<String>,
    /// Its purpose.
    #[serde(rename = "type")]
    pub role: PartitionType,
    /// Its type GUID in the partition table.
    pub guid: Located<String>,
    /// Its size, such as `512MiB`.
    #[schemars(with = "crate::schema::SizeText")]
    pub size: Bytes,
    /// Takes the rest of the disk; `size` is then the minimum.
    #[serde(default)]
    pub grow: bool,
    /// The least size that the first boot makes on a disk that is too small for `size`; such a disk may lack the partition
    /// altogether.
    #[serde(default)]
    #[schemars(with = "Option<crate::schema::SizeText>")]
    pub least: Option<Bytes>,
}

impl DiskLayout {
    /// The size of its smallest partition of a type.
    #[must_use]
    pub fn size(&self, role: PartitionType) -> Option<Bytes> {
        self.partitions.iter().filter(|p| p.role == role).map(|p| p.size).min()
    }

    /// Whether devices of a flavour were installed with it.
    #[must_use]
    pub fn is_for(&self, flavour: Flavour) -> bool {
        self.flavours.as_ref().is_none_or(|flavours| flavours.iter().any(|f| f.0 == flavour))
    }
}

/// A version of EVE, `16.13.0`; ordered as versions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EveVersion([u32; 3]);

impl FromStr for EveVersion {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("`{s}` is not a version such as 16.13.0");
        let mut numbers = s.split('.').map(|part| part.parse::<u32>().map_err(|_| bad()));
        let mut next = || numbers.next().ok_or_else(bad)?;
        let version = Self([next()?, next()?, next()?]);
        if numbers.next().is_some() { Err(bad()) } else { Ok(version) }
    }
}

impl fmt::Display for EveVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.0;
        f.pad(&format!("{a}.{b}.{c}"))
    }
}

impl Serialize for EveVersion {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EveVersion {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for EveVersion {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EveVersion".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+$"})
    }
}

/// A flavour by its name, or by its name at EVE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlavourName(pub Flavour);

impl Serialize for FlavourName {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for FlavourName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let version = |s: &str| s.parse::<EveVersion>().unwrap();
        assert!(version("16.3.0") < version("16.13.0") && version("10.2.0") > version("9.9.9"));
        for bad in ["16", "16.1", "16.1.0.0", "16.1.x", ""] {
            assert!(bad.parse::<EveVersion>().is_err(), "{bad}");
        }
    }
}
