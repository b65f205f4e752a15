//! From a declaration to a guest that can be started: files are looked up and checked, and made where they are missing.

use crate::{
    disk,
    error::Error,
    files,
    hypervisor::{Boot, Card, Disk, Guest, Hypervisor},
    identity::{self, Key},
    paths::Paths,
    volume,
};
use app::{App, Container, Firmware, Kind, Machine, Network};
use guest::{Content, Process, Spec};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use store::{Image, Store};

/// Makes everything ready for a start.
pub(crate) fn prepare(app: &App, paths: &Paths, hypervisor: &dyn Hypervisor) -> Result<Guest, Error> {
    let run = paths.run.join(app.name.as_str());
    fs::create_dir_all(&run).map_err(Error::io("create", &run))?;
    let key = Key::read(&paths.machine_id)?;
    let identity = identity::of(&app.name, app.networks.len(), paths, &key)?;
    let cards = identity.macs.iter().zip(&app.networks);
    let cards: Vec<Card> =
        cards.map(|(mac, network)| Card { mac: mac.clone(), network: network.value.clone() }).collect();
    let (boot, disks, tpm) = match app.kind() {
        Kind::Machine(it) => machine(it, hypervisor, paths, &paths.state_of(&app.name))?,
        Kind::Container(it) => container(app, it, &Device { paths, hypervisor, key }, &cards)?,
    };
    Ok(Guest {
        name: app.name.value.clone(),
        uuid: identity.uuid,
        uid: identity.uid,
        cpus: app.cpus.value,
        memory: app.memory.value,
        boot,
        disks,
        cards,
        tpm,
        run,
    })
}

/// What a container needs of the device.
struct Device<'a> {
    paths: &'a Paths,
    hypervisor: &'a dyn Hypervisor,
    key: Key,
}

type Parts = (Boot, Vec<Disk>, Option<PathBuf>);

fn machine(machine: &Machine, hypervisor: &dyn Hypervisor, paths: &Paths, state: &Path) -> Result<Parts, Error> {
    let boot = match &machine.firmware {
        Firmware::Uefi => Boot::Uefi { variables: variables(hypervisor, state)? },
        Firmware::Linux(linux) => Boot::Linux {
            kernel: disk::existing(&linux.kernel, paths)?,
            initrd: linux.initrd.as_ref().map(|initrd| disk::existing(initrd, paths)).transpose()?,
            cmdline: linux.cmdline.clone(),
        },
    };
    let disks = machine.disks.iter().map(|disk| disk::ready(disk, paths)).collect::<Result<_, _>>()?;
    Ok((boot, disks, machine.tpm.then(|| state.join("tpm"))))
}

/// The guest's own copy of the firmware's variables.
fn variables(hypervisor: &dyn Hypervisor, state: &Path) -> Result<PathBuf, Error> {
    let unfit = Error::Unfit { hypervisor: hypervisor.name(), what: "UEFI firmware" };
    let template = hypervisor.uefi().ok_or(unfit)?;
    let path = state.join("variables.fd");
    if !path.exists() {
        files::replace(&path, |fresh| fs::copy(template, fresh).map(drop).map_err(Error::io("copy", template)))?;
    }
    Ok(path)
}

