//! Signatures of modules. They are made between two steps, by keys that no step reads. This module computes the digests
//! to sign and appends the signatures.

use super::MODULES;
use crate::layers::write_layer;
use ::sign::{Certificate, Response, module};
use graph::{Ctx, StepError};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Write as _},
    sync::Arc as Shared,
};
use tree::{Content, Entry, Kind, Tree};
use types::{Arch, Digest};

/// The version of the step: raise it when the same modules would have other digests.
pub(crate) const DIGESTS_VERSION: u32 = 1;
/// The version of the step: raise it when the same signatures would be appended differently.
pub(crate) const SIGNED_VERSION: u32 = 1;

/// The digest to sign of each module, by its path from the root.
pub(crate) type Digests = BTreeMap<String, Digest>;

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Signed {
    pub(crate) arch: Arch,
    /// The certificate, in PEM, of the modules' signer.
    pub(crate) certificate: String,
}

/// The plain bytes of a module; `None` for another file.
fn module_bytes(path: &str, entry: &Entry) -> Result<Option<Vec<u8>>, StepError> {
    match &entry.kind {
        Kind::File(content) if path.starts_with(MODULES) && path.ends_with(".ko") => Ok(Some(content.read()?)),
        _ => Ok(None),
    }
}

/// Input `tar` (modules); output `digests` ([`Digests`] as JSON).
pub(crate) fn digests(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let mut digests = Digests::new();
    for (path, entry) in debian::deb::read_plain_tar(&ctx.input("tar")?)? {
        if let Some(bytes) = module_bytes(path.as_str(), &entry)? {
            digests.insert(path.as_str().to_owned(), module::digest(&bytes));
        }
    }
    ctx.put("digests", &serde_json::to_vec_pretty(&digests)?)?;
    Ok(())
}

/// Inputs `tar` (modules), `signatures` ([`Response`] as JSON); output `tar`: the same modules, each with its signature.
pub(crate) fn signed(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Signed = ctx.params()?;
    if ctx.labels("signatures").next().is_none() {
        return Err(StepError::msg("the modules of this kernel are not signed yet"));
    }
    let certificate = Certificate::from_pem(params.certificate.as_bytes())?;
    let signatures = Signatures::read(&fs::read(ctx.input("signatures")?)?, &certificate)?;
    let spool = Shared::new(ctx.scratch()?.join("modules"));
    let mut out = BufWriter::new(File::create(spool.as_ref())?);
    let (mut at, mut all) = (0, Tree::default());
    for (path, mut entry) in debian::deb::read_plain_tar(&ctx.input("tar")?)? {
        ctx.check()?;
        if let Some(bytes) = module_bytes(path.as_str(), &entry)? {
            let bytes = signatures.attach(path.as_str(), bytes, &certificate)?;
            out.write_all(&bytes)?;
            let len = bytes.len() as u64;
            entry.kind = Kind::File(Content::Range { file: Shared::clone(&spool), offset: at, len });
            at += len;
        }
        all.insert(path, entry)?;
    }
    out.flush()?;
    ctx.log(&format!("{} by {}", types::count(signatures.0.len(), "signature"), certificate.subject()));
    write_layer(ctx, &all, &Tree::default(), params.arch, &[])
}

/// Signatures by the signed digest.
struct Signatures(BTreeMap<Digest, Vec<u8>>);

impl Signatures {
    fn read(json: &[u8], certificate: &Certificate) -> Result<Self, StepError> {
        let all = Response::read(json)?.signatures;
        let own = all.iter().filter(|s| s.certificate == certificate.fingerprint());
        Ok(Self(own.map(|s| Ok((s.digest, s.bytes()?))).collect::<Result<_, ::sign::Error>>()?))
    }

