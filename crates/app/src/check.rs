//! Rules that types cannot express.

use crate::{App, Container, Disk, Error, Firmware, IMAGES, Kind, Located, Machine, Network, Place, address};
use std::{collections::BTreeSet, path::Path};
use types::Bytes;
use yaml::{Problem, Source};

/// The least memory in which the guest's kernel starts.
const LEAST_MEMORY: Bytes = Bytes::mib(64);
/// The smallest disk.
const LEAST_DISK: Bytes = Bytes::mib(1);
/// The smallest ext4 that has room beside its journal.
const LEAST_VOLUME: Bytes = Bytes::mib(8);
/// A name becomes part of paths of sockets, which have at most 107 bytes (unix(7)).
const LONGEST_NAME: usize = 32;
/// File systems of the kernel that a container's first program mounts; a volume there would hide them or be hidden.
const COVERED: [&str; 3] = ["proc", "sys", "dev"];
/// Files that a container's first program writes.
const WRITTEN: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// All broken rules, in the order of the file.
pub(crate) fn rules(app: &App, source: &Source) -> Vec<Error> {
    let mut check = Check { source, errors: Vec::new() };
    check.name(app);
    if *app.cpus < 1 || *app.cpus > 256 {
        check.rule(&app.cpus.at, "`cpus` is a number from 1 to 256");
    }
    check.at_least("memory", &app.memory, LEAST_MEMORY);
    match (&app.machine, &app.container) {
        (Some(machine), None) => check.machine(machine),
        (None, Some(container)) => check.container(container),
        (Some(_), Some(container)) => check.rule(&container.at, "an app is either a `machine` or a `container`"),
        (None, None) => check.rule(&app.name.at, "an app needs either `machine:` or `container:`"),
    }
    if check.errors.is_empty() {
        check.networks(app);
    }
    check.errors.sort_by_key(|e| e.at.line);
    check.errors
}

struct Check<'a> {
    source: &'a Source,
    errors: Vec<Error>,
}

