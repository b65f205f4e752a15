//! Signatures of updates. The update key signs an update, and the owner's `db` key signs the certificate of the update
//! key. So the key that signs programs is not needed for each update, and no image contains keys.

use crate::{Error, Update};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use sign::{Certificate, Role, Trust, Wanted};
use types::Digest;

/// Prefixes of the signed bytes, so that no signature is valid for another kind of document.
const VOUCHED: &[u8] = b"EVE-k update key\0";
const UPDATE: &[u8] = b"EVE-k update\0";

/// `signatures.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signatures {
    /// Version of this document's form.
    pub format: u32,
    /// The update key's certificate, DER in base64.
    pub certificate: String,
    /// The `db` key's signature over that certificate, base64.
    pub vouched: String,
    /// The update key's signature over `update.json`, base64.
    pub signature: String,
}

/// The signatures that an update needs, before they are made.
#[derive(Debug)]
pub struct Request {
    certificate: Vec<u8>,
    /// The digests to sign, in the order of [`Self::signed`].
    pub wanted: [Wanted; 2],
}

impl Request {
    /// The signatures of an update, by these certificates of an owner.
    #[must_use]
    pub fn new(update: &Update, db: &Certificate, key: &Certificate) -> Self {
        let vouched = Wanted::new("key of updates", Role::Db, db, digest(VOUCHED, key.der()));
        let signature =
            Wanted::new(format!("update to {}", update.image), Role::Update, key, digest(UPDATE, &update.json()));
        Self { certificate: key.der().to_vec(), wanted: [vouched, signature] }
    }

    /// The document with the finished signatures.
    #[must_use]
    pub fn signed(&self, [vouched, signature]: [&[u8]; 2]) -> Signatures {
        let text = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        Signatures {
            format: 1,
            certificate: text(&self.certificate),
            vouched: text(vouched),
            signature: text(signature),
        }
    }
}

fn digest(what: &[u8], bytes: &[u8]) -> Digest {
    Digest::of(&[what, bytes].concat())
}

