//! The agent's paths, and the settings of k3s.

use crate::{
    error::{Error, replace},
    node::Node,
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The network of pods' addresses; the node of a single-node cluster receives its first /24.
pub(crate) const POD_NETWORK: &str = "10.42.0.0/16";
/// The network of service addresses.
const SERVICE_NETWORK: &str = "10.43.0.0/16";
/// The service address of CoreDNS; the add-on's manifest says the same.
const CLUSTER_DNS: &str = "10.43.0.10";

/// The agent's files. `state` survives a restart of the device; everything else is the image's or the host's.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// k3s' data folder.
    pub(crate) state: PathBuf,
    /// Folder that containerd reads network configurations from.
    pub(crate) cni: PathBuf,
    /// The add-ons in this image.
    pub(crate) manifests: PathBuf,
    /// The store of the running slot.
    pub(crate) store: PathBuf,
    /// The host's state of systemd and its network daemon.
    pub(crate) systemd: PathBuf,
    /// The kernel's folder of network interfaces.
    pub(crate) interfaces: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            state: "/persist/kube".into(),
            cni: "/run/cni".into(),
            manifests: "/usr/share/kube/manifests".into(),
            store: "/run/evek/store".into(),
            systemd: "/run/systemd".into(),
            interfaces: "/sys/class/net".into(),
        }
    }
}

impl Paths {
    /// A file of the agent's own configuration folder.
    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.state.join("config").join(name)
    }

    /// A certificate or key of the cluster.
    pub(crate) fn tls(&self, name: &str) -> PathBuf {
        self.state.join("server/tls").join(name)
    }
}

/// The settings of `k3s server`. It reads YAML, of which JSON is a part; keys are its options without dashes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Server<'a> {
    data_dir: &'a Path,
    node_name: &'a str,
    node_ip: String,
    advertise_address: String,
    cluster_cidr: &'a str,
    service_cidr: &'a str,
    cluster_dns: &'a str,
    container_runtime_endpoint: &'a str,
    pause_image: &'a str,
    write_kubeconfig: PathBuf,
    write_kubeconfig_mode: &'a str,
    resolv_conf: PathBuf,
    flannel_backend: &'a str,
    egress_selector_mode: &'a str,
    disable: Vec<&'a str>,
    disable_network_policy: bool,
    disable_cloud_controller: bool,
    disable_helm_controller: bool,
    kubelet_arg: Vec<&'a str>,
}

fn server<'a>(paths: &'a Paths, node: &'a Node) -> Server<'a> {
    Server {
        data_dir: &paths.state,
        node_name: &node.name,
        node_ip: node.address.to_string(),
        advertise_address: node.address.to_string(),
        cluster_cidr: POD_NETWORK,
        service_cidr: SERVICE_NETWORK,
        cluster_dns: CLUSTER_DNS,
        container_runtime_endpoint: "unix:///run/containerd/containerd.sock",
        pause_image: "evek.local/pause:1",
        write_kubeconfig: paths.config("admin.kubeconfig"),
        write_kubeconfig_mode: "0600",
        resolv_conf: paths.config("resolv.conf"),
        // cni.rs makes the pod network's bridge
        flannel_backend: "none",
        // API server and kubelet are on one network: no tunnel between them
        egress_selector_mode: "disabled",
        // k3s would download the images of its own add-ons; manifests.rs has ours
        disable: vec!["coredns", "servicelb", "traefik", "local-storage", "metrics-server", "runtimes"],
        disable_network_policy: true,
        disable_cloud_controller: true,
        disable_helm_controller: true,
        kubelet_arg: vec![
            // on the state partition, and one path for kubelet and containerd
            "root-dir=/persist/kubelet",
            // as containerd, so that systemd makes the cgroups
            "cgroup-driver=systemd",
            // images are in the store: collecting them frees nothing, and nothing could restore them
            "image-gc-high-threshold=100",
            "image-gc-low-threshold=99",
            "container-log-max-size=5Mi",
            "container-log-max-files=3",
        ],
    }
}

/// Writes k3s' settings. Files in `config.yaml.d` beside it take precedence.
pub(crate) fn write(paths: &Paths, node: &Node) -> Result<(), Error> {
    let text =
        serde_json::to_string_pretty(&server(paths, node)).map_err(|error| Error::format("k3s' settings", error))?;
    replace(&paths.config("config.yaml"), &(text + "\n"))?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_options_of_k3s() {
        let paths = Paths::default();
        let node = Node { name: "n1".into(), address: [10, 255, 0, 1].into(), interface: "kube0".into() };
        let text = serde_json::to_string(&server(&paths, &node)).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["data-dir"], "/persist/kube");
        assert_eq!(value["node-ip"], "10.255.0.1");
        assert_eq!(value["write-kubeconfig"], "/persist/kube/config/admin.kubeconfig");
        assert_eq!(value["disable-helm-controller"], true);
        assert!(value["kubelet-arg"].as_array().unwrap().iter().any(|arg| arg == "cgroup-driver=systemd"));
    }
}
