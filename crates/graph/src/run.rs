use crate::{
    Cache, Error, Event, Failure, Graph, How, KeyDocument, Output, Outputs, Record, Sink, Step, StepId,
    execute::{Stopped, execute, unfit},
    plan::{document, look},
};
use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use types::{Cancel, Digest};

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many job slots there are; at least one step runs at any time.
    pub jobs: usize,
    /// Steps to run although they are cached.
    pub force: Vec<StepId>,
    /// Whether to verify every byte of cached outputs and to repeat the steps of damaged ones.
    pub verify: bool,
    /// How often [`Event::Pulse`] comes.
    pub pulse: Duration,
}

impl Default for Options {
    /// As many jobs as processors; nothing forced; cached outputs are trusted by their size; a pulse every ten seconds.
    fn default() -> Self {
        Self {
            jobs: thread::available_parallelism().map_or(1, Into::into),
            force: Vec::new(),
            verify: false,
            pulse: Duration::from_secs(10),
        }
    }
}

/// The outputs of a run.
#[derive(Debug, Clone, Default)]
pub struct Built {
    /// The outputs of every step that the targets needed.
    pub outputs: BTreeMap<StepId, Outputs>,
    /// How many steps ran.
    pub ran: usize,
    /// How many steps were cached.
    pub cached: usize,
}

impl Built {
    /// One output.
    #[must_use]
    pub fn get(&self, id: &StepId, output: &str) -> Option<&Output> {
        self.outputs.get(id)?.get(output)
    }

    /// Without the outputs of all other steps.
    #[must_use]
    pub fn of(&self, steps: &BTreeSet<StepId>) -> Self {
        let outputs = self.outputs.iter().filter(|(id, _)| steps.contains(id)).map(|(id, o)| (id.clone(), o.clone()));
        Self { outputs: outputs.collect(), ..*self }
    }

    /// Where one output is.
    #[must_use]
    pub fn path(&self, cache: &Cache, id: &StepId, output: &str) -> Option<PathBuf> {
        self.get(id, output).map(|output| cache.path(output))
    }
}

/// A step that runs now, and the others that wait for the same key.
struct Running<'g> {
    steps: Vec<&'g Step>,
    document: KeyDocument,
    slots: usize,
    start: Instant,
}

/// How long steps usually run. Read from the cache when the first step runs, so that a run without any reads nothing.
struct Times<'g> {
    order: Vec<&'g Step>,
    cache: &'g Cache,
    known: OnceCell<BTreeMap<&'g StepId, Duration>>,
}

