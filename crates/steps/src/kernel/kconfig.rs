//! The dependencies of options, read from the Kconfig files of the source (kernel documentation, *Kconfig language*).
//! Kconfig itself decides; this only finds the missing dependency for an error.

use graph::StepError;
use std::{collections::BTreeMap, fs, path::Path};

/// Every option with its conditions: one list a definition, for an option may have several.
#[derive(Debug, Default)]
pub(super) struct Symbols(BTreeMap<String, Vec<Vec<String>>>);

/// The open blocks at a line: an `if`, a menu, a choice.
#[derive(Default)]
struct Walk {
    symbols: Symbols,
    /// The conditions of open blocks, and the word that closes each.
    open: Vec<(&'static str, Vec<String>)>,
    /// The option whose attributes are being read.
    option: Option<(String, Vec<String>)>,
    /// Whether the line is in a help text, and the indentation of its first line, once known.
    help: Option<Option<usize>>,
}

impl Symbols {
    /// Reads `Kconfig` at the top of the source and all files that it includes; `arch` is the architecture's folder.
    pub(super) fn read(source: &Path, arch: &str) -> Result<Self, StepError> {
        let mut walk = Walk::default();
        walk.file(source, arch, "Kconfig")?;
        walk.end_option();
        Ok(walk.symbols)
    }

    #[cfg(test)]
    pub(super) fn parse(text: &str) -> Self {
        let mut walk = Walk::default();
        for line in text.lines() {
            if !walk.in_help(line) {
                walk.line(line);
            }
        }
        walk.end_option();
        walk.symbols
    }

    /// The conditions that a configuration does not meet, from the option's definition with the fewest such conditions;
    /// `None` for an unknown option.
    pub(super) fn unmet(&self, name: &str, config: &BTreeMap<&str, &str>) -> Option<Vec<String>> {
        let unmet = |conditions: &Vec<String>| -> Vec<String> {
            let unmet = conditions.iter().filter(|c| !Expression::holds(c, config));
            unmet.map(|c| format!("`{c}`")).collect()
        };
        self.0.get(name)?.iter().map(unmet).min_by_key(Vec::len)
    }
}

impl Walk {
    fn file(&mut self, source: &Path, arch: &str, file: &str) -> Result<(), StepError> {
        let text = fs::read_to_string(source.join(file))?.replace("\\\n", " ");
        for line in text.lines() {
            if self.in_help(line) {
                continue;
            }
            let word = line.trim_start();
            let included = ["source ", "rsource "].iter().find_map(|w| word.strip_prefix(w));
            match included {
                Some(path) => {
                    self.end_option();
                    let path = path.trim().trim_matches('"').replace("$(SRCARCH)", arch);
                    // a path with another variable belongs to an architecture that is not built
                    if source.join(&path).is_file() {
                        self.file(source, arch, &path)?;
                    }
                }
                None => self.line(line),
            }
        }
        Ok(())
    }

    /// A help text goes on until a line is indented less than its first (kernel documentation, *Kconfig language*, help).
    fn in_help(&mut self, line: &str) -> bool {
        let Some(first) = self.help else { return false };
        let tab_stops = |n: usize, c: char| if c == '\t' { n / 8 * 8 + 8 } else { n + 1 };
        let indent = line.chars().take_while(|c| c.is_whitespace()).fold(0, tab_stops);
        let goes_on = line.trim().is_empty() || indent > 0 && first.is_none_or(|first| indent >= first);
        if !goes_on {
            self.help = None;
        } else if !line.trim().is_empty() {
            self.help = Some(first.or(Some(indent)));
        }
        goes_on
    }

    fn line(&mut self, line: &str) {
        let line = line.split(" #").next().unwrap_or(line).trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "config" | "menuconfig" => {
                self.end_option();
                self.option = Some((rest.to_owned(), Vec::new()));
            }
            "if" => self.begin("endif", vec![rest.to_owned()]),
            "menu" => self.begin("endmenu", Vec::new()),
            "choice" => self.begin("endchoice", Vec::new()),
            "help" => self.help = Some(None),
            "comment" => self.begin_option_less(),
            "endif" | "endmenu" | "endchoice" => {
                self.end_option();
                if self.open.last().is_some_and(|(end, _)| *end == word) {
                    self.open.pop();
                }
            }
            "depends" => self.condition(rest.trim_start_matches("on").trim()),
            "visible" => self.condition(rest.trim_start_matches("if").trim()),
            _ => {}
        }
    }

    fn begin(&mut self, end: &'static str, conditions: Vec<String>) {
        self.end_option();
        self.open.push((end, conditions));
    }

