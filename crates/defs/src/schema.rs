//! JSON Schemas of the definitions, for editors.

use crate::{DiskLayout, Hv, ImageDef, Kernel, Lint, Package, Rootfs, Toolbox};
use schemars::{JsonSchema, generate::SchemaSettings};

/// A kind of definition file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DefKind {
    /// `pkg/<name>/pkg.yml`
    Package,
    /// `rootfs/rootfs.yml`
    Rootfs,
    /// `kernel/kernel.yml`
    Kernel,
    /// `kernel/lint.yml`
    Lint,
    /// `hv/<flavour>.yml`
    Hv,
    /// `images/<name>.yml`
    Image,
    /// `layouts/<name>.yml`
    Layout,
    /// `xtask/toolbox.yml`
    Toolbox,
    /// `apps/<name>.yml` on a device
    App,
}

impl DefKind {
    /// Every kind, in the order of the reference.
    pub const ALL: [Self; 9] = [
        Self::Package,
        Self::Rootfs,
        Self::Kernel,
        Self::Lint,
        Self::Hv,
        Self::Image,
        Self::Layout,
        Self::Toolbox,
        Self::App,
    ];

    /// Its name, which is the schema's file name too.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Package => "pkg",
            Self::Rootfs => "rootfs",
            Self::Kernel => "kernel",
            Self::Lint => "lint",
            Self::Hv => "hv",
            Self::Image => "image",
            Self::Layout => "layout",
            Self::Toolbox => "toolbox",
            Self::App => "app",
        }
    }
}

/// `amd64` or `arm64`.
#[derive(JsonSchema, PartialEq, Eq, PartialOrd, Ord)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used, in place of types::Arch, which the device shares")]
pub(crate) enum ArchName {
    Amd64,
    Arm64,
}

/// `kvm`, `xen` or `kubevirt`.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used, in place of types::Flavour, which the device shares")]
pub(crate) enum FlavourName {
    Kvm,
    Xen,
    Kubevirt,
}

/// A size such as `512MiB`, or a number of bytes.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used, in place of types::Bytes, which the device shares")]
pub(crate) enum SizeText {
    Text(#[schemars(regex(pattern = r"^[0-9]+ *(B|KiB|MiB|GiB)?$"))] String),
    Bytes(u64),
}

/// The JSON Schema (2020-12) of a kind of definition.
#[must_use]
pub fn schema(kind: DefKind) -> serde_json::Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let schema = match kind {
        DefKind::Package => generator.into_root_schema_for::<Package>(),
        DefKind::Rootfs => generator.into_root_schema_for::<Rootfs>(),
        DefKind::Kernel => generator.into_root_schema_for::<Kernel>(),
        DefKind::Lint => generator.into_root_schema_for::<Lint>(),
        DefKind::Hv => generator.into_root_schema_for::<Hv>(),
        DefKind::Image => generator.into_root_schema_for::<ImageDef>(),
        DefKind::Layout => generator.into_root_schema_for::<DiskLayout>(),
        DefKind::Toolbox => generator.into_root_schema_for::<Toolbox>(),
        DefKind::App => generator.into_root_schema_for::<app::App>(),
    };
    schema.to_value()
}
