//! The way of a record through user space: decoded, given its names, told, written.
//!
//! One task owns it all. The kernel has decided already; nothing here changes a verdict, except that what the kernel
//! can't reach by itself is finished: the rest of a call that was ended, and what a session leaves behind.

mod answer;
mod groups;
mod imports;
mod kill;
mod lag;
mod mounts;
mod pipes;
mod prevented;
mod publish;
mod reload;
pub mod request;
mod standing;
mod sums;
mod tally;
mod tell;
mod trees;
mod unseen;

use imports::Imports;
use lag::Lag;
use mounts::Mounts;
use pipes::Pipes;
pub use standing::Inheritance;
use standing::Standing;
use sums::Sums;
pub use tally::{LIFE, LOSSES, Tally, Totals};
use trees::{Call, GRACE, KEEPS_GOING, Tree};

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use guard_common::event::FLAG_PATH_UNKNOWN;
use guard_common::tree::{Id, id_of};
use guard_common::words::{Action, Backend, Mode};
use tokio::io::unix::AsyncFd;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::control::types::{Gap, Reloads};
use crate::kernel::{Asked, Gauge, Kernel, Settings};
use crate::policy::{Compiled, Own, RuleInfo, Source, Whole};
use crate::prevent::Prevention;
use crate::record::decode::{Body, Garbled, Record, decode};
use crate::record::event::Event;
use crate::record::stream::{Of, Stream, Told};
use crate::record::webhook::Webhook;
use crate::record::{Sink, SinkError, clock};
use crate::session::{Processes, seed};

/// Records of the bulk that are handled before the verdicts are looked at again.
const BULK_BATCH: usize = 4096;
/// Batches that are handled before everything else has its turn: signals, the clock, another policy.
const BATCHES: usize = 2;
/// Verdicts that are handled likewise.
const VERDICTS: usize = BULK_BATCH * BATCHES;
/// How often counters are looked at, and what is due is done.
const TICK: Duration = Duration::from_millis(100);

/// When to call [`Watch::tick`]. Ticks that were missed are not made up for.
#[must_use]
pub fn ticks() -> Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Returns to the machine what reading the kernel's types and compiling a policy took: glibc would keep it.
pub(crate) fn give_back_memory() {
    // SAFETY: no pointers; glibc's own locks make it safe at any time.
    unsafe { libc::malloc_trim(0) };
}

/// A ring buffer that can be waited for.
fn waitable(ring: RingBuf<MapData>) -> anyhow::Result<AsyncFd<RingBuf<MapData>>> {
    // SAFETY: a ring buffer owns its descriptor, gives always the same one, and keeps it until it is dropped.
    unsafe { AsyncFd::register(ring) }.context("a ring buffer can't be waited for")
}

/// Guards, and tells what happens.
#[expect(clippy::struct_excessive_bools, reason = "choices and states that have nothing to do with each other")]
pub struct Watch<'a> {
    kernel: Kernel,
    /// What the policy says, without what is imported.
    source: Arc<Source>,
    imports: Imports,
    own: Arc<Own>,
    pipes: Pipes,
    mounts: Mounts,
    policy: Arc<Compiled>,
    generation: u32,
    policies: VecDeque<(u32, Arc<Vec<RuleInfo>>)>,
    mode: Mode,
    audit: bool,
    degrade: bool,
    /// All of the machine is guarded, not what one command starts.
    host_wide: bool,
    /// Operations that the policy denies and this kernel does not show.
    unenforced: Vec<&'static str>,
    processes: Processes,
    calls: HashMap<Id, Call>,
    trees: HashMap<Id, Tree>,
    /// Calls whose processes are still being ended.
    ending: HashMap<Id, Instant>,
    /// Trees likewise.
    ending_trees: HashMap<Id, Instant>,
    sink: Option<Sink>,
    /// Where events are told as they come.
    stream: Option<Stream>,
    /// Where some of them are sent.
    webhook: Option<Webhook>,
    /// What was not handed over yet, and how many bytes that is.
    batch: (Vec<Told>, usize),
    /// Allowed operations that were counted and not told yet.
    sums: Sums,
    /// The event being written.
    line: Vec<u8>,
    /// When the oldest record of this batch was made, in nanoseconds since boot; the largest number where there is none.
    oldest: u64,
    lag: Lag,
    /// When the policy came into force.
    since: String,
    reloads: Reloads,
    gauges: Arc<[Gauge; 2]>,
    tell: Box<dyn FnMut(&Event) + 'a>,
    counters: HashMap<&'static str, u64>,
    garbled: u64,
    /// Calls that could not be marked as ended.
    unmarked: u64,
    totals: Totals,
    verdicts: AsyncFd<RingBuf<MapData>>,
    bulk: AsyncFd<RingBuf<MapData>>,
    /// Records were left in the rings.
    more: bool,
    /// Records of before this moment, in nanoseconds since boot, are told by somebody else.
    from: u64,
    standing: Standing,
    /// When nobody recorded, where a guard was taken over that had died.
    gap: Option<Gap>,
    /// What has opens fail before they happen, where no security hook does.
    prevention: Option<Prevention>,
}

