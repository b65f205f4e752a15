//! Changes the version of an upstream Go program: its replacements and checksums become ours.

use crate::{
    Error, Inputs,
    vendor::{Client, client, no_sum_db},
};
use fetch::Event;
use gomod::{Download, GoMod, GoSum, TakeOver};
use graph::Sink;
use lock::VendorKind;
use std::{
    fs,
    path::{Path, PathBuf},
};
use types::Cancel;

/// Writes go.mod and go.sum of the Go program whose folder or binary is called `name`, for another version of the module it is
/// built from. Returns the folder.
///
/// # Errors
/// When no program has this name, the version does not exist, or upstream's files cannot be used. Nothing is written
/// then.
pub fn take_over(
    inputs: &Inputs<'_>,
    name: &str,
    version: &str,
    progress: &(dyn Fn(Event<'_>) + Sync),
    sink: &dyn Sink,
    cancel: &Cancel,
) -> Result<PathBuf, Error> {
    let defs = &inputs.project.defs;
    let programs = || defs.packages.values().flat_map(|p| p.go.iter().map(move |g| (p, g)));
    let found = programs().find(|(_, g)| g.bin.value == name || g.dir.value == name);
    let (package, program) = found.ok_or_else(|| Error::NoGoProgram {
        name: name.to_owned(),
        choices: programs().map(|(_, g)| g.dir.value.clone()).collect(),
    })?;
    let folder = inputs.project.root().join("pkg").join(&package.name.value).join(&program.dir.value);
    let go_mod = folder.join("go.mod");
    let wrong = |reason: String| Error::GoMod { path: go_mod.clone(), reason };
    let read = |path: &Path| fs::read_to_string(path).map_err(|source| Error::Source { path: path.to_owned(), source });
    let ours = GoMod::parse(&read(&go_mod)?).map_err(|e| wrong(e.to_string()))?;
    let main = ours.require.iter().find(|r| !r.indirect).ok_or_else(|| wrong("requires no module directly".into()))?;
    let module = main.module.path.clone();

    let tools = inputs.tools(VendorKind::Go, progress, sink, cancel)?;
    let scratch = tempfile::tempdir_in(inputs.cache.cas().tmp())
        .map_err(|source| Error::Source { path: inputs.cache.cas().tmp(), source })?;
    let query = format!("{module}@{version}");
    let argv = ["go", "mod", "download", "-json", &query];
    let no_sum_db = no_sum_db(&program.no_checksum_database);
    let json = client(
        &Client { tools: &tools, source: scratch.path(), cwd: "/src", argv: &argv, no_sum_db: &no_sum_db },
        cancel,
    )?;
    let download = Download::parse(&json).map_err(|e| wrong(format!("`{}`: {e}", argv.join(" "))))?;
    if let Some(error) = &download.error {
        let hint = if error.contains("verifying ") {
            format!(
                "\n\nhint: where Go's checksum database does not have this module, name it in `no_checksum_database` of \
                 pkg/{}/pkg.yml; where the proxy does not serve the database, set GOSUMDB",
                package.name.value
            )
        } else {
            String::new()
        };
        return Err(wrong(format!("{query}: {error}{hint}")));
    }
    // the client names the folder by its path in the sandbox
    let unpacked = scratch.path().join(download.dir.strip_prefix("/src").unwrap_or(&download.dir));
    let upstream = GoMod::parse(&read(&unpacked.join("go.mod"))?).map_err(|e| wrong(format!("upstream's: {e}")))?;
    let sum = GoSum::parse(&read(&unpacked.join("go.sum"))?).map_err(|e| wrong(format!("upstream's go.sum: {e}")))?;
    let what = TakeOver {
        name: ours.module.clone(),
        module: download.module(),
        tag: download.tag().map(str::to_owned),
        zip_hash: download.sum.clone(),
        mod_hash: download.go_mod_sum.clone(),
        tools: ours.tools.clone(),
        replace: Vec::new(),
    };
    let (new_mod, new_sum) = gomod::take_over(&what, &upstream, &sum).map_err(|e| wrong(e.to_string()))?;
    for (file, text) in [("go.mod", new_mod.to_string()), ("go.sum", new_sum.to_string())] {
        let path = folder.join(file);
        fs::write(&path, text).map_err(|source| Error::Source { path, source })?;
    }
    // read-only folders of the module cache, which a plain removal of the scratch folder would leave
    make_writable(scratch.path());
    Ok(folder)
}

/// Makes every folder removable; what cannot be changed is swept when the cache is next opened.
pub(crate) fn make_writable(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o755));
    for item in fs::read_dir(folder).into_iter().flatten().flatten() {
        if item.file_type().is_ok_and(|t| t.is_dir()) {
            make_writable(&item.path());
        }
    }
}
