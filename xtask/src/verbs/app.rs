//! `app`: checks declarations of apps with the device's code.

use crate::{cli, failure::Failure};
use app::App;
use std::path::Path;

pub(crate) fn run(verb: &cli::App) -> Result<(), Failure> {
    match verb {
        cli::App::Check { files } => {
            let mut errors = Vec::new();
            for file in files {
                match App::read(Path::new(""), &file.display().to_string()) {
                    Ok(_) => println!("{}: right", file.display()),
                    Err(found) => errors.extend(found),
                }
            }
            if errors.is_empty() { Ok(()) } else { Err(errors.into()) }
        }
    }
}