    /// A module with its signature.
    fn attach(&self, path: &str, bytes: Vec<u8>, certificate: &Certificate) -> Result<Vec<u8>, StepError> {
        let missing = || StepError::msg(format!("/{path} has no signature by {}", certificate.subject()));
        let signature = self.0.get(&module::digest(&bytes)).ok_or_else(missing)?;
        Ok(module::attach(bytes, certificate, signature)?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use ::sign::{Keys, Purpose, Request, Role, Wanted};
    use graph::{Built, Cache, Graph, Options, Step};
    use std::path::Path;
    use tree::TreePath;
    use types::Cancel;

    const MODULE: &str = "usr/lib/modules/6.12-evek/kernel/fs/erofs.ko";

    /// A module for x86-64, as far as readers check it (System V gABI, *ELF Header*).
    fn elf() -> Vec<u8> {
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(64, 0);
        elf[18] = 62;
        elf
    }

    /// A module with its dependencies, and a file that only looks like one.
    fn tar() -> Vec<u8> {
        let mut all = Tree::default();
        for (path, bytes) in [
            (MODULE, elf()),
            ("usr/lib/modules/6.12-evek/modules.dep", b"kernel/fs/erofs.ko:\n".to_vec()),
            ("usr/share/erofs.ko", elf()),
        ] {
            all.insert(TreePath::new(path).unwrap(), Entry::file(0o644, bytes)).unwrap();
        }
        let mut tar = Vec::new();
        oci::layer::write_tar(&all, &mut tar, |_| ()).unwrap();
        tar
    }

    fn run(cache: &Cache, step: Step) -> Result<Built, String> {
        let (mut graph, id) = (Graph::new(), step.id.clone());
        graph.add(step).unwrap();
        let built = graph.run(cache, &[id], &Options::default(), &|_: &graph::Event| (), &Cancel::default());
        built.map_err(|e| e.to_string())
    }

    fn digests_of(cache: &Cache) -> Digests {
        let step = Step::new("digests", "digests", 1, digests).blob("tar", cache.cas().put(&tar()).unwrap());
        let built = run(cache, step).unwrap();
        serde_json::from_slice(&fs::read(built.path(cache, &"digests".into(), "digests").unwrap()).unwrap()).unwrap()
    }

    fn sign(keys: &Keys, digest: Digest) -> String {
        let wanted = Wanted::new("a module", Role::Modules, keys.certificate(Role::Modules), digest);
        keys.answer(&Request::new(vec![wanted])).unwrap().json()
    }

    fn signed_by(cache: &Cache, keys: &Keys, signatures: &str) -> Result<Tree, String> {
        let certificate = keys.certificate(Role::Modules).pem().unwrap();
        let step = Step::new("signed", "signed", 1, signed)
            .param("arch", "amd64")
            .param("certificate", certificate)
            .blob("tar", cache.cas().put(&tar()).unwrap())
            .blob("signatures", cache.cas().put(signatures.as_bytes()).unwrap());
        let built = run(cache, step)?;
        Ok(debian::deb::read_plain_tar(&built.path(cache, &"signed".into(), "tar").unwrap()).unwrap())
    }

    fn keys(folder: &Path) -> Keys {
        Keys::generate(folder, Purpose::Development, "Test").unwrap()
    }

    #[test]
    fn each_module_gets_its_signature_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, keys) = (Cache::open(&dir.path().join("cache")).unwrap(), keys(&dir.path().join("keys")));
        let digests = digests_of(&cache);
        assert_eq!(digests, BTreeMap::from([(MODULE.to_owned(), Digest::of(&elf()))]));

        let signatures = sign(&keys, digests[MODULE]);
        let all = signed_by(&cache, &keys, &signatures).unwrap();
        let read = |path: &str| {
            let Kind::File(content) = &all.get(&TreePath::new(path).unwrap()).unwrap().kind else { panic!("no file") };
            content.read().unwrap()
        };
        let signature = Response::read(signatures.as_bytes()).unwrap().signatures[0].bytes().unwrap();
        let expected = module::attach(elf(), keys.certificate(Role::Modules), &signature).unwrap();
        assert!(expected.len() > elf().len());
        assert_eq!(read(MODULE), expected);
        assert_eq!(read("usr/share/erofs.ko"), elf());
        assert_eq!(read("usr/lib/modules/6.12-evek/modules.dep"), b"kernel/fs/erofs.ko:\n");
    }

    #[test]
    fn a_module_without_its_signature_fails_the_step_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache")).unwrap();
        let (ours, theirs) = (keys(&dir.path().join("ours")), keys(&dir.path().join("theirs")));
        let theirs = sign(&theirs, Digest::of(&elf()));
        for signatures in [sign(&ours, Digest::of(b"another module")), theirs] {
            let error = signed_by(&cache, &ours, &signatures).unwrap_err();
            assert!(error.contains(&format!("/{MODULE} has no signature by CN=Test module key")), "{error}");
        }
    }
}
