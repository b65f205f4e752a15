//! Users and groups of an image: `/etc/passwd`, `group`, `shadow` and `gshadow`.
//!
//! ```text
//! /etc/passwd of the layer below, or base-passwd's masters     fixed numbers
//! + users and groups of the definition                         fixed numbers, then from 999 down by name
//! + sysusers.d files of the packages                           fixed numbers, then from 999 down by name
//! ```
//! Numbers that nobody fixed are given out in that order, so that the same set of names has the same numbers on every
//! build. Who is in the layer below keeps its number. No account has a password.

use super::{
    path, read,
    sysusers::{self, Id, Sysusers},
};
use crate::Error;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};
use tree::{Entry, Tree, TreePath};
use types::EPOCH;

/// Highest number given out; Debian Policy §9.2.2 has 100-999 for system accounts.
const TOP: u32 = 999;
const BOTTOM: u32 = 100;
/// Debian's fixed number of the group `shadow`.
const SHADOW: u32 = 42;
const DAY: u64 = 86_400;

/// The users and groups of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accounts {
    users: BTreeMap<String, Passwd>,
    groups: BTreeMap<String, Group>,
    /// Numbers that are not given out, because somebody asks for them by number.
    reserved: BTreeSet<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Passwd {
    uid: u32,
    gid: u32,
    comment: String,
    home: String,
    shell: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Group {
    gid: u32,
    members: BTreeSet<String>,
}

/// Writes the account files into the tree: those of the tree, of the definition and of its sysusers.d files.
///
/// # Errors
/// When a number is taken twice, a group does not exist, or a file of the tree cannot be read.
pub fn apply(
    tree: &mut Tree,
    users: &BTreeMap<String, defs::User>,
    groups: &BTreeMap<String, defs::Group>,
) -> Result<Accounts, Error> {
    let sysusers = Sysusers::read(tree)?;
    let mut all = Accounts::of(tree)?;
    let fixed = |id: &Id| if let Id::Fixed(id) = id { Some(*id) } else { None };
    all.reserved
        .extend(users.values().filter_map(|user| user.uid).chain(groups.values().filter_map(|group| group.gid)));
    all.reserved.extend(sysusers.users.values().filter_map(|user| fixed(&user.id)));
    all.reserved.extend(sysusers.groups.values().filter_map(fixed));
    all.declared(users, groups)?;
    all.of_packages(tree, &sysusers)?;
    if !all.users.is_empty() {
        all.write(tree)?;
    }
    Ok(all)
}

impl Accounts {
    /// The uid and main gid of a user.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<(u32, u32)> {
        self.users.get(name).map(|user| (user.uid, user.gid))
    }

    /// The gid of a group.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<u32> {
        self.groups.get(name).map(|group| group.gid)
    }

    /// The accounts that a tree has: its own files, else base-passwd's masters, else none.
    fn of(tree: &Tree) -> Result<Self, Error> {
        let either = |file: &str| match read(tree, &format!("etc/{file}"))? {
            Some(text) => Ok(Some((format!("etc/{file}"), text))),
            None => {
                let master = format!("usr/share/base-passwd/{file}.master");
                Ok::<_, Error>(read(tree, &master)?.map(|text| (master, text)))
            }
        };
        let mut all = Self::default();
        for_each_line(either("passwd")?, 7, |fields| {
            let user = Passwd {
                uid: number(fields[2])?,
                gid: number(fields[3])?,
                comment: fields[4].to_owned(),
                home: fields[5].to_owned(),
                shell: fields[6].to_owned(),
            };
            all.users.insert(fields[0].to_owned(), user);
            Ok(())
        })?;
        for_each_line(either("group")?, 4, |fields| {
            let members = fields[3].split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect();
            all.groups.insert(fields[0].to_owned(), Group { gid: number(fields[2])?, members });
            Ok(())
        })?;
        Ok(all)
    }

    fn declared(
        &mut self,
        users: &BTreeMap<String, defs::User>,
        groups: &BTreeMap<String, defs::Group>,
    ) -> Result<(), Error> {
        let fixed_first = |id: Option<u32>| id.is_none();
        let mut names: Vec<_> = groups.iter().collect();
        names.sort_by_key(|(_, group)| fixed_first(group.gid));
        for (name, group) in names {
            self.add_group(name, group.gid)?;
        }
        let mut names: Vec<_> = users.iter().collect();
        names.sort_by_key(|(_, user)| fixed_first(user.uid));
        for (name, user) in names {
            let gid = match &user.group {
                Some(group) => Some(self.known_group(group, name)?),
                None => None,
            };
            let of = |text: &Option<String>, default: &str| text.clone().unwrap_or_else(|| default.to_owned());
            self.add_user(name, user.uid, gid, &of(&user.comment, ""), user.home.as_deref(), user.shell.as_deref())?;
            for group in &user.groups {
                self.known_group(group, name)?;
                self.join(name, group);
            }
        }
        Ok(())
    }

    fn of_packages(&mut self, tree: &Tree, sysusers: &Sysusers) -> Result<(), Error> {
        let resolve = |id: &Id, of: fn(&Entry) -> u32| match id {
            Id::Any => None,
            Id::Fixed(id) => Some(*id),
            Id::OwnerOf(path) => tree.follow(path).map(|(_, entry)| of(entry)),
        };
        let mut groups: Vec<_> = sysusers.groups.iter().map(|(n, id)| (n, resolve(id, |e| e.gid))).collect();
        groups.sort_by_key(|(_, gid)| gid.is_none());
        for (name, gid) in groups {
            self.add_group(name, gid)?;
        }
        let mut users: Vec<_> = sysusers.users.iter().map(|(n, u)| (n, u, resolve(&u.id, |e| e.uid))).collect();
        users.sort_by_key(|(_, _, uid)| uid.is_none());
        for (name, user, uid) in users {
            let gid = match &user.group {
                sysusers::Group::Own => None,
                sysusers::Group::Number(gid) => Some(*gid),
                sysusers::Group::Name(group) => Some(self.add_group(group, None)?),
            };
            self.add_user(name, uid, gid, &user.comment, user.home.as_deref(), user.shell.as_deref())?;
        }
        for (user, group) in &sysusers.members {
            // systemd makes what an `m` line names and nothing declares
            self.add_group(group, None)?;
            self.add_user(user, None, None, "", None, None)?;
            self.join(user, group);
        }
        Ok(())
    }

    fn join(&mut self, user: &str, group: &str) {
        if let Some(group) = self.groups.get_mut(group) {
            group.members.insert(user.to_owned());
        }
    }

    fn known_group(&self, group: &str, user: &str) -> Result<u32, Error> {
        self.group(group).ok_or_else(|| Error::UnknownGroup { group: group.to_owned(), user: user.to_owned() })
    }

    /// Adds a group unless it is there; its number.
    fn add_group(&mut self, name: &str, gid: Option<u32>) -> Result<u32, Error> {
        if let Some(group) = self.groups.get(name) {
            return Ok(group.gid);
        }
        let gid = match gid {
            Some(gid) => gid,
            None => self.free(name)?,
        };
        if let Some((other, _)) = self.groups.iter().find(|(_, group)| group.gid == gid) {
            return Err(Error::SameNumber { what: "gid", number: gid, one: other.clone(), two: name.to_owned() });
        }
        self.groups.insert(name.to_owned(), Group { gid, members: BTreeSet::new() });
        Ok(gid)
    }

    /// Adds a user unless it is there, with a group of its own where no `gid` is given.
    fn add_user(
        &mut self,
        name: &str,
        uid: Option<u32>,
        gid: Option<u32>,
        comment: &str,
        home: Option<&str>,
        shell: Option<&str>,
    ) -> Result<(), Error> {
        if self.users.contains_key(name) {
            return Ok(());
        }
        let taken = |uid: u32| self.users.iter().find(|(_, user)| user.uid == uid).map(|(name, _)| name.clone());
        let uid = match (uid, self.group(name)) {
            (Some(uid), _) => uid,
            // one number for the user and its group, where that is free
            (None, Some(own)) if gid.is_none() && (BOTTOM..=TOP).contains(&own) && taken(own).is_none() => own,
            (None, _) => self.free(name)?,
        };
        if let Some(other) = taken(uid) {
            return Err(Error::SameNumber { what: "uid", number: uid, one: other, two: name.to_owned() });
        }
        let gid = match gid {
            Some(gid) => gid,
            None if self.groups.values().any(|group| group.gid == uid) => self.add_group(name, None)?,
            None => self.add_group(name, Some(uid))?,
        };
        let or = |text: Option<&str>, default: &str| text.unwrap_or(default).to_owned();
        let (home, shell) = (or(home, "/nonexistent"), or(shell, "/usr/sbin/nologin"));
        self.users.insert(name.to_owned(), Passwd { uid, gid, comment: comment.to_owned(), home, shell });
        Ok(())
    }

    /// The highest number that neither a user nor a group has or asks for.
    fn free(&self, name: &str) -> Result<u32, Error> {
        let users = self.users.values().map(|user| user.uid);
        let groups = self.groups.values().map(|group| group.gid);
        let taken: BTreeSet<u32> = users.chain(groups).chain(self.reserved.iter().copied()).collect();
        (BOTTOM..=TOP).rev().find(|id| !taken.contains(id)).ok_or_else(|| Error::NoNumberLeft { name: name.to_owned() })
    }

    /// passwd(5), group(5), shadow(5), gshadow(5), by number. The date in shadow is that of the build's clock.
    fn write(&self, tree: &mut Tree) -> Result<(), Error> {
        let [mut passwd, mut group, mut shadow, mut gshadow] = [const { String::new() }; 4];
        let mut users: Vec<_> = self.users.iter().collect();
        users.sort_by_key(|(name, user)| (user.uid, name.as_str()));
        for (name, user) in users {
            let Passwd { uid, gid, comment, home, shell } = user;
            // String's fmt::Write cannot fail
            let _ = writeln!(passwd, "{name}:x:{uid}:{gid}:{comment}:{home}:{shell}");
            let _ = writeln!(shadow, "{name}:{}:{}::::::", no_password(shell), EPOCH / DAY);
        }
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(name, group)| (group.gid, name.as_str()));
        for (name, Group { gid, members }) in groups {
            let members = members.iter().map(String::as_str).collect::<Vec<_>>().join(",");
            let _ = writeln!(group, "{name}:x:{gid}:{members}");
            let _ = writeln!(gshadow, "{name}:!*::{members}");
        }
        let secret = self.group("shadow").unwrap_or(SHADOW);
        for (file, text, mode, gid) in [
            ("passwd", passwd, 0o644, 0),
            ("group", group, 0o644, 0),
            ("shadow", shadow, 0o640, secret),
            ("gshadow", gshadow, 0o640, secret),
        ] {
            let entry = Entry::file(mode, text.as_bytes()).owned_by(0, gid);
            tree.insert(path(&format!("etc/{file}"))?, entry)?;
        }
        Ok(())
    }
}