impl Check<'_> {
    fn rule(&mut self, at: &Place, text: impl Into<String>) {
        self.errors.push(self.source.error(at.clone(), Problem::Rule(text.into())));
    }

    fn name(&mut self, app: &App) {
        let stem = Path::new(&self.source.file).file_stem().map(|s| s.to_string_lossy().into_owned());
        if stem.as_deref() != Some(app.name.as_str()) {
            let text = format!("the name must be that of the file, `{}`", stem.unwrap_or_default());
            self.rule(&app.name.at, text);
        }
        self.is_name("an app's name", &app.name);
    }

    fn is_name(&mut self, what: &str, name: &Located<String>) {
        let ok = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && name.len() <= LONGEST_NAME;
        if !ok {
            let text = format!(
                "{what} has lower-case letters, digits and dashes, starts with a letter and has at most {LONGEST_NAME} characters"
            );
            self.rule(&name.at, text);
        }
    }

    fn at_least(&mut self, what: &str, size: &Located<Bytes>, least: Bytes) {
        if size.value < least {
            self.rule(&size.at, format!("`{what}` is at least {}MiB", least.0 >> 20));
        }
    }

    /// A file in the one folder of P3 with files of machines: vmm sees no other.
    fn is_image(&mut self, path: &Located<String>) {
        let inside = parts(path).is_some_and(|parts| matches!(parts[..], ["persist", "images", _, ..]));
        if !inside {
            let text = format!("`{path}` is not in {IMAGES}: vmm sees no other folder; copy the file there");
            self.rule(&path.at, text);
        }
    }

    fn machine(&mut self, machine: &Located<Machine>) {
        match &machine.firmware {
            Firmware::Uefi if machine.disks.is_empty() => {
                self.rule(&machine.at, "a machine with UEFI needs a disk to start from, in `disks`");
            }
            Firmware::Uefi => {}
            Firmware::Linux(linux) => {
                self.is_image(&linux.kernel);
                linux.initrd.iter().for_each(|initrd| self.is_image(initrd));
            }
        }
        let mut files = BTreeSet::new();
        for disk in &machine.disks {
            self.disk(disk);
            if !files.insert(parts(&disk.file)) {
                self.rule(&disk.file.at, format!("the file {} is a disk of this machine already", disk.file));
            }
        }
    }

    fn disk(&mut self, disk: &Disk) {
        self.is_image(&disk.file);
        let Some(size) = &disk.size else { return };
        self.at_least("size", size, LEAST_DISK);
        if size.value.0 % 512 != 0 {
            self.rule(&size.at, "the size of a disk is a multiple of 512 bytes");
        }
        if disk.read_only {
            self.rule(&size.at, "vmm makes and grows no disk that is read-only: leave out `size` or `read_only`");
        }
    }

    fn container(&mut self, container: &Container) {
        let (mut names, mut targets) = (BTreeSet::new(), BTreeSet::new());
        for volume in &container.volumes {
            self.is_name("a volume's name", &volume.name);
            self.at_least("size", &volume.size, LEAST_VOLUME);
            self.target(&volume.target);
            if let Some(owner) = volume.owner.as_ref().filter(|owner| owner.is_empty() || owner.starts_with(':')) {
                self.rule(&owner.at, "the owner of a volume is `user` or `user:group`");
            }
            if !names.insert(&volume.name.value) {
                self.rule(&volume.name.at, format!("two volumes are called `{}`", volume.name));
            }
            if !targets.insert(parts(&volume.target)) {
                self.rule(&volume.target.at, format!("two volumes are at {}", volume.target));
            }
        }
    }

    fn target(&mut self, target: &Located<String>) {
        let covered = match parts(target).as_deref() {
            None | Some([]) => {
                let text = "the target of a volume is a path that begins with `/`, has no `..` and is not `/` itself";
                return self.rule(&target.at, text);
            }
            // a tmpfs of the container's own, on which volumes are mounted
            Some(["dev", "shm", ..]) => return,
            Some([first, ..]) if COVERED.contains(first) => format!("/{first} is a file system of the kernel"),
            Some(["etc", file, ..]) if WRITTEN.contains(file) => format!("/etc/{file} is written at each start"),
            Some(_) => return,
        };
        self.rule(&target.at, format!("a volume cannot be at {target}, because {covered}: choose another target"));
    }

    fn networks(&mut self, app: &App) {
        let mut ports = BTreeSet::new();
        for network in &app.networks {
            match &network.value {
                Network::Nat(nat) => {
                    for forward in &nat.forwards {
                        for port in [&forward.host, &forward.guest] {
                            if port.value == 0 {
                                self.rule(&port.at, "a port is a number from 1 to 65535");
                            }
                        }
                        if !ports.insert((forward.protocol, forward.host.value)) {
                            let text = format!("port {} of the device is forwarded twice", forward.host);
                            self.rule(&forward.host.at, text);
                        }
                    }
                }
                Network::Bridge(bridge) => self.bridge(app, bridge),
            }
        }
    }

    fn bridge(&mut self, app: &App, bridge: &crate::Bridge) {
        // kernel, IFNAMSIZ with the final zero
        if bridge.name.is_empty() || bridge.name.len() > 15 || bridge.name.contains(['/', ' ', ',']) {
            self.rule(&bridge.name.at, format!("`{}` is not the name of a network interface", bridge.name));
        }
        match (app.kind(), &bridge.address) {
            (Kind::Container(_), None) => {
                self.rule(&bridge.name.at, "a container on a bridge needs an `address`, such as 192.0.2.7/24");
            }
            (Kind::Container(_), Some(text)) if address(text).is_none() => {
                self.rule(&text.at, format!("`{text}` is not an address with a prefix, such as 192.0.2.7/24"));
            }
            (Kind::Machine(_), Some(text)) => {
                self.rule(&text.at, "a machine sets its own address: leave out `address`");
            }
            _ => {}
        }
    }
}

/// The names that lead to a path, without empty ones and `.`; `None` for a path that is relative, has `..` or control
/// characters.
fn parts(path: &str) -> Option<Vec<&str>> {
    let all = path.strip_prefix('/')?.split('/').filter(|part| !part.is_empty() && *part != ".");
    let parts: Vec<&str> = all.collect();
    let clean = !parts.contains(&"..") && !path.contains(char::is_control);
    clean.then_some(parts)
}