impl<'a> Watch<'a> {
    /// Loads the programs with `policy` in force; nothing is attached yet. `audit` carries nothing out, whatever the
    /// policy says. `tell` is called with every event that is no allowed operation.
    ///
    /// # Errors
    /// Whatever keeps the programs from loading.
    pub fn load(
        settings: &Settings,
        policy: Whole,
        audit: bool,
        sink: Option<Sink>,
        tell: impl FnMut(&Event) + 'a,
    ) -> anyhow::Result<Self> {
        let Whole { source, compiled: mut policy, .. } = policy;
        if audit {
            policy.set_mode(Mode::Audit);
        }
        policy.set_generation(settings.generation);
        let mut kernel = Kernel::load(settings, &policy)?;
        let unenforced = unseen::check(&policy, &kernel.abilities(), settings.degrade)?;
        let (verdicts, bulk) = kernel.take_rings()?;
        let mounts = Mounts::watch(&mut kernel)?;
        let policy = Arc::new(policy);
        let prevention = prevented::start(settings, &mut kernel, &policy);
        give_back_memory();
        Ok(Self {
            kernel,
            source,
            imports: Imports::default(),
            own: Arc::clone(&settings.own),
            pipes: Pipes::default(),
            mounts,
            generation: settings.generation,
            policies: VecDeque::from([(settings.generation, Arc::new(policy.rules.clone()))]),
            mode: policy.mode,
            policy,
            audit,
            degrade: settings.degrade,
            host_wide: settings.host_wide,
            unenforced,
            processes: Processes::default(),
            calls: HashMap::new(),
            trees: HashMap::new(),
            ending: HashMap::new(),
            ending_trees: HashMap::new(),
            sink,
            stream: None,
            webhook: None,
            batch: (Vec::new(), 0),
            sums: Sums::default(),
            line: Vec::new(),
            oldest: u64::MAX,
            lag: Lag::default(),
            since: clock::time_of_day(clock::now_since_boot()),
            reloads: Reloads::default(),
            gauges: Arc::new([verdicts.gauge, bulk.gauge]),
            tell: Box::new(tell),
            counters: HashMap::new(),
            garbled: 0,
            unmarked: 0,
            totals: Totals::default(),
            verdicts: waitable(verdicts.buffer)?,
            bulk: waitable(bulk.buffer)?,
            more: false,
            from: 0,
            standing: Standing::default(),
            gap: None,
            prevention,
        })
    }

    /// Attaches the programs: from here on the policy is in force.
    ///
    /// # Errors
    /// Names the hook that refused.
    pub fn attach(&mut self) -> anyhow::Result<()> {
        self.kernel.attach()?;
        for (hook, why) in self.kernel.refused_hooks() {
            tracing::warn!(
                "this kernel keeps guard from its security hook {hook}; without it, less is prevented: {why}"
            );
        }
        if !self.unenforced.is_empty() {
            let what: Vec<String> = self.unenforced.iter().map(|op| format!("`{op}`")).collect();
            tracing::warn!(
                "degraded: {} is denied by the policy and not seen on this kernel, neither prevented nor recorded",
                what.join(", ")
            );
        }
        Ok(())
    }

