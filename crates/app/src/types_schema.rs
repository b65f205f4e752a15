#![cfg(feature = "schema")]
//! Schemas of types that the device shares and that have none of their own.

/// A size such as `512MiB`, or a number of bytes.
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used, in place of types::Bytes")]
pub(crate) enum SizeText {
    Text(#[schemars(regex(pattern = r"^[0-9]+ *(B|KiB|MiB|GiB)?$"))] String),
    Bytes(u64),
}
