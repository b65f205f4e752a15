//! A device in a folder: its tools are scripts that note how they are called; its registers, its header and the NV index of its
//! TPM are files.

use crate::{changes, header::Header, measure, paths::Paths, record::Record, tpm::Tpm, volume, volume::Volume};
use boot::measure::Register;
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;

const TOOLS: [&str; 10] = [
    "cryptsetup",
    "dmsetup",
    "mount",
    "umount",
    "systemctl",
    "systemd-ask-password",
    "systemd-cryptenroll",
    "systemd-cryptsetup",
    "systemd-pcrextend",
    "systemd-repart",
];

pub(super) const SEVEN: &str = "7777777777777777777777777777777777777777777777777777777777777777";
pub(super) const STUB_MEASURED: &str = "variables/StubPcrKernelImage-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
pub(super) const ELEVEN: &str = "1111111111111111111111111111111111111111111111111111111111111111";

pub(super) struct Device {
    folder: TempDir,
    pub(super) paths: Paths,
}

impl Device {
    /// Without a TPM and without P3.
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let folders = ["bin", "does", "slots", "tokens", "config", "run", "stick", "variables", "policy", "repart.d"];
        for name in folders {
            fs::create_dir(at(name)).unwrap();
        }
        // another process writes the script: one that is open for writing anywhere cannot be run
        fs::write(at("tool.sh"), include_str!("tool.sh")).unwrap();
        let installed = Command::new("install").args(["-m", "755"]).args([at("tool.sh"), at("bin/tool")]).status();
        assert!(installed.unwrap().success());
        for tool in TOOLS {
            symlink("tool", at("bin").join(tool)).unwrap();
        }
        let paths = Paths {
            commands: vec![at("nothing"), at("bin")],
            disk: at("disk"),
            partition: at("P3"),
            mapped: at("persist"),
            blocks: at("blocks"),
            definitions: at("repart.d"),
            config: at("config"),
            run: at("run"),
            state: at("vault"),
            medium: at("EVEKEY"),
            tpm: at("tpm"),
            tpm_device: at("tpm"),
            exchange: super::tpm::answer,
            policy: at("policy"),
            machine_id: at("machine-id"),
            variables: at("variables"),
            pause: Duration::ZERO,
            patience: Duration::ZERO,
        };
        let device = Self { folder, paths };
        device.does("cryptsetup", include_str!("cryptsetup.sh"));
        device.does("systemd-cryptenroll", include_str!("cryptenroll.sh"));
        device.does("systemd-cryptsetup", include_str!("attach.sh"));
        device.does("mount", "for last; do :; done; cp -r \"$here/stick/.\" \"$last\"");
        device.does("umount", "rm -f \"$1\"/*");
        device
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
        self
    }

    pub(super) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// What a tool does when it is called.
    pub(super) fn does(&self, tool: &str, script: &str) -> &Self {
        self.write(&format!("does/{tool}"), script)
    }

    /// With a TPM that CONFIG, the firmware and the stub are measured into.
    pub(super) fn with_tpm(self) -> Self {
        self.write("tpm/tpm_version_major", "2\n").write("tpm/seed", "one").write(STUB_MEASURED, [6, 0, 0, 0, 49, 0]);
        for (register, value) in [("7", SEVEN), ("11", ELEVEN), ("14", "")] {
            self.write(&format!("tpm/pcr-sha256/{register}"), format!("{value}\n"));
        }
        self.restart();
        self
    }

    /// A start: CONFIG is measured as it is now, and what is in memory only is gone.
    pub(super) fn restart(&self) {
        fs::remove_dir_all(self.path("run")).unwrap();
        let words = self.words();
        let before = Register::default();
        self.write("run/config-before", before.value().hex()).write("run/config-measured", &words);
        self.write("tpm/pcr-sha256/14", measure::predicted(before, &words).hex().to_uppercase() + "\n");
        for gone in ["persist", "power", "calls"] {
            let _ = fs::remove_file(self.path(gone));
        }
    }

    /// The words that are measured for CONFIG as it is.
    pub(super) fn words(&self) -> String {
        measure::words_for(&measure::files(&self.paths).unwrap())
    }

    /// With the owner's signatures for the image that runs.
    pub(super) fn with_policy(self) -> Self {
        self.write("policy/tpm2-pcr-public-key.pem", "key").write("policy/tpm2-pcr-signature.json", "{}");
        self
    }

    /// With a P3 that the TPM opens, as systemd-repart makes it.
    pub(super) fn with_sealed_p3(self) -> Self {
        self.write("P3", b"LUKS\xba\xbe\x00\x02");
        let policy = format!("{SEVEN} {}", self.text("tpm/pcr-sha256/14").trim().to_lowercase());
        let token = serde_json::json!({"type": "systemd-tpm2", "keyslots": ["0"], "tpm2-blob": "one",
            "tpm2-policy-hash": policy, "tpm2_pubkey": "x", "tpm2_pubkey_pcrs": [11]});
        self.write("slots/0", "in the TPM").write("tokens/0", token.to_string()).write("volume", "own");
        self
    }

    /// With a P3 that only a key opens.
    pub(super) fn with_p3_of(self, key: &str) -> Self {
        self.write("P3", b"LUKS\xba\xbe\x00\x02").write("slots/0", key).write("volume", "own");
        self
    }

    pub(super) fn with_plain_p3(self) -> Self {
        let mut bytes = vec![0; 8192];
        bytes[1080..1082].copy_from_slice(b"\x53\xef");
        self.write("P3", bytes);
        self
    }

    /// A medium with a file `recovery.key`.
    pub(super) fn insert(&self, key: &str) -> &Self {
        self.write("stick/recovery.key", key).write("EVEKEY", "")
    }

    /// The calls of tools, with `@` for the device's folder.
    pub(super) fn calls(&self) -> Vec<String> {
        self.text("calls").replace(&self.folder.path().display().to_string(), "@").lines().map(str::to_owned).collect()
    }

    /// Those of one tool, or of one of its actions.
    pub(super) fn calls_of(&self, start: &str) -> Vec<String> {
        self.calls().into_iter().filter(|call| call.starts_with(start)).collect()
    }

    /// The tokens of a kind.
    pub(super) fn tokens(&self, kind: &str) -> Vec<Value> {
        let mut tokens: Vec<_> =
            files(&self.path("tokens")).iter().map(|t| serde_json::from_slice(t).unwrap()).collect();
        tokens.retain(|token: &Value| token["type"] == kind);
        tokens
    }

    /// Whether the TPM releases the key now.
    pub(super) fn tpm_opens(&self) -> bool {
        let Some(now) = Tpm::find(&self.paths).ok().map(|tpm| tpm.bound().unwrap()) else { return false };
        let policy = format!("{} {}", now.firmware, now.config);
        let seed = self.text("tpm/seed");
        self.tokens("systemd-tpm2")
            .iter()
            .any(|t| t["tpm2-policy-hash"] == policy.as_str() && t["tpm2-blob"] == seed.as_str())
    }

    /// Whether a key opens P3.
    pub(super) fn opens(&self, key: &str) -> bool {
        !key.is_empty() && files(&self.path("slots")).contains(&key.as_bytes().to_vec())
    }

    pub(super) fn record(&self) -> Record {
        Record::read(&self.paths).unwrap()
    }

    /// What the TPM holds about the volume.
    pub(super) fn volume(&self) -> Option<Volume> {
        volume::compare(&self.paths, Some(&Header::read(&self.paths).unwrap()))
    }

    /// The changes of CONFIG since the sealing.
    pub(super) fn changes(&self) -> Option<String> {
        changes::since_sealing(&self.paths).unwrap().map(|changes| changes.to_string())
    }
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    fs::read_dir(folder).unwrap().map(|item| fs::read(item.unwrap().path()).unwrap()).collect()
}
