//! `state report`: a unit that fails is how an operator sees that something is not kept.

use crate::{error::Error, paths::Paths, size};
use device::{
    durable,
    standing::{Part, Standing},
};

/// # Errors
/// The reasons, when something stands in for a partition; they are shown to everybody who logs in, too.
pub(crate) fn report(paths: &Paths) -> Result<(), Error> {
    let mut lines = Vec::new();
    for part in [Part::Config, Part::Persist] {
        if let Standing::Temporary { reason } = Standing::read(&paths.run, part)? {
            lines.push(format!("{} is not in use, a file system in memory stands in for it: {reason}", part.label()));
        }
    }
    let is_temporary = !lines.is_empty();
    // a disk without room for IMGB runs, and takes no updates
    lines.extend(size::too_small(paths));
    let text = lines.join("\n");
    let motd = paths.run.join("motd");
    if text.is_empty() {
        return Ok(durable::forget(&motd)?);
    }
    durable::write(&motd, format!("{text}\n").as_bytes(), 0o644)?;
    if is_temporary {
        return Err(Error::Temporary(text));
    }
    eprintln!("{text}");
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_stand_in_fails_the_unit_and_greets_those_who_log_in() {
        let dir = tempfile::tempdir().unwrap();
        let paths =
            Paths { run: dir.path().to_owned(), disk: "/none".into(), definitions: "/none".into(), ..Paths::default() };
        report(&paths).unwrap();
        assert!(!paths.run.join("motd").exists());
        let temporary = Standing::Temporary { reason: "bad magic".into() };
        temporary.write(&paths.run, Part::Persist).unwrap();
        let text = report(&paths).unwrap_err().to_string();
        assert_eq!(text, "P3 is not in use, a file system in memory stands in for it: bad magic");
        assert_eq!(fs::read_to_string(paths.run.join("motd")).unwrap(), text + "\n");
        Standing::Kept.write(&paths.run, Part::Persist).unwrap();
        report(&paths).unwrap();
        assert!(!paths.run.join("motd").exists());
    }
}
