use crate::{Cache, Error, Event, Input, Output, OutputKind, Outputs, Sink, Step, StepError, cache::remove_all};
use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};
use types::{Bytes, Cancel, Digest};

/// The unit of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things: packages, files, blobs.
    Items,
}

/// How often one step's progress is passed on.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);

/// A running step's parameters and inputs, and paths for its outputs. Its result must depend on nothing else.
pub struct Ctx<'a> {
    step: &'a Step,
    cache: &'a Cache,
    inputs: BTreeMap<String, (PathBuf, Option<Digest>)>,
    folder: PathBuf,
    slots: usize,
    log_path: PathBuf,
    log: Mutex<fs::File>,
    sink: &'a dyn Sink,
    cancel: &'a Cancel,
    told: Mutex<Option<Instant>>,
    files: BTreeMap<String, PathBuf>,
    folders: BTreeMap<String, PathBuf>,
    known: Outputs,
}

impl<'a> Ctx<'a> {
    /// `outputs` holds the outputs of the steps that ran before.
    pub(crate) fn new(
        step: &'a Step,
        cache: &'a Cache,
        outputs: &BTreeMap<crate::StepId, Outputs>,
        slots: usize,
        sink: &'a dyn Sink,
        cancel: &'a Cancel,
    ) -> Result<Self, Error> {
        let mut inputs = BTreeMap::new();
        for (label, input) in &step.inputs {
            let found = match input {
                Input::Blob(digest) => (cache.cas().path(digest), Some(*digest)),
                Input::File { path, digest } => (path.clone(), Some(*digest)),
                Input::Step { step, output } => match outputs.get(step).and_then(|o| o.get(output)) {
                    Some(output) => (cache.path(output), Some(output.digest)),
                    None => continue,
                },
            };
            inputs.insert(label.clone(), found);
        }
        let log_path = cache.log_path(&step.id);
        // a new file, so that a reader of the old log keeps it; appended to, because children share it
        remove_all(&log_path)?;
        let log =
            fs::OpenOptions::new().create(true).append(true).open(&log_path).map_err(Error::io("create", &log_path))?;
        let folder = cache.fresh_path();
        fs::create_dir(&folder).map_err(Error::io("create", &folder))?;
        Ok(Self {
            step,
            cache,
            inputs,
            folder,
            slots,
            log_path,
            log: Mutex::new(log),
            sink,
            cancel,
            told: Mutex::new(None),
            files: BTreeMap::new(),
            folders: BTreeMap::new(),
            known: Outputs::new(),
        })
    }

