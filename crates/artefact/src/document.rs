use crate::{Error, chunk::Chunk};
use serde::{Deserialize, Serialize};
use types::{Arch, Bytes, Digest, Flavour};

/// Version of the form of [`Update`].
pub const FORMAT: u32 = 1;
/// The limit of an update's size, above which nothing is read into memory.
const LARGEST: usize = 4 << 20;

/// `update.json`: the content of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// Version of this document's form.
    pub format: u32,
    /// `<version>-<flavour>-<arch>`.
    pub image: String,
    /// `<version>`, for comparison.
    pub version: String,
    /// The flavour.
    pub flavour: Flavour,
    /// The architecture.
    pub arch: Arch,
    /// Root hash of the slot.
    pub root_hash: Digest,
    /// Length of the store, in blocks of 4096 bytes.
    pub data_blocks: u64,
    /// The kernel image, signed.
    pub kernel: Program,
    /// The boot loader, signed.
    pub loader: Blob,
    /// The store's `index.json`.
    pub index: Blob,
    /// The store's manifests and configurations.
    pub documents: Vec<Blob>,
    /// The store's layers.
    pub layers: Vec<Blob>,
}

/// A blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its length.
    pub size: Bytes,
}

/// A blob of which a device usually has most pieces already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its digest.
    pub digest: Digest,
    /// Its length.
    pub size: Bytes,
    /// Its pieces, in their order.
    pub chunks: Vec<Chunk>,
}

impl Program {
    /// The whole as a blob.
    #[must_use]
    pub const fn blob(&self) -> Blob {
        Blob { digest: self.digest, size: self.size }
    }
}

impl Update {
    /// Reads `update.json`, after the caller verified its signatures.
    ///
    /// # Errors
    /// [`Error::Document`].
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let bad = |problem: String| Error::Document { what: "update.json", problem };
        if bytes.len() > LARGEST {
            return Err(bad(format!("it has {} bytes, more than any update's", bytes.len())));
        }
        #[derive(Deserialize)]
        struct Form {
            format: u32,
        }
        let Form { format } = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        if format != FORMAT {
            return Err(bad(format!(
                "its form is {format}, this device knows {FORMAT}: update to a version between first"
            )));
        }
        let update: Self = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        if update.kernel.chunks.iter().map(|chunk| chunk.size).try_fold(0u64, |sum, size| sum.checked_add(size.0))
            != Some(update.kernel.size.0)
        {
            return Err(bad("the pieces of the kernel image are not as long as the whole".to_owned()));
        }
        slots::check_version(&update.version).map_err(|e| bad(e.to_string()))?;
        Ok(update)
    }

    /// Its bytes as a file.
    ///
    /// # Panics
    /// Never: it has no maps.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it has no maps")
    }

    /// Every blob but this document and its signatures, each once.
    #[must_use]
    pub fn blobs(&self) -> std::collections::BTreeSet<Blob> {
        let programs = [self.kernel.blob(), self.loader, self.index];
        programs.into_iter().chain(self.documents.iter().copied()).chain(self.layers.iter().copied()).collect()
    }
}
