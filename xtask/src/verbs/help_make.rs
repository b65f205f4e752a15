//! `help-make`: what `make help` prints.

use crate::failure::Failure;

const HELP: &str = "\
make image     build dist/<arch>/<version>/ with live*.raw, live*.qcow2, image.json
make live      the same: a live disk is what an image is, so far
make images    every flavour for every architecture, in one run
make run       boot it in QEMU on this terminal (Ctrl-A X leaves)
make test      unit tests, bad input, and images booted in QEMU
make test-all  the same with every image booted, which takes long
make check     format, lints, docs, licences
make bench     time what users wait for
make lock      resolve the definitions anew and write evek.lock
make clean     remove dist/; the build cache stays

HV=kvm|kubevirt      flavour (default kvm)
ARCH=amd64|arm64     architecture (default amd64), whatever this host is; ZARCH is an alias
ARGS=…               further arguments of the verb, such as ARGS=--offline

`cargo xtask help` lists every verb.";

/// Prints it.
pub(crate) fn help() -> Result<(), Failure> {
    println!("{HELP}");
    Ok(())
}
