//! The kernel command line (kernel, `Documentation/admin-guide/kernel-parameters.rst`).

use crate::error::Error;
use types::Digest;

/// What init takes from the kernel command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cmdline {
    /// `evek.roothash=`: the root hash of the slot to start.
    pub(crate) root_hash: Digest,
    /// `evek.datablocks=`: the length of the store, in blocks of 4096 bytes; the verity superblock follows it.
    pub(crate) data_blocks: u64,
    /// `init=`: what to start on the root; systemd where absent.
    pub(crate) init: String,
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

/// Whether the command line is the one that the image was made with. The EFI stub adds to it what SMBIOS says
/// (systemd-stub(7), `io.systemd.stub.kernel-cmdline-extra`), with Secure Boot too; on x86, Xen puts its name of the kernel before it.
pub(crate) fn check(text: &str, signed: &str) -> Result<(), Error> {
    let text = text.trim();
    let (found, signed) = (text.strip_prefix("kernel ").unwrap_or(text), signed.trim());
    if found == signed {
        return Ok(());
    }
    Err(Error::Arguments { found: found.to_owned(), signed: signed.to_owned() })
}

/// Whether the bare word `flag` is there; what follows `--` is not the kernel's.
pub(crate) fn has_flag(text: &str, flag: &str) -> bool {
    arguments(text).iter().take_while(|a| *a != "--").any(|a| a == flag)
}

impl Cmdline {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let arguments = arguments(text);
        // the last one counts, as for the kernel's own
        let value = |name: &str| {
            let ours = arguments.iter().take_while(|a| *a != "--");
            ours.filter_map(|a| a.strip_prefix(name)?.strip_prefix('=')).last()
        };
        let found = |v: Option<&str>| v.map_or_else(|| "missing".to_owned(), |v| format!("`{v}`"));
        let hash = value("evek.roothash");
        let root_hash = hash.and_then(|v| v.parse().ok()).ok_or_else(|| Error::Cmdline {
            argument: "evek.roothash",
            found: found(hash),
            expected: "64 hexadecimal digits",
        })?;
        let blocks = value("evek.datablocks");
        let data_blocks =
            blocks.and_then(|v| v.parse().ok()).filter(|n| (1..=u64::MAX / verity::BLOCK).contains(n)).ok_or_else(
                || Error::Cmdline { argument: "evek.datablocks", found: found(blocks), expected: "a number of blocks" },
            )?;
        let init = value("init").unwrap_or("/usr/lib/systemd/systemd").to_owned();
        if !init.starts_with('/') {
            return Err(Error::Cmdline { argument: "init", found: init, expected: "an absolute path" });
        }
        Ok(Self { root_hash, data_blocks, init })
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

    #[test]
    fn the_slot_follows_from_the_root_hash() {
        let text = format!("console=ttyS0 evek.roothash={HASH} quiet evek.datablocks=1000 panic=10\n");
        let cmdline = Cmdline::parse(&text).unwrap();
        assert_eq!(cmdline.data_blocks, 1000);
        assert_eq!(cmdline.init, "/usr/lib/systemd/systemd");
        assert_eq!(crate::gpt::guid_text(&cmdline.slot_guid()), "00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn the_last_value_counts_and_nothing_behind_the_dashes() {
        let text = format!(
            "dyndbg=\"file a b\" init=/a evek.roothash={HASH} evek.datablocks=1 evek.datablocks=2 init=/b -- init=/c evek.debug"
        );
        let cmdline = Cmdline::parse(&text).unwrap();
        assert_eq!((cmdline.data_blocks, cmdline.init.as_str()), (2, "/b"));
        assert!(!has_flag(&text, "evek.debug"));
        assert!(has_flag("a evek.debug b", "evek.debug"));
        assert!(!has_flag("a \"b evek.debug\"", "evek.debug"));
    }

    #[test]
    fn nothing_but_what_is_signed_is_taken() {
        assert!(check("kernel ro quiet\n", "ro quiet").is_ok(), "Xen's name of the kernel");
        assert!(check("ro quiet\n", "ro quiet").is_ok());
        for other in ["ro quiet systemd.debug_shell", "quiet", "quiet ro", ""] {
            let text = check(other, "ro quiet").unwrap_err().to_string();
            assert!(text.contains("`ro quiet`") && text.contains(&format!("but `{other}`")), "{text}");
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
        assert!(parse(&format!("evek.roothash={HASH} evek.datablocks=1 init=sh")).contains("an absolute path"));
    }
}
