//! The node's name and address.
//!
//! ```text
//!  default route over a real interface?  ── yes ──► its address
//!        │ no, but a cable is plugged in ── wait a little, then
//!        └ no ──► kube0: a dummy interface with an address of our own and a default route of last resort
//! ```
//! The agent names a new node after the device, `evek-<8 digits>`, and keeps the name of an existing one: in Kubernetes, another
//! name means another node.

use crate::{
    config::Paths,
    error::{Error, read, replace},
};
use serde::Deserialize;
use std::{
    fs,
    net::Ipv4Addr,
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// The interface of a node without a network.
const DUMMY: &str = "kube0";
/// Its address; outside of the pod and service networks.
const DUMMY_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);
/// Its metric: any other default route wins.
const DUMMY_METRIC: &str = "65535";
/// How long to wait for the address of an interface with a cable.
const PATIENCE: Duration = Duration::from_secs(20);

/// The identity of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its name in the cluster.
    pub(crate) name: String,
    /// The address of the API server.
    pub(crate) address: Ipv4Addr,
    /// The interface that has the address.
    pub(crate) interface: String,
}

/// A line of `ip -json route`.
#[derive(Debug, Deserialize)]
struct Route {
    #[serde(default)]
    dev: String,
    #[serde(default)]
    prefsrc: Option<Ipv4Addr>,
    #[serde(default)]
    metric: u32,
}

/// An interface of `ip -json address`.
#[derive(Debug, Deserialize)]
struct Interface {
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Debug, Deserialize)]
struct Address {
    local: Ipv4Addr,
    scope: String,
}

/// Finds name and address; makes the dummy interface where there is no network.
pub(crate) fn find(paths: &Paths) -> Result<Node, Error> {
    let name = name(paths)?;
    let start = Instant::now();
    loop {
        if let Some((interface, address)) = from_route()? {
            return Ok(Node { name, address, interface });
        }
        if start.elapsed() >= PATIENCE || !has_cable(paths) {
            break;
        }
        thread::sleep(Duration::from_millis(500));
    }
    make_dummy(paths)?;
    Ok(Node { name, address: DUMMY_ADDRESS, interface: DUMMY.to_owned() })
}

fn name(paths: &Paths) -> Result<String, Error> {
    let file = paths.config("node-name");
    if file.exists() {
        return Ok(read(&file)?.trim().to_owned());
    }
    let name = valid_name(&rustix::system::uname().nodename().to_string_lossy());
    replace(&file, &format!("{name}\n"))?;
    Ok(name)
}

/// A host name in Kubernetes' form (RFC 1123 label, lower case); `node` if nothing is left or the host has no name.
fn valid_name(host: &str) -> String {
    let label = host.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let kept: String = label.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(63).collect();
    match kept.trim_matches('-') {
        "" | "localhost" => "node".to_owned(),
        name => name.to_owned(),
    }
}

/// Interface and address of the default route, unless it is our own dummy's.
fn from_route() -> Result<Option<(String, Ipv4Addr)>, Error> {
    let routes: Vec<Route> = ip_json(&["-json", "-4", "route", "show", "default"])?;
    let Some(route) = best(routes) else { return Ok(None) };
    if let Some(address) = route.prefsrc {
        return Ok(Some((route.dev, address)));
    }
    let interfaces: Vec<Interface> = ip_json(&["-json", "-4", "address", "show", "dev", &route.dev])?;
    Ok(global(&interfaces).map(|address| (route.dev, address)))
}

fn best(routes: Vec<Route>) -> Option<Route> {
    routes.into_iter().filter(|route| !route.dev.is_empty() && route.dev != DUMMY).min_by_key(|route| route.metric)
}

fn global(interfaces: &[Interface]) -> Option<Ipv4Addr> {
    let mut all = interfaces.iter().flat_map(|interface| &interface.addr_info);
    all.find(|address| address.scope == "global").map(|address| address.local)
}

