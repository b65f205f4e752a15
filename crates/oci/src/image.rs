//! The configuration and manifest of an image (OCI image-spec 1.1, config.md and manifest.md).

use crate::{Error, layer::LayerDigest};
use defs::ImageConfig;
use oci_spec::image::{
    Arch as OciArch, Config, ConfigBuilder, Descriptor, History, HistoryBuilder, ImageConfigurationBuilder,
    ImageManifestBuilder, MediaType, Os, PlatformBuilder, RootFsBuilder, Sha256Digest,
};
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeMap, str::FromStr as _};
use types::{Arch, Bytes, Digest};

/// `types::EPOCH` as the configuration writes times (RFC 3339).
pub const CREATED: &str = "2026-01-01T00:00:00Z";

/// The PATH of containers whose definition sets none.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a layer's bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayerForm {
    /// The tar itself.
    Tar,
    /// The tar, gzip-compressed.
    Gzip,
    /// The tar, zstd-compressed.
    Zstd,
    /// An EROFS image of the same tree, as the store has it.
    Erofs,
}

impl LayerForm {
    /// The media type in the manifest.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Tar => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
            Self::Erofs => store::EROFS_LAYER,
        }
    }
}

/// A blob by digest and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// sha256 of the bytes.
    pub digest: Digest,
    /// Their number.
    pub size: Bytes,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// sha256 of the uncompressed tar.
    pub diff_id: Digest,
    /// How `blob` is packed.
    pub form: LayerForm,
    /// The bytes that the manifest names.
    pub blob: Blob,
    /// What made it, such as `base`; shown by `skopeo inspect --config` and the like.
    pub origin: String,
}

impl Layer {
    /// A layer as an uncompressed tar.
    #[must_use]
    pub fn tar(layer: LayerDigest, origin: &str) -> Self {
        let blob = Blob { digest: layer.digest, size: layer.size };
        Self { diff_id: layer.digest, form: LayerForm::Tar, blob, origin: origin.to_owned() }
    }

    /// The same layer with its bytes packed in another way.
    #[must_use]
    pub fn packed(&self, form: LayerForm, blob: Blob) -> Self {
        Self { form, blob, ..self.clone() }
    }
}

/// What an image is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpec {
    /// Full name with tag, such as `evek.local/kube:0.1.0`.
    pub name: String,
    /// What it runs on.
    pub arch: Arch,
    /// What a runtime takes its defaults from.
    pub config: ImageConfig,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// An image: configuration and manifest as the very bytes that their digests name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Full name with tag.
    pub name: String,
    /// What it runs on.
    pub arch: Arch,
    /// The configuration, canonical JSON.
    pub config: Vec<u8>,
    /// The manifest, canonical JSON.
    pub manifest: Vec<u8>,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
}

impl Image {
    /// Makes configuration and manifest.
    ///
    /// # Errors
    /// When the OCI types refuse something.
    pub fn new(spec: ImageSpec) -> Result<Self, Error> {
        let bad = |what| {
            let name = spec.name.clone();
            move |reason: String| Error::Image { what, name: name.clone(), reason }
        };
        let config = configuration(&spec).map_err(bad("configuration"))?;
        let manifest = manifest(&spec, &config).map_err(bad("manifest"))?;
        let ImageSpec { name, arch, layers, .. } = spec;
        Ok(Self { name, arch, config, manifest, layers })
    }

    /// The digest of the manifest, which is the image's.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// The image's entry in an index, with its name and further annotations (such as `org.evek.role`).
    ///
    /// # Errors
    /// When the OCI types refuse something.
    pub fn descriptor(&self, annotations: &BTreeMap<String, String>) -> Result<Descriptor, Error> {
        let bad = |e: oci_spec::OciSpecError| Error::Image {
            what: "descriptor",
            name: self.name.clone(),
            reason: e.to_string(),
        };
        let blob = Blob { digest: self.digest(), size: Bytes(self.manifest.len() as u64) };
        let mut descriptor = descriptor(MediaType::ImageManifest, blob).map_err(bad)?;
        let platform = PlatformBuilder::default().architecture(oci_arch(self.arch)).os(Os::Linux).build();
        descriptor.set_platform(Some(platform.map_err(bad)?));
        let name = (store::NAME_ANNOTATION.to_owned(), self.name.clone());
        descriptor.set_annotations(Some(annotations.clone().into_iter().chain([name]).collect()));
        Ok(descriptor)
    }
}

fn configuration(spec: &ImageSpec) -> Result<Vec<u8>, String> {
    let text = |e: oci_spec::OciSpecError| e.to_string();
    let history: Result<Vec<History>, _> = spec
        .layers
        .iter()
        .map(|layer| HistoryBuilder::default().created(CREATED).created_by(layer.origin.as_str()).build())
        .collect();
    let diff_ids: Vec<String> = spec.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    let rootfs = RootFsBuilder::default().typ("layers").diff_ids(diff_ids).build().map_err(text)?;
    let configuration = ImageConfigurationBuilder::default()
        .created(CREATED)
        .architecture(oci_arch(spec.arch))
        .os(Os::Linux)
        .config(runtime_config(&spec.config).map_err(text)?)
        .rootfs(rootfs)
        .history(history.map_err(text)?)
        .build()
        .map_err(text)?;
    canonical_json(&configuration).map_err(|e| e.to_string())
}

