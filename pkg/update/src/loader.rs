//! The boot loader of an update has a trial of its own, once the image is good: one that is signed and whole may still fail on this
//! hardware, and the one that works must stay until the result is known.
//!
//! ```text
//!  image is good         second copy = new ─► boot entry ─► BootNext ─► loader.json: trial
//!     restart            the firmware removes BootNext and starts the second copy
//!  started by it?   yes  loader.json: works ─► second copy = predecessor ─► first = new ─► entry last in BootOrder ─► forgotten
//!                   no   loader.json: failed ─► second copy = first
//! ```
//! If it hangs, returns or resets, the start after that is by the first again: nothing but BootNext leads to the second copy,
//! or BootOrder when everything else fails. The power may go between any two steps: the next start does them again.

use crate::{
    efi::{self, BootNumber, Variables},
    error::Error,
    machine,
    paths::Paths,
    record::{LoaderState, LoaderTrial, Records},
};
use boot::loader::fallback_path;
use disk::Blocks;
use slots::{Device, second_loader_path};
use types::{Arch, Digest};

const NOT_STARTED: &str = "the firmware did not start it, or it did not start the system";
const NOT_IT: &str = "what has started is not what was to be tried: its copy on the EFI system partition is another";
const LOST: &str = "it works, but is gone from /persist/update before it came to its place";

/// Returns an error for a program that no signer trusted by this device has signed.
type Signed<'a> = dyn Fn(&[u8]) -> Result<(), Error> + 'a;

/// The boot loaders of a device.
pub(crate) struct Loader<'a, B> {
    records: &'a Records,
    device: &'a Device<B>,
    variables: Variables,
    arch: Arch,
    /// The kernel's name of this start.
    boot_id: String,
    /// Called before each write of a program.
    signed: &'a Signed<'a>,
}

/// The result of a start for a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It has not started yet.
    Pending,
    /// BootNext was removed in the start in which the trial was set up.
    Undone,
    /// It has started this system.
    Works,
    Failed(&'static str),
}

impl<'a, B: Blocks> Loader<'a, B> {
    pub(crate) fn new(
        paths: &Paths,
        records: &'a Records,
        device: &'a Device<B>,
        arch: Arch,
        signed: &'a Signed<'a>,
    ) -> Self {
        Self { records, device, variables: Variables::of(paths), arch, boot_id: machine::boot_id(), signed }
    }

    /// Ends the trial of the start before, and begins the trial of the boot loader that is kept. `good`: that boot loader came with the
    /// running image, which is good.
    pub(crate) fn settle(&self, good: bool) -> Result<(), Error> {
        let kept = self.records.loader()?;
        let newer = |trial: &LoaderTrial| kept.as_ref().is_some_and(|kept| Digest::of(kept) != trial.digest);
        match self.records.loader_trial() {
            Some(trial) if trial.state == LoaderState::Failed => self.clean(&trial)?,
            // brought by a program that knows of no trials
            Some(trial) if newer(&trial) => self.forget()?,
            Some(trial) if trial.state == LoaderState::Works => return self.finish(&trial),
            Some(trial) => match self.judge(&trial)? {
                Verdict::Pending => return Ok(()),
                Verdict::Undone => {}
                Verdict::Works => return self.works(trial),
                Verdict::Failed(reason) => return self.fail(trial, reason),
            },
            None => {}
        }
        match self.records.loader()? {
            Some(new) if good => self.begin(&new),
            _ => Ok(()),
        }
    }

    /// Ends a trial without a judgement, as a newer one demands: no boot entry starts the second copy, which is no longer the one on
    /// trial. The record of a failure stays.
    pub(crate) fn forget(&self) -> Result<(), Error> {
        let trial = self.records.loader_trial().filter(|trial| trial.state != LoaderState::Failed);
        let kept = self.records.loader()?;
        // one that was set up without a record is a trial too
        for number in trial.as_ref().map(|trial| trial.number).into_iter().chain(self.variables.own()?) {
            self.variables.forget_next(number)?;
        }
        let untried = [trial.as_ref().map(|trial| trial.digest), kept.as_deref().map(Digest::of)];
        if let Some(second) = self.second()?
            && untried.contains(&Some(second))
        {
            self.put_back()?;
        }
        match trial {
            Some(_) => self.records.forget_loader_trial(),
            None => Ok(()),
        }
    }

    fn judge(&self, trial: &LoaderTrial) -> Result<Verdict, Error> {
        let number = Some(trial.number);
        let (current, next) = (self.variables.current()?, self.variables.next()?);
        // a number may be someone else's by now
        let started = current == number && self.variables.is_own(trial.number);
        Ok(match (self.boot_id == trial.boot_id, started) {
            (true, _) if next == number => Verdict::Pending,
            (true, _) => Verdict::Undone,
            (false, true) if self.second()? == Some(trial.digest) => Verdict::Works,
            (false, true) => Verdict::Failed(NOT_IT),
            // firmware that was asked for something else
            (false, false) if next == number => Verdict::Pending,
            (false, false) => Verdict::Failed(NOT_STARTED),
        })
    }