/// Reads `update.json` if its signer has a certificate that a key trusted by the device signed.
///
/// # Errors
/// [`Error::Untrusted`] with the wrong signature or the revoked certificate; [`Error::Document`].
pub fn check(update: &[u8], signatures: &[u8], trust: &Trust) -> Result<Update, Error> {
    let bad = |problem: String| Error::Document { what: "signatures.json", problem };
    let signatures: Signatures = serde_json::from_slice(signatures).map_err(|e| bad(e.to_string()))?;
    if signatures.format != 1 {
        return Err(bad(format!("its form is {}, this device knows 1", signatures.format)));
    }
    let bytes = |text: &str| BASE64_STANDARD.decode(text).map_err(|e| bad(e.to_string()));
    let (vouched, signature) = (bytes(&signatures.vouched)?, bytes(&signatures.signature)?);
    let key = Certificate::from_der(&bytes(&signatures.certificate)?)?;
    let untrusted = |problem: String| Error::Untrusted { problem };
    let vouched = trust.voucher(&digest(VOUCHED, key.der()), &vouched);
    vouched.map_err(|e| untrusted(format!("what vouches for {}: {e}", key.subject())))?;
    trust.permits(&key).map_err(|e| untrusted(e.to_string()))?;
    if !key.has_signed(&digest(UPDATE, update), &signature) {
        return Err(untrusted(format!("what it says was not signed by {}", key.subject())));
    }
    Update::read(update)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Blob, FORMAT, Program};
    use sign::{Keys, Purpose, variable};
    use std::sync::LazyLock;
    use types::{Arch, Bytes, Flavour};

    struct Owner {
        #[allow(dead_code)]
        folder: tempfile::TempDir,
        keys: Keys,
    }

    fn owner(name: &str) -> Owner {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::generate(&folder.path().join("keys"), Purpose::Development, name).unwrap();
        Owner { folder, keys }
    }

    static OURS: LazyLock<Owner> = LazyLock::new(|| owner("us"));

    fn example() -> Update {
        let blob = Blob { digest: Digest::of(b"x"), size: Bytes(1) };
        Update {
            format: FORMAT,
            image: "0.2.0-kvm-amd64".into(),
            version: "0.2.0".into(),
            flavour: Flavour::Kvm,
            arch: Arch::Amd64,
            root_hash: Digest::of(b"root"),
            data_blocks: 7,
            kernel: Program { digest: blob.digest, size: Bytes(0), chunks: vec![] },
            loader: blob,
            index: blob,
            documents: vec![blob],
            layers: vec![],
        }
    }

    /// A device with these certificates in db and dbx.
    fn trust(db: &[&Certificate], dbx: &[&Certificate]) -> Trust {
        let lists = |all: &[&Certificate]| all.iter().flat_map(|one| variable::list(one, [1; 16])).collect::<Vec<u8>>();
        Trust::read(&lists(db), &lists(dbx)).unwrap()
    }

    fn signed(update: &Update, owner: &Keys) -> Vec<u8> {
        let request = Request::new(update, owner.certificate(Role::Db), owner.certificate(Role::Update));
        let signatures = owner.sign(&request.wanted).unwrap();
        serde_json::to_vec(&request.signed([&signatures[0], &signatures[1]])).unwrap()
    }

    #[test]
    fn who_the_owner_vouches_for_may_update() {
        let (update, keys) = (example(), &OURS.keys);
        let trust = trust(&[keys.certificate(Role::Db)], &[owner("them").keys.certificate(Role::Db)]);
        assert_eq!(check(&update.json(), &signed(&update, keys), &trust).unwrap(), update);
    }

    #[test]
    fn others_and_other_words_are_refused() {
        let (update, keys) = (example(), &OURS.keys);
        let known = trust(&[keys.certificate(Role::Db)], &[]);
        let good = signed(&update, keys);
        let refused = |json: &[u8], signatures: &[u8]| check(json, signatures, &known).unwrap_err().to_string();
        let mut older = update.clone();
        older.version = "0.3.0".into();
        assert!(refused(&older.json(), &good).contains("was not signed by CN="));
        let theirs = owner("them");
        assert!(refused(&update.json(), &signed(&update, &theirs.keys)).contains("none of CN="));
        // their key with our signature over another key
        let mut mixed: Signatures = serde_json::from_slice(&signed(&update, &theirs.keys)).unwrap();
        mixed.vouched = serde_json::from_slice::<Signatures>(&good).unwrap().vouched;
        assert!(refused(&update.json(), &serde_json::to_vec(&mixed).unwrap()).contains("none of CN="));
        assert!(check(&update.json(), &good, &trust(&[], &[])).is_err(), "nobody is trusted");
        assert!(refused(b"{}", b"{}").starts_with("signatures.json: "));
    }

    #[test]
    fn nobody_whom_dbx_forbids_vouches_or_is_vouched_for() {
        let (update, keys) = (example(), &OURS.keys);
        let (db, key) = (keys.certificate(Role::Db), keys.certificate(Role::Update));
        let refused = |dbx: &[&Certificate]| {
            let problem = check(&update.json(), &signed(&update, keys), &trust(&[db], dbx)).unwrap_err();
            assert!(matches!(problem, Error::Untrusted { .. }), "{problem}");
            problem.to_string()
        };
        let vouches = format!("what vouches for {}: {} is forbidden by dbx", key.subject(), db.subject());
        assert!(refused(&[db]).ends_with(&vouches), "{}", refused(&[db]));
        assert!(refused(&[key]).ends_with(&format!("{} is forbidden by dbx", key.subject())), "{}", refused(&[key]));
    }

    #[test]
    fn a_form_that_is_not_known_is_named() {
        let mut update = example();
        update.format = 2;
        assert!(Update::read(&update.json()).unwrap_err().to_string().contains("its form is 2"));
        let mut update = example();
        update.kernel.size = Bytes(9);
        assert!(Update::read(&update.json()).unwrap_err().to_string().contains("pieces"));
    }
}
