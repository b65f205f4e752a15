//! The status of this node's workload, and the node's readiness.

use crate::{api::Api, config::Paths, error::Error};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The Deployment of the cluster's DNS.
const DNS: &str = "/apis/apps/v1/namespaces/kube-system/deployments/coredns";

/// The answer of `kube status`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    ready: bool,
    /// Version of the API server.
    version: String,
    nodes: Vec<NodeStatus>,
    components: Vec<Component>,
    /// The number of pods.
    pods: usize,
    /// Pods that neither run well nor ended well.
    pods_not_ready: Vec<PodStatus>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct NodeStatus {
    name: String,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    address: String,
    kubelet: String,
    runtime: String,
    kernel: String,
}

/// A Deployment or DaemonSet.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Component {
    namespace: String,
    name: String,
    ready: u32,
    wanted: u32,
    images: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct PodStatus {
    namespace: String,
    name: String,
    phase: String,
    reason: String,
}

/// Fails with the reason unless API, node and DNS are up.
pub(crate) fn ready(paths: &Paths) -> Result<(), Error> {
    let api = Api::open(paths)?;
    api.check("/readyz")?;
    let nodes: List<Node> = api.get("/api/v1/nodes")?;
    let dns: Option<Workload> = api.find(DNS)?;
    match obstacle(&nodes.items.iter().map(node_status).collect::<Vec<_>>(), dns.as_ref()) {
        None => Ok(()),
        Some(text) => Err(Error::NotReady(text)),
    }
}

/// Reads everything that the status shows from the API.
pub(crate) fn gather(paths: &Paths) -> Result<Status, Error> {
    let api = Api::open(paths)?;
    let deployments: List<Workload> = api.get("/apis/apps/v1/deployments")?;
    let daemons: List<Workload> = api.get("/apis/apps/v1/daemonsets")?;
    let answers = Answers {
        version: api.get("/version")?,
        nodes: api.get("/api/v1/nodes")?,
        workloads: deployments.items.into_iter().chain(daemons.items).collect(),
        pods: api.get("/api/v1/pods")?,
    };
    Ok(answers.status())
}

/// The API's answers.
struct Answers {
    version: Version,
    nodes: List<Node>,
    workloads: Vec<Workload>,
    pods: List<Pod>,
}

impl Answers {
    fn status(&self) -> Status {
        let nodes: Vec<_> = self.nodes.items.iter().map(node_status).collect();
        let dns =
            self.workloads.iter().find(|it| it.metadata.namespace == "kube-system" && it.metadata.name == "coredns");
        let pods_not_ready: Vec<_> = self.pods.items.iter().filter_map(pod_status).collect();
        Status {
            ready: obstacle(&nodes, dns).is_none(),
            version: self.version.git_version.clone(),
            nodes,
            components: self.workloads.iter().map(component).collect(),
            pods: self.pods.items.len(),
            pods_not_ready,
        }
    }
}

/// The reason why the node is not ready, if there is one.
fn obstacle(nodes: &[NodeStatus], dns: Option<&Workload>) -> Option<String> {
    if nodes.is_empty() {
        return Some("the node has not registered itself yet".to_owned());
    }
    if let Some(node) = nodes.iter().find(|node| !node.ready) {
        let reason = node.reason.as_deref().unwrap_or("it has not said why");
        return Some(format!("node {} is not ready: {reason}", node.name));
    }
    let Some(dns) = dns else { return Some("CoreDNS is not deployed yet".to_owned()) };
    // not its condition `Available`, which may hold without any pod during an update
    (component(dns).ready == 0).then(|| "no pod of CoreDNS is ready".to_owned())
}

fn node_status(node: &Node) -> NodeStatus {
    let condition = node.status.conditions.iter().find(|condition| condition.kind == "Ready");
    let ready = condition.is_some_and(|condition| condition.holds("Ready"));
    let address = node.status.addresses.iter().find(|address| address.kind == "InternalIP");
    NodeStatus {
        name: node.metadata.name.clone(),
        ready,
        reason: condition.filter(|_| !ready).map(Condition::text),
        address: address.map(|address| address.address.clone()).unwrap_or_default(),
        kubelet: node.status.node_info.kubelet_version.clone(),
        runtime: node.status.node_info.container_runtime_version.clone(),
        kernel: node.status.node_info.kernel_version.clone(),
    }
}

