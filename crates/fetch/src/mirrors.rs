//! Which Debian mirror to use: the user's word, else the one that the host's apt uses.

use debian::{Archive, deb822};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Debian's releases by codename and by role; a source of apt with another suite is another vendor's.
const SUITES: [&str; 14] = [
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "experimental",
    "rc-buggy",
];

/// The mirrors of Debian's archives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrors {
    main: Found,
    security: Found,
}

/// The mirror of one archive, or why there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Found {
    base: Option<String>,
    unusable: Vec<String>,
}

/// No mirror is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no mirror of Debian's {} archive is known: set {} to the URL that has dists/ and pool/; \
     it is otherwise taken from this machine's apt configuration, {}",
    if *archive == Archive::Main { "main" } else { "security" }, variable(*archive), reason(*archive, unusable)
)]
pub struct NoMirror {
    /// The archive without a mirror.
    pub archive: Archive,
    /// Sources of apt that name the archive and that no mirror could be taken from, each with the reason.
    pub unusable: Vec<String>,
}

fn reason(archive: Archive, unusable: &[String]) -> String {
    let name = if archive == Archive::Main { "Debian" } else { "Debian security" };
    if unusable.is_empty() {
        return format!("where no source of {name} was found");
    }
    let lines: String = unusable.iter().map(|line| format!("\n  {line}")).collect();
    format!("where no source of {name} can be used:{lines}")
}

fn variable(archive: Archive) -> &'static str {
    match archive {
        Archive::Main => "DEBIAN_MIRROR",
        Archive::Security => "DEBIAN_SECURITY_MIRROR",
    }
}

impl Mirrors {
    /// From `DEBIAN_MIRROR` and `DEBIAN_SECURITY_MIRROR` (looked up by `env`), else from the apt configuration in `apt`
    /// (`/etc/apt`). The host's release does not matter, its sources' base URLs do. A missing mirror is an error only once it
    /// is needed, see [`Mirrors::base`].
    #[must_use]
    pub fn discover(env: impl Fn(&str) -> Option<String>, apt: &Path) -> Self {
        let mut found = Self::default();
        for (archive, uri) in apt_sources(apt) {
            let place = found.place(archive);
            if place.base.is_some() {
                continue;
            }
            match base_url(&uri) {
                Ok(base) => place.base = Some(base),
                Err(reason) if !place.unusable.contains(&reason) => place.unusable.push(reason),
                Err(_) => {}
            }
        }
        for archive in [Archive::Main, Archive::Security] {
            if let Some(uri) = env(variable(archive)).filter(|v| !v.trim().is_empty()) {
                found.place(archive).base = Some(base_of(uri.trim()));
            }
        }
        found
    }

    /// The base URL of an archive's mirror, without a slash at its end.
    ///
    /// # Errors
    /// [`NoMirror`], which says what to set.
    pub fn base(&self, archive: Archive) -> Result<&str, NoMirror> {
        let found = match archive {
            Archive::Main => &self.main,
            Archive::Security => &self.security,
        };
        found.base.as_deref().ok_or_else(|| NoMirror { archive, unusable: found.unusable.clone() })
    }

    fn place(&mut self, archive: Archive) -> &mut Found {
        match archive {
            Archive::Main => &mut self.main,
            Archive::Security => &mut self.security,
        }
    }
}

/// The base URL that a URI of apt stands for; of a list of mirrors the first.
fn base_url(uri: &str) -> Result<String, String> {
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    // apt takes `file:/path` and `file:///path`
    let path = || format!("/{}", rest.trim_start_matches('/'));
    match scheme {
        "http" | "https" if rest.starts_with("//") => Ok(base_of(uri)),
        "file" | "copy" => Ok(base_of(&format!("file://{}", path()))),
        "mirror+file" | "mirror+copy" => first_of_list(uri, Path::new(&path())),
        "mirror" | "mirror+http" | "mirror+https" => {
            Err(format!("{uri}: a list of mirrors is read from a file only (mirror+file:)"))
        }
        _ => Err(format!("{uri}: this scheme is not supported")),
    }
}

