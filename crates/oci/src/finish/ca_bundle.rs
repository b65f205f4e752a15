//! The CA bundle, as update-ca-certificates makes it. The hashed links of OpenSSL's old folder lookup are left out: every
//! program of an image reads the bundle.

use super::{files_in, path};
use crate::Error;
use tree::{Entry, Tree};

const SOURCE: &str = "usr/share/ca-certificates/mozilla";

/// Concatenates the certificates of the package ca-certificates by name into `/etc/ssl/certs/ca-certificates.crt`, and
/// links each from `/etc/ssl/certs`. Does nothing where there are none.
///
/// # Errors
/// When a certificate cannot be read.
pub fn apply(tree: &mut Tree) -> Result<(), Error> {
    let certificates = files_in(tree, SOURCE, ".crt")?;
    if certificates.is_empty() {
        return Ok(());
    }
    let mut bundle = Vec::new();
    for (name, (_, bytes)) in &certificates {
        bundle.extend_from_slice(bytes);
        if !bytes.ends_with(b"\n") {
            bundle.push(b'\n');
        }
        let stem: String = name.trim_end_matches(".crt").chars().map(link_char).collect();
        tree.insert(path(&format!("etc/ssl/certs/{stem}.pem"))?, Entry::symlink(format!("/{SOURCE}/{name}")))?;
    }
    tree.insert(path("etc/ssl/certs/ca-certificates.crt")?, Entry::file(0o644, bundle))?;
    Ok(())
}

/// update-ca-certificates' spelling of a link's name.
fn link_char(c: char) -> char {
    match c {
        ' ' | ',' => '_',
        '(' | ')' => '=',
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_bundled_by_name() {
        let mut tree = Tree::default();
        for (name, text) in [("B (x).crt", "b\n"), ("A.crt", "a"), ("README", "no")] {
            tree.insert(path(&format!("{SOURCE}/{name}")).unwrap(), Entry::file(0o644, text.as_bytes())).unwrap();
        }
        apply(&mut tree).unwrap();
        let bundle = super::super::read(&tree, "etc/ssl/certs/ca-certificates.crt").unwrap().unwrap();
        assert_eq!(bundle, b"a\nb\n");
        let link = tree.get(&path("etc/ssl/certs/B_=x=.pem").unwrap()).unwrap();
        assert_eq!(link, &Entry::symlink("/usr/share/ca-certificates/mozilla/B (x).crt"));
    }
}
