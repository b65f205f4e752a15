//! A TPM that has NV indexes only: files in a folder, read and written by the bytes of commands. And the bytes themselves.

use super::Device;
use crate::{error::Error, nv};
use std::{fs, io, path::Path};
use types::Digest;

const UNDEFINED: u32 = 0x18b;
const UNWRITTEN: u32 = 0x14a;
const PASSWORD: &[u8] = &[0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];

/// A response with parameters, as with a session, or with a response code.
fn response(code: u32, parameters: &[u8]) -> Vec<u8> {
    let mut body = code.to_be_bytes().to_vec();
    if code == 0 {
        body.extend((parameters.len() as u32).to_be_bytes());
        body.extend(parameters);
        body.extend([0, 0, 1, 0, 0]);
    }
    [&0x8002u16.to_be_bytes()[..], &(body.len() as u32 + 6).to_be_bytes(), &body].concat()
}

/// Answers as a TPM does. `broken` answers every command with that response code, and `busy` the next one.
pub(super) fn answer(folder: &Path, command: &[u8]) -> io::Result<Vec<u8>> {
    assert_eq!(command[..2], [0x80, 0x02]);
    assert_eq!(command[2..6], (command.len() as u32).to_be_bytes());
    let (file, broken, busy) = (folder.join("nv"), folder.join("broken"), folder.join("busy"));
    if let Ok(code) = fs::read_to_string(&broken) {
        return Ok(response(u32::from_str_radix(&code, 16).unwrap(), &[]));
    }
    if fs::remove_file(&busy).is_ok() {
        return Ok(response(0x922, &[]));
    }
    let rest = |handles: &[u8]| {
        let rest = command[10..].strip_prefix(handles).expect("the handles");
        rest.strip_prefix(PASSWORD).expect("the empty password").to_vec()
    };
    const INDEX: [u8; 4] = [0x01, 0x80, 0x45, 0x56];
    const OWNER: [u8; 4] = [0x40, 0, 0, 1];
    let found = fs::read(&file).ok();
    Ok(match (u32::from_be_bytes(command[6..10].try_into().unwrap()), found) {
        (0x12a, _) => {
            // an empty password; 14 bytes: index, SHA-256, attributes, no policy, 32 bytes
            let public = [0, 0, 0, 14, 1, 0x80, 0x45, 0x56, 0, 0x0b, 0x02, 0x06, 0, 0x02, 0, 0, 0, 32];
            assert_eq!(rest(&OWNER), public);
            fs::write(file, "")?;
            response(0, &[])
        }
        (_, None) => response(UNDEFINED, &[]),
        (0x14e, Some(data)) => {
            assert_eq!(rest(&[INDEX, INDEX].concat()), [0, 32, 0, 0]);
            match data.len() {
                0 => response(UNWRITTEN, &[]),
                _ => response(0, &[&[0, 32], &data[..]].concat()),
            }
        }
        (0x137, _) => {
            let parameters = rest(&[OWNER, INDEX].concat());
            assert_eq!((&parameters[..2], &parameters[34..]), (&[0, 32][..], &[0, 0][..]));
            fs::write(file, &parameters[2..34])?;
            response(0, &[])
        }
        (0x122, _) => {
            assert!(rest(&[OWNER, INDEX].concat()).is_empty());
            fs::remove_file(file)?;
            response(0, &[])
        }
        (code, _) => panic!("no such command: {code:#x}"),
    })
}

#[test]
fn a_digest_is_written_read_and_removed() {
    let device = Device::new().with_tpm();
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    assert_eq!(nv::read(&device.paths).unwrap(), None);
    nv::forget(&device.paths).unwrap();
    for digest in [one, one, two] {
        nv::write(&device.paths, &digest).unwrap();
        assert_eq!(nv::read(&device.paths).unwrap(), Some(digest));
    }
    nv::forget(&device.paths).unwrap();
    assert_eq!(nv::read(&device.paths).unwrap(), None);
    // the power went after the definition
    device.write("tpm/nv", "");
    assert_eq!(nv::read(&device.paths).unwrap(), None);
    nv::write(&device.paths, &one).unwrap();
    // a TPM that wants to be asked again
    device.write("tpm/busy", "");
    assert_eq!(nv::read(&device.paths).unwrap(), Some(one));
}

#[test]
fn a_tpm_that_refuses_is_an_error_with_its_code() {
    let device = Device::new().with_tpm();
    // TPM_RC_LOCKOUT
    device.write("tpm/broken", "921");
    for result in
        [nv::read(&device.paths).map(drop), nv::write(&device.paths, &Digest::of(b"")), nv::forget(&device.paths)]
    {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Tpm { .. }) && error.to_string().contains("0x921"), "{error}");
    }
}
