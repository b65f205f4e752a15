//! The configuration of a kernel from source: Kconfig's result from a base and fragments.

use super::{
    boot_file, build, content,
    fragment::{self, line},
    kconfig,
};
use crate::tools::Tool;
use defs::{ConfigBase, Located, Place};
use graph::{Ctx, StepError};
use std::{collections::BTreeMap, fs, path::Path};
use types::Arch;

/// The version of the step: raise it when the same fragments would give another configuration.
pub(crate) const CONFIG_VERSION: u32 = 2;

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Config {
    pub(crate) arch: Arch,
    pub(crate) base: ConfigBase,
}

/// The file in the build's folder with the certificate of the modules' signer.
pub(super) const CERTIFICATE: &str = "modules.pem";

/// The fixed options of every build, so that it is reproducible and loads only modules that the owner signed: no name
/// from the state of a checkout, no throw-away key, and no other certificate.
fn fixed() -> [(&'static str, String); 9] {
    let no_key = || "\"\"".to_owned();
    [
        ("LOCALVERSION_AUTO", "n".to_owned()),
        ("MODULE_SIG", "y".to_owned()),
        ("MODULE_SIG_FORCE", "y".to_owned()),
        // the owner signs modules after the build; the build has no key
        ("MODULE_SIG_ALL", "n".to_owned()),
        ("MODULE_SIG_KEY", no_key()),
        ("MODULE_SIG_SHA256", "y".to_owned()),
        ("SYSTEM_TRUSTED_KEYRING", "y".to_owned()),
        ("SYSTEM_TRUSTED_KEYS", format!("\"{CERTIFICATE}\"")),
        ("SYSTEM_REVOCATION_KEYS", no_key()),
    ]
}

/// The label of a fragment as input: sorted in the order of the definitions, with the name for messages.
pub(crate) fn label(n: usize, file: &str) -> String {
    format!("fragment/{n:02}:{file}")
}

/// The options in the fragments of a step.
pub(super) fn requested(ctx: &Ctx<'_>) -> Result<BTreeMap<String, Located<String>>, StepError> {
    let mut all = BTreeMap::new();
    for label in ctx.labels("fragment/") {
        let file = label.split_once(':').map_or(label, |(_, file)| file);
        all.extend(fragment::parse(file, &fs::read_to_string(ctx.input(label)?)?)?);
    }
    Ok(all)
}

/// Inputs `fragment/…`, the trees `kernel` (toolbox) and `source`, for the base `debian` its package as `deb/…`; output
/// `config`.
pub(crate) fn config(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Config = ctx.params()?;
    let mut requested = requested(ctx)?;
    let out = ctx.scratch()?.join("out");
    fs::create_dir(&out)?;
    let file = out.join(".config");
    match params.base {
        ConfigBase::Debian => fs::write(&file, debians(ctx)?)?,
        ConfigBase::Defconfig => make(ctx, params.arch, &out, "defconfig")?,
        ConfigBase::Tinyconfig => make(ctx, params.arch, &out, "tinyconfig")?,
    }
    add_fixed(&mut requested)?;
    // of several lines of an option Kconfig reads the last
    let mut text = fs::read_to_string(&file)?;
    text.extend(requested.iter().map(|(name, value)| line(name, value)));
    fs::write(&file, text)?;
    make(ctx, params.arch, &out, "olddefconfig")?;
    let made = fs::read_to_string(&file)?;
    let symbols = || kconfig::Symbols::read(&ctx.input("source")?, build::kbuild_arch(params.arch).0);
    let lost = lost(&requested, &fragment::values(&made));
    if !lost.is_empty() {
        return Err(StepError::msg(explain(&lost, &symbols()?, &fragment::values(&made))));
    }
    ctx.put("config", made.as_bytes())?;
    Ok(())
}

/// Adds the fixed options.
fn add_fixed(requested: &mut BTreeMap<String, Located<String>>) -> Result<(), StepError> {
    for (name, value) in fixed() {
        if let Some(asked) = requested.get(name).filter(|v| v.value != value) {
            let text = "a built kernel must be the same again, and load what the owner's module key has signed";
            return Err(StepError::msg(format!(
                "{}: CONFIG_{name}={asked} cannot be had, it is {value}: {text}",
                asked.at
            )));
        }
        requested.insert(name.to_owned(), Located::new(value, Place::file("the builder's own")));
    }
    Ok(())
}

fn make(ctx: &Ctx<'_>, arch: Arch, out: &Path, target: &str) -> Result<(), StepError> {
    build::kbuild(Tool::new(ctx, "kernel")?, ctx, out)?.run(&build::argv(arch, &[target]))
}

/// The configuration in Debian's image package.
fn debians(ctx: &Ctx<'_>) -> Result<Vec<u8>, StepError> {
    content(&boot_file(&crate::packages::all(ctx)?.tree, "config-")?.1)
}

/// An option whose value differs from the requested one.
#[derive(Debug, PartialEq, Eq)]
struct Lost<'a> {
    name: &'a str,
    asked: &'a Located<String>,
    found: &'a str,
}

