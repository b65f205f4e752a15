//! Declared apps on a device: what every flavour that runs them must show.
//!
//! One boot has a container and a machine from good declarations, and a bad one between them. The container's program is a
//! shell that reads lines, so that a test can have it do things. It is not root's.

use crate::Checks;
use serde_json::Value;
use std::{fmt::Display, time::Duration};
use tree::Tree;
use types::{Arch, Bytes};
use vm::Guest;

/// Greets when it is ready, carries out lines, and says goodbye when it has to stop.
const SHELL: &str = r#"name: shell
memory: 192MiB
container:
  image: evek.local/time
  user: _chrony
  env: {GREETING: hello}
  command:
    - /usr/bin/bash
    - -c
    - |
      trap 'echo farewell; exit 0' TERM
      echo "$GREETING from $(uname -n)"
      while read -r line; do eval "$line"; done
  volumes:
    - {name: notes, target: /notes, size: 16MiB}
    - {name: temporary, target: /tmp/kept, size: 8MiB}
networks: [{nat: {}}]
"#;

/// Line 2 is wrong.
const BROKEN: &str = "name: broken\nmemory: much\ncontainer: {image: evek.local/time}\n";

/// Files for the CONFIG partition.
#[must_use]
pub fn declared() -> Vec<(String, Vec<u8>)> {
    let files = [("apps/broken.yml", BROKEN), ("apps/shell.yml", SHELL)];
    files.map(|(path, text)| (path.to_owned(), text.into())).to_vec()
}

/// What runs the apps of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hypervisor {
    /// QEMU, by KVM.
    Kvm,
    /// QEMU, emulating.
    Tcg,
    /// Xen, in domains that use the processor's virtualisation.
    Pvh,
    /// Xen, in domains that know of Xen and need nothing of the processor.
    Pv,
}

impl Hypervisor {
    const fn is_xen(self) -> bool {
        matches!(self, Self::Pvh | Self::Pv)
    }

    /// The service.
    const fn service(self) -> &'static str {
        if self.is_xen() { "vmm-xen" } else { "vmm" }
    }

    /// Its name in status, and what makes it fast.
    const fn names(self) -> [&'static str; 2] {
        match self {
            Self::Kvm => ["qemu", "kvm"],
            Self::Tcg => ["qemu", "tcg"],
            Self::Pvh => ["xen", "pvh"],
            Self::Pv => ["xen", "pv"],
        }
    }
}

/// What a machine starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// A kernel that is given to it.
    Linux,
    /// UEFI, which finds a boot loader on its disk.
    Uefi,
}

/// A device with declared apps, being asked.
pub struct Apps<'a> {
    /// The device.
    pub guest: &'a mut Guest,
    /// The answers.
    pub checks: &'a mut Checks,
    /// What runs the apps.
    pub hypervisor: Hypervisor,
    /// How long a guest of the device may take to start or end.
    pub limit: Duration,
}

