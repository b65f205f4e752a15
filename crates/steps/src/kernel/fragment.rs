//! Configurations of the kernel and fragments of them (kernel documentation, *Kconfig configuration*): `CONFIG_X=value`, and
//! `# CONFIG_X is not set` for `n`.

use defs::{Located, Place};
use std::collections::BTreeMap;

/// A line that is no option and no comment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: `{line}` is neither `CONFIG_X=value` nor `# CONFIG_X is not set` nor a comment")]
pub(crate) struct BadLine {
    at: Place,
    line: String,
}

/// The options of a fragment by name, without `CONFIG_`; of two lines of one option the later wins.
pub(crate) fn parse(file: &str, text: &str) -> Result<BTreeMap<String, Located<String>>, BadLine> {
    let mut options = BTreeMap::new();
    for (n, line) in text.lines().enumerate() {
        let at = Place { file: file.into(), line: u32::try_from(n + 1).unwrap_or(0), column: 0 };
        match option(line) {
            Some((name, value)) => drop(options.insert(name.to_owned(), Located::new(value.to_owned(), at))),
            None if line.trim().is_empty() || line.starts_with('#') => {}
            None => return Err(BadLine { at, line: line.to_owned() }),
        }
    }
    Ok(options)
}

/// The options of a whole configuration: every other option is `n`.
pub(crate) fn values(config: &str) -> BTreeMap<&str, &str> {
    config.lines().filter_map(option).collect()
}

/// Name and value of a line.
fn option(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_end();
    if let Some(unset) = line.strip_prefix("# CONFIG_") {
        return unset.strip_suffix(" is not set").filter(|name| is_name(name)).map(|name| (name, "n"));
    }
    line.strip_prefix("CONFIG_")?.split_once('=').filter(|(name, value)| is_name(name) && !value.is_empty())
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The line that sets a value.
pub(crate) fn line(name: &str, value: &str) -> String {
    if value == "n" { format!("# CONFIG_{name} is not set\n") } else { format!("CONFIG_{name}={value}\n") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_with_their_lines_and_the_later_one_counts() {
        let text = "# a comment\nCONFIG_A=y\nCONFIG_B=\"x y\"\n\n# CONFIG_C is not set\nCONFIG_A=m\n";
        let options = parse("kernel/x.config", text).unwrap();
        let found: Vec<_> = options.iter().map(|(n, v)| format!("{n}={v} {}", v.at)).collect();
        assert_eq!(found, ["A=m kernel/x.config:6", "B=\"x y\" kernel/x.config:3", "C=n kernel/x.config:5"]);
        let again: String = options.iter().map(|(n, v)| line(n, v)).collect();
        assert_eq!(again, "CONFIG_A=m\nCONFIG_B=\"x y\"\n# CONFIG_C is not set\n");
    }

    #[test]
    fn what_is_no_option_is_refused_with_its_line() {
        for line in ["CONFIG_A", "CONFIG_A=", "A=y", " CONFIG_A=y", "CONFIG_A B=y"] {
            let text = parse("kernel/x.config", &format!("\n{line}\n")).unwrap_err().to_string();
            assert!(text.starts_with(&format!("kernel/x.config:2: `{line}` is neither")), "{text}");
        }
    }
}
