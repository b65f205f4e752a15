//! Debian alternatives and plain symbolic links.

use super::path;
use crate::Error;
use defs::Located;
use std::collections::BTreeMap;
use tree::{Entry, Tree};

/// Makes each alternative as update-alternatives does: `/usr/bin/awk` → `/etc/alternatives/awk` → `/usr/bin/mawk`. The
/// target is as a symbolic link would say it: a bare name is in the same folder.
///
/// # Errors
/// When a target is not in the tree.
pub fn apply(tree: &mut Tree, alternatives: &BTreeMap<String, Located<String>>) -> Result<(), Error> {
    for (link, target) in alternatives {
        let link = path(link)?;
        let program = link.resolve(target);
        if tree.follow(&program).is_none() {
            let text = format!("/{link} cannot be /{program}: there is no such file in the image");
            return Err(Error::Definition { at: target.at.clone(), text });
        }
        let middle = path(&format!("etc/alternatives/{}", link.name()))?;
        tree.insert(middle.clone(), Entry::symlink(format!("/{program}")))?;
        tree.insert(link, Entry::symlink(format!("/{middle}")))?;
    }
    Ok(())
}

/// Makes symbolic links, replacing files. A target may be something that only exists on the running device.
///
/// # Errors
/// When a link would replace a folder.
pub fn links(tree: &mut Tree, links: &BTreeMap<String, Located<String>>) -> Result<(), Error> {
    for (link, target) in links {
        tree.insert(path(link)?, Entry::symlink(target.value.clone()))
            .map_err(|clash| Error::Definition { at: target.at.clone(), text: clash.to_string() })?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use defs::Place;
    use tree::Kind;

    fn map(link: &str, target: &str) -> BTreeMap<String, Located<String>> {
        let at = Place { file: "pkg/base/pkg.yml".into(), line: 7, column: 3 };
        BTreeMap::from([(link.to_owned(), Located::new(target.to_owned(), at))])
    }

    #[test]
    fn an_alternative_is_two_links() {
        let mut tree = Tree::default();
        tree.insert(path("usr/bin/mawk").unwrap(), Entry::file(0o755, b"mawk".to_vec())).unwrap();
        apply(&mut tree, &map("usr/bin/awk", "mawk")).unwrap();
        let target = |at: &str| match &tree.get(&path(at).unwrap()).unwrap().kind {
            Kind::Symlink(target) => target.clone(),
            _ => String::new(),
        };
        assert_eq!(target("usr/bin/awk"), "/etc/alternatives/awk");
        assert_eq!(target("etc/alternatives/awk"), "/usr/bin/mawk");
    }

    #[test]
    fn an_alternative_needs_its_program() {
        let error = apply(&mut Tree::default(), &map("usr/bin/awk", "gawk")).unwrap_err().to_string();
        let expected = "pkg/base/pkg.yml:7:3: /usr/bin/awk cannot be /usr/bin/gawk: there is no such file in the image";
        assert_eq!(error, expected);
    }

    #[test]
    fn a_link_never_replaces_a_folder() {
        let mut tree = Tree::default();
        tree.insert(path("etc/ssl").unwrap(), Entry::dir(0o755)).unwrap();
        let error = links(&mut tree, &map("etc/ssl", "../run/ssl")).unwrap_err().to_string();
        assert_eq!(error, "pkg/base/pkg.yml:7:3: /etc/ssl: a symlink would replace a folder");
    }
}
