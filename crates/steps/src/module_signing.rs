//! The signer of the modules of a kernel from source, and the digests to sign.
//!
//! ```text
//! kernel-build@arch ─► kernel@arch ─► module-digests@arch ─► (signatures, by keys that no step sees) ─► modules@arch ─► …
//! ```
//! The certificate is a parameter of the build, and the signatures are an input of later steps. Both are public, so
//! everyone can build the image again.

use crate::{Error, Project, kernel::Digests, planner::Planner, project::Target, wanted::host};
use defs::KernelSource;
use graph::{Graph, StepId};
use sign::{Certificate, Keys, Request, Response, Role, Wanted};
use std::collections::BTreeMap;
use types::{Arch, Digest, Flavour};

/// The signer of modules, and the existing signatures.
#[derive(Debug, Clone)]
pub struct ModuleSigner {
    certificate: Certificate,
    signatures: BTreeMap<Arch, Digest>,
}

impl ModuleSigner {
    /// The owner of these keys, without signatures.
    #[must_use]
    pub fn new(keys: &Keys) -> Self {
        Self { certificate: keys.certificate(Role::Modules).clone(), signatures: BTreeMap::new() }
    }

    /// With signatures of the modules for an architecture: the digest of a [`Response`] as JSON, which must be in the
    /// cache before a build with it.
    pub fn add(&mut self, arch: Arch, signatures: Digest) {
        self.signatures.insert(arch, signatures);
    }

    pub(crate) fn pem(&self) -> Result<String, Error> {
        Ok(self.certificate.pem()?)
    }

    pub(crate) fn signatures(&self, arch: Arch) -> Option<Digest> {
        self.signatures.get(&arch).copied()
    }
}

impl Project {
    /// Whether the kernel is built from source, so that its modules need signatures.
    #[must_use]
    pub fn is_kernel_built(&self) -> bool {
        self.defs.kernel.source == KernelSource::Build && self.defs.kernel.build.is_some()
    }

    /// A graph for the digests of the modules for these architectures, and its target steps: output `digests`.
    ///
    /// # Errors
    /// [`Error::NoModuleSigner`], or when the lock lacks something.
    pub fn module_digests(&self, archs: impl IntoIterator<Item = Arch>) -> Result<(Graph, Vec<(Arch, StepId)>), Error> {
        let mut plan = Planner::new(self, Target { flavour: Flavour::Kvm, arch: host()? });
        let mut steps = Vec::new();
        for arch in archs {
            plan.target(Target { flavour: Flavour::Kvm, arch });
            steps.push((arch, plan.module_digests()?));
        }
        Ok((plan.finish(), steps))
    }

    /// The signatures of the modules with these digests, an output of `module-digests@<arch>`.
    ///
    /// # Errors
    /// [`sign::Error::Wanted`] for signatures whose private key is elsewhere.
    pub fn sign_modules(&self, keys: &Keys, arch: Arch, digests: &[u8]) -> Result<Response, Error> {
        let step = || format!("module-digests@{arch}");
        let digests: Digests =
            serde_json::from_slice(digests).map_err(|source| Error::Digests { step: step(), source })?;
        let certificate = keys.certificate(Role::Modules);
        let want = |(path, digest): (&String, &Digest)| {
            Wanted::new(format!("/{path} of {} for {arch}", self.version), Role::Modules, certificate, *digest)
        };
        Ok(keys.answer(&Request::new(digests.iter().map(want).collect()))?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use defs::Definitions;
    use graph::Input;
    use lock::Lock;
    use sign::Purpose;
    use std::path::Path;

    const TARGET: Target = Target { flavour: Flavour::Kvm, arch: Arch::Amd64 };

    fn project(source: KernelSource, modules: Option<ModuleSigner>) -> Project {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let (mut defs, lock) = (Definitions::read(&root).unwrap(), Lock::read(&root.join(lock::FILE_NAME)).unwrap());
        defs.kernel.source = source;
        Project { defs, lock, version: "0.1.0".to_owned(), modules }
    }

    fn keys(folder: &Path) -> Keys {
        Keys::generate(folder, Purpose::Development, "Test").unwrap()
    }

    /// The steps that read the modules from the kernel's step.
    fn readers(graph: &Graph) -> Vec<&str> {
        let unsigned = Input::Step { step: "kernel@amd64".into(), output: "tar".to_owned() };
        graph.iter().filter(|step| step.inputs.values().any(|i| *i == unsigned)).map(|step| step.id.as_str()).collect()
    }

    #[test]
    fn no_image_has_a_module_of_a_built_kernel_but_by_the_step_that_appends_signatures() {
        let dir = tempfile::tempdir().unwrap();
        let mut signer = ModuleSigner::new(&keys(&dir.path().join("keys")));
        let signatures = Digest::of(b"signatures");
        signer.add(Arch::Amd64, signatures);
        let (graph, _) = project(KernelSource::Build, Some(signer)).plan("live", TARGET).unwrap();
        assert_eq!(readers(&graph), ["modules@amd64"]);
        let step = graph.get(&"modules@amd64".into()).unwrap();
        assert_eq!(step.inputs["signatures"], Input::Blob(signatures));

        // Debian has signed its own
        let (graph, _) = project(KernelSource::Debian, None).plan("live", TARGET).unwrap();
        assert!(graph.get(&"modules@amd64".into()).is_none());
        let readers = readers(&graph);
        assert!(["erofs/modules@amd64", "initramfs/kvm@amd64"].iter().all(|id| readers.contains(id)), "{readers:?}");
    }

    #[test]
    fn a_kernel_is_built_for_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let certificate = |name: &str| {
            let signer = ModuleSigner::new(&keys(&dir.path().join(name)));
            let (graph, steps) = project(KernelSource::Build, Some(signer)).module_digests([Arch::Amd64]).unwrap();
            assert_eq!(steps, [(Arch::Amd64, "module-digests@amd64".into())]);
            graph.get(&"kernel-build@amd64".into()).unwrap().params["certificate"].clone()
        };
        assert_ne!(certificate("ours"), certificate("theirs"));
        let nobody = project(KernelSource::Build, None).plan("live", TARGET).map(drop).unwrap_err().to_string();
        assert!(nobody.contains("name keys with --keys"), "{nobody}");
    }

    #[test]
    fn signatures_are_asked_for_by_module_where_the_private_key_is_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let keys = keys(&dir.path().join("keys"));
        let project = project(KernelSource::Build, None);
        let digest = Digest::of(b"a module");
        let digests = format!(r#"{{"usr/lib/modules/6.12/a.ko": "{digest}"}}"#);
        let sign = || project.sign_modules(&keys, Arch::Arm64, digests.as_bytes());
        assert_eq!(sign().unwrap().signatures[0].digest, digest);
        assert_eq!(sign().unwrap(), sign().unwrap());
        std::fs::remove_file(keys.folder().join("modules.key")).unwrap();
        let Err(Error::Sign(sign::Error::Wanted(request))) = sign() else { panic!("nothing is wanted") };
        let whats: Vec<_> = request.wanted.iter().map(|w| (w.role, w.what.as_str())).collect();
        assert_eq!(whats, [(Role::Modules, "/usr/lib/modules/6.12/a.ko of 0.1.0 for arm64")]);
        let broken = project.sign_modules(&keys, Arch::Arm64, b"{").unwrap_err().to_string();
        assert!(broken.starts_with("cannot read the digests of modules that module-digests@arm64 wrote"), "{broken}");
    }
}
