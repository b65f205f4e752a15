//! The inputs of a test, noted while it runs.
//!
//! `cargo xtask test` names a file in `EVEK_INPUTS`. A test's success is not repeated while the test's program and everything
//! that this file names are the same (docs/testing.md). So every way from a test to something that is not in its program goes
//! through [`note`]: images, the checkout, the built `xtask`, keys, toolbox sets.

use std::{env, fs::File, io::Write as _, path::Path};

/// Notes an input by its name.
///
/// # Panics
/// When it cannot be noted: a success without all of its inputs would hide later faults.
pub(crate) fn note(name: &str) {
    if let Some(file) = env::var_os("EVEK_INPUTS") {
        note_in(Path::new(&file), name);
    }
}

fn note_in(file: &Path, name: &str) {
    let opened = File::options().create(true).append(true).open(file);
    // one write, so that threads do not mix their lines
    let written = opened.and_then(|mut file| file.write_all(format!("{name}\n").as_bytes()));
    written.unwrap_or_else(|e| panic!("cannot note an input in {}: {e}", file.display()));
}

#[cfg(test)]
mod tests {
    use super::note_in;

    #[test]
    fn each_input_is_a_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("inputs");
        note_in(&file, "image kvm-amd64");
        note_in(&file, "EVEK_KEYS");
        assert_eq!(std::fs::read_to_string(&file).expect("the file"), "image kvm-amd64\nEVEK_KEYS\n");
    }
}
