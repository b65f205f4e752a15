//! `update status`.

use crate::{
    error::Error,
    machine::{self, Running},
    places::Places,
    record::{Last, Progress, Records},
};
use serde::Serialize;
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
    /// The oldest version that this device takes.
    floor: Option<String>,
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
            floor: records.floor()?.map(|floor| floor.version),
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
        if let Some(floor) = &self.floor {
            let _ = writeln!(text, "nothing older than {floor} is taken");
        }
        text
    }
}
