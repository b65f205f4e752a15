//! systemd units enabled, masked and made the default, with the links that `systemctl --root` would make.
//!
//! Read are the `[Install]` sections of the unit files themselves, not of drop-ins; presets are not looked at: what starts
//! stands in the definition.

use super::{path, read};
use crate::Error;
use defs::{Place, Units};
use std::collections::BTreeSet;
use tree::{Entry, Kind, Tree, TreePath};

const ETC: &str = "etc/systemd/system";
const USR: &str = "usr/lib/systemd/system";

/// Applies what a definition says about units.
///
/// # Errors
/// When a unit does not exist, has nothing to be enabled by, or a mask would hide a file of `/etc`.
pub fn apply(tree: &mut Tree, units: &Units) -> Result<(), Error> {
    let mut done = BTreeSet::new();
    for unit in &units.enable {
        enable(tree, unit, &unit.at, &mut done, true)?;
    }
    for unit in &units.mask {
        let at = path(&format!("{ETC}/{unit}"))?;
        if tree.get(&at).is_some_and(|entry| !matches!(entry.kind, Kind::Symlink(_))) {
            let text = format!("cannot mask {unit}: /{at} is a file; leave the file out instead");
            return Err(Error::Definition { at: unit.at.clone(), text });
        }
        tree.insert(at, Entry::symlink("/dev/null"))?;
    }
    if let Some(target) = &units.default {
        let (file, _) = find(tree, target, &target.at)?;
        tree.insert(path(&format!("{ETC}/default.target"))?, Entry::symlink(format!("/{file}")))?;
    }
    Ok(())
}

/// The `[Install]` section of a unit file (systemd.unit(5)).
#[derive(Debug, Default, PartialEq, Eq)]
struct Install {
    wanted_by: Vec<String>,
    required_by: Vec<String>,
    upheld_by: Vec<String>,
    alias: Vec<String>,
    also: Vec<String>,
    default_instance: Option<String>,
}

impl Install {
    fn parse(text: &str) -> Self {
        let mut install = Self::default();
        let mut inside = false;
        for line in text.replace("\\\n", " ").lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line == "[Install]";
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| inside && !line.starts_with(['#', ';'])) else {
                continue;
            };
            let list = match key.trim() {
                "WantedBy" => &mut install.wanted_by,
                "RequiredBy" => &mut install.required_by,
                "UpheldBy" => &mut install.upheld_by,
                "Alias" => &mut install.alias,
                "Also" => &mut install.also,
                "DefaultInstance" => {
                    install.default_instance = Some(value.trim().to_owned());
                    continue;
                }
                _ => continue,
            };
            // an empty value clears the list
            if value.trim().is_empty() {
                list.clear();
            }
            list.extend(value.split_whitespace().map(str::to_owned));
        }
        install
    }

    fn is_empty(&self) -> bool {
        *self == Self { default_instance: self.default_instance.clone(), ..Self::default() }
    }
}

/// `must` is off for units named by `Also=`, which may have nothing to be enabled by.
fn enable(tree: &mut Tree, unit: &str, at: &Place, done: &mut BTreeSet<String>, must: bool) -> Result<(), Error> {
    if !done.insert(unit.to_owned()) {
        return Ok(());
    }
    let (file, text) = find(tree, unit, at)?;
    let install = Install::parse(&text);
    if install.is_empty() {
        if !must {
            return Ok(());
        }
        let text = format!("cannot enable {unit}: /{file} has no [Install] section; it starts when others want it");
        return Err(Error::Definition { at: at.clone(), text });
    }
    let name = instance(unit, install.default_instance.as_deref());
    for (folder, others) in
        [("wants", &install.wanted_by), ("requires", &install.required_by), ("upholds", &install.upheld_by)]
    {
        for other in others {
            let link = path(&format!("{ETC}/{}.{folder}/{name}", expand(other, &name)))?;
            tree.insert(link, Entry::symlink(format!("/{file}")))?;
        }
    }
    for alias in &install.alias {
        tree.insert(path(&format!("{ETC}/{}", expand(alias, &name)))?, Entry::symlink(format!("/{file}")))?;
    }
    for also in &install.also {
        enable(tree, &expand(also, &name), at, done, false)?;
    }
    Ok(())
}

