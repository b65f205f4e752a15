//! `help-make`: the text of `make help`.

use crate::failure::Failure;

const HELP: &str = "\
make image     build dist/<arch>/<version>/ with live*.raw, live*.qcow2, image.json
make live      the same: the live disk is the only kind of image today
make images    every flavour for every architecture, in one run
make run       boot it in QEMU on this terminal (Ctrl-A X leaves)
make test      unit tests, bad input, and images booted in QEMU
make test-all  the same with every image booted, which takes long
make check     format, lints, docs, licences, words of docs and comments
make bench     time the builds that users wait for
make lock      resolve the definitions anew and write evek.lock
make clean     remove dist/; the build cache stays

HV=kvm|xen|kubevirt  flavour (default kvm); HV=k is kubevirt
ARCH=amd64|arm64     architecture (default amd64), whatever this host is; ZARCH is an alias
ARGS=…               further arguments of the verb, such as ARGS=--offline

`cargo xtask help` lists every verb.";

/// Prints it.
pub(crate) fn help() -> Result<(), Failure> {
    println!("{HELP}");
    Ok(())
}