impl Apps<'_> {
    /// The device starts the container without a command, and a bad declaration hinders nothing.
    pub fn container_starts(&mut self) {
        self.says("the container starts without a command", "shell", "", &["hello from shell"]);
        let status = self.status();
        let shell = app(&status, "shell");
        let names = self.hypervisor.names();
        self.checks.equal("the hypervisor", &status["hypervisor"], &Value::from(names[0]));
        self.checks.equal("status says that it runs", &shell["state"], &Value::from("running"));
        self.checks.equal("and what makes it fast", &shell["run"]["acceleration"], &Value::from(names[1]));
        let fault = &status["faults"][0];
        let place = (fault["file"].as_str(), fault["line"].as_u64());
        self.checks.equal(
            "the bad declaration is named with its line",
            place,
            (Some("/config/apps/broken.yml"), Some(2)),
        );
        self.checks.that("its text shows the line", fault["text"].to_string().contains("memory: much"), fault);
    }

    /// Its console answers, over the network too, and what it writes to its volume stays.
    pub fn console_answers(&mut self) {
        self.says("the console answers", "shell", "echo answer-$((6*7))", &["answer-42"]);
        self.says("the container reaches the device", "shell", GREET_THE_GATEWAY, &["heard SSH-2.0"]);
        self.says("a program that is not root can write to its volumes", "shell", WRITE, &["written-0"]);
    }

    /// Neither vmm nor a guest that has taken over its QEMU reaches secrets of the device.
    pub fn guests_are_apart(&mut self) {
        let service = self.hypervisor.service();
        let seen = self.guest.sh(&format!("svc exec {service} ls -A /persist"));
        let seen = self.checks.answer("vmm's part of P3", seen).unwrap_or_default();
        self.checks.equal("vmm's part of P3", seen.split_whitespace().collect(), vec!["apps", "images", "vmm"]);
        let key = self.guest.sh(&format!("svc exec {service} cat /persist/vault/recovery-key && echo read"));
        self.checks.that("vmm cannot read the recovery key", key.is_err(), format!("{key:?}"));
        if !self.hypervisor.is_xen() {
            let pid = app(&self.status(), "shell")["run"]["pid"].clone();
            let rights = self.guest.sh(&format!("svc exec vmm cat /proc/{pid}/status"));
            let rights = self.checks.answer("the rights of QEMU", rights).unwrap_or_default();
            let user = rights.lines().find_map(|l| l.strip_prefix("Uid:")).unwrap_or("none");
            let own = user.split_whitespace().all(|uid| uid.parse().is_ok_and(|uid: u32| uid >= 2_000_000_000));
            self.checks.that("QEMU is a user of its own", own, user);
            let none = rights.lines().any(|l| l.starts_with("CapEff:") && l.ends_with("0000000000000000"));
            self.checks.that("QEMU has no capabilities", none, &rights);
        }
    }

    /// A volume grows when its declaration asks for that, and keeps its files.
    pub fn volume_grows(&mut self) {
        let edit = "mount -o remount,rw /config && sed -i s/16MiB/48MiB/ /config/apps/shell.yml && mount -o remount,ro /config";
        self.sh("the declaration asks for a larger volume", edit);
        self.sh("vmm reads the declarations again", "vmm reload");
        self.says("the container starts again", "shell", "", &["hello from shell"]);
        self.says("its volume has grown and kept its files", "shell", MEASURE, &["grown, with: kept"]);
    }

    /// A guest that is killed from outside runs again.
    pub fn killed_guest_runs_again(&mut self) {
        let before = self.restarts();
        let (kill, end) = self.kill();
        self.sh("the guest is killed", &kill);
        self.says("it runs again", "shell", "", &[end, "hello from shell"]);
        let after = self.restarts();
        self.checks.equal("the restart is counted", after, before + 1);
        self.says("its volumes are as they were", "shell", READ, &["notes: kept and kept"]);
    }

    fn restarts(&mut self) -> u64 {
        app(&self.status(), "shell")["restarts"].as_u64().unwrap_or_default()
    }

    /// How the container's guest is killed, and what is said of it then.
    fn kill(&mut self) -> (String, &'static str) {
        if self.hypervisor.is_xen() {
            return ("svc exec vmm-xen xl destroy shell".to_owned(), "its domain was destroyed");
        }
        let pid = app(&self.status(), "shell")["run"]["pid"].clone();
        (format!("svc exec vmm kill -9 {pid}"), "signal 9")
    }

    /// Its program is asked to end, and then it stays stopped.
    pub fn stops_when_told(&mut self) {
        self.sh("vmm stops it", "vmm stop shell");
        self.says("its program says goodbye", "shell", "", &["farewell", "[vmm: switched itself off]"]);
        let state = app(&self.status(), "shell")["state"].clone();
        self.checks.equal("it stays stopped", state, Value::from("stopped"));
    }

    /// A machine with disks, declared on P3 while the device runs. With UEFI it has a TPM too.
    pub fn machine_starts(&mut self, firmware: Firmware, arch: Arch) {
        if !self.make_machine(firmware, arch) {
            return;
        }
        self.sh("vmm reads the declarations again", "vmm reload");
        self.says("the machine starts", "machine", "", &["hello from machine"]);
        self.says("its disk has grown and kept its data", "machine", FIND_THE_GROWN_DISK, &["grown, with: kept"]);
        let uuid = app(&self.status(), "machine")["run"]["uuid"].as_str().unwrap_or("none").to_owned();
        self.says("its firmware shows its UUID", "machine", SHOW_THE_UUID, &[&format!("uuid: {uuid}")]);
        if firmware == Firmware::Uefi {
            self.says("it has a TPM", "machine", "echo tpm: $(cat /sys/class/tpm/tpm0/tpm_version_major)", &["tpm: 2"]);
        }
        self.says("its console answers", "machine", "echo answer-$((6*7))", &["answer-42"]);
        self.sh("vmm stops it", "vmm stop machine");
        self.says("it switches itself off", "machine", "", &["farewell", "[vmm: switched itself off]"]);
    }

    /// Makes the machine out of what the device has: the guests' kernel, the device's own boot loader, and copies of the
    /// container's disks, whose program it runs.
    fn make_machine(&mut self, firmware: Firmware, arch: Arch) -> bool {
        self.sh("folders for the machine", "mkdir -p /persist/apps /persist/images");
        if firmware == Firmware::Uefi {
            let Some(volume) = self.checks.answer("an empty volume", empty_volume()) else { return false };
            let write = "cat > /persist/images/machine.raw && truncate -s 32M /persist/images/machine.raw";
            let sent = self.guest.ssh_within(write, &volume, self.limit);
            if self.checks.answer("it is sent to the device", sent).is_none() {
                return false;
            }
        }
        let Some(layers) = self.layers() else { return false };
        let console = match (self.hypervisor, arch) {
            (hypervisor, _) if hypervisor.is_xen() => "hvc0",
            (_, Arch::Amd64) => "ttyS0",
            (_, Arch::Arm64) => "ttyAMA0",
        };
        let kind = if firmware == Firmware::Uefi { "uefi" } else { "linux" };
        let command = format!("bash -s {} {kind} {console} {}", self.hypervisor.service(), layers.join(" "));
        // read as a whole first, so that no program in it takes the rest of it for its input
        let script = format!("run() {{\n{MACHINE}}}\nrun \"$@\" < /dev/null\n");
        let made = self.guest.ssh_within(&command, script.as_bytes(), self.limit);
        let Some(made) = self.checks.answer("the machine is made", made) else { return false };
        self.checks.that("the machine is made", made.success(), &made.stderr);
        made.success()
    }

    /// Digests of the layers of the container's image, as the slot's store has them.
    fn layers(&mut self) -> Option<Vec<String>> {
        let index = self.json("the store's index", "index.json")?;
        let images = index["manifests"].as_array().cloned().unwrap_or_default();
        let named = |image: &&Value| image["annotations"][NAME].as_str().is_some_and(|n| n.contains("/time:"));
        let manifest = images.iter().find(named).map(|image| hex(&image["digest"])).unwrap_or_default();
        let manifest = self.json("the image's manifest", &format!("blobs/sha256/{manifest}"))?;
        Some(manifest["layers"].as_array()?.iter().map(|layer| hex(&layer["digest"])).collect())
    }

    fn json(&mut self, what: &str, path: &str) -> Option<Value> {
        let text = self.guest.sh(&format!("cat /run/evek/store/{path}"));
        let text = self.checks.answer(what, text)?;
        self.checks.answer(what, serde_json::from_str(&text))
    }

    /// Sends a line to an app's console, and waits until it has said all this, one after the other.
    fn says(&mut self, what: &str, app: &str, line: &str, texts: &[&str]) {
        let texts: Vec<String> = texts.iter().map(|text| format!("'{text}'")).collect();
        let seconds = self.limit.as_secs();
        let command = format!("timeout {seconds} vmm console {app} --until {}", texts.join(" "));
        let input = if line.is_empty() { String::new() } else { format!("{line}\n") };
        let answer = self.guest.ssh_within(&command, input.as_bytes(), self.limit + Duration::from_secs(30));
        if let Some(answer) = self.checks.answer(what, answer) {
            let holds = answer.success();
            let found = format!("{}\n{}", answer.stdout, answer.stderr);
            let status = if holds { String::new() } else { self.guest.sh("vmm status").unwrap_or_default() };
            self.checks.that(what, holds, format!("{}\n{status}", last_lines(&found)));
        }
    }

    fn sh(&mut self, what: &str, command: &str) {
        let answer = self.guest.sh(command);
        self.checks.answer(what, answer);
    }

    fn status(&mut self) -> Value {
        let answer = self.guest.sh("vmm status --json");
        let answer = self.checks.answer("vmm status", answer).unwrap_or_default();
        let status = serde_json::from_str(&answer);
        self.checks.answer("vmm status is JSON", status).unwrap_or_default()
    }
}