impl<'g> Times<'g> {
    fn new(order: &[&'g Step], cache: &'g Cache) -> Self {
        Self { order: order.to_vec(), cache, known: OnceCell::new() }
    }

    fn of(&self, id: &StepId) -> Duration {
        let read =
            || self.order.iter().map(|step| (&step.id, self.cache.usual(&step.id).unwrap_or(step.usual))).collect();
        self.known.get_or_init(read).get(id).copied().unwrap_or_default()
    }
}

struct Scheduler<'g> {
    cache: &'g Cache,
    options: &'g Options,
    sink: &'g dyn Sink,
    /// Steps that have not begun, with how many of their needs are still open.
    waiting: BTreeMap<&'g StepId, usize>,
    needed_by: BTreeMap<&'g StepId, Vec<&'g Step>>,
    /// Steps that can start: longest way to a target first, then by name, so that the order is always the same.
    ready: BTreeMap<(std::cmp::Reverse<usize>, &'g StepId), &'g Step>,
    height: BTreeMap<&'g StepId, usize>,
    running: BTreeMap<Digest, Running<'g>>,
    free: usize,
    times: Times<'g>,
    built: Built,
    failures: Vec<Failure>,
}

type Done = (Digest, Result<Record, Stopped>);

impl Graph {
    /// Makes the outputs of the targets. After the first failure no further step starts; running steps finish, so that
    /// their work is kept. A request to cancel stops running steps too.
    ///
    /// # Errors
    /// [`Error::Failed`] with every step that failed, [`Error::Cancelled`], or what is wrong with graph or cache.
    pub fn run(
        &self,
        cache: &Cache,
        targets: &[StepId],
        options: &Options,
        sink: &dyn Sink,
        cancel: &Cancel,
    ) -> Result<Built, Error> {
        let start = Instant::now();
        let order = self.ordered(targets)?;
        sink.event(&Event::Plan { total: order.len() });
        let total = order.len();
        let mut scheduler = Scheduler::new(&order, cache, options, sink);
        let result = scheduler.run(cancel);
        let Scheduler { built, mut failures, .. } = scheduler;
        sink.event(&Event::Summary {
            ran: built.ran,
            cached: built.cached,
            failed: failures.len(),
            skipped: total - built.outputs.len() - failures.len(),
            cancelled: cancel.is_cancelled(),
            duration: start.elapsed(),
        });
        result?;
        if !failures.is_empty() {
            failures.sort_by(|a, b| a.id.cmp(&b.id));
            return Err(Error::Failed(failures));
        }
        if built.outputs.len() < total { Err(Error::Cancelled) } else { Ok(built) }
    }
}

impl<'g> Scheduler<'g> {
    fn new(order: &[&'g Step], cache: &'g Cache, options: &'g Options, sink: &'g dyn Sink) -> Self {
        let mut needed_by: BTreeMap<_, Vec<&'g Step>> = BTreeMap::new();
        let mut waiting = BTreeMap::new();
        let mut height: BTreeMap<&StepId, usize> = BTreeMap::new();
        for step in order {
            let needs: BTreeSet<_> = step.needs().collect();
            waiting.insert(&step.id, needs.len());
            for need in needs {
                needed_by.entry(need).or_default().push(step);
            }
        }
        for step in order.iter().rev() {
            let above = height.get(&step.id).copied().unwrap_or(0) + 1;
            for need in step.needs() {
                let h = height.entry(need).or_insert(0);
                *h = above.max(*h);
            }
        }
        let mut scheduler = Self {
            cache,
            options,
            sink,
            waiting,
            needed_by,
            ready: BTreeMap::new(),
            height,
            running: BTreeMap::new(),
            free: options.jobs.max(1),
            times: Times::new(order, cache),
            built: Built::default(),
            failures: Vec::new(),
        };
        for step in order {
            if scheduler.waiting[&step.id] == 0 {
                scheduler.make_ready(step);
            }
        }
        scheduler
    }

    fn make_ready(&mut self, step: &'g Step) {
        let height = self.height.get(&step.id).copied().unwrap_or(0);
        self.ready.insert((std::cmp::Reverse(height), &step.id), step);
    }

    fn run(&mut self, cancel: &Cancel) -> Result<(), Error> {
        let (tell, told) = mpsc::channel::<Done>();
        thread::scope(|scope| {
            let mut result = Ok(());
            loop {
                if result.is_ok() && self.failures.is_empty() && !cancel.is_cancelled() {
                    result = self.begin(scope, &tell, cancel);
                }
                if self.running.is_empty() {
                    return result;
                }
                let (key, done) = match told.recv_timeout(self.options.pulse) {
                    Ok(done) => done,
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        self.pulse();
                        continue;
                    }
                    Err(mpsc::RecvTimeoutError::Disconnected) => return result,
                };
                if let Err(e) = self.end(&key, done) {
                    result = result.and(Err(e));
                }
            }
        })
    }

