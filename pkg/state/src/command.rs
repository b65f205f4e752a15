//! The command line.

use crate::error::Error;

pub(crate) const USAGE: &str = "\
usage: state <verb>
  config   mount nothing if CONFIG can be mounted, else an empty stand-in
  persist  mount nothing if P3 can be mounted, else an empty stand-in
  ssh      prepare authorized keys and host key for sshd
  report   fail, with the reason, when a stand-in is mounted";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Config,
    Persist,
    Ssh,
    Report,
}

pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Verb, Error> {
    let arguments: Vec<String> = arguments.collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["config"] => Ok(Verb::Config),
        ["persist"] => Ok(Verb::Persist),
        ["ssh"] => Ok(Verb::Ssh),
        ["report"] => Ok(Verb::Report),
        _ => Err(Error::Usage { found: arguments.join(" ") }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_and_nothing_else_is_accepted() {
        let parse = |text: &str| parse(text.split_whitespace().map(str::to_owned));
        assert_eq!(parse("persist").unwrap(), Verb::Persist);
        for bad in ["", "keep", "ssh now"] {
            assert!(parse(bad).unwrap_err().to_string().contains(&format!("`{bad}`")), "{bad}");
        }
    }
}
