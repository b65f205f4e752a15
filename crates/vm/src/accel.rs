//! Whether this host can run guests on its processor (KVM) or must emulate them (TCG).
//!
//! That `/dev/kvm` exists proves nothing: inside many containers and virtual machines it is there and no real guest gets
//! far. A boot sector proves little more: KVM emulates much of real mode in software, and a host was seen that ran one and
//! died at the first floating point instruction of the firmware. So the probe boots the very firmware that images boot
//! with, until it looks for something to boot.

use crate::{
    Error,
    console::Lines,
    firmware::{Firmware, flash},
    machine::{Boots, model, program},
    prepare::VARIABLES,
    tools::{Call, Tools, Uses, heard},
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    path::Path,
    sync::mpsc::channel,
    thread,
    time::Duration,
};
use types::Arch;

/// How guest instructions are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// On the host's processor.
    Kvm,
    /// By translation: any architecture on any host, 5 to 20 times slower.
    Tcg,
}

/// The probe's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What to use.
    pub accel: Accel,
    /// One line for the user; absent where there is nothing to tell.
    pub notice: Option<String>,
}

/// The verdict as kept in the cache file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The host's boot: the kernel, its modules and its hypervisor may be others after the next one.
    boot: String,
    tools: String,
    arch: Arch,
    verdict: Verdict,
}

/// Firmware takes a second or two under KVM; a dead one is not waited for longer.
const PROBE: Duration = Duration::from_secs(15);

/// What EDK II writes on the serial console when it goes through its boot options (MdeModulePkg/Universal/BdsDxe).
const FIRMWARE_RUNS: &str = "BdsDxe: ";

/// Finds out how guests of `arch` run here. The answer is kept in `cache` until the host boots anew.
///
/// # Errors
/// When QEMU cannot be started at all. A cache that cannot be read or written only costs another probe.
pub fn probe(tools: &Tools, arch: Arch, cache: &Path) -> Result<Verdict, Error> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
    let name = format!("{tools:?}");
    let kept = fs::read(cache).ok().and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
    if let Some(kept) = kept.filter(|k| !boot.is_empty() && k.boot == boot && k.tools == name && k.arch == arch) {
        return Ok(kept.verdict);
    }
    let verdict = probe_now(tools, arch)?;
    let kept = Kept { boot, tools: name, arch, verdict };
    if let Ok(text) = serde_json::to_vec(&kept) {
        let _ = cache.parent().map(fs::create_dir_all).and_then(|_| fs::write(cache, text).ok());
    }
    Ok(kept.verdict)
}

/// Finds out without looking at a cache.
fn probe_now(tools: &Tools, arch: Arch) -> Result<Verdict, Error> {
    let tcg =
        |why: String| Verdict { accel: Accel::Tcg, notice: Some(format!("{why}: emulating, expect 5–20× slower")) };
    if Arch::host() != Some(arch) {
        return Ok(tcg(format!("the guest is {arch}, this host is not")));
    }
    if let Err(e) = fs::File::options().read(true).write(true).open("/dev/kvm") {
        return Ok(tcg(match e.kind() {
            std::io::ErrorKind::NotFound => "this host has no KVM (/dev/kvm is missing)".to_owned(),
            std::io::ErrorKind::PermissionDenied => {
                "KVM is present but closed to you (join the group that owns /dev/kvm)".to_owned()
            }
            _ => format!("KVM is present but does not open ({e})"),
        }));
    }
    Ok(match boots(tools, arch, Accel::Kvm)? {
        None => Verdict { accel: Accel::Kvm, notice: None },
        Some(why) if why.is_empty() => tcg("KVM is present but starts no guest".to_owned()),
        Some(why) => tcg(format!("KVM is present but starts no guest ({why})")),
    })
}

