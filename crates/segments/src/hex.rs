//! Bytes as hexadecimal digits in documents.

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or_default();
    let text: String = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    to.serialize_str(&text)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    let bad = || D::Error::custom("an even number of hexadecimal digits was expected");
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|n| u8::try_from(n).ok()).ok_or_else(bad);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Ok(digit(*high)? << 4 | digit(*low)?),
        _ => Err(bad()),
    };
    text.as_bytes().chunks(2).map(byte).collect()
}
