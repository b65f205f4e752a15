//! NAT for guests: every card is on a network of its own with this domain, of four addresses out of the range that is meant
//! for what lies between a subscriber and a translator (RFC 6598), so that it meets no network of the device's own.
//!
//! The address on this domain's side is set by `/etc/xen/scripts/vif`; translation and forwards are a table of nftables with
//! the guest's name. The kernel forwards by `net.ipv4.ip_forward` of hv/xen.yml.

use crate::{
    error::Error,
    hypervisor::{Guest, NatNetwork},
};
use app::Network;
use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    net::Ipv4Addr,
    process::{Command, Stdio},
};

/// 100.64.0.0/10
const RANGE: u32 = 0x6440_0000;
/// How many networks of four addresses the range has.
const NETWORKS: u32 = 1 << 20;
/// The servers that the device itself asks (systemd-resolved.service(8)); its stub listens on the loopback only.
const SERVERS: &str = "/run/systemd/resolve/resolv.conf";

/// The network of a card: it follows from its address.
pub(super) fn network(mac: &str) -> NatNetwork {
    let digits: String = mac.split(':').skip(3).collect();
    let base = RANGE + u32::from_str_radix(&digits, 16).unwrap_or_default() % NETWORKS * 4;
    let (gateway, address) = (Ipv4Addr::from(base + 1), Ipv4Addr::from(base + 2));
    // a device without network may have no server, and a guest that asks nobody gets the same answer as the device
    let servers = fs::read_to_string(SERVERS).unwrap_or_default();
    NatNetwork { address, prefix: 30, gateway, dns: server(&servers).unwrap_or(gateway) }
}

fn server(resolv_conf: &str) -> Option<Ipv4Addr> {
    resolv_conf.lines().filter_map(|line| line.strip_prefix("nameserver ")).find_map(|text| text.trim().parse().ok())
}

/// Lets a guest's cards behind NAT out, and in what is declared.
pub(super) fn set_up(guest: &Guest) -> Result<(), Error> {
    match rules(guest) {
        Some(rules) => nft(&rules),
        None => Ok(()),
    }
}

/// Removes the rules of a guest, if there are any.
pub(super) fn remove(guest: &str) -> Result<(), Error> {
    nft(&fresh(guest))
}

/// A table that is not there is no error if it is made first (nft(8), *destroy* needs a newer kernel than *delete*).
fn fresh(guest: &str) -> String {
    format!("add table ip vmm-{guest}\ndelete table ip vmm-{guest}\n")
}

fn rules(guest: &Guest) -> Option<String> {
    let (mut out, mut into) = (String::new(), String::new());
    for card in &guest.cards {
        let Network::Nat(nat) = &card.network else { continue };
        let address = network(&card.mac).address;
        // writing to a String cannot fail
        let _ = writeln!(out, "    ip saddr {address} oifname != \"vif*\" masquerade");
        for forward in &nat.forwards {
            let (protocol, from, to) = (forward.protocol.as_str(), forward.host.value, forward.guest.value);
            let _ = writeln!(into, "    fib daddr type local {protocol} dport {from} dnat to {address}:{to}");
        }
    }
    let name = &guest.name;
    let fresh = fresh(name);
    (!out.is_empty()).then(|| {
        format!(
            "{fresh}table ip vmm-{name} {{\n  chain out {{\n    type nat hook postrouting priority srcnat;\n{out}  }}\n  \
             chain in {{\n    type nat hook prerouting priority dstnat;\n{into}  }}\n}}\n"
        )
    })
}

fn nft(rules: &str) -> Result<(), Error> {
    let run = || {
        let mut nft = Command::new("nft")
            .args(["--file", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut input) = nft.stdin.take() {
            input.write_all(rules.as_bytes())?;
        }
        nft.wait_with_output()
    };
    let output = run().map_err(Error::io("run", "nft"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Program { program: "nft --file -".to_owned(), said })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::hypervisor::{Boot, Card};
    use app::{Forward, Located, Nat, Place, Protocol};
    use types::Bytes;

    fn guest(networks: Vec<Network>) -> Guest {
        let cards = networks.into_iter().map(|network| Card { mac: "52:54:00:00:00:01".into(), network }).collect();
        let boot = Boot::Linux { kernel: "k".into(), initrd: None, cmdline: String::new() };
        let (disks, run) = (vec![], "/run/vmm/web".into());
        let (uuid, memory) = (String::new(), Bytes::mib(64));
        Guest { name: "web".into(), uuid, uid: 0, cpus: 1, memory, boot, disks, cards, tpm: None, run }
    }

    #[test]
    fn the_whole_table_of_a_guest() {
        let at = |value| Located::new(value, Place::file(""));
        let forwards = vec![Forward { host: at(8080), guest: at(80), protocol: Protocol::Tcp }];
        let expected = r#"add table ip vmm-web
delete table ip vmm-web
table ip vmm-web {
  chain out {
    type nat hook postrouting priority srcnat;
    ip saddr 100.64.0.6 oifname != "vif*" masquerade
  }
  chain in {
    type nat hook prerouting priority dstnat;
    fib daddr type local tcp dport 8080 dnat to 100.64.0.6:80
  }
}
"#;
        assert_eq!(rules(&guest(vec![Network::Nat(Nat { forwards })])).unwrap(), expected);
        assert_eq!(rules(&guest(vec![])), None);
    }

    #[test]
    fn every_card_has_its_own_addresses_in_the_range() {
        let first = network("52:54:00:00:00:00");
        assert_eq!((first.gateway, first.address), (Ipv4Addr::new(100, 64, 0, 1), Ipv4Addr::new(100, 64, 0, 2)));
        assert_eq!(network("52:54:00:0f:ff:ff").address, Ipv4Addr::new(100, 127, 255, 254));
        assert_eq!(network("52:54:00:10:00:00").address, first.address, "beyond the range it begins anew");
    }

    #[test]
    fn a_server_of_the_old_address_family_is_taken() {
        assert_eq!(server("# x\nnameserver fe80::1\nnameserver 10.0.2.3\n"), Some(Ipv4Addr::new(10, 0, 2, 3)));
        assert_eq!(server("search .\n"), None);
    }
}