/// No password ever fits `*`. With `!` before it the account is locked for sshd's keys too, which root must not be: sshd
/// without PAM refuses an account whose field starts with it (auth.c, `LOCKED_PASSWD_PREFIX`).
fn no_password(shell: &str) -> &'static str {
    if shell.ends_with("/nologin") || shell.ends_with("/false") { "!*" } else { "*" }
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}

/// Calls `line` with the fields of each line of a colon-separated file.
fn for_each_line(
    file: Option<(String, Vec<u8>)>,
    count: usize,
    mut line: impl FnMut(&[&str]) -> Result<(), String>,
) -> Result<(), Error> {
    let Some((file, text)) = file else { return Ok(()) };
    let file: TreePath = path(&file)?;
    for (n, text) in String::from_utf8_lossy(&text).lines().enumerate().filter(|(_, l)| !l.is_empty()) {
        let fields: Vec<&str> = text.split(':').collect();
        let read = if fields.len() == count { line(&fields) } else { Err(format!("it has not {count} fields")) };
        read.map_err(|reason| Error::Accounts { path: file.clone(), line: n + 1, reason })?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (at, text) in files {
            tree.insert(path(at).unwrap(), Entry::file(0o644, text.as_bytes())).unwrap();
        }
        tree
    }

    const MASTERS: [(&str, &str); 2] = [
        (
            "usr/share/base-passwd/passwd.master",
            "root:*:0:0:root:/root:/bin/bash\ndaemon:*:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n",
        ),
        ("usr/share/base-passwd/group.master", "root:*:0:\ndaemon:*:1:\nadm:*:4:\nshadow:*:42:\n"),
    ];

    fn text(tree: &Tree, file: &str) -> String {
        String::from_utf8(read(tree, file).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn accounts_come_from_base_passwd_the_definition_and_the_packages() {
        let sysusers = "u _chrony - \"Chrony\" /var/lib/chrony\nu systemd-network 998\ng crontab\nm _chrony adm\nu root 0 \"ignored\" /root\n";
        let mut tree = tree(&[MASTERS[0], MASTERS[1], ("usr/lib/sysusers.d/a.conf", sysusers)]);
        let user = defs::User { groups: vec!["adm".into()], comment: Some("EVE".into()), ..defs::User::default() };
        let fixed = defs::User { uid: Some(999), group: Some("adm".into()), ..defs::User::default() };
        let users = BTreeMap::from([("eve".to_owned(), user), ("fixed".to_owned(), fixed)]);
        let accounts = apply(&mut tree, &users, &BTreeMap::new()).unwrap();
        assert_eq!(
            text(&tree, "etc/passwd"),
            "root:x:0:0:root:/root:/bin/bash\n\
             daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
             _chrony:x:995:995:Chrony:/var/lib/chrony:/usr/sbin/nologin\n\
             eve:x:997:997:EVE:/nonexistent:/usr/sbin/nologin\n\
             systemd-network:x:998:998::/nonexistent:/usr/sbin/nologin\n\
             fixed:x:999:4::/nonexistent:/usr/sbin/nologin\n"
        );
        assert_eq!(accounts.user("fixed"), Some((999, 4)));
        assert!(text(&tree, "etc/group").contains("adm:x:4:_chrony,eve\n"));
        assert!(text(&tree, "etc/shadow").starts_with("root:*:20454::::::\ndaemon:!*:20454::::::\n"));
        let shadow = tree.get(&path("etc/shadow").unwrap()).unwrap();
        assert_eq!((shadow.mode, shadow.gid), (0o640, 42));
    }

    #[test]
    fn who_is_in_the_layer_below_keeps_its_number() {
        let mut below = tree(&[MASTERS[0], MASTERS[1], ("usr/lib/sysusers.d/b.conf", "u b -\n")]);
        let before = apply(&mut below, &BTreeMap::new(), &BTreeMap::new()).unwrap();
        let entry = Entry::file(0o644, b"u a -\n".to_vec());
        below.insert(path("usr/lib/sysusers.d/a.conf").unwrap(), entry).unwrap();
        let after = apply(&mut below, &BTreeMap::new(), &BTreeMap::new()).unwrap();
        assert_eq!(
            (before.user("b"), after.user("b"), after.user("a")),
            (Some((999, 999)), Some((999, 999)), Some((998, 998)))
        );
    }

    #[test]
    fn a_number_is_given_once() {
        let mut tree = tree(&[("usr/lib/sysusers.d/a.conf", "u a 990\nu b 990\n")]);
        let error = apply(&mut tree, &BTreeMap::new(), &BTreeMap::new()).unwrap_err().to_string();
        assert_eq!(error, "the users or groups a and b both have uid 990");
        let mut tree = super::tests::tree(&[("etc/passwd", "root:x:0\n")]);
        let error = apply(&mut tree, &BTreeMap::new(), &BTreeMap::new()).unwrap_err().to_string();
        assert_eq!(error, "/etc/passwd:1: it has not 7 fields");
    }
}
