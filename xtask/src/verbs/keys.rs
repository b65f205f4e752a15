//! `keys`: keys that sign images, and the exchange of signatures.

use crate::{
    cli::{self, Common},
    exit::Exit,
    failure::Failure,
    session::Session,
};
use sign::{Keys, Purpose, Request, Response, Wanted};
use std::{
    fs,
    path::{Path, PathBuf},
};

pub(crate) fn run(common: &Common, verb: &cli::Keys) -> Result<(), Failure> {
    let folder = common.keys.clone().map_or_else(default, Ok)?;
    match verb {
        cli::Keys::Generate { owner, development } => {
            let purpose = if *development { Purpose::Development } else { Purpose::Production };
            show(&Keys::generate(&folder, purpose, owner)?);
        }
        cli::Keys::Rotate { owner } => show(&Keys::rotate(&folder, owner)?),
        cli::Keys::Show => show(&Keys::open(&folder)?),
        cli::Keys::Sign { request, response } => {
            let keys = Keys::open(&folder)?.with_pin(pin());
            let request = Request::read(&read(request)?)?;
            for wanted in &request.wanted {
                eprintln!("{} signs {}: {}", wanted.role, wanted.digest, wanted.what);
            }
            write(response, &keys.answer(&request)?.json())?;
        }
        cli::Keys::Import { response } => {
            let new = Keys::open(&folder)?.import(Response::read(&read(response)?)?)?;
            eprintln!("{new} new signatures");
        }
    }
    Ok(())
}

/// The keys for signing images: those of `--keys`, else development keys, which are made if there are none.
pub(crate) fn open(session: &Session) -> Result<Keys, Failure> {
    if let Some(folder) = &session.keys {
        return Ok(Keys::open(folder)?.with_pin(pin()));
    }
    let folder = default()?;
    match Keys::open(&folder) {
        Err(sign::Error::NoKeys { .. } | sign::Error::NoKey { .. }) => {
            session.events.say(&format!("making development keys in {}", folder.display()));
            match Keys::generate(&folder, Purpose::Development, "EVE-k development") {
                // another process was faster
                Err(sign::Error::Present { .. }) => Ok(Keys::open(&folder)?),
                other => Ok(other?),
            }
        }
        other => Ok(other?),
    }
}

/// The PIN of the token in `keys.json`.
fn pin() -> Option<String> {
    std::env::var("EVEK_PKCS11_PIN").ok().filter(|pin| !pin.is_empty())
}

/// Writes the request for signatures, with a hint.
pub(crate) fn ask(wanted: Vec<Wanted>, dist: &Path) -> Failure {
    let (count, path) = (wanted.len(), dist.join("signing-request.json"));
    if let Err(e) = fs::create_dir_all(dist) {
        return Failure::new(Exit::Other, format!("cannot make {}: {e}", dist.display()));
    }
    if let Err(failure) = write(&path, &Request::new(wanted).json()) {
        return failure;
    }
    let signatures = types::count(count, "signature");
    let text = format!("{signatures} missing, and the private keys are not here: {} is the request", path.display());
    Failure::new(Exit::Signature, text).hint(
        "where the private keys are: `cargo xtask keys sign <request> <response>`; here: `cargo xtask keys import <response>`, then the same again",
    )
}

fn show(keys: &Keys) {
    println!("{}", keys.folder().display());
    for (role, certificate) in keys.certificates() {
        let private = match (keys.has_private(*role), keys.token()) {
            (true, _) => "private key here".to_owned(),
            (false, Some(at)) => format!("private key in token `{}`", at.token),
            (false, None) => "private key elsewhere".to_owned(),
        };
        println!("{role:<12}{}  {}, {private}", certificate.fingerprint().hex(), certificate.subject());
    }
}

/// `$XDG_DATA_HOME/evek/keys`, else `~/.local/share/evek/keys`.
pub(crate) fn default() -> Result<PathBuf, Failure> {
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let data = from("XDG_DATA_HOME").or_else(|| Some(from("HOME")?.join(".local/share")));
    let missing =
        || Failure::new(Exit::Usage, "neither XDG_DATA_HOME nor HOME is set: name a folder of keys with --keys");
    data.map(|p| p.join("evek/keys")).ok_or_else(missing)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|e| Failure::new(Exit::Usage, format!("cannot read {}: {e}", path.display())))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|e| Failure::new(Exit::Other, format!("cannot write {}: {e}", path.display())))
}