/// Annotation of an image's descriptor: its name (OCI image-spec, annotations.md).
const NAME: &str = "org.opencontainers.image.ref.name";

/// Run by the container: what the ssh server of the device, its gateway, says first.
const GREET_THE_GATEWAY: &str = "while read -r _ d g _; do [ $d = 00000000 ] && break; done < /proc/net/route; \
     b() { echo $((16#${g:$1:2})); }; read -r line < /dev/tcp/$(b 6).$(b 4).$(b 2).$(b 0)/22; echo \"heard $line\"";

/// Run by the container: writes to both volumes, as another user than root.
const WRITE: &str = "[ $EUID != 0 ] && echo kept > /notes/note && echo kept > /tmp/kept/note && sync; echo written-$?";
const READ: &str = "echo \"notes: $(</notes/note) and $(</tmp/kept/note)\"";
/// An ext4 of 48 MiB has more than 30 MiB for files, and one of 16 MiB never has.
const MEASURE: &str =
    "set -- $(stat -f -c '%b %S' /notes); [ $(($1*$2>>20)) -gt 30 ] && echo \"grown, with: $(</notes/note)\"";

/// Run by the machine: looks for the disk of 16 MiB, whose file had 8 MiB and began with `kept`.
const FIND_THE_GROWN_DISK: &str = "for d in /sys/class/block/*; do \
     [ $(<$d/size) = 32768 ] && read -rn 4 t < /dev/${d##*/} && echo \"grown, with: $t\"; done";