fn container(app: &App, container: &Container, device: &Device<'_>, cards: &[Card]) -> Result<Parts, Error> {
    let Device { paths, hypervisor, key } = device;
    let store = Store::open(&paths.store)?;
    let image = find(&store, &container.image)?;
    let mut disks = Vec::new();
    let mut layers = Vec::new();
    for layer in &image.layers {
        let blob = store.blob(&layer.blob);
        let Content::Erofs(uuid) = volume::content(&blob)? else {
            let source = io::Error::new(io::ErrorKind::InvalidData, "it is no EROFS");
            return Err(Error::io("use the layer", &blob)(source));
        };
        layers.push(uuid);
        disks.push(Disk::raw(blob, true));
    }
    let mut volumes = Vec::new();
    for volume in &container.volumes {
        let (uuid, file) = volume::ready(&app.name, volume, &paths.state_of(&app.name), key)?;
        let owner = volume.owner.as_ref().map(|owner| owner.value.clone());
        volumes.push(guest::Volume { uuid, target: volume.target.value.clone(), owner });
        disks.push(Disk::raw(file, false));
    }
    let networks = cards.iter().map(|card| network(card, *hypervisor)).collect::<Result<Vec<_>, _>>()?;
    let process = process(image, container)?;
    let spec = Spec { hostname: app.name.value.clone(), process, layers, volumes, networks };
    let file = spec_disk(paths, &app.name);
    fs::write(&file, spec.to_disk()?).map_err(Error::io("write", &file))?;
    disks.insert(0, Disk::raw(file, false));
    // The console of a container is for its process, so the kernel writes only errors. The check of the timer measures real
    // time, and fails where the guest is emulated on a busy machine.
    let cmdline = format!("console={} loglevel=3 panic=1 no_timer_check", hypervisor.console());
    let [kernel, initrd] = ["vmlinuz", "initrd"].map(|file| paths.guest.join(file));
    Ok((Boot::Linux { kernel, initrd: Some(initrd), cmdline }, disks, None))
}

/// The spec disk of a container, on which guest-init leaves its report.
pub(crate) fn spec_disk(paths: &Paths, app: &str) -> PathBuf {
    paths.run.join(app).join("spec")
}

/// An image by its name with or without a tag.
fn find<'a>(store: &'a Store, name: &str) -> Result<&'a Image, Error> {
    let is = |image: &&Image| {
        let full = image.name.as_str();
        full == name || full.rsplit_once(':').is_some_and(|(untagged, _)| untagged == name)
    };
    store.images().iter().find(is).ok_or_else(|| Error::NoImage {
        name: name.to_owned(),
        known: store.images().iter().map(|i| i.name.to_string()).collect(),
    })
}

/// The image's process, changed by the declaration.
fn process(image: &Image, container: &Container) -> Result<Process, Error> {
    const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let config = &image.document.config;
    let args = if container.command.is_empty() {
        [config.entrypoint.clone(), config.cmd.clone()].concat()
    } else {
        container.command.clone()
    };
    // a service's image has its program in the service's specification
    let service = image.service.as_ref().map(|s| s.exec.clone()).unwrap_or_default();
    let args = if args.is_empty() { service } else { args };
    if args.is_empty() {
        return Err(Error::NoCommand { image: image.name.to_string() });
    }
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut env: Vec<String> = config.env.iter().filter(|v| !container.env.contains_key(&name(v))).cloned().collect();
    env.extend(container.env.iter().map(|(name, value)| format!("{name}={value}")));
    if !env.iter().any(|v| v.starts_with("PATH=")) {
        env.push(PATH.to_owned());
    }
    let or = |own: &Option<String>, images: &str| own.clone().unwrap_or_else(|| images.to_owned());
    let cwd = or(&container.workdir, &config.working_dir);
    let cwd = if cwd.is_empty() { "/".to_owned() } else { cwd };
    Ok(Process { args, env, cwd, user: or(&container.user, &config.user) })
}

fn network(card: &Card, hypervisor: &dyn Hypervisor) -> Result<guest::Network, Error> {
    let mac = card.mac.clone();
    match &card.network {
        Network::Nat(_) => {
            let nat = hypervisor.nat(card);
            let dns = vec![nat.dns];
            Ok(guest::Network { mac, address: nat.address, prefix: nat.prefix, gateway: Some(nat.gateway), dns })
        }
        Network::Bridge(bridge) => {
            let address = bridge.address.as_ref().and_then(|a| app::address(a));
            let (address, prefix) = address.ok_or(Error::Unfit { hypervisor: hypervisor.name(), what: "DHCP" })?;
            Ok(guest::Network { mac, address, prefix, gateway: bridge.gateway, dns: bridge.dns.clone() })
        }
    }
}

#[cfg(test)]
#[path = "prepare_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