fn lost<'a>(requested: &'a BTreeMap<String, Located<String>>, made: &BTreeMap<&'a str, &'a str>) -> Vec<Lost<'a>> {
    let lost = requested.iter().filter_map(|(name, asked)| {
        // an option with unmet dependencies has no line, whatever its type
        let absent = if asked.value == "\"\"" { "\"\"" } else { "n" };
        let found = *made.get(name.as_str()).unwrap_or(&absent);
        (asked.value != found).then_some(Lost { name, asked, found })
    });
    lost.collect()
}

fn explain(lost: &[Lost<'_>], symbols: &kconfig::Symbols, made: &BTreeMap<&str, &str>) -> String {
    let lines = lost.iter().map(|Lost { name, asked, found }| {
        let why = match symbols.unmet(name, made) {
            None => "this kernel has no such option".to_owned(),
            Some(unmet) if unmet.is_empty() => "another option selects it, or it has no value of its own".to_owned(),
            Some(unmet) => format!("it depends on {}", unmet.join(" and ")),
        };
        format!("{}: CONFIG_{name}={asked} was asked for, the configuration has {found}: {why}", asked.at)
    });
    let lines: Vec<String> = lines.collect();
    format!("{} of the options asked for did not survive\n  {}", lines.len(), lines.join("\n  "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_can_ask_for_no_other_key_and_for_no_module_that_is_unsigned() {
        let cases = [
            (
                "CONFIG_MODULE_SIG_KEY=\"certs/signing_key.pem\"",
                "CONFIG_MODULE_SIG_KEY=\"certs/signing_key.pem\" cannot be had",
            ),
            ("# CONFIG_MODULE_SIG_FORCE is not set", "CONFIG_MODULE_SIG_FORCE=n cannot be had, it is y"),
            ("CONFIG_SYSTEM_TRUSTED_KEYS=\"mine.pem\"", "cannot be had, it is \"modules.pem\""),
        ];
        for (line, text) in cases {
            let mut asked = fragment::parse("kernel/x.config", line).unwrap();
            let error = add_fixed(&mut asked).unwrap_err().to_string();
            assert!(error.starts_with("kernel/x.config:1: ") && error.contains(text), "{error}");
        }
        let mut asked = fragment::parse("kernel/x.config", "CONFIG_MODULE_SIG=y\nCONFIG_NET=y\n").unwrap();
        add_fixed(&mut asked).unwrap();
        let values: Vec<_> = ["NET", "MODULE_SIG", "MODULE_SIG_ALL"].map(|name| asked[name].value.as_str()).into();
        assert_eq!(values, ["y", "y", "n"]);
    }

    #[test]
    fn an_option_that_did_not_survive_is_named_with_its_line_and_what_it_lacks() {
        let asked = fragment::parse(
            "kernel/evek.config",
            "CONFIG_DM_VERITY=y\nCONFIG_OVERLAY_FS=y\n# CONFIG_NET is not set\nCONFIG_NO_SUCH=y\nCONFIG_KEYS=\"\"\n",
        )
        .unwrap();
        // the output of `make olddefconfig`
        let made = fragment::values("CONFIG_OVERLAY_FS=y\nCONFIG_NET=y\n# CONFIG_BLK_DEV_DM is not set\nCONFIG_MD=y\n");
        let symbols = kconfig::Symbols::parse(
            "if MD\nconfig BLK_DEV_DM\n\ttristate \"dm\"\n\nconfig DM_VERITY\n\ttristate \"verity\"\n\tdepends on BLK_DEV_DM\n\
             endif\nconfig NET\n\tbool \"net\"\n",
        );
        let text = explain(&lost(&asked, &made), &symbols, &made);
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "3 of the options asked for did not survive",
                "kernel/evek.config:1: CONFIG_DM_VERITY=y was asked for, the configuration has n: it depends on `BLK_DEV_DM`",
                "kernel/evek.config:3: CONFIG_NET=n was asked for, the configuration has y: another option selects it, or it has no value of its own",
                "kernel/evek.config:4: CONFIG_NO_SUCH=y was asked for, the configuration has n: this kernel has no such option",
            ]
        );
    }
}