fn runtime_config(config: &ImageConfig) -> Result<Config, oci_spec::OciSpecError> {
    let mut env: BTreeMap<&str, &str> = BTreeMap::from([("PATH", PATH)]);
    env.extend(config.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let env: Vec<String> = env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut builder = ConfigBuilder::default().env(env).working_dir(config.workdir.as_deref().unwrap_or("/"));
    if !config.entrypoint.is_empty() {
        builder = builder.entrypoint(config.entrypoint.clone());
    }
    if !config.cmd.is_empty() {
        builder = builder.cmd(config.cmd.clone());
    }
    if let Some(user) = &config.user {
        builder = builder.user(user.as_str());
    }
    if !config.labels.is_empty() {
        builder = builder.labels(config.labels.clone().into_iter().collect::<std::collections::HashMap<_, _>>());
    }
    builder.build()
}

fn manifest(spec: &ImageSpec, config: &[u8]) -> Result<Vec<u8>, String> {
    let text = |e: oci_spec::OciSpecError| e.to_string();
    let layers: Result<Vec<_>, _> =
        spec.layers.iter().map(|layer| descriptor(layer.form.media_type().into(), layer.blob)).collect();
    let config = Blob { digest: Digest::of(config), size: Bytes(config.len() as u64) };
    let mut manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(MediaType::ImageConfig, config).map_err(text)?)
        .layers(layers.map_err(text)?)
        .build()
        .map_err(text)?;
    if !spec.annotations.is_empty() {
        manifest.set_annotations(Some(spec.annotations.clone().into_iter().collect()));
    }
    canonical_json(&manifest).map_err(|e| e.to_string())
}

fn descriptor(media_type: MediaType, blob: Blob) -> Result<Descriptor, oci_spec::OciSpecError> {
    Ok(Descriptor::new(media_type, blob.size.0, Sha256Digest::from_str(&blob.digest.hex())?))
}

const fn oci_arch(arch: Arch) -> OciArch {
    match arch {
        Arch::Amd64 => OciArch::Amd64,
        Arch::Arm64 => OciArch::ARM64,
    }
}

/// JSON with sorted keys and no white space, whatever order the value's maps have.
///
/// # Errors
/// When the value cannot be JSON.
pub fn canonical_json<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::new();
    write_sorted(&serde_json::to_value(value)?, &mut out)?;
    Ok(out)
}

fn write_sorted(value: &Value, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    match value {
        Value::Object(fields) => {
            out.push(b'{');
            for (n, (key, value)) in fields.iter().collect::<BTreeMap<_, _>>().into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, key)?;
                out.push(b':');
                write_sorted(value, out)?;
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_sorted(item, out)?;
            }
            out.push(b']');
        }
        scalar => serde_json::to_writer(out, scalar)?,
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn spec(layers: Vec<Layer>) -> ImageSpec {
        ImageSpec {
            name: "evek.local/time:0.1.0".into(),
            arch: Arch::Arm64,
            config: ImageConfig {
                entrypoint: vec!["chronyd".into(), "-d".into()],
                env: BTreeMap::from([("TZ".into(), "UTC".into())]),
                labels: ["c", "a", "b"].map(|l| (l.to_owned(), "x".to_owned())).into(),
                ..ImageConfig::default()
            },
            layers,
            annotations: ["z", "y"].map(|l| (l.to_owned(), "x".to_owned())).into(),
        }
    }

    fn layer() -> Layer {
        Layer::tar(LayerDigest { digest: Digest::of(b"tar"), size: Bytes(3) }, "base")
    }

    #[test]
    fn tar_form_and_store_form_share_the_configuration() {
        let tar = Image::new(spec(vec![layer()])).unwrap();
        let erofs = layer().packed(LayerForm::Erofs, Blob { digest: Digest::of(b"erofs"), size: Bytes(4096) });
        let erofs = Image::new(spec(vec![erofs])).unwrap();
        assert_eq!(tar.config, erofs.config);
        assert_ne!(tar.digest(), erofs.digest());
    }

    #[test]
    fn the_bytes_are_golden() {
        let image = Image::new(spec(vec![layer()])).unwrap();
        assert_eq!(
            String::from_utf8(image.config.clone()).unwrap(),
            r#"{"architecture":"arm64","config":{"Entrypoint":["chronyd","-d"],"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","TZ=UTC"],"Labels":{"a":"x","b":"x","c":"x"},"WorkingDir":"/"},"created":"2026-01-01T00:00:00Z","history":[{"created":"2026-01-01T00:00:00Z","created_by":"base"}],"os":"linux","rootfs":{"diff_ids":["sha256:90aebae315675cbf04612de4f7d5874850f48e0b8dd82becbeaa47ca93f5ebfb"],"type":"layers"}}"#
        );
        let manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
        assert_eq!(manifest["config"]["digest"], Digest::of(&image.config).to_string());
        assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar");
        assert!(image.manifest.starts_with(br#"{"annotations":{"y":"x","z":"x"},"config":{"digest":"#));
    }

    #[test]
    fn the_time_is_the_clock_of_the_build() {
        // 56 years of 365 days and 14 leap days since 1970
        assert_eq!(types::EPOCH, (56 * 365 + 14) * 86_400);
        assert!(CREATED.starts_with("2026-01-01T00:00:00"));
    }
}
