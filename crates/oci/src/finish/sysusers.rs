//! The lines of sysusers.d(5) files, by which Debian packages declare their users.

use super::files_in;
use crate::Error;
use std::collections::BTreeMap;
use tree::{Tree, TreePath};

/// The number that a line asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Id {
    /// Any free one.
    #[default]
    Any,
    /// This one.
    Fixed(u32),
    /// The owner of this file.
    OwnerOf(TreePath),
}

/// The group that a `u` line asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Group {
    /// One of the user's own name, with the user's number.
    #[default]
    Own,
    /// An existing one by number.
    Number(u32),
    /// One by name.
    Name(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) id: Id,
    pub(super) group: Group,
    pub(super) comment: String,
    pub(super) home: Option<String>,
    pub(super) shell: Option<String>,
}

/// Everything that the sysusers.d files of a tree declare. `r` lines (ranges) do not matter here: numbers are given out
/// from the top of Debian's system range.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Sysusers {
    pub(super) users: BTreeMap<String, User>,
    pub(super) groups: BTreeMap<String, Id>,
    /// User and group.
    pub(super) members: Vec<(String, String)>,
}

impl Sysusers {
    /// Reads `/usr/lib/sysusers.d` and `/etc/sysusers.d`; a file in /etc hides one of the same name.
    pub(super) fn read(tree: &Tree) -> Result<Self, Error> {
        let mut files = files_in(tree, "usr/lib/sysusers.d", ".conf")?;
        files.extend(files_in(tree, "etc/sysusers.d", ".conf")?);
        let mut all = Self::default();
        for (path, text) in files.values() {
            for (n, line) in String::from_utf8_lossy(text).lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                all.line(line).map_err(|reason| Error::Sysusers { path: path.clone(), line: n + 1, reason })?;
            }
        }
        Ok(all)
    }

    /// The first declaration of a name wins, as at systemd.
    fn line(&mut self, line: &str) -> Result<(), String> {
        let fields = fields(line)?;
        let field = |n: usize| fields.get(n).map(String::as_str).filter(|f| *f != "-");
        let name = || field(1).map(str::to_owned).ok_or_else(|| "the name is missing".to_owned());
        match fields[0].trim_end_matches('!') {
            "u" => {
                let (id, group) = user_id(field(2).unwrap_or_default())?;
                let [comment, home, shell] = [field(3), field(4), field(5)].map(|f| f.map(str::to_owned));
                let user = User { id, group, comment: comment.unwrap_or_default(), home, shell };
                self.users.entry(name()?).or_insert(user);
            }
            "g" => {
                let id = one_id(field(2).unwrap_or_default())?;
                self.groups.entry(name()?).or_insert(id);
            }
            "m" => {
                let group = field(2).ok_or_else(|| "the group is missing".to_owned())?;
                self.members.push((name()?, group.to_owned()));
            }
            "r" => {}
            other => return Err(format!("unknown kind of line `{other}`: u, g, m and r are known")),
        }
        Ok(())
    }
}

fn one_id(text: &str) -> Result<Id, String> {
    match text {
        "" => Ok(Id::Any),
        path if path.starts_with('/') => TreePath::new(path).map(Id::OwnerOf).map_err(|e| e.to_string()),
        number => number.parse().map(Id::Fixed).map_err(|_| format!("`{number}` is neither a number nor a path")),
    }
}

fn user_id(text: &str) -> Result<(Id, Group), String> {
    let Some((uid, group)) = text.split_once(':') else { return Ok((one_id(text)?, Group::Own)) };
    let uid = one_id(if uid == "-" { "" } else { uid })?;
    let group = group.parse().map_or_else(|_| Group::Name(group.to_owned()), Group::Number);
    Ok((uid, group))
}

/// Splits at white space; quotes hold words together.
fn fields(line: &str) -> Result<Vec<String>, String> {
    let (mut fields, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => fields.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    fields.extend(word);
    Ok(fields)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tree::Entry;

    fn read(text: &str) -> Result<Sysusers, Error> {
        let mut tree = Tree::default();
        let path = TreePath::new("usr/lib/sysusers.d/x.conf").unwrap();
        tree.insert(path, Entry::file(0o644, text.as_bytes())).unwrap();
        Sysusers::read(&tree)
    }

    #[test]
    fn lines_are_read() {
        let all = read(
            "# comment\nu! systemd-network 998:adm \"systemd Network Management\"\nu _chrony - 'Chrony daemon' /var/lib/chrony\n\
             g crontab -\nm _chrony crontab\nr - 500-900\nu _ssh /usr/bin/ssh-agent\n",
        )
        .unwrap();
        let network = &all.users["systemd-network"];
        assert_eq!((&network.id, &network.group), (&Id::Fixed(998), &Group::Name("adm".into())));
        assert_eq!(network.comment, "systemd Network Management");
        assert_eq!(all.users["_chrony"].home.as_deref(), Some("/var/lib/chrony"));
        assert!(matches!(all.users["_ssh"].id, Id::OwnerOf(_)));
        assert_eq!(all.groups["crontab"], Id::Any);
        assert_eq!(all.members, [("_chrony".to_owned(), "crontab".to_owned())]);
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, error) in [
            ("x a -", "/usr/lib/sysusers.d/x.conf:1: unknown kind of line `x`: u, g, m and r are known"),
            ("\nu a b", "/usr/lib/sysusers.d/x.conf:2: `b` is neither a number nor a path"),
            ("u a - \"open", "/usr/lib/sysusers.d/x.conf:1: a quote is not closed"),
            ("m a", "/usr/lib/sysusers.d/x.conf:1: the group is missing"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), error);
        }
    }
}
