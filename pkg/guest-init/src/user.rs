//! Users of the image, by name or number.

use crate::error::Error;
use std::{fs, path::Path};

/// A user of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Every group that the user is in.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";

/// Finds `text`, which is empty, `user` or `user:group` (OCI image-spec, config.md, `User`).
pub(crate) fn find(root: &Path, text: &str) -> Result<User, Error> {
    // an image of one static program has neither file
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    find_in(&read(PASSWD), &read(GROUP), text)
}

fn find_in(passwd: &str, group: &str, text: &str) -> Result<User, Error> {
    let (name, group_name) = text.split_once(':').map_or((text, None), |(u, g)| (u, Some(g)));
    let name = if name.is_empty() { "0" } else { name };
    // passwd(5): name, password, uid, gid, comment, home, shell
    let line = passwd
        .lines()
        .map(|l| l.split(':').collect::<Vec<_>>())
        .find(|f| f.len() >= 6 && (f[0] == name || f[2] == name));
    let (uid, own_gid, home) = match (&line, name.parse()) {
        (Some(f), _) => (f[2].parse().ok(), f[3].parse().ok(), f[5].to_owned()),
        (None, Ok(uid)) => (Some(uid), Some(0), if uid == 0 { "/root" } else { "/" }.to_owned()),
        (None, Err(_)) => (None, None, String::new()),
    };
    let no_user = || Error::NoUser { kind: "user", name: name.to_owned(), file: PASSWD };
    let uid = uid.ok_or_else(no_user)?;
    // group(5): name, password, gid, members
    let groups: Vec<Vec<&str>> =
        group.lines().map(|l| l.split(':').collect()).filter(|f: &Vec<_>| f.len() >= 4).collect();
    let gid = match group_name {
        None => own_gid.ok_or_else(no_user)?,
        Some(wanted) => {
            let number = groups.iter().find(|f| f[0] == wanted).map_or(wanted, |f| f[2]).parse().ok();
            number.ok_or_else(|| Error::NoUser { kind: "group", name: wanted.to_owned(), file: GROUP })?
        }
    };
    let mut all = vec![gid];
    if let Some(user) = line.as_ref().map(|f| f[0]).filter(|_| group_name.is_none()) {
        let of = groups.iter().filter(|f| f[3].split(',').any(|member| member == user));
        all.extend(of.filter_map(|f| f[2].parse::<u32>().ok()).filter(|g| *g != gid));
    }
    Ok(User { uid, gid, groups: all, home })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/bash\n_chrony:x:100:101:Chrony:/var/lib/chrony:/usr/sbin/nologin\n";
    const GROUPS: &str = "root:x:0:\n_chrony:x:101:\ndialout:x:20:_chrony,other\n";

    #[test]
    fn names_and_numbers_are_the_same_user() {
        let chrony = User { uid: 100, gid: 101, groups: vec![101, 20], home: "/var/lib/chrony".into() };
        assert_eq!(find_in(USERS, GROUPS, "_chrony").unwrap(), chrony);
        assert_eq!(find_in(USERS, GROUPS, "100").unwrap(), chrony);
        assert_eq!(find_in(USERS, GROUPS, "").unwrap().home, "/root");
    }

    #[test]
    fn a_group_of_its_own_is_the_only_one() {
        let user = find_in(USERS, GROUPS, "_chrony:dialout").unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (100, 20, vec![20]));
    }

    #[test]
    fn a_number_need_not_be_in_the_image_and_a_name_must() {
        let user = find_in("", "", "65534:65534").unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (65534, 65534, vec![65534]));
        assert!(find_in(USERS, GROUPS, "nobody").unwrap_err().to_string().contains("no user `nobody`"));
        assert!(find_in(USERS, GROUPS, "root:wheel").unwrap_err().to_string().contains("no group `wheel`"));
    }
}
