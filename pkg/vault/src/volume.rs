//! The identity of P3's volume, and whether this TPM sealed that volume.

use crate::{header::Header, nv, paths::Paths, tpm};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::Write as _;
use types::Digest;

/// What the TPM holds about the volume on P3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Volume {
    /// The digest of this volume.
    Bound,
    /// The digest of another volume.
    Another,
    /// No digest: this TPM has bound no volume.
    Unbound,
    /// Its answer cannot be read.
    Unknown,
}

/// A digest over the parts of the header that decide which key decrypts which bytes, and how: the digests of the volume key
/// and the segments (LUKS2 On-Disk Format Specification 1.1.1 §3.3, §3.4). cryptsetup compares the volume key with its digest
/// when it opens the volume, so that a header with this identity opens only by the volume key that was bound. The segments
/// name the cipher: a header that exchanges it for none has another identity.
pub(crate) fn identity(header: &Header) -> Digest {
    let mut digests = header.digests.clone();
    for digest in digests.values_mut().filter_map(Value::as_object_mut) {
        // changes with each key that is added or removed
        digest.remove("keyslots");
    }
    let mut text = String::new();
    for (name, part) in [("digests", Value::Object(digests)), ("segments", Value::Object(header.segments.clone()))] {
        text.push_str(name);
        canonical(&part, &mut text);
    }
    Digest::of(text.as_bytes())
}

/// JSON with sorted names and no white space.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut names: Vec<_> = map.keys().collect();
            names.sort();
            text.push('{');
            for name in names {
                // writing to a String cannot fail
                let _ = write!(text, "{}:", Value::from(name.as_str()));
                canonical(&map[name], text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(list) => {
            text.push('[');
            for item in list {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        // writing to a String cannot fail
        other => _ = write!(text, "{other}"),
    }
}

/// Compares P3 with the digest in the TPM; a P3 without a header has no identity. `None` where the machine has no TPM 2.
pub(crate) fn compare(paths: &Paths, header: Option<&Header>) -> Option<Volume> {
    if !tpm::is_version_2(paths) {
        return None;
    }
    Some(match nv::read(paths) {
        Ok(None) => Volume::Unbound,
        Ok(found) if found == header.map(identity) => Volume::Bound,
        Ok(Some(_)) => Volume::Another,
        Err(e) => {
            eprintln!("{e}");
            Volume::Unknown
        }
    })
}

/// Binds P3's volume to the TPM. A TPM that refuses keeps nobody from P3, and `vault status` shows it.
pub(crate) fn bind(paths: &Paths, header: &Header) -> Volume {
    match nv::write(paths, &identity(header)) {
        Ok(()) => Volume::Bound,
        Err(e) => {
            eprintln!("the volume of P3 is not bound to the TPM: {e}");
            Volume::Unknown
        }
    }
}
