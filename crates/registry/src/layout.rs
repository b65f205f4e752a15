//! The content to push, from an OCI image layout (OCI image-spec, image-layout.md).

use crate::Error;
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
};
use store::Descriptor;
use types::{Bytes, Digest};

pub(crate) struct Blob {
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
    pub(crate) size: Bytes,
}

pub(crate) struct Manifest {
    pub(crate) media_type: String,
    pub(crate) bytes: Vec<u8>,
    /// The blobs that it names, each once, in its order; its configuration last.
    pub(crate) blobs: Vec<Blob>,
}

impl Manifest {
    /// Reads a manifest and verifies that every blob that it names exists.
    pub(crate) fn read(layout: &Path, digest: &Digest) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Form {
            media_type: Option<String>,
            config: Descriptor,
            layers: Vec<Descriptor>,
        }
        let place = |digest: &Digest| layout.join("blobs/sha256").join(digest.hex());
        let path = place(digest);
        let read = |source| Error::Io { action: "read", path: path.clone(), source };
        let bytes = fs::read(&path).map_err(read)?;
        let bad = |problem: String| Error::Layout { path: path.clone(), problem };
        if Digest::of(&bytes) != *digest {
            return Err(bad(format!("it has the digest {}", Digest::of(&bytes))));
        }
        let form: Form = serde_json::from_slice(&bytes).map_err(|e| bad(format!("it is no manifest: {e}")))?;
        let mut blobs: Vec<Blob> = Vec::new();
        for Descriptor { digest, size, .. } in form.layers.into_iter().chain([form.config]) {
            if blobs.iter().any(|blob| blob.digest == digest) {
                continue;
            }
            let path = place(&digest);
            let found =
                fs::metadata(&path).map_err(|source| Error::Io { action: "read", path: path.clone(), source })?;
            if found.len() != size {
                let problem = format!("it has {} bytes, its manifest says {size}", found.len());
                return Err(Error::Layout { path, problem });
            }
            blobs.push(Blob { path, digest, size: Bytes(size) });
        }
        Ok(Self { media_type: form.media_type.unwrap_or_else(|| store::MANIFEST.to_owned()), bytes, blobs })
    }
}
