//! What distinguishes a guest from all others: a UUID, the addresses of its network cards, and the user that its QEMU is.
//!
//! ```text
//! machine-id of the device ─┐
//! name of the app ──────────┼─► UUID, MAC of each card, uid ─► <state>/<app>/identity.json, from then on the source
//! number of the card ───────┘
//! ```
//! So two devices with the same declaration differ, and a guest stays the same when its P3 moves to another device. Guests of
//! a version without this file keep their addresses, which followed from the name alone.

use crate::{error::Error, files, paths::Paths};
use guest::Uuid;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};
use types::Digest;

const FILE: &str = "identity.json";
/// The first of the user ids of QEMUs; no user of the device has a higher one (systemd, `UIDS-GIDS.md`).
const FIRST_UID: u32 = 2_000_000_000;

/// A guest's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// As its firmware shows it.
    pub(crate) uuid: String,
    /// Of its cards, in order.
    pub(crate) macs: Vec<String>,
    /// User and group of its QEMU.
    pub(crate) uid: u32,
}

/// The key of this device, from which identities derive.
pub(crate) struct Key([u8; 16]);

impl Key {
    /// From the machine-id; at random where there is none. An identity is written down, so it stays.
    pub(crate) fn read(machine_id: &Path) -> Result<Self, Error> {
        match fs::read_to_string(machine_id) {
            Ok(text) => match u128::from_str_radix(text.trim(), 16) {
                Ok(id) if text.trim().len() == 32 && id != 0 => return Ok(Self(id.to_be_bytes())),
                _ => {}
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("read", machine_id)(e)),
        }
        let mut key = [0; 16];
        let source = "/dev/urandom";
        let read = fs::File::open(source).and_then(|mut file| file.read_exact(&mut key));
        read.map_err(Error::io("read", source))?;
        Ok(Self(key))
    }

    /// Sixteen bytes for a purpose. They do not show the machine-id, which is confidential (`machine-id(5)`).
    pub(crate) fn derive(&self, purpose: &str) -> [u8; 16] {
        first_16(&[b"evek vmm\0".as_slice(), &self.0, purpose.as_bytes()].concat())
    }

    fn uuid(&self, app: &str) -> String {
        let mut bytes = self.derive(&format!("uuid {app}"));
        // version 8, variant 10 (RFC 9562 §5.8)
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Uuid(bytes).to_string()
    }

    fn mac(&self, app: &str, card: usize) -> String {
        mac(self.derive(&format!("card {app} {card}")))
    }

    fn uid(&self, app: &str) -> u32 {
        let [a, b, c, ..] = self.derive(&format!("uid {app}"));
        FIRST_UID + u32::from_be_bytes([0, a, b, c])
    }
}

/// QEMU's prefix and three bytes.
fn mac([a, b, c, ..]: [u8; 16]) -> String {
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

fn first_16(bytes: &[u8]) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&Digest::of(bytes).as_bytes()[..16]);
    first
}

/// The identity of an app with so many cards. It makes the app's folder.
pub(crate) fn of(app: &str, cards: usize, paths: &Paths, key: &Key) -> Result<Identity, Error> {
    let folder = paths.state_of(app);
    let file = folder.join(FILE);
    let new = || Identity { uuid: key.uuid(app), macs: Vec::new(), uid: key.uid(app) };
    let (before, is_new) = match fs::read(&file) {
        Ok(bytes) => (parse(&bytes), false),
        Err(e) if e.kind() == io::ErrorKind::NotFound => (None, !folder.exists()),
        Err(e) => return Err(Error::io("read", &file)(e)),
    };
    let mut identity = match &before {
        Some(identity) => identity.clone(),
        None if is_new || file.exists() => new(),
        // the folder of a version without identities
        None => Identity { macs: (0..cards).map(|n| old_mac(app, n)).collect(), ..new() },
    };
    for n in identity.macs.len()..cards {
        identity.macs.push(key.mac(app, n));
    }
    if before.as_ref() != Some(&identity) {
        write(app, &identity, is_new, paths)?;
    }
    Ok(identity)
}

/// The address of a card before devices differed.
fn old_mac(app: &str, n: usize) -> String {
    mac(first_16(format!("card {app} {n}").as_bytes()))
}

/// `None` for a damaged file: then it is made anew.
fn parse(bytes: &[u8]) -> Option<Identity> {
    let identity: Identity = serde_json::from_slice(bytes).ok()?;
    let hex = |text: &str, between: char, lengths: &[usize]| {
        let parts: Vec<&str> = text.split(between).collect();
        let all = parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()));
        all && parts.iter().map(|part| part.len()).eq(lengths.iter().copied())
    };
    let good = hex(&identity.uuid, '-', &[8, 4, 4, 4, 12])
        && identity.macs.iter().all(|mac| hex(mac, ':', &[2; 6]))
        && identity.uid >= FIRST_UID;
    good.then_some(identity)
}

/// Writes it. A new folder appears together with the file, so that a power cut leaves no folder that looks like an old one.
fn write(app: &str, identity: &Identity, is_new: bool, paths: &Paths) -> Result<(), Error> {
    let folder = paths.state_of(app);
    let made_in = if is_new { paths.state.join(format!(".new-{app}")) } else { folder.clone() };
    fs::create_dir_all(&made_in).map_err(Error::io("create", &made_in))?;
    let text = serde_json::to_vec(identity).map_err(|e| Error::io("write", &folder)(e.into()))?;
    files::replace(&made_in.join(FILE), |fresh| fs::write(fresh, &text).map_err(Error::io("write", fresh)))?;
    if is_new {
        fs::rename(&made_in, &folder).map_err(Error::io("create", &folder))?;
        files::sync_folder(&paths.state)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "identity_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
