//! `doctor`: checks this host, and prints remedies.

use crate::{cli::Common, exit::Exit, failure::Failure, session::Session};
use debian::Archive;

/// Prints every finding; fails when images cannot be built here.
pub(crate) fn doctor(common: &Common) -> Result<(), Failure> {
    let session = Session::open(common)?;
    let report = sandbox::probe(session.cache.cas().root(), None)?;
    println!("{report}");
    for archive in [Archive::Main, Archive::Security] {
        match session.fetcher.mirrors().base(archive) {
            Ok(_) => println!("ok       {} mirror", name(archive)),
            Err(e) => println!("limited  {e}"),
        }
    }
    if !report.can_build() {
        return Err(Failure::new(Exit::Host, "images cannot be built on this host until the above is mended"));
    }
    Ok(())
}

fn name(archive: Archive) -> &'static str {
    match archive {
        Archive::Main => "Debian",
        Archive::Security => "Debian security",
    }
}