    /// Starts every step that fits.
    fn begin<'s>(
        &mut self,
        scope: &'s thread::Scope<'s, '_>,
        tell: &mpsc::Sender<Done>,
        cancel: &'s Cancel,
    ) -> Result<(), Error>
    where
        'g: 's,
    {
        // a cached step takes no slot, and may make others ready
        let mut stuck = BTreeSet::new();
        while let Some((place, step)) =
            self.ready.iter().find(|(place, _)| !stuck.contains(*place)).map(|(place, step)| (*place, *step))
        {
            if cancel.is_cancelled() || !self.failures.is_empty() {
                return Ok(());
            }
            let looking = Instant::now();
            let document = match document(step, &self.built.outputs) {
                Ok((document, _)) => document,
                Err(text) => {
                    self.ready.remove(&place);
                    self.fail(unfit(step, self.cache, text));
                    return Ok(());
                }
            };
            let key = document.key();
            if let Some(running) = self.running.get_mut(&key) {
                self.ready.remove(&place);
                running.steps.push(step);
                continue;
            }
            let forced = self.options.force.contains(&step.id);
            let looked = look(step, document, self.cache, forced, self.options.verify)?;
            if let Ok(record) = looked.found {
                self.ready.remove(&place);
                self.cache.used(&step.id, &looked.key, &looked.document)?;
                self.finish(step, record.outputs, How::Cached, looking.elapsed());
                continue;
            }
            let slots = step.slots.min(self.options.jobs.max(1));
            if slots > self.free {
                stuck.insert(place);
                continue;
            }
            self.ready.remove(&place);
            self.free -= slots;
            self.sink.event(&Event::Started { id: step.id.clone(), usual: self.times.of(&step.id) });
            // the outputs of what it needs, as they are now: the scheduler's own map goes on changing
            let outputs = step.needs().map(|need| (need.clone(), self.built.outputs[need].clone())).collect();
            let (cache, sink, tell, document) = (self.cache, self.sink, tell.clone(), looked.document.clone());
            scope.spawn(move || {
                let done = execute(step, &document, cache, &outputs, slots, sink, cancel);
                // the receiver lives as long as the scope
                let _ = tell.send((key, done));
            });
            self.running
                .insert(key, Running { steps: vec![step], document: looked.document, slots, start: Instant::now() });
        }
        Ok(())
    }

    fn end(&mut self, key: &Digest, done: Result<Record, Stopped>) -> Result<(), Error> {
        let Some(Running { steps, document, slots, .. }) = self.running.remove(key) else { return Ok(()) };
        self.free += slots;
        let record = match done {
            Ok(record) => record,
            Err(Stopped::Cancelled) => return Ok(()),
            Err(Stopped::Failed(failure)) => {
                self.fail(*failure);
                return Ok(());
            }
        };
        self.cache.save(key, &record)?;
        let duration = Duration::from_millis(record.ms);
        for (i, step) in steps.into_iter().enumerate() {
            self.cache.used(&step.id, key, &document)?;
            self.finish(step, record.outputs.clone(), if i == 0 { How::Ran } else { How::Shared }, duration);
        }
        Ok(())
    }

    fn finish(&mut self, step: &'g Step, outputs: Outputs, how: How, duration: Duration) {
        match how {
            How::Ran => self.built.ran += 1,
            How::Cached | How::Shared => self.built.cached += 1,
        }
        self.sink.event(&Event::Finished { id: step.id.clone(), how, duration, outputs: outputs.clone() });
        self.built.outputs.insert(step.id.clone(), outputs);
        for next in self.needed_by.remove(&step.id).unwrap_or_default() {
            if let Some(open) = self.waiting.get_mut(&next.id) {
                *open -= 1;
                if *open == 0 {
                    self.make_ready(next);
                }
            }
        }
    }

    /// Tells the listener how far the run is.
    fn pulse(&self) {
        let running: Vec<_> =
            self.running.values().filter_map(|r| Some((r.steps.first()?, r.start.elapsed()))).collect();
        let elapsed: BTreeMap<&StepId, Duration> = running.iter().map(|(step, elapsed)| (&step.id, *elapsed)).collect();
        let open = self.times.order.iter().filter(|step| !self.built.outputs.contains_key(&step.id));
        let jobs = self.options.jobs.max(1);
        let left = open.map(|step| {
            let usual = self.times.of(&step.id).saturating_sub(elapsed.get(&step.id).copied().unwrap_or_default());
            usual * u32::try_from(step.slots.min(jobs)).unwrap_or(1)
        });
        self.sink.event(&Event::Pulse {
            done: self.built.outputs.len(),
            total: self.times.order.len(),
            left: left.sum::<Duration>() / u32::try_from(jobs).unwrap_or(1),
            running: running
                .into_iter()
                .map(|(step, elapsed)| crate::Running { id: step.id.clone(), elapsed, usual: self.times.of(&step.id) })
                .collect(),
        });
    }

    fn fail(&mut self, failure: Failure) {
        self.sink.event(&Event::Failed { failure: failure.clone() });
        self.failures.push(failure);
    }
}
