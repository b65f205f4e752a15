//! The pod network: a bridge on this node, for the host's containerd, which runs the plugins of Debian's
//! containernetworking-plugins (CNI specification 1.0.0).
//!
//! There is one node, so there is no overlay network. Packets that leave the bridge's network are masqueraded.

use crate::{
    config::Paths,
    error::{Error, replace},
};
use serde_json::json;

/// The part of the pod network that the cluster's first node receives.
const NODE_NETWORK: &str = "10.42.0.0/24";

fn conflist(paths: &Paths) -> serde_json::Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "evek",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isDefaultGateway": true,
                "ipMasq": true,
                // a pod can reach itself through its service
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": NODE_NETWORK}]],
                    // pods do not outlive the device's restart, so neither do their addresses
                    "dataDir": paths.cni.join("addresses"),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// Writes the configuration that containerd waits for.
pub(crate) fn write(paths: &Paths) -> Result<(), Error> {
    replace(&paths.cni.join("net.d/10-evek.conflist"), &format!("{:#}\n", conflist(paths)))?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn containerd_finds_a_list_with_a_bridge_in_the_pod_network() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { cni: folder.path().to_owned(), ..Paths::default() };
        write(&paths).unwrap();
        let text = std::fs::read_to_string(folder.path().join("net.d/10-evek.conflist")).unwrap();
        let list: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(list["plugins"][0]["type"], "bridge");
        let subnet = list["plugins"][0]["ipam"]["ranges"][0][0]["subnet"].as_str().unwrap();
        let prefix = |network: &str| network.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(prefix(subnet), prefix(crate::config::POD_NETWORK));
        // the folder has no other file, not even for a moment under a name that containerd reads
        assert_eq!(std::fs::read_dir(folder.path().join("net.d")).unwrap().count(), 1);
    }
}
