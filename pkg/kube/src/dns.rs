//! Name servers: passes those of the host's networks to pods and to CoreDNS.
//!
//! ```text
//!  /run/systemd/resolve/resolv.conf  ─┐            ┌─► config/resolv.conf        kubelet: pods with the host's DNS
//!  /run/systemd/netif/state (DNS=)   ─┴─ refresh ──┴─► config/dns/upstream.conf  imported by CoreDNS' configuration
//! ```
//! Without a name server k3s would use a public one; we write an empty list instead. CoreDNS notices a changed file by
//! its `reload` plugin, so a cable plugged in later needs no restart.

use crate::{
    config::Paths,
    error::{Error, replace},
};
use std::{fmt, fs, net::IpAddr};

/// The name servers as last written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct NameServers(Vec<IpAddr>);

impl NameServers {
    /// Reads the host's name servers and writes them if they changed. Returns whether they did.
    pub(crate) fn refresh(&mut self, paths: &Paths) -> Result<bool, Error> {
        let resolv = fs::read_to_string(paths.systemd.join("resolve/resolv.conf")).unwrap_or_default();
        let netif = fs::read_to_string(paths.systemd.join("netif/state")).unwrap_or_default();
        self.0 = servers(&resolv, &netif);
        let changed = replace(&paths.config("resolv.conf"), &self.resolv_conf())?;
        Ok(replace(&paths.config("dns/upstream.conf"), &self.corefile())? || changed)
    }

    fn resolv_conf(&self) -> String {
        self.0.iter().map(|server| format!("nameserver {server}\n")).collect()
    }

    fn corefile(&self) -> String {
        if self.0.is_empty() {
            return "# no name server is known: names outside of the cluster do not exist\n".to_owned();
        }
        let list: Vec<_> = self.0.iter().map(|server| SocketText(*server).to_string()).collect();
        format!("forward . {}\n", list.join(" "))
    }
}

/// At most three, the limit of resolvers; none on the loopback, which in a pod is the pod's own.
fn servers(resolv_conf: &str, netif_state: &str) -> Vec<IpAddr> {
    let resolv = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let netif = netif_state.lines().filter_map(|line| line.strip_prefix("DNS=")).flat_map(str::split_whitespace);
    let mut found: Vec<IpAddr> = Vec::new();
    for server in resolv.map(str::trim).chain(netif).filter_map(|text| text.parse::<IpAddr>().ok()) {
        if !server.is_loopback() && !found.contains(&server) {
            found.push(server);
        }
    }
    found.truncate(3);
    found
}

/// An address in CoreDNS's form: IPv6 in brackets.
struct SocketText(IpAddr);

impl fmt::Display for SocketText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(address) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for NameServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0[..] {
            [] => f.write_str("none"),
            _ => f.write_str(&self.0.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn loopback_servers_and_doubles_are_left_out() {
        let resolv = "# made by resolved\nnameserver 127.0.0.53\nnameserver 10.0.2.3\nsearch example.com\n";
        let netif = "ADMIN_STATE=up\nDNS=10.0.2.3 fd00::3\nNTP=10.0.2.9\n";
        let found = NameServers(servers(resolv, netif));
        assert_eq!(found.resolv_conf(), "nameserver 10.0.2.3\nnameserver fd00::3\n");
        assert_eq!(found.corefile(), "forward . 10.0.2.3 [fd00::3]\n");
        assert_eq!(found.to_string(), "10.0.2.3, fd00::3");
    }

    #[test]
    fn a_device_without_network_gets_files_without_servers() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { state: folder.path().to_owned(), systemd: folder.path().join("none"), ..Paths::default() };
        let mut found = NameServers::default();
        assert!(found.refresh(&paths).unwrap());
        assert!(!found.refresh(&paths).unwrap());
        assert_eq!(fs::read_to_string(paths.config("resolv.conf")).unwrap(), "");
        assert!(fs::read_to_string(paths.config("dns/upstream.conf")).unwrap().starts_with('#'));
    }
}