    /// Enters whom another guard has guarded, and the agents that run already; how many processes that were.
    ///
    /// # Errors
    /// If /proc can't be read, or a map is full.
    pub fn seed(&mut self, inheritance: &Inheritance) -> anyhow::Result<usize> {
        self.inherit(inheritance)?;
        let agents = &self.policy.agents;
        let seeded = seed::seed(&mut self.kernel, &self.policy, &|pid| inheritance.member(pid, agents))?;
        let now = clock::now_since_boot();
        let count = seeded.len();
        for root in seeded.iter().filter(|one| one.inherited && one.member.tree == id_of(one.pid, one.member.start)) {
            self.add_mounts_of(root.pid);
        }
        for one in seeded {
            let member = one.member;
            self.processes.executed(one.pid, member.start, member.start, one.image);
            let tree = self.trees.entry(member.tree).or_default();
            if member.flags & KEEPS_GOING != 0 {
                tree.agents.insert(one.pid);
            }
            if member.call != 0 {
                if !tree.calls.contains(&member.call) {
                    tree.calls.push(member.call);
                }
                let call = self.calls.entry(member.call).or_default();
                if let Some(label) = one.call {
                    tree.labelled += 1;
                    call.label = Some(label.into());
                    call.session = one.session.map(Into::into);
                    tree.serves(call.session.as_ref());
                }
            }
            if tree.root == (0, 0) {
                tree.root = (one.pid, member.start);
                tree.agent = self.policy.agents.get(member.agent as usize).map(|agent| agent.name.clone());
                tree.uid = one.uid;
                tree.started = clock::time_of_day(member.start);
                // The start of one that was guarded already has been told, or will be from what was recorded of it.
                if !one.inherited {
                    let event = self.event_of_start(&member, one.pid, now);
                    self.publish(&event, Some(member.tree));
                }
                self.begin_preventing(member.tree);
            }
        }
        Ok(count)
    }

    /// The backends in use, in words, the strongest first.
    #[must_use]
    pub fn backends(&self) -> String {
        let words = |backend: Backend| match self.kernel.asked() {
            Some(asked @ Asked::ModifiedReturn) if backend == Backend::Lsm => {
                format!("{} ({})", backend.word(), asked.words())
            }
            _ => backend.word().to_owned(),
        };
        let words: Vec<String> = self.kernel.backends().into_iter().map(words).collect();
        words.join(", ")
    }

    /// Tells events to those who follow them, from now on.
    pub fn tell_to(&mut self, stream: Stream) {
        self.stream = Some(stream);
    }

    /// Sends events that it wants to a webhook, from now on.
    pub fn send_to(&mut self, webhook: Webhook) {
        self.webhook = Some(webhook);
    }

    /// How full the ring buffers are: verdicts, and the bulk.
    #[must_use]
    pub fn gauges(&self) -> Arc<[Gauge; 2]> {
        Arc::clone(&self.gauges)
    }

    /// The totals so far.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Whether verdicts are carried out, where a session has no mode of its own.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether they are in this session.
    fn mode_of(&self, tree: Option<Id>) -> Mode {
        tree.and_then(|tree| self.kernel.mode(tree)).unwrap_or(self.mode)
    }

    /// Waits for records and handles them. Safe to drop at any moment.
    ///
    /// # Errors
    /// If a ring buffer can't be waited for.
    pub async fn step(&mut self) -> anyhow::Result<()> {
        if self.more {
            tokio::task::yield_now().await;
        } else {
            let (verdicts, bulk) = (self.verdicts.readable(), self.bulk.readable());
            tokio::select! {
                ready = verdicts => ready?.clear_ready(),
                ready = bulk => ready?.clear_ready(),
                () = self.mounts.changed() => self.look_at_mounts(),
                () = prevented::refused(self.prevention.as_ref()) => {}
            }
        }
        self.drain();
        Ok(())
    }

    /// Handles the records that there are, verdicts and lifecycle first. Where they come faster than they can be handled,
    /// some are left for the next time.
    pub fn drain(&mut self) {
        self.gauges.iter().for_each(Gauge::look);
        self.take_refused();
        self.more = true;
        for _ in 0..BATCHES {
            self.drain_verdicts();
            let taken = (0..BULK_BATCH).take_while(|_| self.take_bulk()).count();
            if taken < BULK_BATCH {
                self.more = false;
                break;
            }
        }
        self.flush();
    }

    /// Hands over what was told.
    fn flush(&mut self) {
        if let Some(sink) = &mut self.sink {
            sink.flush();
        }
        if let Some(stream) = &self.stream {
            stream.tell(&mut self.batch.0);
            self.batch.1 = 0;
        }
        if self.oldest != u64::MAX {
            self.lag.add(Duration::from_nanos(clock::now_since_boot().saturating_sub(self.oldest)));
            self.oldest = u64::MAX;
        }
    }

    /// Handles what there is of verdicts and lifecycle.
    fn drain_verdicts(&mut self) {
        for _ in 0..VERDICTS {
            if !self.take_verdict() {
                break;
            }
        }
    }

    fn take_verdict(&mut self) -> bool {
        let record = self.verdicts.get_mut().next().map(|item| decode(&item));
        self.take(record)
    }

    fn take_bulk(&mut self) -> bool {
        let record = self.bulk.get_mut().next().map(|item| decode(&item));
        self.take(record)
    }

