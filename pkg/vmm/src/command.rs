//! The command line.

use crate::{error::Error, service::Command};

pub(crate) const USAGE: &str = "\
Runs declared virtual machines, and containers in virtual machines of their own

Usage: vmm run                             run the apps of /config/apps and /persist/apps
       vmm status [--json]                 show apps, their states and errors of declarations
       vmm console <app>                   connect with its serial console; Ctrl-] leaves
       vmm console <app> --until <TEXT>…   the same, until these texts have come in this order
       vmm start|stop|restart <app>        stop presses its power button
       vmm reload                          read the declarations again
       vmm ready                           exit with code 0 when the service answers";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Run,
    Status { json: bool },
    Ready,
    Order(Command),
    Console { app: String, until: Vec<String> },
    Help,
}

pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Verb, Error> {
    let args: Vec<String> = args.collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let app = |name: &str| name.to_owned();
    Ok(match words[..] {
        ["run"] => Verb::Run,
        ["status"] => Verb::Status { json: false },
        ["status", "--json"] => Verb::Status { json: true },
        ["ready"] => Verb::Ready,
        ["reload"] => Verb::Order(Command::Reload),
        ["start", name] => Verb::Order(Command::Start { app: app(name) }),
        ["stop", name] => Verb::Order(Command::Stop { app: app(name) }),
        ["restart", name] => Verb::Order(Command::Restart { app: app(name) }),
        ["console", name] => Verb::Console { app: app(name), until: Vec::new() },
        ["console", name, "--until", ref texts @ ..] if !texts.is_empty() => {
            Verb::Console { app: app(name), until: texts.iter().map(|text| (*text).to_owned()).collect() }
        }
        ["help" | "--help" | "-h"] => Verb::Help,
        [] => return Err(Error::Usage { what: "no command given".to_owned() }),
        _ => return Err(Error::Usage { what: format!("`{}` is not a command", words.join(" ")) }),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Verb, Error> {
        parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn commands_are_read_and_others_refused() {
        assert_eq!(words("stop web").unwrap(), Verb::Order(Command::Stop { app: "web".into() }));
        let until = Verb::Console { app: "web".into(), until: vec!["login:".into(), "42".into()] };
        assert_eq!(words("console web --until login: 42").unwrap(), until);
        assert!(words("console web --until").is_err());
        assert!(words("stop").unwrap_err().to_string().contains("`stop` is not a command"));
        assert!(words("").is_err());
    }
}
