//! `update status`.

use crate::{
    config::Config,
    error::Error,
    floor::Floor,
    health,
    machine::{self, Running},
    paths::Paths,
    record::{Last, LoaderState, LoaderTrial, Progress, Records, Refusal},
};
use serde::Serialize;
use serde_json::Value;
use slots::{Device, State};
use std::{fmt::Write as _, io};
use types::Digest;

/// The state of this device's slots and of its last update.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The running image.
    running: String,
    slots: Vec<SlotReport>,
    /// The slot that starts next.
    next: Option<&'static str>,
    /// An update that is being written, or was interrupted.
    progress: Option<Progress>,
    /// An interrupted update that this device refuses.
    refused: Option<Refusal>,
    /// The last update.
    last: Option<Last>,
    /// A boot loader that is on trial, or has failed.
    loader: Option<LoaderReport>,
    /// The oldest version that this device accepts.
    floor: Option<String>,
    /// The report of `vault open`: whether P3 is encrypted, and what its key is bound to.
    vault: Option<Value>,
    /// Faults that stop nothing: in CONFIG, in the records, on P3.
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SlotReport {
    label: &'static str,
    running: bool,
    #[serde(flatten)]
    state: State,
    image: Option<String>,
    root_hash: Option<Digest>,
}

#[derive(Debug, Serialize)]
struct LoaderReport {
    /// `trial` or `failed`.
    state: LoaderState,
    digest: Digest,
    reason: Option<String>,
}

impl LoaderReport {
    fn of(trial: LoaderTrial) -> Self {
        let LoaderTrial { state, digest, reason, .. } = trial;
        // it is on trial as long as it is not in its place
        let state = if state == LoaderState::Works { LoaderState::Trial } else { state };
        Self { state, digest, reason }
    }
}

impl Report {
    pub(crate) fn read(paths: &Paths) -> Result<Self, Error> {
        let running = Running::read(paths)?;
        let status = Device::new(machine::disk(paths, false)?).status()?;
        let records = Records::at(paths);
        let (_, warning) = Config::or_default(paths);
        warning.into_iter().for_each(|text| records.warn(text));
        let floor = Floor::read(&records, &running, health::is_good(&status, &running));
        floor.damage.into_iter().for_each(|text| records.warn(text));
        let slot = |slot: &slots::SlotStatus| SlotReport {
            label: slot.slot.label(),
            running: slot.root_hash() == Some(running.root_hash),
            state: match slot.state {
                // it is on its last try
                State::Bad { done } if done > 0 && status.is_on_trial(running.root_hash) => {
                    State::Trial { left: 0, done }
                }
                state => state,
            },
            image: slot.entries.first().map(|entry| entry.image.image_version.clone()),
            root_hash: slot.root_hash(),
        };
        Ok(Self {
            slots: status.slots.iter().map(slot).collect(),
            next: status.next().and_then(|(_, slot)| slot).map(|slot| slot.label()),
            running: running.image,
            progress: records.progress(),
            refused: records.refusal(),
            last: records.last(),
            loader: records.loader_trial().map(LoaderReport::of),
            floor: Some(floor.version).filter(|version| !version.is_empty()),
            vault: vault(paths, &records),
            // the last: what is above adds to them
            warnings: records.warnings(),
        })
    }

    pub(crate) fn text(&self, json: bool) -> String {
        if json {
            return serde_json::to_string_pretty(self).unwrap_or_default();
        }
        let mut text = String::new();
        // writing to a String cannot fail
        for slot in &self.slots {
            let mark = if slot.running { '*' } else { ' ' };
            let image = slot.image.as_deref().unwrap_or("-");
            let next = if self.next == Some(slot.label) { ", starts next" } else { "" };
            let _ = writeln!(text, "{mark} {} {image}: {}{next}", slot.label, slot.state);
        }
        if let Some(Progress { image, source, .. }) = &self.progress {
            let _ = writeln!(text, "under way: {image} from {source}");
        }
        if let Some(Refusal { image, source, reason }) = &self.refused {
            let _ = writeln!(text, "refused and not tried again: {image} from {source}: {reason}");
        }
        if let Some(last) = &self.last {
            let result = serde_json::to_value(last.result).ok();
            let result = result.as_ref().and_then(|value| value.as_str()).unwrap_or_default();
            let reason = last.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let _ = writeln!(text, "last update: {} to {}: {result}{reason}", last.from, last.to);
        }
        if let Some(LoaderReport { state, digest, reason }) = &self.loader {
            let reason = reason.as_deref().unwrap_or("for no reason that is known");
            let _ = match state {
                LoaderState::Failed => {
                    writeln!(text, "boot loader {}: failed, and is not tried again: {reason}", digest.short())
                }
                _ => writeln!(text, "boot loader {}: on trial", digest.short()),
            };
        }
        if let Some(floor) = &self.floor {
            let _ = writeln!(text, "nothing older than {floor} is accepted");
        }
        let state = self.vault.as_ref().and_then(|vault| vault["state"].as_str());
        let _ = writeln!(text, "P3 is {}; `vault status` says more", state.unwrap_or("in an unknown state"));
        for warning in &self.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }
}

/// The report on P3. A start in which `vault` has written none is not a fault of that file.
fn vault(paths: &Paths, records: &Records) -> Option<Value> {
    match machine::json(&paths.vault) {
        Ok(value) => Some(value),
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            records.warn(format!("`vault` has not opened P3: there is no {}", paths.vault.display()));
            None
        }
        Err(e) => {
            records.warn(e.to_string());
            None
        }
    }
}
