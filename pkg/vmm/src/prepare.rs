//! From a declaration to a guest that can be started: what it needs is looked up, and made where it is missing.

use crate::{
    error::Error,
    hypervisor::{Boot, Card, Disk, Guest, Hypervisor},
    places::Places,
};
use app::{App, Container, DiskFormat, Firmware, Kind, Located, Machine, Network, Volume};
use guest::{Content, PROBED, Process, Spec, Uuid};
use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::Command,
};
use store::{Image, Store};
use types::Digest;

/// Makes everything ready for a start.
pub(crate) fn prepare(app: &App, places: &Places, hypervisor: &dyn Hypervisor) -> Result<Guest, Error> {
    let run = places.run.join(app.name.as_str());
    let state = places.state.join(app.name.as_str());
    for folder in [&run, &state] {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    let cards = app.networks.iter().enumerate();
    let cards: Vec<Card> =
        cards.map(|(n, network)| Card { mac: mac(&app.name, n), network: network.value.clone() }).collect();
    let (boot, disks, tpm) = match app.kind() {
        Kind::Machine(it) => machine(it, hypervisor, &state)?,
        Kind::Container(it) => container(app, it, places, &cards, hypervisor)?,
    };
    let memory = app.memory.value;
    Ok(Guest { name: app.name.value.clone(), cpus: app.cpus.value, memory, boot, disks, cards, tpm, run })
}

type Parts = (Boot, Vec<Disk>, Option<PathBuf>);

fn machine(machine: &Machine, hypervisor: &dyn Hypervisor, state: &Path) -> Result<Parts, Error> {
    let boot = match &machine.firmware {
        Firmware::Uefi => Boot::Uefi { variables: variables(hypervisor, state)? },
        Firmware::Linux(linux) => Boot::Linux {
            kernel: linux.kernel.as_str().into(),
            initrd: linux.initrd.as_ref().map(|i| i.as_str().into()),
            cmdline: linux.cmdline.clone(),
        },
    };
    let disks = machine.disks.iter().map(disk).collect::<Result<_, _>>()?;
    Ok((boot, disks, machine.tpm.then(|| state.join("tpm"))))
}

/// The guest's own copy of the firmware's variables.
fn variables(hypervisor: &dyn Hypervisor, state: &Path) -> Result<PathBuf, Error> {
    let unfit = Error::Unfit { hypervisor: hypervisor.name(), what: "UEFI firmware" };
    let template = hypervisor.uefi().ok_or(unfit)?;
    let path = state.join("variables.fd");
    make(&path, |fresh| fs::copy(template, fresh).map(drop).map_err(Error::io("copy", template)))?;
    Ok(path)
}

fn disk(disk: &app::Disk) -> Result<Disk, Error> {
    let file = PathBuf::from(disk.file.as_str());
    match &disk.size {
        Some(size) => make(&file, |fresh| match disk.format {
            DiskFormat::Raw => empty(fresh, size.0),
            DiskFormat::Qcow2 => {
                let size = size.0.to_string();
                program("qemu-img", &["create", "-q", "-f", "qcow2", &fresh.display().to_string(), &size])
            }
        })?,
        None if !file.exists() => return Err(Error::NoDisk { path: file }),
        None => {}
    }
    Ok(Disk { file, format: disk.format, read_only: disk.read_only })
}

fn container(
    app: &App,
    container: &Container,
    places: &Places,
    cards: &[Card],
    hypervisor: &dyn Hypervisor,
) -> Result<Parts, Error> {
    let store = Store::open(&places.store)?;
    let image = find(&store, &container.image)?;
    let mut disks = Vec::new();
    let mut layers = Vec::new();
    for layer in &image.layers {
        let blob = store.blob(&layer.blob);
        let Content::Erofs(uuid) = content(&blob)? else {
            let source = io::Error::new(io::ErrorKind::InvalidData, "it is no EROFS");
            return Err(Error::io("use the layer", &blob)(source));
        };
        layers.push(uuid);
        disks.push(Disk::raw(blob, true));
    }
    let mut volumes = Vec::new();
    for volume in &container.volumes {
        let (uuid, file) = self::volume(&app.name, volume, &places.state)?;
        volumes.push(guest::Volume { uuid, target: volume.target.value.clone() });
        disks.push(Disk::raw(file, false));
    }
    let networks = cards.iter().map(|card| network(card, hypervisor)).collect::<Result<Vec<_>, _>>()?;
    let process = process(image, container)?;
    let spec = Spec { hostname: app.name.value.clone(), process, layers, volumes, networks };
    let file = spec_disk(places, &app.name);
    fs::write(&file, spec.to_disk()?).map_err(Error::io("write", &file))?;
    disks.insert(0, Disk::raw(file, false));
    // Nothing of a boot is worth more on a container's console than its own first line. The check of the timer measures
    // real time, and fails where the guest is emulated on a busy machine.
    let cmdline = format!("console={} loglevel=3 panic=1 no_timer_check", hypervisor.console());
    let [kernel, initrd] = ["vmlinuz", "initrd"].map(|file| places.guest.join(file));
    Ok((Boot::Linux { kernel, initrd: Some(initrd), cmdline }, disks, None))
}

/// Where a container's spec disk is, and with it the report of guest-init.
pub(crate) fn spec_disk(places: &Places, app: &str) -> PathBuf {
    places.run.join(app).join("spec")
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

/// What the image says, with what the declaration has in its place.
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

/// A volume's file, with an ext4 whose UUID follows from the names of app and volume.
fn volume(app: &str, volume: &Volume, state: &Path) -> Result<(Uuid, PathBuf), Error> {
    let file = state.join(app).join(format!("{}.ext4", volume.name));
    make(&file, |fresh| {
        empty(fresh, volume.size.0)?;
        let uuid = Uuid(first_16(&format!("volume {app} {}", volume.name))).to_string();
        program("mke2fs", &["-q", "-t", "ext4", "-m", "0", "-U", &uuid, &fresh.display().to_string()])
    })?;
    match content(&file)? {
        Content::Ext4(uuid) => Ok((uuid, file)),
        _ => {
            let source = io::Error::new(io::ErrorKind::InvalidData, "it is no ext4");
            Err(Error::io("use the volume", &file)(source))
        }
    }
}

fn content(file: &Path) -> Result<Content, Error> {
    let mut head = Vec::new();
    let read = File::open(file).and_then(|f| f.take(PROBED as u64).read_to_end(&mut head));
    read.map_err(Error::io("read", file))?;
    Ok(Content::of(&head))
}

/// The address of a card: QEMU's prefix, and three bytes that follow from the app's name and the card's number.
fn mac(app: &Located<String>, n: usize) -> String {
    let [a, b, c, ..] = first_16(&format!("card {app} {n}"));
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

fn first_16(text: &str) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&Digest::of(text.as_bytes()).as_bytes()[..16]);
    first
}

/// Makes a file unless it is there. It appears whole: a power cut leaves none, and the next start makes it anew.
fn make(path: &Path, write: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let fresh = path.with_file_name(name);
    write(&fresh)?;
    let synced = File::open(&fresh).and_then(|file| file.sync_all());
    synced.and_then(|()| fs::rename(&fresh, path)).map_err(Error::io("write", path))
}

fn empty(path: &Path, size: u64) -> Result<(), Error> {
    File::create(path).and_then(|file| file.set_len(size)).map_err(Error::io("write", path))
}

fn program(name: &str, args: &[&str]) -> Result<(), Error> {
    let output = Command::new(name).args(args).output().map_err(Error::io("run", name))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Program { program: format!("{name} {}", args.join(" ")), said })
}

#[cfg(test)]
#[path = "prepare_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
