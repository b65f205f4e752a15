//! Verifies that the kernel has the options of `kernel/lint.yml` and every module that a definition names.

use super::{Index, config, fragment};
use defs::{Located, Needs, OptionValue, PathGlob};
use graph::{Ctx, StepError};
use std::{collections::BTreeMap, fs};

/// The version of the step: raise it when the same kernel would get another verdict.
pub(crate) const LINT_VERSION: u32 = 1;

/// The demands on the kernel. Their values are the step's parameters; the places are for messages only and in no key.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Lint {
    /// Options, of this flavour and architecture.
    pub(crate) needs: Vec<Needs>,
    /// Modules that definitions load by name.
    pub(crate) load: Vec<Located<String>>,
    /// The patterns that drop modules.
    pub(crate) drop: Vec<Located<PathGlob>>,
}

/// Inputs `config`, `index`, and for a built kernel `fragment/…`; output `report`.
pub(crate) fn lint(ctx: &mut Ctx<'_>, lint: &Lint) -> Result<(), StepError> {
    let config = fs::read_to_string(ctx.input("config")?)?;
    let index: Index = serde_json::from_slice(&fs::read(ctx.input("index")?)?)?;
    let wrong = lint.judge(&fragment::values(&config), &index, &config::requested(ctx)?);
    if !wrong.is_empty() {
        let text = format!("the kernel lacks {} things that are needed\n  {}", wrong.len(), wrong.join("\n  "));
        return Err(StepError::msg(text));
    }
    let report: String = lint.needs.iter().map(|n| format!("{}: {} options\n", n.who, n.options.len())).collect();
    ctx.put("report", format!("{report}modules named: {}\n", lint.load.len()).as_bytes())?;
    Ok(())
}

impl Lint {
    fn judge(
        &self,
        config: &BTreeMap<&str, &str>,
        index: &Index,
        fragments: &BTreeMap<String, Located<String>>,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        for (needs, option) in self.needs.iter().flat_map(|n| n.options.iter().map(move |o| (n, o))) {
            let (at, name) = (&option.name.at, option.name.as_str());
            let found = config.get(name).copied().unwrap_or("n");
            let needed = || format!("{} needs it: {}", needs.who, option.why);
            if !option.is.iter().any(|value| value.as_str() == found) {
                let asked = fragments.get(name).map(|f| format!(", as {} says", f.at)).unwrap_or_default();
                let is: Vec<_> = option.is.iter().map(|v| v.as_str()).collect();
                let text = format!("CONFIG_{name} is {found}{asked}, and should be {}; {}", is.join(" or "), needed());
                wrong.push(format!("{at}: {text}"));
            } else if let Some(module) = option.module.as_ref().filter(|_| found == OptionValue::M.as_str())
                && !index.has(module)
            {
                wrong.push(format!(
                    "{at}: CONFIG_{name} is m, and {}; {}",
                    index.missing(module, &self.drop),
                    needed()
                ));
            }
        }
        for module in self.load.iter().filter(|m| !index.has(m)) {
            wrong.push(format!("{}: {}", module.at, index.missing(module, &self.drop)));
        }
        wrong
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::modules::{Dropped, Module};
    use super::*;
    use defs::{NeededOption, Place};

    fn at<T>(value: T, file: &str, line: u32) -> Located<T> {
        Located::new(value, Place { file: file.into(), line, column: 7 })
    }

    fn option(name: &str, is: &[OptionValue], module: Option<&str>, line: u32) -> NeededOption {
        let name = at(name.to_owned(), "kernel/lint.yml", line);
        NeededOption { name, is: is.to_vec(), module: module.map(str::to_owned), why: "pods".into() }
    }

    fn judge(config: &str, fragments: &str) -> Vec<String> {
        use OptionValue::{M, N, Y};
        let options = vec![
            option("NAMESPACES", &[Y], None, 5),
            option("VETH", &[Y, M], Some("veth"), 6),
            option("MODULE_SIG_FORCE", &[N], None, 7),
        ];
        let needs = Needs { who: "containerd".into(), flavours: None, arch: None, options };
        let lint = Lint {
            needs: vec![needs],
            load: vec![at("br-netfilter".into(), "hv/kubevirt.yml", 17)],
            drop: vec![at("kernel/drivers/net/veth*".parse().unwrap(), "kernel/kernel.yml", 44)],
        };
        let mut index = Index::default();
        index.kept.insert("br_netfilter".into(), Module::default());
        let dropped = Dropped { path: "kernel/drivers/net/veth.ko".into(), needs: None };
        index.dropped.insert("veth".into(), dropped);
        let fragments = fragment::parse("kernel/evek.config", fragments).unwrap();
        lint.judge(&fragment::values(config), &index, &fragments)
    }

    #[test]
    fn a_kernel_that_has_it_all_passes() {
        assert_eq!(judge("CONFIG_NAMESPACES=y\nCONFIG_VETH=y\n", ""), Vec::<String>::new());
    }

    #[test]
    fn a_missing_option_is_named_with_who_needs_it_and_the_line_of_the_fragment() {
        let found = judge("CONFIG_VETH=y\nCONFIG_MODULE_SIG_FORCE=y\n", "\n# CONFIG_NAMESPACES is not set\n");
        assert_eq!(
            found,
            [
                "kernel/lint.yml:5:7: CONFIG_NAMESPACES is n, as kernel/evek.config:2 says, and should be y; containerd needs it: pods",
                "kernel/lint.yml:7:7: CONFIG_MODULE_SIG_FORCE is y, and should be n; containerd needs it: pods",
            ]
        );
    }

    #[test]
    fn a_module_that_was_dropped_is_named_with_the_pattern() {
        let found = judge("CONFIG_NAMESPACES=y\nCONFIG_VETH=m\n", "");
        assert_eq!(
            found,
            ["kernel/lint.yml:6:7: CONFIG_VETH is m, and module veth is dropped by `kernel/drivers/net/veth*` \
             (kernel/kernel.yml:44:7); containerd needs it: pods"]
        );
    }

    #[test]
    fn a_module_to_load_that_is_nowhere_is_named_with_the_line_that_names_it() {
        let mut index = Index::default();
        let lint = Lint { needs: vec![], load: vec![at("zfs".into(), "hv/kvm.yml", 9)], drop: vec![] };
        let judge = |index: &Index| lint.judge(&BTreeMap::new(), index, &BTreeMap::new());
        assert_eq!(judge(&index), ["hv/kvm.yml:9:7: the kernel has no module zfs"]);
        index.builtin.insert("zfs".into());
        assert_eq!(judge(&index), Vec::<String>::new());
    }
}