/// Whether any interface of a real device has a carrier, so that an address may still come.
fn has_cable(paths: &Paths) -> bool {
    let Ok(entries) = fs::read_dir(&paths.interfaces) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        // reading `carrier` of an interface that is down fails
        path.join("device").exists() && fs::read_to_string(path.join("carrier")).is_ok_and(|text| text.trim() == "1")
    })
}

fn make_dummy(paths: &Paths) -> Result<(), Error> {
    if !paths.interfaces.join(DUMMY).exists() {
        ip(&["link", "add", DUMMY, "type", "dummy"])?;
    }
    ip(&["address", "replace", &format!("{DUMMY_ADDRESS}/32"), "dev", DUMMY])?;
    ip(&["link", "set", DUMMY, "up"])?;
    ip(&["route", "replace", "default", "dev", DUMMY, "metric", DUMMY_METRIC])?;
    Ok(())
}

fn ip_json<T: for<'de> Deserialize<'de>>(args: &[&str]) -> Result<Vec<T>, Error> {
    let output = ip(args)?;
    parse(&output).map_err(|error| Error::format(format!("ip {}", args.join(" ")), error))
}

/// `ip` prints nothing instead of an empty list.
fn parse<T: for<'de> Deserialize<'de>>(output: &str) -> Result<Vec<T>, serde_json::Error> {
    if output.trim().is_empty() { Ok(Vec::new()) } else { serde_json::from_str(output) }
}

fn ip(args: &[&str]) -> Result<String, Error> {
    let output = Command::new("ip").args(args).output().map_err(|error| Error::io("run", "ip", error))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Program { program: format!("ip {}", args.join(" ")), text });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_best_default_route_that_is_not_ours_counts() {
        let routes = r#"[{"dst":"default","dev":"kube0","scope":"link","metric":65535,"flags":[]},
            {"dst":"default","gateway":"192.168.1.1","dev":"wlan0","protocol":"dhcp","prefsrc":"192.168.1.9","metric":2048,"flags":[]},
            {"dst":"default","gateway":"10.0.2.2","dev":"eth0","protocol":"dhcp","metric":1024,"flags":[]}]"#;
        let route = best(parse(routes).unwrap()).unwrap();
        assert_eq!((route.dev.as_str(), route.prefsrc), ("eth0", None));
        assert!(best(parse(r#"[{"dst":"default","dev":"kube0","metric":65535}]"#).unwrap()).is_none());
        assert!(best(parse("").unwrap()).is_none());
    }

    #[test]
    fn the_interfaces_own_address_is_the_nodes() {
        let addresses = r#"[{"ifindex":2,"ifname":"eth0","flags":["BROADCAST","UP"],"mtu":1500,"addr_info":[
            {"family":"inet","local":"169.254.3.4","prefixlen":16,"scope":"link"},
            {"family":"inet","local":"10.0.2.15","prefixlen":24,"broadcast":"10.0.2.255","scope":"global","dynamic":true}]}]"#;
        let interfaces: Vec<Interface> = parse(addresses).unwrap();
        assert_eq!(global(&interfaces), Some([10, 0, 2, 15].into()));
    }

    #[test]
    fn a_host_name_becomes_a_node_name() {
        for (host, name) in
            [("Edge-7.example.com", "edge-7"), ("localhost", "node"), ("", "node"), ("(none)", "none"), ("-a_b-", "ab")]
        {
            assert_eq!(valid_name(host), name, "{host}");
        }
    }

    #[test]
    fn the_name_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { state: folder.path().to_owned(), ..Paths::default() };
        let first = name(&paths).unwrap();
        assert_eq!(fs::read_to_string(paths.config("node-name")).unwrap(), format!("{first}\n"));
        fs::write(paths.config("node-name"), "kept\n").unwrap();
        assert_eq!(name(&paths).unwrap(), "kept");
    }
}