/// Firmware has it under QEMU, the kernel under Xen.
const SHOW_THE_UUID: &str = "echo uuid: $(cat /sys/class/dmi/id/product_uuid /sys/hypervisor/uuid 2>/dev/null)";

fn hex(digest: &Value) -> String {
    digest.as_str().unwrap_or_default().trim_start_matches("sha256:").to_owned()
}

fn app(status: &Value, name: &str) -> Value {
    let apps = status["apps"].as_array();
    apps.and_then(|apps| apps.iter().find(|app| app["name"] == name)).cloned().unwrap_or_default()
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// The beginning of an empty FAT volume of 32 MiB: all that is not zero.
fn empty_volume() -> Result<Vec<u8>, impl Display> {
    let file = tempfile::tempfile().map_err(|e| e.to_string())?;
    let volume = disk::fat::Volume { size: Bytes::mib(32), label: "MACHINE".to_owned(), id: 1 };
    disk::fat::write(&file, &volume, &Tree::default()).map_err(|e| e.to_string())?;
    let mut bytes = vec![0; 1 << 20];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).map_err(|e| e.to_string())?;
    let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    bytes.truncate(end);
    Ok::<_, String>(bytes)
}

/// Run by the device's bash, with the service, `linux` or `uefi`, the console and the digests of the container's layers.
const MACHINE: &str = r#"set -eu
service=$1 firmware=$2 cmdline="console=$3 loglevel=3 panic=1 no_timer_check"; shift 3
cd /persist/images
for file in vmlinuz initrd; do svc exec $service cat /usr/share/guest/$file > $file; done
# the container's disks: its spec, renamed, root's, without its network card and volumes, and its layers
sed -e 's/"hostname":"shell"/"hostname":"machine"/' -e 's/"user":"_chrony"/"user":""/' \
  -e 's/"volumes":.*]}/"volumes":[],"networks":[]}/' /run/vmm/shell/spec > spec.raw
truncate -s 1M spec.raw
printf kept > data.raw
truncate -s 8M data.raw
disks='{file: /persist/images/spec.raw}, {file: /persist/images/data.raw, size: 16MiB}'
n=0
for layer in "$@"; do
  cp /run/evek/store/blobs/sha256/$layer layer$n.raw
  disks="$disks, {file: /persist/images/layer$n.raw, read_only: true}"
  n=$((n+1))
done
case $firmware in
linux)
  start="firmware: {linux: {kernel: /persist/images/vmlinuz, initrd: /persist/images/initrd, cmdline: '$cmdline'}}" ;;
uefi)
  start='tpm: true'
  disks="{file: /persist/images/machine.raw}, $disks"
  mkdir -p /run/machine /run/esp
  mount -t vfat -o loop machine.raw /run/machine
  mount -t vfat -o ro "/dev/disk/by-partlabel/EFI\\x20System" /run/esp
  mkdir -p /run/machine/EFI/BOOT /run/machine/loader/entries
  cp /run/esp/EFI/BOOT/BOOT*.EFI /run/machine/EFI/BOOT/
  cp vmlinuz initrd /run/machine/
  printf 'timeout 0\n' > /run/machine/loader/loader.conf
  printf 'title machine\nlinux /vmlinuz\ninitrd /initrd\noptions %s\n' "$cmdline" > /run/machine/loader/entries/machine.conf
  umount /run/machine /run/esp ;;
esac
printf 'name: machine\nmemory: 256MiB\nmachine:\n  %s\n  disks: [%s]\n' "$start" "$disks" > /persist/apps/machine.yml
"#;
