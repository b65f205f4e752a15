//! The kernel image of an update, made of the running kernel image and of the pieces that differ.

use crate::{error::Error, source::Fetch};
use artefact::{Program, chunk};
use sign::Trust;
use types::Digest;

/// Assembles a kernel image. Adjacent pieces are fetched by one request.
pub(crate) fn assemble(fetch: &Fetch<'_>, program: &Program, own: &[u8]) -> Result<Vec<u8>, Error> {
    let known = chunk::places(own);
    let mut bytes = Vec::new();
    let mut missing: Option<std::ops::Range<u64>> = None;
    let get = |bytes: &mut Vec<u8>, range: Option<std::ops::Range<u64>>| -> Result<(), Error> {
        if let Some(range) = range {
            bytes.extend(fetch.range("the kernel image", program.blob(), range)?);
        }
        Ok(())
    };
    let mut at = 0;
    for piece in &program.chunks {
        let end = at + piece.size.0;
        match known.get(&piece.digest) {
            Some(place) => {
                get(&mut bytes, missing.take())?;
                bytes.extend_from_slice(&own[place.clone()]);
            }
            None => missing = Some(missing.map_or(at, |range| range.start)..end),
        }
        at = end;
    }
    get(&mut bytes, missing)?;
    let found = Digest::of(&bytes);
    if found != program.digest {
        let (what, address) = ("the kernel image".to_owned(), fetch.source.address());
        return Err(Error::Damaged { what, address, found, expected: program.digest });
    }
    Ok(bytes)
}

/// Verifies that a signer whom this device trusts has signed a program.
pub(crate) fn signed(what: &'static str, program: &[u8], trust: &Trust) -> Result<(), Error> {
    trust.signer(program).map(drop).map_err(|e| Error::Program { what, problem: e.to_string() })
}