/// The mirror that a list names first: a URI a line, each perhaps with `priority:<n>`, of which the smallest comes first, and
/// with `type:deb` or `type:deb-src` (apt-transport-mirror(1)).
fn first_of_list(uri: &str, list: &Path) -> Result<String, String> {
    let text = fs::read_to_string(list).map_err(|e| format!("{uri}: cannot read {}: {e}", list.display()))?;
    let mut mirrors: Vec<(u64, &str)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let Some(mirror) = words.next() else { continue };
        let (mut priority, mut types) = (u64::MAX, Vec::new());
        for word in words {
            match word.split_once(':') {
                Some(("priority", n)) => priority = n.parse().unwrap_or(u64::MAX),
                Some(("type", kind)) => types.push(kind),
                _ => {}
            }
        }
        if types.is_empty() || types.contains(&"deb") {
            mirrors.push((priority, mirror));
        }
    }
    mirrors.sort_by_key(|(priority, _)| *priority);
    let usable = mirrors.iter().find_map(|(_, mirror)| match mirror.split_once(':')?.0 {
        "http" | "https" | "file" | "copy" => base_url(mirror).ok(),
        _ => None,
    });
    usable.ok_or_else(|| format!("{uri}: {} names no http, https or file mirror", list.display()))
}

fn base_of(uri: &str) -> String {
    uri.trim_end_matches('/').to_owned()
}

/// A further place for inputs that the mirror does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder made by [`archive`](crate::archive()).
    Folder(PathBuf),
    /// The base URL of a mirror, such as one that keeps old versions.
    Mirror(String),
}

impl Source {
    /// Reads `EVEK_SOURCES`: words, of which those with `://` are mirrors and the others archive folders.
    #[must_use]
    pub fn parse_all(text: &str) -> Vec<Self> {
        text.split_whitespace()
            .map(|word| if word.contains("://") { Self::Mirror(base_of(word)) } else { Self::Folder(word.into()) })
            .collect()
    }
}

/// Debian's sources in an apt configuration, in the order that apt reads them.
fn apt_sources(apt: &Path) -> Vec<(Archive, String)> {
    let parts = apt.join("sources.list.d");
    let mut files: Vec<PathBuf> =
        fs::read_dir(&parts).map(|items| items.filter_map(|i| i.ok().map(|i| i.path())).collect()).unwrap_or_default();
    files.sort();
    files.insert(0, apt.join("sources.list"));
    let mut sources = Vec::new();
    for file in files {
        // A host without apt has no such files, and what cannot be read cannot name a mirror.
        let Ok(text) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => text.lines().for_each(|line| sources.extend(one_line(line))),
            Some("sources") => deb822::stanzas(&text).for_each(|s| sources.extend(stanza(&s))),
            _ => {}
        }
    }
    sources
}

/// `deb [signed-by=…] URI suite component…` (sources.list(5)).
fn one_line(line: &str) -> Option<(Archive, String)> {
    let rest = line.trim().strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut words = rest.split('#').next()?.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    words.any(|component| component == "main").then(|| source(uri, suite)).flatten()
}

fn stanza(stanza: &deb822::Stanza<'_>) -> Vec<(Archive, String)> {
    let words = |field| stanza.get(field).unwrap_or_default().split_whitespace();
    let is_on = !matches!(stanza.get("Enabled"), Some("no" | "false" | "0" | "off"));
    if !is_on || !words("Types").any(|t| t == "deb") || !words("Components").any(|c| c == "main") {
        return Vec::new();
    }
    words("URIs").flat_map(|uri| words("Suites").filter_map(move |suite| source(uri, suite))).collect()
}

fn source(uri: &str, suite: &str) -> Option<(Archive, String)> {
    let (release, rest) = suite.find(['-', '/']).map_or((suite, ""), |i| suite.split_at(i));
    // `rc-buggy` has the separator in its name
    let is_debian = SUITES.contains(&release) || SUITES.contains(&suite);
    let archive = match rest {
        "-security" | "/updates" => Archive::Security,
        "" | "-updates" | "-backports" | "-proposed-updates" | "-backports-sloppy" | "-buggy" => Archive::Main,
        _ => return None,
    };
    is_debian.then(|| (archive, uri.to_owned()))
}

#[cfg(test)]
mod tests;
