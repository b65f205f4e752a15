//! The kernel command line (kernel, `Documentation/admin-guide/kernel-parameters.rst`).
//!
//! ```text
//! /etc/cmdline   the arguments of the image ─► Cmdline: the slot
//! /proc/cmdline  the same, else refused     ─► Arguments: everything else
//!                with more behind it        ─► More: not used until `addons` has verified who signed the rest
//! ```

use crate::error::Error;
use types::Digest;

/// The slot to start. It is read from the image only, never from what else is on the kernel's command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cmdline {
    /// `evek.roothash=`: the root hash of the slot to start.
    pub(crate) root_hash: Digest,
    /// `evek.datablocks=`: the length of the store, in blocks of 4096 bytes; the verity superblock follows it.
    pub(crate) data_blocks: u64,
}

/// Arguments of which every word is signed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments(String);

/// Arguments that are signed, with others behind them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct More {
    found: String,
    signed: String,
}

/// The arguments that the kernel received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// What is signed, and nothing else.
    Signed(Arguments),
    /// More than that.
    More(More),
}

impl Received {
    /// Compares the arguments that the kernel received with those of the image. The EFI stub adds the arguments of addons and of
    /// SMBIOS (systemd-stub(7), `io.systemd.stub.kernel-cmdline-extra`), with Secure Boot too. On x86, Xen puts its name of the
    /// kernel first.
    pub(crate) fn new(found: &str, signed: &str) -> Result<Self, Error> {
        let (found, signed) = (found.trim(), signed.trim().to_owned());
        let found = found.strip_prefix("kernel ").unwrap_or(found).to_owned();
        if found == signed {
            return Ok(Self::Signed(Arguments(found)));
        }
        let more = More { found, signed };
        if more.found.strip_prefix(&more.signed).is_some_and(|behind| behind.starts_with(' ')) {
            return Ok(Self::More(more));
        }
        Err(more.refused("addons can only add to it"))
    }
}

impl More {
    /// Accepts the arguments if the texts of these addons account for every character.
    ///
    /// A text from SMBIOS that equals the text of an addon has the effect of the addon, which is signed, so it is accepted.
    pub(crate) fn with(self, addons: &[String]) -> Result<Arguments, Self> {
        let line = boot::addon::extended(&self.signed, addons);
        if line == self.found { Ok(Arguments(line)) } else { Err(self) }
    }

    /// Refuses the arguments, because they are not the signed ones. `addons` says why the addons do not account for them.
    pub(crate) fn refused(self, addons: impl Into<String>) -> Error {
        Error::Arguments { found: self.found, signed: self.signed, addons: addons.into() }
    }
}

impl Arguments {
    /// Whether the bare word `flag` is there; what follows `--` is not the kernel's.
    pub(crate) fn has_flag(&self, flag: &str) -> bool {
        arguments(&self.0).iter().take_while(|a| *a != "--").any(|a| a == flag)
    }

    /// `init=`: what to start on the root; systemd where absent.
    pub(crate) fn init(&self) -> Result<String, Error> {
        let init = value(&arguments(&self.0), "init").unwrap_or("/usr/lib/systemd/systemd").to_owned();
        if init.starts_with('/') {
            return Ok(init);
        }
        Err(Error::Cmdline { argument: "init", found: init, expected: "an absolute path" })
    }
}

/// Arguments, split at white space outside double quotes, without the quotes.
fn arguments(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut one = String::new();
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => all.push(std::mem::take(&mut one)),
            c => one.push(c),
        }
    }
    all.push(one);
    all.retain(|argument| !argument.is_empty());
    all
}

/// The value of an argument. Of several the last one is used, as the kernel does with its own.
fn value<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let ours = arguments.iter().take_while(|a| *a != "--");
    ours.filter_map(|a| a.strip_prefix(name)?.strip_prefix('=')).last()
}

impl Cmdline {
    /// From the arguments that are signed.
    pub(crate) fn parse(signed: &str) -> Result<Self, Error> {
        let arguments = arguments(signed);
        let found = |v: Option<&str>| v.map_or_else(|| "missing".to_owned(), |v| format!("`{v}`"));
        let hash = value(&arguments, "evek.roothash");
        let root_hash = hash.and_then(|v| v.parse().ok()).ok_or_else(|| Error::Cmdline {
            argument: "evek.roothash",
            found: found(hash),
            expected: "64 hexadecimal digits",
        })?;
        let blocks = value(&arguments, "evek.datablocks");
        let data_blocks =
            blocks.and_then(|v| v.parse().ok()).filter(|n| (1..=u64::MAX / verity::BLOCK).contains(n)).ok_or_else(
                || Error::Cmdline { argument: "evek.datablocks", found: found(blocks), expected: "a number of blocks" },
            )?;
        Ok(Self { root_hash, data_blocks })
    }

