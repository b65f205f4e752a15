//! Layers: Debian packages become a tar that stands on the tars below it; a tar becomes an EROFS blob.

use crate::{
    packages::{self, Merged},
    size::Origins,
    tools::Tool,
};
use defs::{Group, Located, PathGlob, User};
use graph::{Ctx, StepError, Unit};
use std::{collections::BTreeMap, fs::File};
use tree::{Beneath, Entry, Kind, Tree, TreePath};
use types::{Arch, EPOCH};

/// The version of the step: raise it when the same packages would give another tar.
pub(crate) const DEBS_VERSION: u32 = 2;
/// The version of the step: raise it when the same tar would give another EROFS blob.
pub(crate) const EROFS_VERSION: u32 = 1;

/// The trees of the layers below (inputs `lower/…`), as one.
pub(crate) fn lower(ctx: &Ctx<'_>) -> Result<Tree, StepError> {
    let mut tree = Tree::default();
    for label in ctx.labels("lower/") {
        tree.merge(debian::deb::read_plain_tar(&ctx.input(label)?)?)?;
    }
    Ok(tree)
}

/// Firmware of devices, which their own processors run.
const FIRMWARE: &str = "usr/lib/firmware/**";

/// Writes what `full` has more than `lower` as output `tar`, after a look at the architecture of every program in it but those
/// that `foreign` covers.
pub(crate) fn write_layer(
    ctx: &mut Ctx<'_>,
    full: &Tree,
    lower: &Tree,
    arch: Arch,
    foreign: &[Located<PathGlob>],
) -> Result<(), StepError> {
    let layer = full.above(lower)?;
    check_arch(&layer, arch, foreign)?;
    let total: u64 = layer.iter().map(|(_, e)| if let Kind::File(c) = &e.kind { c.len() } else { 0 }).sum();
    let out = File::create(ctx.out_blob("tar"))?;
    let mut done = 0;
    oci::layer::write_tar(&layer, out, |n| {
        done += n;
        ctx.progress(done, total, Unit::Bytes);
    })?;
    Ok(())
}

/// Fails when a program of the tree is for another architecture, but for those that `foreign` covers.
pub(crate) fn check_arch(tree: &Tree, arch: Arch, foreign: &[Located<PathGlob>]) -> Result<(), StepError> {
    let allowed: Vec<PathGlob> = foreign.iter().map(|glob| glob.value.clone()).chain([FIRMWARE.parse()?]).collect();
    let wrong = oci::elf::check_arch(tree, arch, &allowed)?;
    if wrong.is_empty() {
        return Ok(());
    }
    let lines: String = wrong.iter().take(10).map(|one| format!("\n  {one}")).collect();
    let more = if wrong.len() > 10 { format!("\n  and {} more", wrong.len() - 10) } else { String::new() };
    Err(StepError::msg(format!("this layer has programs of another architecture:{lines}{more}")))
}

/// What a definition says of a layer of Debian packages, beside its packages.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Debs {
    pub(crate) arch: Arch,
    /// Paths not taken from the packages.
    pub(crate) drop: Vec<Located<PathGlob>>,
    pub(crate) alternatives: BTreeMap<String, Located<String>>,
    pub(crate) links: BTreeMap<String, Located<String>>,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) caps: BTreeMap<String, Located<String>>,
    /// The package that keeps a path which two bring.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) prefer: BTreeMap<String, Located<String>>,
    /// Files whose architecture is not checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) foreign: Vec<Located<PathGlob>>,
}

/// Inputs `deb/…`, `lower/…`, `lower-origins/…` and the tree `files` (toolbox); outputs `tar`, and `origins`
/// ([`Origins`] as JSON): which package brought which file.
pub(crate) fn debs(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Debs = ctx.params()?;
    let lower = lower(ctx)?;
    let prefer = params.prefer.iter().map(|(path, package)| (path.clone(), package.value.clone())).collect();
    let mut merged = Merged::onto(lower.clone(), &packages::lower_origins(ctx)?, Some(&prefer))?;
    for mut package in packages::unpack(ctx)? {
        package.tree.retain(|path, _| !params.drop.iter().any(|glob| glob.covers(path.as_str())));
        merged.add(package)?;
    }
    let origins = merged.origins();
    let mut full = merged.tree;
    oci::finish::alternatives::links(&mut full, &params.links)?;
    oci::finish::alternatives::apply(&mut full, &params.alternatives)?;
    oci::finish::accounts::apply(&mut full, &params.users, &params.groups)?;
    oci::finish::capabilities::apply(&mut full, &params.caps)?;
    oci::finish::ca_bundle::apply(&mut full)?;
    check_libraries(&full, &origins)?;
    put_origins(ctx, origins)?;
    library_cache(ctx, &mut full)?;
    write_layer(ctx, &full, &lower, params.arch, &params.foreign)
}