    /// A comment has dependencies too; they belong to no option.
    fn begin_option_less(&mut self) {
        self.end_option();
        self.option = Some((String::new(), Vec::new()));
    }

    fn condition(&mut self, condition: &str) {
        match (&mut self.option, self.open.last_mut()) {
            (Some((_, conditions)), _) | (None, Some((_, conditions))) => conditions.push(condition.to_owned()),
            (None, None) => {}
        }
    }

    fn end_option(&mut self) {
        let Some((name, own)) = self.option.take() else { return };
        let around = self.open.iter().flat_map(|(_, conditions)| conditions.iter().cloned());
        self.symbols.0.entry(name).or_default().push(around.chain(own).collect());
    }
}

/// An expression of options, `!`, `&&`, `||`, `=`, `!=` and parentheses. An expression that is not understood, such as
/// a call of the compiler, is true: Kconfig itself decides, and a wrong hint is worse than none.
struct Expression<'e> {
    words: Vec<&'e str>,
    at: usize,
    config: &'e BTreeMap<&'e str, &'e str>,
}

impl<'e> Expression<'e> {
    fn holds(text: &'e str, config: &'e BTreeMap<&'e str, &'e str>) -> bool {
        if text.contains("$(") {
            return true;
        }
        Self { words: words(text), at: 0, config }.any()
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.words.get(self.at) == Some(&word);
        self.at += usize::from(found);
        found
    }

    fn any(&mut self) -> bool {
        let mut holds = self.all();
        while self.take("||") {
            holds |= self.all();
        }
        holds
    }

    fn all(&mut self) -> bool {
        let mut holds = self.one();
        while self.take("&&") {
            holds &= self.one();
        }
        holds
    }

    fn one(&mut self) -> bool {
        if self.take("!") {
            return !self.one();
        }
        if self.take("(") {
            let holds = self.any();
            self.take(")");
            return holds;
        }
        let value = self.value();
        if self.take("=") {
            return value == self.value();
        }
        if self.take("!=") {
            return value != self.value();
        }
        value != "n"
    }

    fn value(&mut self) -> &'e str {
        let word = self.words.get(self.at).copied().unwrap_or("y");
        self.at += 1;
        match word {
            "y" | "m" | "n" => word,
            quoted if quoted.starts_with('"') => quoted,
            name => self.config.get(name).copied().unwrap_or("n"),
        }
    }
}

fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let symbol = ["&&", "||", "!=", "!", "=", "(", ")"].into_iter().find(|s| rest.starts_with(s));
        let len = match symbol {
            Some(symbol) => symbol.len(),
            None => rest.find(|c: char| c.is_whitespace() || "&|!=()".contains(c)).unwrap_or(rest.len()).max(1),
        };
        words.push(&rest[..len]);
        rest = rest[len..].trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "menu \"Networking\"\n\tdepends on NET\nconfig VETH\n\ttristate \"veth\"\n\thelp\n\t  nothing,\n\n\t  if unsure\n\
        if INET && (IPV6 || !TINY)\nconfig VXLAN\n\ttristate \"vxlan\"\n\tdepends on UDP_TUNNEL != n\n\
        comment \"no use\"\n\tdepends on NEVER\nendif\nendmenu\n\
        config TWICE\n\tdepends on A\nconfig TWICE\n\tdepends on B && $(cc-option,-x)\n\
        config EQUAL\n\tdepends on KIND=\"x\" && M=m\n";

    #[test]
    fn what_is_not_met_is_named() {
        let symbols = Symbols::parse(TEXT);
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<&'a [&'a str]>);
        let cases: [Case<'_>; 8] = [
            ("VETH", &[("NET", "y")], Some(&[])),
            ("VETH", &[], Some(&["`NET`"])),
            ("VXLAN", &[("NET", "y"), ("INET", "y"), ("UDP_TUNNEL", "m")], Some(&[])),
            (
                "VXLAN",
                &[("NET", "y"), ("INET", "y"), ("TINY", "y")],
                Some(&["`INET && (IPV6 || !TINY)`", "`UDP_TUNNEL != n`"]),
            ),
            ("TWICE", &[], Some(&[])),
            ("EQUAL", &[("KIND", "\"x\""), ("M", "m")], Some(&[])),
            ("EQUAL", &[("KIND", "\"y\""), ("M", "m")], Some(&["`KIND=\"x\" && M=m`"])),
            ("NONE", &[], None),
        ];
        for (name, config, expected) in cases {
            let config: BTreeMap<&str, &str> = config.iter().copied().collect();
            let found = symbols.unmet(name, &config);
            let expected = expected.map(|e| e.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
            assert_eq!(found, expected, "{name} {config:?}");
        }
    }
}
