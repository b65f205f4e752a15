//! Declared apps on a device: what every flavour that runs them must show.
//!
//! One boot has a container and a machine from good declarations, and a bad one between them. The container's program is a
//! shell that reads lines, so that a test can ask it things.

use crate::Checks;
use serde_json::Value;
use std::{fmt::Display, time::Duration};
use tree::Tree;
use types::Bytes;
use vm::Guest;

/// Says when it is ready, carries out lines, and says goodbye when it is told to stop.
const SHELL: &str = r#"name: shell
memory: 192MiB
container:
  image: evek.local/time
  env: {GREETING: hello}
  command:
    - /usr/bin/bash
    - -c
    - |
      trap 'echo farewell; exit 0' TERM
      echo "$GREETING from $(uname -n)"
      while read -r line; do eval "$line"; done
  volumes: [{name: notes, target: /notes, size: 16MiB}]
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

/// A device with declared apps, being asked.
pub struct Apps<'a> {
    /// The device.
    pub guest: &'a mut Guest,
    /// The answers.
    pub checks: &'a mut Checks,
    /// How long a guest of the device may take to start or end.
    pub limit: Duration,
}

impl Apps<'_> {
    /// The container starts by itself, and a bad declaration hinders nothing. `by` is what makes it fast.
    pub fn container_starts(&mut self, hypervisor: &str, by: &str) {
        self.says("the container starts by itself", "shell", "", &["hello from shell"]);
        let status = self.status();
        self.checks.equal("the hypervisor", &status["hypervisor"], &Value::from(hypervisor));
        let shell = app(&status, "shell");
        self.checks.equal("status says that it runs", &shell["state"], &Value::from("running"));
        self.checks.equal("and what makes it fast", &shell["run"]["acceleration"], &Value::from(by));
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
        // the device's own loopback, as seen from QEMU's user network
        let banner = "read -r line < /dev/tcp/10.0.2.2/22; echo \"heard $line\"";
        self.says("the container reaches the network", "shell", banner, &["heard SSH-2.0"]);
        self.says("a volume can be written", "shell", "echo kept > /notes/note; sync; echo written-$?", &["written-0"]);
    }

    /// A guest that is killed from outside runs again.
    pub fn killed_guest_runs_again(&mut self) {
        let pid = app(&self.status(), "shell")["run"]["pid"].clone();
        self.sh("the guest's process is killed", &format!("svc exec vmm kill -9 {pid}"));
        self.says("it runs again", "shell", "", &["signal 9", "hello from shell"]);
        let restarts = app(&self.status(), "shell")["restarts"].clone();
        self.checks.equal("the restart is counted", restarts, Value::from(1));
        self.says("its volume is as it was", "shell", "echo \"note: $(cat /notes/note)\"", &["note: kept"]);
    }

    /// Its program is asked to end, and then it stays stopped.
    pub fn stops_when_told(&mut self) {
        self.sh("it is told to stop", "vmm stop shell");
        self.says("its program says goodbye", "shell", "", &["signal 9", "farewell", "[vmm: switched itself off]"]);
        let state = app(&self.status(), "shell")["state"].clone();
        self.checks.equal("it stays stopped", state, Value::from("stopped"));
    }

    /// A machine with UEFI, a disk and a TPM, declared on P3 while the device runs.
    pub fn machine_starts_from_its_disk(&mut self) {
        self.sh("the folder for the machine's disk", "mkdir -p /persist/apps /persist/images");
        if !self.make_disk() {
            return;
        }
        self.sh("vmm reads the declarations anew", "vmm reload");
        self.says("the machine starts from its disk", "machine", "", &["hello from machine"]);
        self.says("it has a TPM", "machine", "echo tpm: $(cat /sys/class/tpm/tpm0/tpm_version_major)", &["tpm: 2"]);
        self.sh("it is told to stop", "vmm stop machine");
        self.says("it switches itself off", "machine", "", &["farewell", "[vmm: switched itself off]"]);
    }

    /// Makes the machine's disks out of what the device has: a volume with the device's own boot loader and the guests' kernel,
    /// and the disks of the container, whose program it runs.
    fn make_disk(&mut self) -> bool {
        let Some(volume) = self.checks.answer("an empty volume", empty_volume()) else { return false };
        let write = "cat > /persist/images/machine.raw && truncate -s 32M /persist/images/machine.raw";
        let sent = self.guest.ssh_within(write, &volume, self.limit);
        if self.checks.answer("it is sent to the device", sent).is_none() {
            return false;
        }
        let made = self.guest.ssh_within("bash -s", MACHINE.as_bytes(), self.limit);
        let Some(made) = self.checks.answer("the machine's disks", made) else { return false };
        self.checks.that("the machine's disks are made", made.success(), &made.stderr);
        made.success()
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

/// Run by the device's bash.
const MACHINE: &str = r#"set -eu
cd /persist/images
mkdir -p /run/machine /run/esp
mount -t vfat -o loop machine.raw /run/machine
mount -t vfat -o ro "/dev/disk/by-partlabel/EFI\\x20System" /run/esp
mkdir -p /run/machine/EFI/BOOT /run/machine/loader/entries
cp /run/esp/EFI/BOOT/BOOT*.EFI /run/machine/EFI/BOOT/
for file in vmlinuz initrd; do svc exec vmm cat /usr/share/guest/$file > /run/machine/$file; done
console=$(grep -ao 'console=tty[SA][^, ]*' /proc/cmdline)
printf 'timeout 0\n' > /run/machine/loader/loader.conf
printf 'title machine\nlinux /vmlinuz\ninitrd /initrd\noptions %s loglevel=3 panic=1 no_timer_check\n' "$console" \
  > /run/machine/loader/entries/machine.conf
umount /run/machine /run/esp
# the container's disks: its spec, renamed and without its network card and volume, and its layers
sed -e 's/"hostname":"shell"/"hostname":"machine"/' -e 's/"volumes":.*]}/"volumes":[],"networks":[]}/' /run/vmm/shell/spec > spec.raw
truncate -s 1M spec.raw
pid=$(vmm status --json | sed -n 's/.*"pid": //p')
layers=$(svc exec vmm cat "/proc/$pid/cmdline" | tr '\0' '\n' | sed -n 's/.*readonly=on,file=//p')
disks='{file: /persist/images/machine.raw}, {file: /persist/images/spec.raw}'
n=0
for layer in $layers; do
  cp "$layer" layer$n.raw
  disks="$disks, {file: /persist/images/layer$n.raw, read_only: true}"
  n=$((n+1))
done
printf 'name: machine\nmemory: 256MiB\nmachine:\n  tpm: true\n  disks: [%s]\n' "$disks" > /persist/apps/machine.yml
"#;
