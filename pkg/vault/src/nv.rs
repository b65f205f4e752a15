//! The volume that this TPM sealed: a digest in an NV index, which lies in the TPM and not on the disk.
//!
//! Sealing does not authenticate P3. Sealing needs no more than the public half of the TPM's storage key, which lies in P3's
//! header, so that anyone who holds the disk can seal a volume of his own to this TPM. Nobody writes an NV index without the TPM.
//!
//! Four commands of *TPM 2.0 Library* part 3, rev. 1.59: `NV_DefineSpace` §31.3, `NV_UndefineSpace` §31.4, `NV_Write` §31.7,
//! `NV_Read` §31.13. The owner hierarchy authorizes writes with its empty password, as it authorizes systemd's storage key.

use crate::{error::Error, paths::Paths};
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
    thread,
};
use types::Digest;

/// Sends one command to a TPM and returns its response.
pub(crate) type Exchange = fn(&Path, &[u8]) -> io::Result<Vec<u8>>;

/// The index, in the range of the platform's owner (TCG, *Registry of Reserved TPM 2.0 Handles* §2.2).
const INDEX: u32 = 0x0180_4556;
/// `OWNERWRITE`, `OWNERREAD`, `AUTHREAD`, `NO_DA` (part 2, §13.4): everyone reads, the owner hierarchy writes.
const ATTRIBUTES: u32 = 1 << 1 | 1 << 17 | 1 << 18 | 1 << 25;
const SIZE: u16 = 32;

const SESSIONS: u16 = 0x8002;
const OWNER: u32 = 0x4000_0001;
const SHA256: u16 = 0x000b;
/// `TPM_RS_PW` with an empty nonce, no attributes and an empty password (part 1, §19.4).
const EMPTY_PASSWORD: [u8; 9] = [0x40, 0, 0, 9, 0, 0, 0, 0, 0];

const DEFINE: u32 = 0x12a;
const UNDEFINE: u32 = 0x122;
const WRITE: u32 = 0x137;
const READ: u32 = 0x14e;

/// `TPM_RC_NV_UNINITIALIZED` (part 2, §6.6.3): defined and never written.
const UNWRITTEN: u32 = 0x14a;
/// `TPM_RC_YIELDED`, `TPM_RC_TESTING`, `TPM_RC_NV_RATE`, `TPM_RC_RETRY`: the same command may succeed later.
const LATER: [u32; 4] = [0x908, 0x90a, 0x920, 0x922];
const TRIES: u32 = 10;

/// The digest in the index; `None` where the TPM has no such index.
pub(crate) fn read(paths: &Paths) -> Result<Option<Digest>, Error> {
    let what = "read the digest of the volume that it sealed";
    let parameters = [SIZE.to_be_bytes(), 0u16.to_be_bytes()].concat();
    match command(paths, what, READ, [INDEX, INDEX], &parameters)? {
        Ok(response) => {
            // a length of all parameters (4 bytes), then one of the data (2 bytes)
            let data = response.get(6..6 + usize::from(SIZE)).and_then(|data| <[u8; 32]>::try_from(data).ok());
            let problem = || format!("its response has {} bytes", response.len());
            data.map(|data| Some(Digest::from_bytes(data))).ok_or_else(|| Error::Tpm { what, problem: problem() })
        }
        Err(code) if is_undefined(code) || code == UNWRITTEN => Ok(None),
        Err(code) => Err(refused(what, code)),
    }
}

/// Writes the digest, unless the index holds it: NV memory wears out.
pub(crate) fn write(paths: &Paths, digest: &Digest) -> Result<(), Error> {
    let what = "write the digest of the volume";
    if read(paths)?.as_ref() == Some(digest) {
        return Ok(());
    }
    let parameters = [&SIZE.to_be_bytes(), &digest.as_bytes()[..], &0u16.to_be_bytes()].concat();
    match command(paths, what, WRITE, [OWNER, INDEX], &parameters)? {
        Err(code) if is_undefined(code) => define(paths)?,
        other => return other.map(drop).map_err(|code| refused(what, code)),
    }
    command(paths, what, WRITE, [OWNER, INDEX], &parameters)?.map(drop).map_err(|code| refused(what, code))
}

fn define(paths: &Paths) -> Result<(), Error> {
    let what = "define an NV index for the digest of the volume";
    let mut public = Vec::new();
    public.extend(INDEX.to_be_bytes());
    public.extend(SHA256.to_be_bytes());
    public.extend(ATTRIBUTES.to_be_bytes());
    // no policy
    public.extend(0u16.to_be_bytes());
    public.extend(SIZE.to_be_bytes());
    let size = u16::try_from(public.len()).expect("14 bytes");
    // no password of its own
    let parameters = [&0u16.to_be_bytes()[..], &size.to_be_bytes(), &public].concat();
    command(paths, what, DEFINE, [OWNER], &parameters)?.map(drop).map_err(|code| refused(what, code))
}

/// Removes the index.
pub(crate) fn forget(paths: &Paths) -> Result<(), Error> {
    let what = "remove the digest of the volume";
    match command(paths, what, UNDEFINE, [OWNER, INDEX], &[])? {
        Err(code) if !is_undefined(code) => Err(refused(what, code)),
        _ => Ok(()),
    }
}

/// `TPM_RC_HANDLE` of whichever handle (part 2, §6.6.2): the index is not there.
const fn is_undefined(code: u32) -> bool {
    code & 0xff == 0x8b
}

fn refused(what: &'static str, code: u32) -> Error {
    Error::Tpm { what, problem: format!("it answers with the response code {code:#05x}") }
}

/// A command with an empty password: its response after the header, or its response code.
fn command<const N: usize>(
    paths: &Paths,
    what: &'static str,
    code: u32,
    handles: [u32; N],
    parameters: &[u8],
) -> Result<Result<Vec<u8>, u32>, Error> {
    let mut body = code.to_be_bytes().to_vec();
    body.extend(handles.iter().flat_map(|handle| handle.to_be_bytes()));
    body.extend(9u32.to_be_bytes());
    body.extend(EMPTY_PASSWORD);
    body.extend(parameters);
    // tag and size come before
    let size = u32::try_from(body.len() + 6).expect("a short command");
    let bytes = [&SESSIONS.to_be_bytes()[..], &size.to_be_bytes(), &body].concat();
    for _ in 0..TRIES {
        let response = (paths.exchange)(&paths.tpm_device, &bytes).map_err(Error::io("ask", &paths.tpm_device))?;
        let code = response.get(6..10).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
        match code {
            Some(0) => return Ok(Ok(response[10..].to_vec())),
            Some(code) if LATER.contains(&code) => thread::sleep(paths.pause / 10),
            Some(code) => return Ok(Err(code)),
            None => return Err(Error::Tpm { what, problem: format!("its response has {} bytes", response.len()) }),
        }
    }
    Err(Error::Tpm { what, problem: format!("it is still busy after {TRIES} tries") })
}

/// Through the kernel's resource manager: one write is one command, one read is its response.
pub(crate) fn exchange(device: &Path, command: &[u8]) -> io::Result<Vec<u8>> {
    let mut file = File::options().read(true).write(true).open(device)?;
    file.write_all(command)?;
    let mut response = vec![0; 4096];
    let length = file.read(&mut response)?;
    response.truncate(length);
    Ok(response)
}