/// Every library that a program of these packages needs is there: `without` and `drop` may have gone too far.
fn check_libraries(full: &Tree, origins: &BTreeMap<TreePath, String>) -> Result<(), StepError> {
    let mut own = full.clone();
    own.retain(|path, _| origins.contains_key(path));
    let missing = oci::needed::check_needed(&own, full)?;
    let [first, more @ ..] = missing.as_slice() else { return Ok(()) };
    let more = if more.is_empty() { String::new() } else { format!("; and {} more", more.len()) };
    let package = origins.get(&first.path).map_or("", String::as_str);
    Err(StepError::msg(format!("Debian package {package}: {first}: see `without` and `drop`{more}")))
}

fn put_origins(ctx: &mut Ctx<'_>, files: BTreeMap<TreePath, String>) -> Result<(), StepError> {
    let mut origins = Origins::new();
    for (path, package) in files {
        origins.entry(package).or_default().push(path.to_string());
    }
    ctx.put("origins", &serde_json::to_vec(&origins)?)?;
    Ok(())
}

/// `/etc/ld.so.cache`, as `ldconfig` of the toolbox makes it from the libraries of the tree.
fn library_cache(ctx: &Ctx<'_>, full: &mut Tree) -> Result<(), StepError> {
    let cache = TreePath::new("etc/ld.so.cache")?;
    let mut libraries = Tree::default();
    for (path, entry) in full.iter() {
        let library = matches!(entry.kind, Kind::File(_) | Kind::Symlink(_) | Kind::Hardlink(_))
            && (path.name().contains(".so") && path.as_str().starts_with("usr/lib")
                || path.as_str().starts_with("etc/ld.so.conf")
                || matches!(entry.kind, Kind::Symlink(_)) && path.parent().is_some_and(|p| p.is_root()));
        if library {
            libraries.insert(path.clone(), entry.clone())?;
        }
    }
    // hard links to something that is no library by its name would dangle
    let kept: std::collections::BTreeSet<TreePath> = libraries.iter().map(|(p, _)| p.clone()).collect();
    libraries.retain(|_, e| !matches!(&e.kind, Kind::Hardlink(to) if !kept.contains(to)));
    if libraries.get(&TreePath::new("etc/ld.so.conf")?).is_none() {
        libraries.insert(
            TreePath::new("etc/ld.so.conf")?,
            Entry::file(0o644, b"include /etc/ld.so.conf.d/*.conf\n".to_vec()),
        )?;
    }
    let root = ctx.scratch()?.join("libraries");
    std::fs::create_dir(&root)?;
    libraries.write_to(&root)?;
    Tool::new(ctx, "files")?.writable(&root, "/out").run(&[
        "ldconfig",
        "-X",
        "-r",
        "/out",
        "-C",
        "/etc/ld.so.cache",
    ])?;
    // the tree may hold a link in the place of `etc`, which leads somewhere else on the builder's disk
    let bytes = Beneath::open(&root)?.read(&full.real_path(&cache)?)?;
    std::fs::remove_dir_all(&root)?;
    // the auxiliary cache is only for ldconfig itself
    full.remove(&TreePath::new("var/cache/ldconfig")?);
    full.insert(cache, Entry::file(0o644, bytes))?;
    Ok(())
}

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Erofs {
    /// Compression, as `mkfs.erofs -z` takes it.
    pub(crate) compression: String,
    /// Largest compressed unit, in bytes.
    pub(crate) cluster: u32,
}

/// Inputs `tar` and the tree `files` (toolbox); output `erofs`.
pub(crate) fn erofs(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let Erofs { compression, cluster } = ctx.params()?;
    let out = ctx.out_blob("erofs");
    let made = ctx.scratch()?.join("layer.erofs");
    File::create(&made)?;
    // the UUID says which tar it was made from, so that two blobs never share one
    let diff = ctx.input_digest("tar")?.hex();
    let uuid = format!("{}-{}-{}-{}-{}", &diff[..8], &diff[8..12], &diff[12..16], &diff[16..20], &diff[20..32]);
    Tool::new(ctx, "files")?.read(&ctx.input("tar")?, "/in/layer.tar").writable(&made, "/out/layer.erofs").run(&[
        "mkfs.erofs",
        "--quiet",
        "--tar=f",
        &format!("-z{compression}"),
        &format!("-C{cluster}"),
        &format!("-T{EPOCH}"),
        &format!("-U{uuid}"),
        "/out/layer.erofs",
        "/in/layer.tar",
    ])?;
    std::fs::rename(made, out)?;
    Ok(())
}
