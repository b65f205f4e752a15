use std::{fmt, str::FromStr};

/// The full name of an image, such as `evek.local/kube:0.1.0`: registry, path and tag, all of them given, so that every
/// program that normalises names leaves it as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName {
    text: String,
    package: (usize, usize),
}

/// Text that is not an [`ImageName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a full image name: write registry, path and tag in lower case, as in evek.local/kube:0.1.0")]
pub struct ImageNameError(pub String);

impl ImageName {
    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The last part of the path, which is the package's name: `kube`.
    #[must_use]
    pub fn package(&self) -> &str {
        &self.text[self.package.0..self.package.1]
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        let bad = || ImageNameError(text.to_owned());
        let (registry, rest) = text.split_once('/').ok_or_else(bad)?;
        let (path, tag) = rest.rsplit_once(':').ok_or_else(bad)?;
        let word = |s: &str| {
            let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
            s.bytes().all(|c| inner(c) || b"._-".contains(&c))
                && s.bytes().next().is_some_and(inner)
                && s.bytes().last().is_some_and(inner)
        };
        let tag_ok = !tag.is_empty()
            && tag.len() <= 128
            && tag.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
            && !tag.starts_with(['.', '-']);
        // a first part without dot or port would be read as a path on a default registry
        let registry_ok = word(registry.split(':').next().unwrap_or("")) && registry.contains(['.', ':']);
        if !registry_ok || !path.split('/').all(word) || !tag_ok {
            return Err(bad());
        }
        let end = text.len() - tag.len() - 1;
        let start = text[..end].rfind('/').map_or(0, |at| at + 1);
        Ok(Self { text: text.to_owned(), package: (start, end) })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_the_last_part_of_the_path() {
        let name: ImageName = "evek.local/a/local-path:0.1.0".parse().unwrap();
        assert_eq!((name.package(), name.as_str()), ("local-path", "evek.local/a/local-path:0.1.0"));
        assert_eq!("localhost:5000/x:1".parse::<ImageName>().unwrap().package(), "x");
    }

    #[test]
    fn names_that_others_would_complete_are_refused() {
        for bad in [
            "",
            "kube",
            "kube:1",
            "evek.local/kube",
            "evek.local/:1",
            "evek.local/kube:",
            "library/kube:1",
            "evek.local/Kube:1",
            "evek.local/k@sha256:1",
            "evek.local/../k:1",
        ] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad}");
        }
    }
}
