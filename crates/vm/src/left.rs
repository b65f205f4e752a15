//! The files that a machine leaves in its folder: tests look at its disk, and another machine goes on from there.

use crate::{
    Error,
    prepare::{BEFORE, OVERLAY, WRITES, text},
    tools::{Call, Tools, Uses},
    writes,
};
use disk::power::Event;
use std::path::{Path, PathBuf};

/// What a machine has left in its folder. It is overwritten by the next machine with that folder.
#[derive(Debug, Clone)]
pub struct Left {
    pub(crate) tools: Tools,
    pub(crate) dir: PathBuf,
    pub(crate) image: PathBuf,
    pub(crate) saved: Option<PathBuf>,
    pub(crate) keeps: bool,
    pub(crate) records: bool,
}

impl Left {
    /// The folder, for [`State::Given`](crate::State::Given).
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Everything that the guest wrote to its disk, in order; see [`writes`].
    ///
    /// # Errors
    /// [`Error::Left`] when the machine did not [record](crate::Machine::records) it, and those of [`writes::read`].
    pub fn writes(&self) -> Result<Vec<Event>, Error> {
        self.recorded()?;
        writes::read(&self.dir.join(WRITES))
    }

    /// The disk before the first of its [`writes`](Self::writes), as a raw, sparse file in the folder.
    ///
    /// # Errors
    /// [`Error::Left`] when the machine did not [record](crate::Machine::records); when the file cannot be written.
    pub fn disk_before(&self) -> Result<PathBuf, Error> {
        self.recorded()?;
        self.raw(BEFORE)
    }

    /// The disk as it was left, as a raw, sparse file in the folder.
    ///
    /// # Errors
    /// [`Error::Left`] when the machine did not [keep](crate::Machine::keeps) it; when the file cannot be written.
    pub fn disk(&self) -> Result<PathBuf, Error> {
        self.has(self.keeps, OVERLAY, "keeps")?;
        self.raw(OVERLAY)
    }

    fn recorded(&self) -> Result<(), Error> {
        self.has(self.records, WRITES, "records")
    }

    fn has(&self, has: bool, name: &str, field: &str) -> Result<(), Error> {
        let reason = format!("its machine was started without `{field}`");
        if has { Ok(()) } else { Err(Error::Left { path: self.dir.join(name), reason }) }
    }

    fn raw(&self, overlay: &str) -> Result<PathBuf, Error> {
        let (image, folder) = (Uses::disk(&self.image), Uses::machine(&self.dir));
        let target = Path::new(overlay).with_extension("raw");
        let (from, to) = (text(&folder.view().join(overlay)), text(&folder.view().join(&target)));
        let args = ["convert", "-q", "-f", "qcow2", "-O", "raw", &from, &to];
        let call = Call::new("qemu-img", args).uses(image).uses(folder);
        let call = self.saved.iter().fold(call, |call, saved| call.uses(Uses::saved(saved)));
        self.tools.run(&call)?;
        Ok(self.dir.join(target))
    }
}