/// Boots the firmware with nothing else. `None` when it ran to its end; otherwise QEMU's first words about it, if any.
fn boots(tools: &Tools, arch: Arch, accel: Accel) -> Result<Option<String>, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("make a folder in", &std::env::temp_dir()))?;
    Firmware::Open.prepare(arch, tools, &dir.path().join(VARIABLES))?;
    let mut args = ["-nodefaults", "-no-user-config", "-display", "none", "-m", "256M"].map(str::to_owned).to_vec();
    args.extend(model(arch, Boots::Kernel, accel));
    let folder = Uses::machine(dir.path());
    args.extend(flash(Path::new(Firmware::Open.code(arch)), &folder.view().join(VARIABLES)));
    args.extend(["-nic", "none", "-serial", "stdio"].map(str::to_owned));
    let call = Call::new(program(arch), args).uses(Uses::kvm()).uses(folder);
    let mut qemu = tools.spawn(&call, heard())?;
    let (verdict, judged) = channel();
    if let Some(errors) = qemu.stderr() {
        let verdict = verdict.clone();
        // Whatever QEMU complains about, be it that it cannot start or that the processor cannot go on, the guest is lost.
        thread::spawn(move || {
            let complaint = BufReader::new(errors).lines().map_while(Result::ok).find(|l| !l.contains("warning:"));
            complaint.map(|text| verdict.send(Some(text)))
        });
    }
    if let Some(serial) = qemu.stdout() {
        thread::spawn(move || hears(serial, FIRMWARE_RUNS).then(|| verdict.send(None)));
    }
    // Both streams have ended, or time is over: it has not run, and nobody says why.
    Ok(judged.recv_timeout(PROBE).unwrap_or(Some(String::new())))
}

/// Reads until a line contains `text`; false when the stream ends first.
fn hears(stream: impl Read, text: &str) -> bool {
    let mut lines = Lines::default();
    BufReader::new(stream).bytes().map_while(Result::ok).any(|byte| {
        let finished = lines.push(&[byte]);
        finished.iter().any(|l| l.contains(text)) || lines.unfinished().contains(text)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn nowhere() -> Tools {
        Tools::Toolbox { root: "/nowhere".into(), entry: Some("/nowhere".into()) }
    }

    fn cached(dir: &Path, boot: &str) -> std::path::PathBuf {
        let path = dir.join("accel.json");
        let verdict = Verdict { accel: Accel::Kvm, notice: Some("from the cache".into()) };
        let kept = Kept { boot: boot.trim().into(), tools: format!("{:?}", nowhere()), arch: Arch::Amd64, verdict };
        fs::write(&path, serde_json::to_vec(&kept).unwrap()).unwrap();
        path
    }

    #[test]
    fn a_verdict_of_this_boot_is_not_probed_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cached(dir.path(), &fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap());
        let tools = nowhere();
        assert_eq!(probe(&tools, Arch::Amd64, &cache).unwrap().notice.unwrap(), "from the cache");
    }

    #[test]
    fn a_verdict_of_another_boot_or_architecture_is_worthless() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cached(dir.path(), "another boot");
        let tools = nowhere();
        // No program is there to probe with, so a probe shows itself by its error or by a verdict without KVM.
        let fresh = probe(&tools, Arch::Amd64, &cache);
        assert!(fresh.is_err() || fresh.unwrap().accel == Accel::Tcg);
        let cache = cached(dir.path(), &fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap());
        let foreign = if Arch::host() == Some(Arch::Arm64) { Arch::Amd64 } else { Arch::Arm64 };
        let verdict = probe(&tools, foreign, &cache);
        if foreign == Arch::Arm64 {
            let notice = verdict.unwrap().notice.unwrap();
            assert_eq!(notice, "the guest is arm64, this host is not: emulating, expect 5–20× slower");
        }
    }

    #[test]
    fn firmware_is_heard_through_its_colours_and_a_silent_one_is_not() {
        assert!(hears(&b"\x1b[2J\x1b[01;01HBdsDxe: No bootable option"[..], FIRMWARE_RUNS));
        assert!(!hears(&b"\x1b[2J"[..], FIRMWARE_RUNS));
    }
}
