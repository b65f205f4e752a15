//! Network cards with the addresses that vmm has chosen.

use crate::{error::Error, mounts::below_root, rtnetlink::Netlink};
use guest::Network;
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

const INTERFACES: &str = "/sys/class/net";

/// Sets up loopback and every card, and writes the container's `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`.
pub(crate) fn set_up(hostname: &str, networks: &[Network]) -> Result<(), Error> {
    let mut netlink = Netlink::open().map_err(Error::io("open", "rtnetlink"))?;
    let failed = |mac: &str, action| {
        let mac = mac.to_owned();
        move |source| Error::Network { mac, action, source }
    };
    netlink.up(index_of(&Path::new(INTERFACES).join("lo"))?).map_err(failed("lo", "switch it on"))?;
    let mut servers = BTreeSet::new();
    for network in networks {
        let mac = network.mac.as_str();
        let index = find(mac)?;
        netlink.up(index).map_err(failed(mac, "switch it on"))?;
        netlink.address(index, network.address, network.prefix).map_err(failed(mac, "set its address"))?;
        if let Some(gateway) = network.gateway {
            netlink.default_route(gateway).map_err(failed(mac, "set its gateway"))?;
        }
        servers.extend(network.dns.iter().copied());
    }
    let resolv_conf = servers.iter().fold(String::new(), |mut text, server| {
        // writing to a String cannot fail
        let _ = writeln!(text, "nameserver {server}");
        text
    });
    replace("etc/hosts", &format!("127.0.0.1 localhost {hostname}\n::1 localhost\n"))?;
    replace("etc/hostname", &format!("{hostname}\n"))?;
    if servers.is_empty() { Ok(()) } else { replace("etc/resolv.conf", &resolv_conf) }
}

/// Writes a file of the container in place of what is there, which may be a link to somewhere else.
fn replace(path: &str, text: &str) -> Result<(), Error> {
    let path = below_root(path);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("replace", path)(e)),
        _ => {}
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    fs::write(&path, text).map_err(Error::io("write", path))
}

fn find(mac: &str) -> Result<u32, Error> {
    for item in fs::read_dir(INTERFACES).map_err(Error::io("read", INTERFACES))? {
        let path: PathBuf = item.map_err(Error::io("read", INTERFACES))?.path();
        if fs::read_to_string(path.join("address")).is_ok_and(|text| text.trim().eq_ignore_ascii_case(mac)) {
            return index_of(&path);
        }
    }
    let source = io::Error::new(io::ErrorKind::NotFound, "this machine has no such card");
    Err(Error::Network { mac: mac.to_owned(), action: "find it", source })
}

fn index_of(interface: &Path) -> Result<u32, Error> {
    let path = interface.join("ifindex");
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    text.trim().parse().map_err(|e| Error::io("understand", &path)(io::Error::new(io::ErrorKind::InvalidData, e)))
}
