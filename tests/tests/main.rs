//! Whole images: built, judged, damaged, booted in QEMU. One file a behaviour; one that is not named here does not run.

mod bad_input;
mod indexes;
mod kernel;
mod keys;
mod kubevirt;
mod kvm;
mod next_start;
mod oracles;
mod power_cut;
mod registry;
mod reproducible;
mod saved;
mod secure_boot;
mod shim;
mod size;
mod update;
mod vault;
mod verify;
mod way_back;
mod xen;
