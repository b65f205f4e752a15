//! File capabilities: setcap's text as the bytes of the xattr `security.capability` (capabilities(7),
//! linux/capability.h: `struct vfs_cap_data`, revision 2, little-endian).

use super::path;
use crate::Error;
use defs::Located;
use std::collections::BTreeMap;
use tree::{Kind, Tree};

/// The xattr's name.
pub const XATTR: &str = "security.capability";

const REVISION_2: u32 = 0x0200_0000;
const EFFECTIVE: u32 = 1;

/// The kernel's names in the order of their numbers (linux/capability.h, 6.12).
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Text that names no capabilities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCapabilities {
    /// Not of the form `names`, operator, flags.
    #[error("`{0}` is not of the form cap_net_raw,cap_net_admin+ep")]
    Form(String),
    /// A name that the kernel does not have.
    #[error("there is no capability `{0}`")]
    Unknown(String),
    /// A file has one effective bit for all its capabilities.
    #[error("`{0}`: either all capabilities of a file are effective (`e`) or none")]
    PartlyEffective(String),
}

/// Sets the capabilities of files: path → text such as `cap_net_raw+ep`.
///
/// # Errors
/// When the text is wrong, or no regular file is at the path.
pub fn apply(tree: &mut Tree, caps: &BTreeMap<String, Located<String>>) -> Result<(), Error> {
    for (at, text) in caps {
        let wrong = |reason: String| Error::Definition { at: text.at.clone(), text: reason };
        let bytes = encode(text).map_err(|e| wrong(e.to_string()))?;
        let file = match tree.follow(&path(at)?) {
            Some((real, entry)) => match &entry.kind {
                Kind::File(_) => Some(real),
                Kind::Hardlink(target) => Some(target.clone()),
                _ => None,
            },
            None => None,
        };
        let entry = file.and_then(|file| tree.get_mut(&file));
        let entry = entry.ok_or_else(|| wrong(format!("cannot give capabilities to /{at}: there is no such file")))?;
        entry.xattrs.insert(XATTR.to_owned(), bytes);
    }
    Ok(())
}

/// The xattr's bytes for setcap's text: names, one of `=`, `+`, `=+`, and flags of `e`, `i`, `p`; several such clauses are
/// separated by spaces.
///
/// # Errors
/// When the text is not of that form, or cannot be said in an xattr.
pub fn encode(text: &str) -> Result<Vec<u8>, BadCapabilities> {
    let (mut effective, mut permitted, mut inheritable) = (0_u64, 0_u64, 0_u64);
    for clause in text.split_whitespace() {
        let form = || BadCapabilities::Form(clause.to_owned());
        let (names, flags) = clause.split_once(['=', '+']).ok_or_else(form)?;
        let flags = flags.strip_prefix('+').unwrap_or(flags);
        if names.is_empty() || flags.is_empty() || !flags.chars().all(|c| "eip".contains(c)) {
            return Err(form());
        }
        for name in names.split(',') {
            let known = name.to_ascii_lowercase();
            let number = NAMES.iter().position(|n| known.strip_prefix("cap_") == Some(n));
            let bit = 1 << number.ok_or_else(|| BadCapabilities::Unknown(name.to_owned()))?;
            for (flag, set) in [('e', &mut effective), ('p', &mut permitted), ('i', &mut inheritable)] {
                *set |= if flags.contains(flag) { bit } else { 0 };
            }
        }
    }
    if permitted | inheritable == 0 {
        return Err(BadCapabilities::Form(text.to_owned()));
    }
    if effective != 0 && effective != permitted | inheritable {
        return Err(BadCapabilities::PartlyEffective(text.to_owned()));
    }
    let magic = REVISION_2 | if effective == 0 { 0 } else { EFFECTIVE };
    let low = |set: u64| (set & 0xffff_ffff) as u32;
    let high = |set: u64| (set >> 32) as u32;
    let words = [magic, low(permitted), low(inheritable), high(permitted), high(inheritable)];
    Ok(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The bytes are those that setcap of libcap 2.66 writes.
    #[test]
    fn text_becomes_the_bytes_of_setcap() {
        for (text, hex) in [
            ("cap_net_raw+ep", "0100000200200000000000000000000000000000"),
            ("cap_net_bind_service=+ep", "0100000200040000000000000000000000000000"),
            ("cap_setuid,cap_setgid=p cap_bpf=i", "00000002c0000000000000000000000080000000"),
        ] {
            let found: String = encode(text).unwrap().iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(found, hex, "{text}");
        }
    }

    #[test]
    fn wrong_text_is_refused() {
        for (text, error) in [
            ("", "`` is not of the form cap_net_raw,cap_net_admin+ep"),
            ("cap_net_raw", "`cap_net_raw` is not of the form cap_net_raw,cap_net_admin+ep"),
            ("cap_net_raw+x", "`cap_net_raw+x` is not of the form cap_net_raw,cap_net_admin+ep"),
            ("cap_net_row+ep", "there is no capability `cap_net_row`"),
            ("net_raw+ep", "there is no capability `net_raw`"),
            (
                "cap_net_raw+ep cap_chown+p",
                "`cap_net_raw+ep cap_chown+p`: either all capabilities of a file are effective (`e`) or none",
            ),
        ] {
            assert_eq!(encode(text).unwrap_err().to_string(), error);
        }
    }
}