fn component(workload: &Workload) -> Component {
    let status = &workload.status;
    Component {
        namespace: workload.metadata.namespace.clone(),
        name: workload.metadata.name.clone(),
        ready: status.ready_replicas.or(status.number_ready).unwrap_or(0),
        wanted: workload.spec.replicas.or(status.desired_number_scheduled).unwrap_or(0),
        images: workload.spec.template.spec.containers.iter().map(|container| container.image.clone()).collect(),
    }
}

/// `None` for a pod that runs well or ended well.
fn pod_status(pod: &Pod) -> Option<PodStatus> {
    let status = &pod.status;
    let well = match status.phase.as_str() {
        "Succeeded" => true,
        "Running" => status.conditions.iter().any(|condition| condition.holds("Ready")),
        _ => false,
    };
    (!well).then(|| PodStatus {
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        phase: status.phase.clone(),
        reason: pod_reason(status),
    })
}

/// The most specific reason: of a waiting or ended container, else of the pod, else of a false condition.
fn pod_reason(status: &PodState) -> String {
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses);
    let of_containers = containers.filter(|container| !container.ready).filter_map(|container| {
        let state = container.state.waiting.as_ref().or(container.state.terminated.as_ref())?;
        (state.reason != "Completed").then(|| format!("{}: {}", container.name, text_of(&state.reason, &state.message)))
    });
    let of_pod = Some(text_of(&status.reason, &status.message)).filter(|text| !text.is_empty());
    let of_conditions = status.conditions.iter().find(|condition| condition.status == "False").map(Condition::text);
    of_containers.chain(of_pod).chain(of_conditions).next().unwrap_or_else(|| "not scheduled yet".to_owned())
}

