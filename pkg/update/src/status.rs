//! `update status`.

use crate::{
    error::Error,
    machine::{self, Running},
    places::Places,
    record::{Last, LoaderState, LoaderTrial, Progress, Records},
};
use serde::Serialize;
use serde_json::Value;
use slots::{Device, State};
use std::fmt::Write as _;
use types::Digest;

/// What there is to know.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The image that runs.
    running: String,
    slots: Vec<SlotReport>,
    /// The slot that starts next.
    next: Option<&'static str>,
    /// An update that is under way, or was interrupted.
    progress: Option<Progress>,
    /// The last update.
    last: Option<Last>,
    /// A boot loader that is tried, or was and has failed.
    loader: Option<LoaderReport>,
    /// The oldest version that this device takes.
    floor: Option<String>,
    /// What `vault open` has found: whether P3 is encrypted, and to what its key is bound.
    vault: Option<Value>,
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
    pub(crate) fn read(places: &Places) -> Result<Self, Error> {
        let running = Running::read(places)?;
        let status = Device::new(machine::disk(places, false)?).status()?;
        let records = Records::at(places);
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
            progress: records.progress()?,
            last: records.last()?,
            loader: records.loader_trial()?.map(LoaderReport::of),
            floor: records.floor()?.map(|floor| floor.version),
            vault: machine::json(&places.vault).ok(),
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
            let _ = writeln!(text, "nothing older than {floor} is taken");
        }
        let state = self.vault.as_ref().and_then(|vault| vault["state"].as_str());
        let _ = writeln!(text, "P3 is {}; `vault status` says more", state.unwrap_or("in an unknown state"));
        text
    }
}