/// The file of a unit, /etc before /usr, and its text. An instance has its template's file.
fn find(tree: &Tree, unit: &str, at: &Place) -> Result<(TreePath, String), Error> {
    let template = unit.split_once('@').and_then(|(name, rest)| Some(format!("{name}@.{}", rest.rsplit_once('.')?.1)));
    for name in [Some(unit), template.as_deref()].into_iter().flatten() {
        for folder in [ETC, USR] {
            let file = format!("{folder}/{name}");
            if let Some(bytes) = read(tree, &file)? {
                let real = tree.follow(&path(&file)?).map_or_else(|| path(&file), |(real, _)| Ok(real))?;
                return Ok((real, String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
    }
    let text = format!("there is no unit {unit} in /{ETC} or /{USR}: is its package missing from `debs`?");
    Err(Error::Definition { at: at.clone(), text })
}

/// `getty@.service` with the default instance `tty1` is enabled as `getty@tty1.service`.
fn instance(unit: &str, default: Option<&str>) -> String {
    match (unit.split_once("@."), default) {
        (Some((name, kind)), Some(instance)) => format!("{name}@{instance}.{kind}"),
        _ => unit.to_owned(),
    }
}

/// The specifiers that stand in `[Install]` sections: unit, prefix, instance.
fn expand(text: &str, unit: &str) -> String {
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    text.replace("%n", unit).replace("%p", prefix).replace("%i", instance).replace("%I", instance).replace("%%", "%")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use defs::Located;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.insert(path("usr/lib").unwrap(), Entry::dir(0o755)).unwrap();
        tree.insert(path("lib").unwrap(), Entry::symlink("usr/lib")).unwrap();
        for (file, text) in [
            (
                "net.service",
                "[Install]\nWantedBy=multi-user.target\nAlias=dbus-net.service\nAlso=net.socket quiet.service\n",
            ),
            ("net.socket", "[Unit]\nWantedBy=never.target\n[Install]\nWantedBy=sockets.target \\\n other.target\n"),
            ("quiet.service", "[Service]\nExecStart=/bin/true\n"),
            ("getty@.service", "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n"),
            ("hard@.service", "[Install]\nRequiredBy=a-%i.target\nUpheldBy=b.target\n"),
            ("multi-user.target", "[Unit]\n"),
        ] {
            tree.insert(path(&format!("lib/systemd/system/{file}")).unwrap(), Entry::file(0o644, text.as_bytes()))
                .unwrap();
        }
        tree
    }

    fn named(names: &[&str]) -> Vec<Located<String>> {
        let at = Place { file: "rootfs/rootfs.yml".into(), line: 9, column: 7 };
        names.iter().map(|&n| Located::new(n.to_owned(), at.clone())).collect()
    }

    /// The links are those that `systemctl --root=… enable`, `mask` and `set-default` of systemd 257 make.
    #[test]
    fn the_links_of_systemctl_are_made() {
        let mut tree = tree();
        let units = Units {
            enable: named(&["net.service", "getty@.service", "hard@x.service"]),
            mask: named(&["apt-daily.timer"]),
            default: named(&["multi-user.target"]).pop(),
        };
        apply(&mut tree, &units).unwrap();
        let links: Vec<String> = tree
            .iter()
            .filter_map(|(path, entry)| match &entry.kind {
                Kind::Symlink(to) => Some(format!("{} {to}", path.as_str().strip_prefix("etc/systemd/system/")?)),
                _ => None,
            })
            .collect();
        assert_eq!(
            links,
            [
                "a-x.target.requires/hard@x.service /usr/lib/systemd/system/hard@.service",
                "apt-daily.timer /dev/null",
                "b.target.upholds/hard@x.service /usr/lib/systemd/system/hard@.service",
                "dbus-net.service /usr/lib/systemd/system/net.service",
                "default.target /usr/lib/systemd/system/multi-user.target",
                "getty.target.wants/getty@tty1.service /usr/lib/systemd/system/getty@.service",
                "multi-user.target.wants/net.service /usr/lib/systemd/system/net.service",
                "other.target.wants/net.socket /usr/lib/systemd/system/net.socket",
                "sockets.target.wants/net.socket /usr/lib/systemd/system/net.socket",
            ]
        );
    }

    #[test]
    fn what_cannot_be_enabled_is_named() {
        for (unit, error) in [
            (
                "no.service",
                "rootfs/rootfs.yml:9:7: there is no unit no.service in /etc/systemd/system or /usr/lib/systemd/system: \
                 is its package missing from `debs`?",
            ),
            (
                "quiet.service",
                "rootfs/rootfs.yml:9:7: cannot enable quiet.service: /usr/lib/systemd/system/quiet.service has no \
                 [Install] section; it starts when others want it",
            ),
        ] {
            let units = Units { enable: named(&[unit]), ..Units::default() };
            assert_eq!(apply(&mut tree(), &units).unwrap_err().to_string(), error);
        }
    }
}
