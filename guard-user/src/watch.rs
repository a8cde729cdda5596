//! The way of a record through user space: decoded, given its names, told, written.
//!
//! One task owns it all. The kernel has decided already; nothing here changes a verdict, except that what the kernel
//! can't reach by itself is finished: the rest of a call that was ended, and what a session leaves behind.

mod answer;
mod imports;
mod kill;
mod lag;
mod mounts;
mod pipes;
mod prevented;
mod reload;
pub mod request;
mod standing;
mod sums;
mod tally;
mod tell;
mod unseen;

use imports::Imports;
use lag::Lag;
use mounts::Mounts;
use pipes::Pipes;
pub use standing::Inheritance;
use standing::Standing;
use sums::Sums;
pub use tally::{LIFE, LOSSES, Tally, Totals};

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use bytes::Bytes;
use guard_common::event::{FLAG_ENFORCED, FLAG_PATH_UNKNOWN};
use guard_common::tree::{Id, MEMBER_AGENT, MEMBER_RUN, Member, TOLD_IN_EVENTS, id_of};
use guard_common::words::{Action, Backend, Mode, Op, Scope};
use tokio::io::unix::AsyncFd;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::control::types::{Gap, Reloads};
use crate::kernel::{Asked, Gauge, Kernel, Settings, Target};
use crate::policy::{Compiled, Own, RuleInfo, Source, Whole};
use crate::prevent::Prevention;
use crate::record::decode::{Body, Garbled, Record, decode};
use crate::record::event::Event;
use crate::record::stream::{Audience, Of, Stream, Told};
use crate::record::webhook::{self, Webhook};
use crate::record::{Sink, SinkError, clock};
use crate::session::{Processes, repo, seed, users};

/// Records of the bulk that are handled before the verdicts are looked at again.
const BULK_BATCH: usize = 4096;
/// Batches that are handled before everything else has its turn: signals, the clock, another policy.
const BATCHES: usize = 2;
/// Verdicts that are handled likewise.
const VERDICTS: usize = BULK_BATCH * BATCHES;
/// How long a process may take to end by itself after its session has.
const GRACE: Duration = Duration::from_millis(500);
/// How often counters are looked at, and what is due is done.
const TICK: Duration = Duration::from_millis(100);

/// When to call [`Watch::tick`]. Ticks that were missed are not made up for.
#[must_use]
pub fn ticks() -> Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What is known of a call.
#[derive(Clone, Debug, Default)]
struct Call {
    session: Option<Arc<str>>,
    label: Option<Arc<str>>,
}

/// Of a session's agent sessions, so many are remembered.
const AGENT_SESSIONS: usize = 64;
/// Bytes of events that gather before they are handed to those who follow them.
const STREAM_BATCH: usize = 256 << 10;