fn text_of(reason: &str, message: &str) -> String {
    match (reason, message) {
        (reason, "") => reason.to_owned(),
        ("", message) => message.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

impl Status {
    /// One JSON object.
    pub(crate) fn to_json(&self) -> String {
        // plain strings, numbers and lists: JSON can represent all of them
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |ready| if ready { "ready" } else { "not ready" };
        writeln!(f, "Kubernetes {}: {}", self.version, word(self.ready))?;
        for node in &self.nodes {
            writeln!(f, "node {} {} {}", node.name, node.address, word(node.ready))?;
            writeln!(f, "  kubelet {}, {}, Linux {}", node.kubelet, node.runtime, node.kernel)?;
            if let Some(reason) = &node.reason {
                writeln!(f, "  {reason}")?;
            }
        }
        for part in &self.components {
            writeln!(
                f,
                "{}/{} {} of {} ready, {}",
                part.namespace,
                part.name,
                part.ready,
                part.wanted,
                part.images.join(", ")
            )?;
        }
        writeln!(f, "{} pods, {} not ready", self.pods, self.pods_not_ready.len())?;
        self.pods_not_ready
            .iter()
            .try_for_each(|pod| writeln!(f, "  {}/{} {}: {}", pod.namespace, pod.name, pod.phase, pod.reason))
    }
}

// The fields of the API's objects that this module reads.

#[derive(Debug, Deserialize)]
struct List<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    git_version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
}

impl Condition {
    fn holds(&self, kind: &str) -> bool {
        self.kind == kind && self.status == "True"
    }

    fn text(&self) -> String {
        text_of(&self.reason, &self.message)
    }
}

#[derive(Debug, Deserialize)]
struct Node {
    metadata: Metadata,
    #[serde(default)]
    status: NodeState,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeState {
    conditions: Vec<Condition>,
    addresses: Vec<NodeAddress>,
    node_info: NodeInfo,
}

#[derive(Debug, Deserialize)]
struct NodeAddress {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeInfo {
    kubelet_version: String,
    container_runtime_version: String,
    kernel_version: String,
}

#[derive(Debug, Deserialize)]
struct Workload {
    metadata: Metadata,
    spec: WorkloadSpec,
    #[serde(default)]
    status: WorkloadState,
}

#[derive(Debug, Deserialize)]
struct WorkloadSpec {
    #[serde(default)]
    replicas: Option<u32>,
    template: Template,
}

#[derive(Debug, Deserialize)]
struct Template {
    spec: TemplateSpec,
}

#[derive(Debug, Deserialize)]
struct TemplateSpec {
    containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
struct Container {
    #[serde(default)]
    image: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WorkloadState {
    ready_replicas: Option<u32>,
    number_ready: Option<u32>,
    desired_number_scheduled: Option<u32>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Deserialize)]
struct Pod {
    metadata: Metadata,
    #[serde(default)]
    status: PodState,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodState {
    phase: String,
    reason: String,
    message: String,
    conditions: Vec<Condition>,
    init_container_statuses: Vec<ContainerStatus>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    name: String,
    ready: bool,
    state: ContainerState,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    waiting: Option<StateReason>,
    terminated: Option<StateReason>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StateReason {
    reason: String,
    message: String,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A recorded answer of a node's API, with one pod without image and one that waits for its volume.
    fn recorded() -> Answers {
        let deployments: List<Workload> = serde_json::from_str(include_str!("../recorded/deployments.json")).unwrap();
        Answers {
            version: serde_json::from_str(include_str!("../recorded/version.json")).unwrap(),
            nodes: serde_json::from_str(include_str!("../recorded/nodes.json")).unwrap(),
            workloads: deployments.items,
            pods: serde_json::from_str(include_str!("../recorded/pods.json")).unwrap(),
        }
    }

    #[test]
    fn a_status_for_people() {
        assert_eq!(
            recorded().status().to_string(),
            "Kubernetes v1.32.0+k3s1: ready\n\
             node n1 10.255.7.1 ready\n  \
               kubelet v1.32.0+k3s1, containerd://1.6.20, Linux 6.12.48\n\
             kube-system/coredns 1 of 1 ready, evek.local/coredns:1.12.4\n\
             kube-system/local-path-provisioner 1 of 1 ready, evek.local/local-path:0.0.30\n\
             kube-system/metrics-server 1 of 1 ready, evek.local/metrics-server:0.9.0\n\
             5 pods, 2 not ready\n  \
               default/bad Pending: b: ErrImageNeverPull: Container image \"evek.local/missing:1\" is not present with pull policy of Never\n  \
               default/t Pending: not scheduled yet\n"
        );
    }

    #[test]
    fn a_status_for_programs() {
        let value: serde_json::Value = serde_json::from_str(&recorded().status().to_json()).unwrap();
        assert_eq!(value["ready"], true);
        assert_eq!(value["nodes"][0]["name"], "n1");
        assert!(value["nodes"][0].get("reason").is_none());
        assert_eq!(value["components"][0]["ready"], 1);
        assert_eq!(value["pods_not_ready"][0]["name"], "bad");
    }

    #[test]
    fn each_obstacle_is_said() {
        let obstacle = |change: fn(&mut Answers)| {
            let mut answers = recorded();
            change(&mut answers);
            let nodes: Vec<_> = answers.nodes.items.iter().map(node_status).collect();
            super::obstacle(&nodes, answers.workloads.iter().find(|it| it.metadata.name == "coredns"))
        };
        assert_eq!(obstacle(|_| {}), None);
        let obstacle = |change| obstacle(change).unwrap();
        assert_eq!(obstacle(|it| it.nodes.items.clear()), "the node has not registered itself yet");
        assert_eq!(
            obstacle(|it| {
                let ready = it.nodes.items[0].status.conditions.iter_mut().find(|it| it.kind == "Ready").unwrap();
                ready.status = "False".to_owned();
                ready.reason = "KubeletNotReady".to_owned();
                ready.message = "cni plugin not initialized".to_owned();
            }),
            "node n1 is not ready: KubeletNotReady: cni plugin not initialized"
        );
        assert_eq!(
            obstacle(|it| it.nodes.items[0].status.conditions.clear()),
            "node n1 is not ready: it has not said why"
        );
        assert_eq!(obstacle(|it| it.workloads.clear()), "CoreDNS is not deployed yet");
        assert_eq!(
            obstacle(|it| it.workloads.iter_mut().for_each(|it| it.status.ready_replicas = None)),
            "no pod of CoreDNS is ready"
        );
    }

    #[test]
    fn a_pod_that_has_ended_well_is_no_trouble() {
        let mut answers = recorded();
        for pod in &mut answers.pods.items {
            pod.status.phase = "Succeeded".to_owned();
        }
        assert_eq!(answers.status().pods_not_ready, []);
    }
}