    /// Has the firmware start a boot loader once.
    fn begin(&self, new: &[u8]) -> Result<(), Error> {
        let digest = Digest::of(new);
        if self.first()? == Some(digest) {
            return self.records.forget_loader();
        }
        (self.signed)(new)?;
        let before = self.variables.current()?;
        let mut trial = LoaderTrial {
            state: LoaderState::Trial,
            digest,
            number: BootNumber(0),
            before,
            boot_id: self.boot_id.clone(),
            reason: None,
        };
        if let Some(number) = before.filter(|number| self.variables.is_own(*number)) {
            if self.second()? == Some(digest) {
                // the power went before the record was written
                return self.works(LoaderTrial { number, before: None, ..trial });
            }
            eprintln!(
                "the second boot loader has started this device, which has no other that works: it is not replaced"
            );
            return Ok(());
        }
        // what has failed before is another
        self.records.forget_loader_trial()?;
        let (second, esp) = (second_loader_path(self.arch), self.device.esp_partition()?);
        let option = if self.device.has_shim(self.arch)? {
            efi::load_option(efi::DESCRIPTION, &esp, &fallback_path(self.arch), Some(&second))
        } else {
            efi::load_option(efi::DESCRIPTION, &esp, &second, None)
        };
        trial.number = match self.set_entry(&option) {
            Ok(number) => number,
            Err(e) => return self.replace_at_once(new, &e),
        };
        if self.second()? != Some(digest) {
            self.device.replace_second_loader(self.arch, new)?;
        }
        // before the record: what was never started must not be taken for one that fails
        if let Err(e) = self.variables.set_next(trial.number) {
            return self.replace_at_once(new, &e);
        }
        self.records.set_loader_trial(&trial)?;
        eprintln!("the new boot loader {} is tried with the next start", digest.short());
        Ok(())
    }

    /// The boot entry of the second copy. One that is in the boot order is at its end: nothing before it may lead to it.
    fn set_entry(&self, option: &[u8]) -> Result<BootNumber, Error> {
        let number = self.variables.set_own(option)?;
        if self.variables.order()?.contains(&number) {
            self.variables.put_last(number)?;
        }
        Ok(number)
    }

    /// Without the firmware's help there is no trial.
    fn replace_at_once(&self, new: &[u8], why: &Error) -> Result<(), Error> {
        eprintln!(
            "the boot loader is replaced without a trial, as the firmware's boot entries cannot be changed: {why}"
        );
        self.promote(new)?;
        self.records.forget_loader()
    }

    fn works(&self, mut trial: LoaderTrial) -> Result<(), Error> {
        // while the copies change paths it is kept here
        if let Some(second) = self.device.second_loader(self.arch)? {
            self.records.set_loader(&second)?;
        }
        trial.state = LoaderState::Works;
        self.records.set_loader_trial(&trial)?;
        self.finish(&trial)
    }

    /// Puts the boot loader into its place that works.
    fn finish(&self, trial: &LoaderTrial) -> Result<(), Error> {
        self.variables.forget_next(trial.number)?;
        if self.first()? != Some(trial.digest) {
            match self.records.loader()? {
                Some(new) => self.promote(&new)?,
                None => return self.fail(trial.clone(), LOST),
            }
        }
        self.put_last(trial)
            .unwrap_or_else(|e| eprintln!("the second boot loader does not come to the boot order: {e}"));
        self.records.forget_loader()?;
        self.records.forget_loader_trial()?;
        eprintln!("the new boot loader {} works and is in its place", trial.digest.short());
        Ok(())
    }

    /// Makes the first boot loader the second, and a new one the first: at each moment both are whole.
    fn promote(&self, new: &[u8]) -> Result<(), Error> {
        (self.signed)(new)?;
        if let Some(old) = self.device.loader(self.arch)? {
            match (self.signed)(&old) {
                Ok(()) => self.device.replace_second_loader(self.arch, &old)?,
                Err(e) => eprintln!("the boot loader that is replaced is not kept: {e}"),
            }
        }
        Ok(self.device.replace_loader(self.arch, new)?)
    }

    /// Lets the firmware try the second boot loader when it can start nothing else: behind the entry of the first. In an order
    /// that does not have that, as the firmware starts the first without one, the second would come before it.
    fn put_last(&self, trial: &LoaderTrial) -> Result<(), Error> {
        let order = self.variables.order()?;
        if trial.before.is_some_and(|first| order.contains(&first)) {
            return self.variables.put_last(trial.number);
        }
        eprintln!("the boot order is left alone: it does not say how the first boot loader starts");
        Ok(())
    }

    fn fail(&self, trial: LoaderTrial, reason: &str) -> Result<(), Error> {
        eprintln!("the new boot loader {} failed, the one before it stays: {reason}", trial.digest.short());
        self.variables.forget_next(trial.number)?;
        let trial = LoaderTrial { state: LoaderState::Failed, reason: Some(reason.to_owned()), ..trial };
        self.records.set_loader_trial(&trial)?;
        self.clean(&trial)
    }

    /// Leaves nothing behind of a boot loader that has failed, but that it has.
    fn clean(&self, failed: &LoaderTrial) -> Result<(), Error> {
        if self.second()? == Some(failed.digest) {
            self.put_back()?;
        }
        match self.records.loader()? {
            Some(kept) if Digest::of(&kept) == failed.digest => self.records.forget_loader(),
            _ => Ok(()),
        }
    }

    /// Makes the second copy what the first is. Without a first that may be written there is no second copy, unless that is what
    /// has started this system.
    fn put_back(&self) -> Result<(), Error> {
        let first = self.device.loader(self.arch)?;
        match first.filter(|first| (self.signed)(first).is_ok()) {
            Some(first) => self.device.replace_second_loader(self.arch, &first)?,
            None if self.variables.current()?.is_some_and(|number| self.variables.is_own(number)) => (),
            None => self.device.remove_second_loader(self.arch)?,
        }
        Ok(())
    }

    fn first(&self) -> Result<Option<Digest>, Error> {
        Ok(self.device.loader(self.arch)?.as_deref().map(Digest::of))
    }

    fn second(&self) -> Result<Option<Digest>, Error> {
        Ok(self.device.second_loader(self.arch)?.as_deref().map(Digest::of))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