    /// The GUID of the partition that holds the slot.
    pub(crate) fn slot_guid(&self) -> [u8; 16] {
        crate::slot_guid(&self.root_hash)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HASH: &str = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

    /// Arguments as if they were signed.
    fn signed(text: &str) -> Arguments {
        Arguments(text.to_owned())
    }

    fn more(found: &str, signed: &str) -> More {
        match Received::new(found, signed) {
            Ok(Received::More(more)) => more,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_slot_follows_from_the_root_hash() {
        let text = format!("console=ttyS0 evek.roothash={HASH} quiet evek.datablocks=1000 panic=10\n");
        let cmdline = Cmdline::parse(&text).unwrap();
        assert_eq!(cmdline.data_blocks, 1000);
        assert_eq!(signed(&text).init().unwrap(), "/usr/lib/systemd/systemd");
        assert_eq!(crate::gpt::guid_text(&cmdline.slot_guid()), "00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn the_last_value_is_used_and_nothing_behind_the_dashes() {
        let text = format!(
            "dyndbg=\"file a b\" init=/a evek.roothash={HASH} evek.datablocks=1 evek.datablocks=2 init=/b -- init=/c evek.debug"
        );
        assert_eq!(Cmdline::parse(&text).unwrap().data_blocks, 2);
        assert_eq!(signed(&text).init().unwrap(), "/b");
        assert!(!signed(&text).has_flag("evek.debug"));
        assert!(signed("a evek.debug b").has_flag("evek.debug"));
        assert!(!signed("a \"b evek.debug\"").has_flag("evek.debug"));
    }

    #[test]
    fn nothing_but_what_is_signed_is_accepted() {
        for same in ["kernel ro quiet\n", "ro quiet\n"] {
            assert_eq!(Received::new(same, "ro quiet\n").unwrap(), Received::Signed(signed("ro quiet")), "{same}");
        }
        for other in ["quiet", "quiet ro", "", "ro quiet=1", "evek.debug ro quiet"] {
            let text = Received::new(other, "ro quiet").unwrap_err().to_string();
            assert!(text.contains("`ro quiet`") && text.contains(&format!("but `{other}`")), "{text}");
        }
        for found in ["ro quiet systemd.debug_shell", "kernel ro quiet  x"] {
            let text = more(found, "ro quiet").refused("no addon is there").to_string();
            assert!(
                text.contains("not the one that is signed (no addon is there), `ro quiet`, but `ro quiet "),
                "{text}"
            );
        }
    }

    #[test]
    fn addons_must_explain_every_character() {
        let with = |found: &str, addons: &[&str]| {
            let addons: Vec<String> = addons.iter().map(|text| (*text).to_owned()).collect();
            more(found, "ro quiet").with(&addons)
        };
        let debugged = with("ro quiet evek.debug init=/bin/sh\n", &["evek.debug", "init=/bin/sh"]).unwrap();
        assert!(debugged.has_flag("evek.debug"));
        assert_eq!(debugged.init().unwrap(), "/bin/sh");
        for (found, addons) in [
            ("ro quiet a", &[][..]),
            ("ro quiet a", &["b"]),
            ("ro quiet a b", &["b", "a"]),
            ("ro quiet a", &["a", "b"]),
            ("ro quiet a smbios", &["a"]),
            ("ro quiet smbios a", &["a"]),
            ("ro quiet a a", &["a"]),
            ("ro quiet  a", &["a"]),
        ] {
            assert!(with(found, addons).is_err(), "{found}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let parse = |text: &str| Cmdline::parse(text).unwrap_err().to_string();
        assert_eq!(
            parse("evek.datablocks=1"),
            "kernel command line: evek.roothash is missing, expected 64 hexadecimal digits"
        );
        assert!(parse(&format!("evek.roothash={}", &HASH[1..])).contains("evek.roothash is `0112"));
        for bad in ["", "x", "0", "-1", "18446744073709551615"] {
            let text = parse(&format!("evek.roothash={HASH} evek.datablocks={bad}"));
            assert!(text.contains(&format!("evek.datablocks is `{bad}`")), "{text}");
        }
        assert!(signed("init=sh").init().unwrap_err().to_string().contains("an absolute path"));
    }
}