/// What is known of a tree.
#[derive(Debug, Default)]
struct Tree {
    root: (u32, u64),
    agent: Option<String>,
    /// Whose it is: the user of its first process.
    uid: Option<u32>,
    /// When its first process was started.
    started: String,
    /// The agent's ids of what it serves.
    agent_sessions: Vec<Arc<str>>,
    /// Calls that the agent labelled.
    labelled: u64,
    /// What happened in it.
    tally: Tally,
    /// Processes that keep the session going.
    agents: HashSet<u32>,
    calls: Vec<Id>,
    /// When to look at what was left behind.
    settle: Option<Instant>,
    /// The session is over; what is left of the tree was judged.
    over: bool,
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
            if member.flags & MEMBER_AGENT != 0 {
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
                if let Some(places) = self.kernel.places(member.tree) {
                    self.prevent_for(
                        member.tree,
                        &places.repo[..places.repo_len as usize],
                        &places.home[..places.home_len as usize],
                    );
                    self.import(member.tree, &places.repo[..places.repo_len as usize]);
                }
            }
        }
        Ok(count)
    }

    /// Enters `pid` as the root of a tree of its own, with `repo` and `home` as its places.
    ///
    /// # Errors
    /// If a map is full.
    pub fn enter_root(&mut self, pid: u32, mut member: Member, repo: &[u8], home: &[u8]) -> anyhow::Result<()> {
        self.add_mounts_of(pid);
        self.kernel.set_places(member.tree, repo, home)?;
        self.prevent_for(member.tree, repo, home);
        self.import(member.tree, repo);
        // Until its exec it runs guard itself, which is of no class.
        member.classes[self.kernel.active_place()].generation = self.generation;
        self.kernel.enter(pid, member)?;
        let tree = self.trees.entry(member.tree).or_default();
        tree.root = (pid, member.start);
        tree.started = clock::time_of_day(member.start);
        tree.agents.insert(pid);
        let event = self.event_of_start(&member, pid, clock::now_since_boot());
        self.publish(&event, Some(member.tree));
        Ok(())
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

    /// Whether a tree's session is over and its end was told.
    #[must_use]
    pub fn ended(&self, tree: Id) -> bool {
        self.trees.get(&tree).is_none_or(|tree| tree.over)
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
                || matches!(record.body, Body::Exec { enrol: true, .. })
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
                if body.member & u32::from(MEMBER_AGENT | MEMBER_RUN) != 0 {
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
            Body::Fork | Body::Doomed => {
                let parent = self.processes.running(head.ppid);
                self.processes.forked(parent, (head.tgid, head.start), head.time);
            }
            _ => {}
        }
    }

    /// An agent has become the root of a tree: finds its places.
    fn enrolled(&mut self, head: &guard_common::event::Head, cwd: &[u8]) {
        use std::os::unix::ffi::OsStrExt as _;
        let folder = std::path::Path::new(std::ffi::OsStr::from_bytes(cwd));
        let top = repo::top_level(folder);
        let home = users::home_of(head.uid).unwrap_or_default();
        self.add_mounts_of(head.tgid);
        // Without room for its places, the ones that the programs found stay.
        if self.kernel.set_places(head.tree, top.as_os_str().as_bytes(), &home).is_err() {
            self.garbled += 1;
        }
        let tree = Tree {
            root: (head.tgid, head.start),
            uid: Some(head.uid),
            started: clock::time_of_day(head.start),
            ..Tree::default()
        };
        self.trees.insert(head.tree, tree);
        self.prevent_for(head.tree, top.as_os_str().as_bytes(), &home);
        self.import(head.tree, top.as_os_str().as_bytes());
    }

    fn exited(&mut self, head: &guard_common::event::Head) {
        self.processes.exited(head.tgid, head.start);
        if let Some(tree) = self.trees.get_mut(&head.tree)
            && (tree.over || tree.agents.remove(&head.tgid) && tree.agents.is_empty())
        {
            tree.settle = Some(Instant::now() + GRACE);
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

    /// Kills what is left of calls that were ended, each process held so that no other can be hit. The programs see
    /// to it that such a call's processes fork no more.
    fn end_calls(&mut self) {
        if self.ending.is_empty() {
            return;
        }
        let mut alive = HashSet::new();
        let members: Vec<_> =
            self.kernel.members().filter(|(_, member)| self.ending.contains_key(&member.call)).collect();
        for (pid, member) in members {
            alive.insert(member.call);
            self.kill(pid, &member);
        }
        // A fork under way when the call was ended may show its child a moment later.
        self.ending.retain(|call, since| alive.contains(call) || since.elapsed() < GRACE);
    }

    /// Kills a member, if it still is the same process.
    fn kill(&self, pid: u32, member: &Member) -> bool {
        match Target::hold(pid) {
            Ok(Some(target)) if self.kernel.member(pid).is_some_and(|now| now.start == member.start) => {
                target.kill().unwrap_or(false)
            }
            _ => false,
        }
    }

    /// A session's last agent process has ended: judges what it left behind once it had time to go by itself. What
    /// may stay is guarded on; the tree is forgotten when nothing of it is left.
    fn settle(&mut self, id: Id) {
        let members: Vec<_> = self.kernel.members().filter(|(_, member)| member.tree == id).collect();
        let Some(tree) = self.trees.get_mut(&id) else { return };
        let keeps_going = |member: &Member| member.flags & (MEMBER_AGENT | MEMBER_RUN) != 0;
        if members.iter().any(|(_, member)| keeps_going(member)) {
            // Another process of the tree became an agent in the meantime.
            tree.agents.extend(members.iter().filter(|(_, member)| keeps_going(member)).map(|(pid, _)| *pid));
            tree.settle = None;
            return;
        }
        if !members.is_empty() && tree.settle.is_some_and(|due| Instant::now() < due) {
            return;
        }
        tree.settle = None;
        if !std::mem::replace(&mut tree.over, true) {
            let (root, agent) = (tree.root, tree.agent.clone());
            self.drain();
            for (pid, member) in &members {
                self.judge_left(*pid, member);
            }
            let member = Member { tree: id, start: root.1, ..Member::default() };
            let mut event = self.event_about("session-end", &member, root.0, clock::now_since_boot());
            (event.agent, event.scope) = (agent, None);
            self.publish(&event, Some(id));
        }
        if members.is_empty()
            && let Some(tree) = self.trees.remove(&id)
        {
            for call in &tree.calls {
                self.calls.remove(call);
            }
            self.totals.sent += self.kernel.sent(id);
            self.kernel.forget_tree(id, tree.calls);
            self.prevent_no_more(id);
            self.forget_import(id);
        }
    }

    /// Judges a process that outlived its session.
    fn judge_left(&mut self, pid: u32, member: &Member) {
        let scope = Scope::from_number(member.scope).unwrap_or(Scope::Tool);
        let decision = self.policy.tables().decide(
            Op::Outlive,
            scope,
            &crate::policy::Object::Unknown,
            &crate::policy::Places::default(),
            0,
        );
        let kills = decision.action >= Action::Deny && self.mode_of(Some(member.tree)) == Mode::Enforce;
        let enforced = kills && self.kill(pid, member);
        if !enforced {
            self.totals.left += 1;
        }
        let mut event = self.event_about(Op::Outlive.word(), member, pid, clock::now_since_boot());
        event.path = event.process.as_ref().and_then(|process| process.exe.clone());
        let backend = if enforced { Backend::Signal } else { Backend::None };
        event.verdict = Some(self.verdict(self.generation, decision.rule, decision.action, enforced, backend));
        self.publish(&event, Some(member.tree));
    }

    /// Opens the events file anew under its name, where somebody has moved it away. Nothing is lost: what was gathered is
    /// in the old one.
    ///
    /// # Errors
    /// If it can't be opened; the old one stays in use.
    pub fn reopen_events(&mut self) -> Result<(), SinkError> {
        self.sink.as_mut().map_or(Ok(()), Sink::reopen)
    }

    fn report_losses(&mut self) {
        let mut losses = Vec::new();
        for (name, value) in self.kernel.counters() {
            let before = self.counters.insert(name, value).unwrap_or(0);
            if value > before && !TOLD_IN_EVENTS.contains(&name) {
                losses.push((name, value - before));
            }
        }
        if self.unmarked > 0 {
            losses.push(("ended-calls-full", std::mem::take(&mut self.unmarked)));
        }
        if let Some(lost) = self.prevention.as_ref().map(Prevention::untold).filter(|lost| *lost > 0) {
            losses.push((prevented::LOSS, lost));
        }
        if self.garbled > 0 {
            losses.push(("garbled", std::mem::take(&mut self.garbled)));
        }
        if let Some((lost, error)) = self.sink.as_mut().and_then(Sink::take_failure) {
            tracing::error!("{lost} events could not be written: {error}");
            losses.push(("not-written", lost));
        }
        if let Some(lost) = self.webhook.as_mut().map(Webhook::lost).filter(|lost| *lost > 0) {
            losses.push((webhook::LOSS, lost));
        }
        for (kind, count) in losses {
            self.lose(kind, count);
        }
    }

    /// Counts a loss, and tells it.
    fn lose(&mut self, kind: &'static str, count: u64) {
        *self.totals.lost.entry(kind).or_default() += count;
        let event = Event {
            time: clock::time_of_day(clock::now_since_boot()),
            op: "lost",
            kind: Some(kind),
            count: Some(count),
            ..Event::default()
        };
        self.publish(&event, None);
    }

    /// Counts an event that no record has brought, tells it and writes it.
    fn publish(&mut self, event: &Event, tree: Option<Id>) {
        let verdict = event.verdict.as_ref();
        let action = verdict.and_then(|verdict| Action::from_word(verdict.action));
        match Op::from_word(event.op).zip(action) {
            Some((op, action)) => {
                let kept = self.mode_of(tree) == Mode::Audit && !verdict.is_some_and(|verdict| verdict.enforced);
                self.count_decided(tree, op, action, kept);
            }
            None => self.count_happened(tree, event.op, action),
        }
        if let Some(action) = action {
            self.totals.ruled(verdict.and_then(|verdict| verdict.rule.as_deref()), action);
        }
        self.emit(event, tree);
    }

    /// Tells an event, unless it is an allowed operation, writes it, and hands it to those who follow.
    fn emit(&mut self, event: &Event, tree: Option<Id>) {
        let allowed = event.verdict.as_ref().is_some_and(|verdict| verdict.action == Action::Allow.word());
        if !allowed {
            (self.tell)(event);
        }
        let of = match allowed {
            true if event.op == Op::Exec.word() => Of::Execs,
            true => Of::Allowed,
            false => Of::Rest,
        };
        let followed = self.stream.as_ref().is_some_and(|stream| stream.wanted(of));
        let sent = self.webhook.as_ref().is_some_and(|webhook| webhook.wants(event));
        if self.sink.is_none() && !followed && !sent || !self.put(event) {
            return;
        }
        if followed {
            self.follow(event, of, tree);
        }
        if let Some(webhook) = self.webhook.as_ref().filter(|_| sent) {
            webhook.take(&self.line);
        }
        if let Some(sink) = &mut self.sink {
            self.line.push(b'\n');
            sink.write(&self.line);
        }
    }

    /// Writes an event's line; false where that can't be.
    fn put(&mut self, event: &Event) -> bool {
        self.line.clear();
        let put = serde_json::to_writer(&mut self.line, event).is_ok();
        // Not for any event there is; a loss all the same.
        self.garbled += u64::from(!put);
        put
    }

    /// Hands the event whose line was written to those who follow.
    fn follow(&mut self, event: &Event, of: Of, tree: Option<Id>) {
        let Some(stream) = &self.stream else { return };
        let owner = tree.map(|tree| self.trees.get(&tree).and_then(|tree| tree.uid));
        let audience = match owner {
            Some(Some(uid)) => Audience::User(uid),
            None if ["lost", "gap"].contains(&event.op) => Audience::All,
            _ => Audience::Trusted,
        };
        let line = Bytes::copy_from_slice(&self.line);
        let action = event.verdict.as_ref().map(|verdict| verdict.action);
        let stands_for = if of == Of::Counted { event.count.unwrap_or(1) } else { 1 };
        self.batch.1 += line.len();
        self.batch.0.push(Told { line, tree, audience, op: event.op, action, of, stands_for });
        if self.batch.1 >= STREAM_BATCH {
            stream.tell(&mut self.batch.0);
            self.batch.1 = 0;
        }
    }

    /// Counts what a record tells, whether anybody wants its event or not.
    fn count(&mut self, record: &Record) {
        let head = &record.head;
        let (tree, action) = (Some(head.tree), Action::from_number(head.action).unwrap_or(Action::Deny));
        match &record.body {
            Body::Exit(_) => return self.count_happened(tree, "exit", None),
            Body::Fork => return self.count_happened(tree, "fork", None),
            Body::Exec { enrol: true, .. } => return self.count_happened(tree, "session-start", None),
            Body::Doomed => self.count_happened(tree, "fork", Some(action)),
            _ => {
                let denied = head.action >= Action::Deny as u8 && head.flags & FLAG_ENFORCED == 0;
                let kept = denied && self.mode_of(tree) == Mode::Audit;
                if let Some(op) = Op::from_number(head.op) {
                    self.count_decided(tree, op, action, kept);
                }
            }
        }
        let rules = self.policies.iter().find(|(number, _)| *number == head.generation).map(|(_, rules)| rules);
        let rule = rules.and_then(|rules| rules.get(usize::from(head.rule)));
        self.totals.ruled(rule.map(|rule| rule.name.as_str()), action);
    }

    /// Counts a decided operation. `kept`: not carried out because the mode is audit.
    fn count_decided(&mut self, tree: Option<Id>, op: Op, action: Action, kept: bool) {
        self.totals.tally.decided(op, action);
        if kept && action >= Action::Deny {
            self.totals.would_have.decided(op, action);
        }
        if let Some(tree) = tree.and_then(|tree| self.trees.get_mut(&tree)) {
            tree.tally.decided(op, action);
        }
    }

    /// Counts what happened beside operations.
    fn count_happened(&mut self, tree: Option<Id>, what: &str, action: Option<Action>) {
        self.totals.tally.happened(what, action);
        if let Some(tree) = tree.and_then(|tree| self.trees.get_mut(&tree)) {
            tree.tally.happened(what, action);
        }
    }
}

impl Tree {
    /// One of its calls belongs to this session of the agent's.
    fn serves(&mut self, session: Option<&Arc<str>>) {
        if let Some(session) = session
            && self.agent_sessions.len() < AGENT_SESSIONS
            && !self.agent_sessions.contains(session)
        {
            self.agent_sessions.push(Arc::clone(session));
        }
    }
}