    /// The step's definition.
    #[must_use]
    pub fn step(&self) -> &'a Step {
        self.step
    }

    /// The parameters, read as a type.
    ///
    /// # Errors
    /// When they do not have its shape.
    pub fn params<T: serde::de::DeserializeOwned>(&self) -> Result<T, StepError> {
        Ok(serde_json::from_value(serde_json::Value::Object(self.step.params.clone()))?)
    }

    /// Where an input is. Must not be written to. The bytes of an input that no step has made are verified, once in a process.
    ///
    /// # Errors
    /// When the definition names no such input, it is not in the cache, or it is damaged there.
    pub fn input(&self, label: &str) -> Result<PathBuf, StepError> {
        let (path, digest) = self.find(label)?;
        if let Some(digest) = digest.filter(|_| !path.exists()) {
            return Err(StepError::InputMissing { label: label.to_owned(), digest, path: path.clone() });
        }
        // outputs of steps before are as good as the disk; an input may have lain in the cache for years
        if let Some(Input::Blob(digest)) = self.step.inputs.get(label) {
            self.cas().verify_once(digest).map_err(|e| match e {
                cas::Error::Mismatch { found, .. } => {
                    let (label, digest, path) = (label.to_owned(), *digest, path.clone());
                    StepError::InputDamaged { label, digest, found, path }
                }
                other => other.into(),
            })?;
        }
        Ok(path.clone())
    }

    /// The digest of an input.
    ///
    /// # Errors
    /// When the definition names no such input.
    pub fn input_digest(&self, label: &str) -> Result<Digest, StepError> {
        let (_, digest) = self.find(label)?;
        digest.ok_or_else(|| StepError::NoInput { label: label.to_owned() })
    }

    fn find(&self, label: &str) -> Result<&(PathBuf, Option<Digest>), StepError> {
        self.inputs.get(label).ok_or_else(|| StepError::NoInput { label: label.to_owned() })
    }

    /// The labels of all inputs with a prefix, in order: for steps with many inputs of a kind (`deb/…`).
    pub fn labels<'s>(&'s self, prefix: &'s str) -> impl Iterator<Item = &'s str> {
        self.step.inputs.keys().map(String::as_str).filter(move |label| label.starts_with(prefix))
    }

    /// The blobs of the cache, to read inputs by digest or to write one with [`cas::Cas::writer`] for [`Ctx::out_known`].
    #[must_use]
    pub fn cas(&self) -> &cas::Cas {
        self.cache.cas()
    }

    /// A path for an output file. The step makes the file; the cache adopts it when the step succeeds. Holes stay
    /// holes.
    pub fn out_blob(&mut self, name: &str) -> PathBuf {
        let path = self.folder.join(format!("file-{}", self.files.len()));
        self.files.insert(name.to_owned(), path.clone());
        path
    }

    /// A new folder for an output tree: folders, files and symlinks. The cache adopts it when the step succeeds, and
    /// sets all times to [`types::EPOCH`].
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn out_tree(&mut self, name: &str) -> Result<PathBuf, StepError> {
        let path = self.folder.join(format!("tree-{}", self.folders.len()));
        fs::create_dir(&path).map_err(Error::io("create", &path))?;
        self.folders.insert(name.to_owned(), path.clone());
        Ok(path)
    }

    /// An output file from memory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Result<Digest, StepError> {
        let digest = self.cas().put(bytes)?;
        self.out_known(name, digest)?;
        Ok(digest)
    }

    /// An output that is a blob of the cache already.
    ///
    /// # Errors
    /// When it is missing.
    pub fn out_known(&mut self, name: &str, digest: Digest) -> Result<(), StepError> {
        let size = self
            .cas()
            .size(&digest)
            .ok_or_else(|| StepError::msg(format!("output `{name}`: no blob {digest} in the cache")))?;
        self.known.insert(name.to_owned(), Output { kind: OutputKind::Blob, digest, size });
        Ok(())
    }

    /// A folder for the step's own use, removed when it ends.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scratch(&self) -> Result<PathBuf, StepError> {
        let path = self.folder.join("scratch");
        fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        Ok(path)
    }

    /// Reports progress. Cheap: most calls are dropped.
    pub fn progress(&self, done: u64, total: u64, unit: Unit) {
        {
            let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if done < total && told.is_some_and(|at| at.elapsed() < PROGRESS_EVERY) {
                return;
            }
            *told = Some(Instant::now());
        }
        self.sink.event(&Event::Progress { id: self.step.id.clone(), done, total, unit });
    }

    /// Writes a line to the log file and sends it as an event.
    pub fn log(&self, line: &str) {
        let line = line.trim_end();
        let mut log = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // a log that cannot be written must not fail a step that works
        let _ = writeln!(log, "{line}");
        drop(log);
        self.sink.event(&Event::Log { id: self.step.id.clone(), line: line.to_owned() });
    }

    /// The log file, for the standard output and error of child processes. Every write is appended.
    ///
    /// # Errors
    /// When the handle cannot be copied.
    pub fn log_file(&self) -> Result<fs::File, StepError> {
        let log = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(log.try_clone()?)
    }

    /// The request to stop, to pass to long work.
    #[must_use]
    pub fn cancel(&self) -> &Cancel {
        self.cancel
    }

    /// Stops here when cancelled.
    ///
    /// # Errors
    /// [`StepError::Cancelled`] when cancelled.
    pub fn check(&self) -> Result<(), StepError> {
        if self.cancel.is_cancelled() { Err(StepError::Cancelled) } else { Ok(()) }
    }

    /// How many threads or processes the step may keep busy.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Moves everything that the step made into the cache.
    pub(crate) fn adopt(&mut self) -> Result<Outputs, StepError> {
        let mut outputs = std::mem::take(&mut self.known);
        let doubled = self.files.keys().chain(self.folders.keys()).find(|name| outputs.contains_key(*name));
        if let Some(name) = doubled.or_else(|| self.files.keys().find(|name| self.folders.contains_key(*name))) {
            return Err(StepError::msg(format!("the step gives output `{name}` twice")));
        }
        for (name, path) in &self.files {
            let size = match path.symlink_metadata() {
                Ok(meta) if meta.is_file() => Bytes(meta.len()),
                _ => return Err(StepError::msg(format!("the step promised output `{name}` and did not write it"))),
            };
            let digest = self.cache.cas().adopt(path)?;
            outputs.insert(name.clone(), Output { kind: OutputKind::Blob, digest, size });
        }
        for (name, path) in &self.folders {
            outputs.insert(name.clone(), self.cache.adopt_tree(path)?);
        }
        Ok(outputs)
    }

    /// The last lines of the log.
    pub(crate) fn tail(&self, lines: usize) -> Vec<String> {
        tail(&self.log_path, lines)
    }

    /// Removes the step's temporary files.
    pub(crate) fn clean(&self) -> Result<(), Error> {
        remove_all(&self.folder)
    }
}

/// The last lines of a text file, of which at most the last 64 KiB are read.
fn tail(path: &Path, lines: usize) -> Vec<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(1 << 16);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|&l| l.to_owned()).collect()
}
