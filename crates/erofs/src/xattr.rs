//! Extended attributes behind an inode: `struct erofs_xattr_ibody_header`, then the entries, all inline.

use std::collections::BTreeMap;

const HEADER: usize = 12;
/// Prefixes are stored as numbers; those that end in no dot stand for the whole name.
const PREFIXES: [(&str, u8); 5] =
    [("user.", 1), ("system.posix_acl_access", 2), ("system.posix_acl_default", 3), ("trusted.", 4), ("security.", 6)];

/// The bytes behind the inode; empty without attributes. The length is a multiple of four.
pub(crate) fn encode(xattrs: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, String> {
    if xattrs.is_empty() {
        return Ok(Vec::new());
    }
    let mut out = vec![0; HEADER];
    for (name, value) in xattrs {
        let found = PREFIXES.iter().find_map(|(prefix, index)| {
            let rest = name.strip_prefix(prefix)?;
            (rest.is_empty() != prefix.ends_with('.')).then_some((*index, rest))
        });
        let (index, rest) = found.ok_or_else(|| format!("EROFS has no place for extended attribute `{name}`"))?;
        let name_len = u8::try_from(rest.len()).map_err(|_| format!("the name of `{name}` is too long"))?;
        let value_len = u16::try_from(value.len()).map_err(|_| format!("the value of `{name}` is too long"))?;
        out.extend([name_len, index]);
        out.extend(value_len.to_le_bytes());
        out.extend(rest.as_bytes());
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    count(out.len()).map(|_| out).ok_or_else(|| "its extended attributes are too large together".to_owned())
}

/// The inode's field `i_xattr_icount` for so many bytes.
pub(crate) fn count(len: usize) -> Option<u16> {
    match len {
        0 => Some(0),
        len => u16::try_from((len - HEADER) / 4 + 1).ok(),
    }
}
