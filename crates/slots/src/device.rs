//! Reading and changing the slots of a disk.

use crate::{Entry, Error, Name, SlotStatus, State, Status, TRIES, Tries, compare};
use disk::{Blocks, Guid, Placed, Window, fat::Edit, gpt};
use std::cmp::Ordering;
use types::{Bytes, Digest, Slot};

/// Where systemd-boot looks for kernel images.
const IMAGES: &str = "EFI/Linux";
pub(crate) const ESP: &str = "EFI System";

/// The GUID of a slot that is being written.
fn writing() -> Guid {
    Guid::of_name("slot being written")
}

/// A device's disk.
#[derive(Debug)]
pub struct Device<B> {
    disk: B,
}

impl<B: Blocks> Device<B> {
    /// A whole disk, with a partition table.
    pub const fn new(disk: B) -> Self {
        Self { disk }
    }

    /// Both slots, as partition table and ESP have them.
    ///
    /// # Errors
    /// When one of them cannot be read or lacks what it must have. One slot may be missing.
    pub fn status(&self) -> Result<Status, Error> {
        self.judge(&self.table()?, &self.esp()?)
    }

    /// Completes what an interruption has left: removes clusters that nothing refers to, and the second name of an image.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn recover(&self) -> Result<Status, Error> {
        let mut esp = self.esp()?;
        esp.reclaim()?;
        for slot in self.judge(&self.table()?, &esp)?.slots {
            for superfluous in slot.entries.iter().skip(1) {
                esp.remove(&path(&superfluous.file))?;
            }
        }
        self.status()
    }

    /// The bytes that the ESP has free for a kernel image once that of a slot is removed.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn room(&self, slot: Slot) -> Result<Bytes, Error> {
        let esp = self.esp()?;
        let status = self.judge(&self.table()?, &esp)?;
        let mut room = esp.free();
        for item in esp.list(IMAGES)? {
            if status.slot(slot).entries.iter().any(|entry| entry.file == item.name) {
                room = room + Bytes(item.size);
            }
        }
        Ok(room)
    }

    /// Makes a slot that is not running ready to be written: no kernel image starts it any more. The running slot must be good,
    /// because it starts until [`Self::activate`].
    ///
    /// # Errors
    /// [`Error::Running`], [`Error::Missing`], [`Error::NotGood`], [`Error::NotOurs`].
    pub fn clear(&self, slot: Slot, running: Digest) -> Result<SlotStatus, Error> {
        let status = self.recover()?;
        let current = current(&status, running)?;
        if current.slot == slot {
            return Err(Error::Running(slot));
        }
        if status.slot(slot).state == State::Missing {
            return Err(Error::Missing(slot));
        }
        if current.state != State::Good {
            return Err(Error::NotGood { slot: current.slot, state: current.state });
        }
        let mut esp = self.esp()?;
        for entry in status.slot(slot).entries.iter().chain(&status.strays) {
            esp.remove(&path(&entry.file))?;
        }
        if status.slot(slot).guid != writing() {
            gpt::set_guid(&self.disk, status.slot(slot).number, writing())?;
        }
        Ok(self.status()?.slot(slot).clone())
    }

    /// Lets a slot start that was cleared and then written: its kernel image gets so many tries. If it is not newer than the
    /// running image, the running image is set aside, so that the new one starts all the same.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when it was not cleared, [`Error::Image`], [`Error::NoRoom`].
    pub fn activate(&self, slot: Slot, running: Digest, program: &[u8], tries: u32) -> Result<(), Error> {
        let image = boot::describe(program).map_err(|problem| Error::Image { problem })?;
        let status = self.recover()?;
        let (current, target) = (current(&status, running)?, status.slot(slot));
        if current.slot == slot {
            return Err(Error::Running(slot));
        }
        if target.state != State::Writing {
            return Err(Error::Unexpected { slot, found: target.state, expected: State::Writing });
        }
        let (needed, free) = (Bytes(program.len() as u64), self.room(slot)?);
        if needed > free {
            return Err(Error::NoRoom { free, needed });
        }
        gpt::set_guid(&self.disk, target.number, Guid::of_root_hash(image.root_hash))?;
        let stem = format!("evek-{}-{}", image.image_version, &image.root_hash.hex()[..8]);
        let name = Name { stem, tries: Some(Tries { left: tries.max(1), done: 0 }) };
        let mut esp = self.esp()?;
        esp.create(&path(&name.to_string()), program)?;
        for entry in &current.entries {
            if compare(&image.image_version, &entry.image.image_version) != Ordering::Greater {
                rename(&mut esp, entry, Some(Tries { left: 0, done: 0 }))?;
            }
        }
        Ok(())
    }

    /// Marks the running slot as good. Returns whether it was not marked yet.
    ///
    /// # Errors
    /// [`Error::NotOurs`], or as [`Self::status`].
    pub fn bless(&self, running: Digest) -> Result<bool, Error> {
        let status = self.recover()?;
        let current = current(&status, running)?;
        let mut esp = self.esp()?;
        for entry in current.entries.iter().filter(|entry| entry.name.tries.is_some()) {
            rename(&mut esp, entry, None)?;
        }
        Ok(current.state != State::Good)
    }

    /// Lets the other slot start next, on trial, and sets the running one aside, which starts again if that fails.
    ///
    /// # Errors
    /// [`Error::Nothing`] when nothing starts the other slot, [`Error::NotOurs`].
    pub fn go_back(&self, running: Digest) -> Result<SlotStatus, Error> {
        let status = self.recover()?;
        let current = current(&status, running)?;
        let other = if current.slot == Slot::A { Slot::B } else { Slot::A };
        let other = status.slot(other);
        let Some(entry) = other.entries.first() else {
            return Err(Error::Nothing { slot: other.slot, state: other.state });
        };
        let mut esp = self.esp()?;
        rename(&mut esp, entry, Some(Tries { left: TRIES, done: 0 }))?;
        for entry in &current.entries {
            rename(&mut esp, entry, Some(Tries { left: 0, done: 0 }))?;
        }
        Ok(other.clone())
    }

    /// A file of the ESP; `None` where there is none.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.esp()?.read(path)?)
    }

    pub(crate) fn table(&self) -> Result<gpt::Table, Error> {
        Ok(gpt::read_any(&self.disk)?.0)
    }

    pub(crate) fn esp(&self) -> Result<Edit<Window<&B>>, Error> {
        let table = self.table()?;
        let place = table.by_label(ESP).ok_or(Error::NoPartition { label: ESP })?;
        let window = Window::new(&self.disk, place.start, place.partition.size);
        let window = window.map_err(|source| disk::Error::Io { action: "find the ESP".to_owned(), source })?;
        Ok(Edit::open(window)?)
    }

    fn judge(&self, table: &gpt::Table, esp: &Edit<Window<&B>>) -> Result<Status, Error> {
        let mut entries = Vec::new();
        for item in esp.list(IMAGES)? {
            let Some(name) = Name::parse(&item.name).filter(|_| !item.is_folder) else { continue };
            let program = esp.read(&path(&item.name))?.unwrap_or_default();
            // programs of others are ignored
            if let Ok(image) = boot::describe(&program) {
                entries.push(Entry { file: item.name, name, image });
            }
        }
        entries.sort_by(Entry::order);
        let mut slot = |slot: Slot| -> SlotStatus {
            let label = slot.label();
            let Some(Placed { partition, start }) = table.by_label(label) else {
                let (start, size, guid) = (Bytes(0), Bytes(0), Guid::from_bytes([0; 16]));
                return SlotStatus { slot, number: 0, start, size, guid, state: State::Missing, entries: Vec::new() };
            };
            let starts = |entry: &mut Entry| Guid::of_root_hash(entry.image.root_hash) == partition.guid;
            let mut mine: Vec<Entry> = entries.extract_if(.., starts).collect();
            // of two names for one image, left by an interruption, the name without a counter is right: it was blessed
            mine.sort_by_key(|entry| (entry.name.tries.is_some(), entry.is_last_resort()));
            let state = match mine.first() {
                Some(entry) => State::of(entry.name.tries),
                None if partition.guid == writing() => State::Writing,
                None => State::Empty,
            };
            SlotStatus {
                slot,
                number: partition.number,
                start: *start,
                size: partition.size,
                guid: partition.guid,
                state,
                entries: mine,
            }
        };
        let slots = [slot(Slot::A), slot(Slot::B)];
        if slots.iter().all(|slot| slot.state == State::Missing) {
            return Err(Error::NoPartition { label: Slot::A.label() });
        }
        Ok(Status { slots, strays: entries })
    }
}

fn path(file: &str) -> String {
    format!("{IMAGES}/{file}")
}

fn rename<B: Blocks>(esp: &mut Edit<B>, entry: &Entry, tries: Option<Tries>) -> Result<(), Error> {
    let name = entry.name.with(tries).to_string();
    if name != entry.file {
        esp.rename(&path(&entry.file), &name)?;
    }
    Ok(())
}

fn current(status: &Status, running: Digest) -> Result<&SlotStatus, Error> {
    status.with_root_hash(running).ok_or(Error::NotOurs { root_hash: running })
}