    /// Handles what came out of a ring buffer; false if that was nothing.
    fn take(&mut self, record: Option<Result<Record, Garbled>>) -> bool {
        match record {
            None => return false,
            Some(Ok(record)) if record.head.time < self.from => {}
            Some(Ok(record)) => self.handle(&record),
            Some(Err(_)) => self.garbled += 1,
        }
        true
    }

    fn handle(&mut self, record: &Record) {
        self.standing.changed = true;
        if let Body::Exec { .. } | Body::Exit(_) = record.body {
            self.tell_sums_of(record.head.tgid, record.head.start);
        }
        self.learn(record);
        self.count(record);
        let head = record.head;
        self.oldest = self.oldest.min(head.time);
        if self.wanted(record) {
            let event = self.event_of(record);
            self.emit(&event, Some(head.tree));
        }
        self.sum(record);
        if let Body::Exec { body, .. } = &record.body
            && let Some(phase) = self.policy.phases.get(body.phase as usize).filter(|_| body.phase != 0)
        {
            let event = Event { op: "phase", phase: Some(phase.clone()), ..self.event_of_head(&head) };
            self.publish(&event, Some(head.tree));
        }
        match record.body {
            Body::Exit(_) => self.exited(&head),
            _ if head.action == Action::Kill as u8 && head.backend != Backend::None as u8 && head.call != 0 => {
                self.ending.insert(head.call, Instant::now());
                self.end_calls();
            }
            _ => {}
        }
    }

    /// Whether anybody wants the event of a record.
    fn wanted(&self, record: &Record) -> bool {
        let told = match record.body {
            Body::Exit(_) => Of::Rest,
            Body::Exec { .. } if record.head.action == Action::Allow as u8 => Of::Execs,
            _ if record.head.action == Action::Allow as u8 => Of::Allowed,
            _ => Of::Rest,
        };
        !matches!(record.body, Body::Fork)
            && (self.sink.is_some()
                || matches!(record.body, Body::Exec { enrol: true, .. } | Body::Moved { .. })
                || record.head.action != Action::Allow as u8
                || self.stream.as_ref().is_some_and(|stream| stream.wanted(told)))
    }

    /// Takes from a record what later ones will need.
    fn learn(&mut self, record: &Record) {
        let head = &record.head;
        match &record.body {
            // What was refused has not happened.
            Body::Exec { .. } if head.backend == Backend::Lsm as u8 => {}
            Body::Exec { body, enrol, path, cwd, session, call, argv } => {
                let whole = head.flags & FLAG_PATH_UNKNOWN == 0;
                let image = tell::image(head, if whole { path } else { &[] }, cwd, argv);
                self.processes.executed(head.tgid, head.start, head.time, image);
                if *enrol {
                    self.enrolled(head, cwd);
                }
                let tree = self.trees.entry(head.tree).or_default();
                if body.member & u32::from(KEEPS_GOING) != 0 {
                    tree.agents.insert(head.tgid);
                    if let Some(agent) = self.policy.agents.get(head.agent as usize) {
                        tree.agent = Some(agent.name.clone());
                    }
                } else {
                    tree.agents.remove(&head.tgid);
                }
                if !call.is_empty() {
                    tree.calls.push(head.call);
                    let known = self.calls.entry(head.call).or_default();
                    tree.labelled += u64::from(known.label.is_none());
                    known.label = Some(String::from_utf8_lossy(call).into());
                    known.session = (!session.is_empty()).then(|| String::from_utf8_lossy(session).into());
                    tree.serves(known.session.as_ref());
                }
            }
            Body::Moved { path, cwd } => self.moved(head, path, cwd),
            Body::Fork | Body::Doomed => {
                let parent = self.processes.running(head.ppid);
                self.processes.forked(parent, (head.tgid, head.start), head.time);
            }
            _ => {}
        }
    }

    /// Does what is due: looks at the counters, ends calls, judges what sessions left behind.
    pub fn tick(&mut self) {
        self.drain();
        self.end_calls();
        self.end_trees();
        let due: Vec<Id> = self.trees.iter().filter(|(_, tree)| tree.settle.is_some()).map(|(id, _)| *id).collect();
        for tree in due {
            self.settle(tree);
        }
        self.forget_pipes();
        self.report_losses();
        self.tell_sums();
        self.flush();
        self.show_life();
    }

    /// Opens the events file anew under its name, where somebody has moved it away. Nothing is lost: what was gathered is
    /// in the old one.
    ///
    /// # Errors
    /// If it can't be opened; the old one stays in use.
    pub fn reopen_events(&mut self) -> Result<(), SinkError> {
        self.sink.as_mut().map_or(Ok(()), Sink::reopen)
    }
}
