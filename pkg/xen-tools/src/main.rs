//! `xen-tools`: replaces the shell scripts of Xen's own tools, and prepares containers for these tools.
//!
//! ```text
//!  hypervisor ── page and event channel of the first domain ──► xenfs on /proc/xen ──► xenstored ──► /run/xenstored/socket
//!                                                               └─ xen-tools store ─┘
//!  xl create ─► back end in the store, interface in this domain ─► /etc/xen/scripts/vif online ─► bridge ─► connected
//!                               block device in this domain     ─► /etc/xen/scripts/block add ─► its numbers
//!                                                                  └─ xen-tools, by that name ─┘
//! ```
//! Deliberately absent: supervision and state.

mod block;
mod hotplug;
mod store;
mod vif;

use std::{ffi::OsStr, path::Path, process::ExitCode};

const USAGE: &str = "\
Usage: xen-tools store [<argument of xenstored>…]   mount xenfs where xenstored looks for it, then become xenstored
       vif online|offline                           what xl runs for a network card, as /etc/xen/scripts/vif
       block add|remove                             what xl runs for a disk, as /etc/xen/scripts/block";

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let verb = args.next().unwrap_or_default();
    let result = match (Path::new(&name).file_name().and_then(OsStr::to_str), verb.to_str()) {
        (Some("vif"), Some("online")) => vif::online().map_err(|e| e.to_string()),
        (Some("block"), Some("add")) => block::add().map_err(|e| e.to_string()),
        // the kernel removes the interface, also from its bridge, with the domain; the block device stays with its
        // owner
        (Some("vif"), Some("offline")) | (Some("block"), Some("remove")) => Ok(()),
        (_, Some("store")) => store::run(args).map(|never| match never {}).map_err(|e| e.to_string()),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::FAILURE
        }
    }
}
