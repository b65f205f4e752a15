//! An image of the flavour kubevirt becomes a Ready node that runs pods, with no network card at all, and imports nothing.

use boot_tests::{
    Boot, Booting, Checks, boot,
    secure_boot::{arguments, secured},
    system,
};
use std::time::Duration;
use types::{Arch, Bytes, Flavour};
use vm::{Error, Guest, Network, Until};

/// Where the containerd of Kubernetes keeps manifests, configurations and pulled layers.
const CONTENT: &str = "/persist/containerd/io.containerd.content.v1.content";
/// Where the snapshotter keeps what is not in the store: what containers write.
const SNAPSHOTS: &str = "/persist/stored";
/// The most that registering all images may write to P3.
const REGISTERED: u64 = 1_000_000;

#[test]
fn a_node_without_network_gets_ready_and_runs_a_pod_from_the_store() {
    node_gets_ready_and_runs_a_pod("kubevirt", Arch::Amd64);
}

#[test]
#[ignore = "long: make test-all"]
fn a_node_for_arm64_gets_ready_and_runs_a_pod_from_the_store() {
    node_gets_ready_and_runs_a_pod("kubevirt-arm64", Arch::Arm64);
}

fn node_gets_ready_and_runs_a_pod(name: &'static str, arch: Arch) {
    let options = Boot::of(name, Flavour::Kubevirt, arch);
    let booting = Boot { memory: Bytes::gib(4), network: Network::None, ..options };
    let booting = boot(secured(booting));
    let (start, node, stop) = (booting.limit(60), booting.limit(120), booting.limit(30));
    let Booting { mut guest, image, .. } = booting;
    guest.wait_for(Until::Ssh, start).unwrap_or_else(|e| panic!("{e}"));
    let mut checks = Checks::default();

    // services are part of the start, and kube is ready when the node and CoreDNS are
    system::system_is_up(&mut guest, &mut checks, arch, node);
    if let Some(status) = checks.answer("svc status", guest.sh("svc status --json")) {
        checks.answer("every service is ready", boot_tests::all_ready(&status, &["kube", "time"]));
    }
    system::start_was_secure(&mut guest, &mut checks, &arguments(&image));
    no_card(&mut guest, &mut checks);
    node_is_ready(&mut guest, &mut checks);
    let registered = checks.answer("bytes on P3", bytes(&mut guest, &[CONTENT, SNAPSHOTS]));
    if let Some(bytes) = registered {
        checks.that("registering the images copied nothing", bytes < REGISTERED, format!("{bytes} bytes"));
    }
    let before = checks.answer("bytes of content", bytes(&mut guest, &[CONTENT]));
    pod_runs(&mut guest, &mut checks, node);
    let after = checks.answer("bytes of content", bytes(&mut guest, &[CONTENT]));
    checks.equal("running the pod imported nothing", after, before);
    checks.answer("the power button switches it off", guest.stop(stop));
    checks.finish();
}

fn no_card(guest: &mut Guest, checks: &mut Checks) {
    // a card has a device; loopback, bridges and the like have none
    let cards = guest.sh("for d in /sys/class/net/*/device; do test -e $d && echo $d; done; true");
    if let Some(cards) = checks.answer("network cards", cards) {
        checks.that("there is no network card", cards.is_empty(), cards);
    }
}

fn node_is_ready(guest: &mut Guest, checks: &mut Checks) {
    let Some(text) = checks.answer("kube status", guest.sh("svc exec kube -- kube status --json")) else { return };
    let parsed = serde_json::from_str::<serde_json::Value>(&text);
    let Some(status) = checks.answer("kube status is JSON", parsed) else { return };
    checks.equal("the node says that it is ready", status["ready"].as_bool(), Some(true));
    let ready = status["nodes"].as_array().map(|nodes| nodes.iter().all(|n| n["ready"] == true) && nodes.len() == 1);
    checks.that("there is one node and it is Ready", ready == Some(true), &status["nodes"]);
    let dns = status["components"].as_array().and_then(|all| all.iter().find(|c| c["name"] == "coredns"));
    checks.that("CoreDNS has a ready pod", dns.is_some_and(|c| c["ready"].as_u64() >= Some(1)), &status["components"]);
}

/// Bytes in folders of the guest.
fn bytes(guest: &mut Guest, folders: &[&str]) -> Result<u64, Error> {
    let text = guest.sh(&format!("du -scb {} | tail -n 1", folders.join(" ")))?;
    Ok(text.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(u64::MAX))
}

fn pod_runs(guest: &mut Guest, checks: &mut Checks, limit: Duration) {
    let images = guest.sh("ctr -a /run/kube-containerd/containerd.sock -n k8s.io images ls -q");
    let Some(images) = checks.answer("images for Kubernetes", images) else { return };
    let Some(image) = images.lines().find(|name| name.starts_with("evek.local/pause:")) else {
        checks.that("pause is among the images", false, images);
        return;
    };
    let pod = format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "probe"}}, "spec": {{"containers": [
            {{"name": "probe", "image": "{image}", "imagePullPolicy": "Never"}}]}}}}"#
    );
    let applied = guest.ssh_within("svc exec kube -- kubectl apply -f -", pod.as_bytes(), limit);
    let Some(applied) = checks.answer("making a pod", applied) else { return };
    checks.that("the pod is accepted", applied.success(), &applied.stderr);
    let seconds = limit.as_secs();
    let wait = format!("svc exec kube -- kubectl wait --for=condition=Ready pod/probe --timeout={seconds}s");
    let waited = guest.ssh_within(&wait, &[], limit + Duration::from_secs(60));
    if let Some(waited) = checks.answer("waiting for the pod", waited) {
        let why = guest.sh("svc exec kube -- kubectl describe pod/probe").unwrap_or_else(|e| e.to_string());
        checks.that("the pod runs", waited.success(), format!("{}{why}", waited.stderr));
    }
    let id = "svc exec kube -- kubectl get pod/probe -o jsonpath={.status.containerStatuses[0].containerID}";
    let Some(id) = checks.answer("the container's id", guest.sh(id)) else { return };
    let id = id.trim_start_matches("containerd://");
    let root = format!("findmnt -rno FSTYPE,OPTIONS /run/kube-containerd/io.containerd.runtime.v2.task/k8s.io/{id}/rootfs");
    if let Some(root) = checks.answer("the pod's root", guest.sh(&root)) {
        let lower = root.split(',').find_map(|o| o.strip_prefix("lowerdir="));
        let in_store = lower.is_some_and(|l| l.split(':').all(|layer| layer.starts_with("/run/evek/layers/")));
        checks.that("the pod's root is mounts of the store", in_store, &root);
        if let Some(upper) = root.split(',').find_map(|o| o.strip_prefix("upperdir=")) {
            let written = checks.answer("what is above the store", bytes(guest, &[upper]));
            checks.that(
                "nothing of the image is above them",
                written.is_none_or(|n| n < 100_000),
                format!("{written:?}"),
            );
        }
    }
}
