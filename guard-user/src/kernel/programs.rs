//! The programs: how they come into the kernel, and where they are attached.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use aya::maps::{Array, Map, MapData, ProgramArray};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{BtfTracePoint, CgroupAttachMode, CgroupSock, CgroupSockAddr, Program, ProgramError, SockOps};
use aya::{Btf, Ebpf};
use guard_common::calls::Call;
use guard_common::offsets::{CALLS_JUDGED, HOOKS_IN_FORCE};

use super::asked::{Asked, Unasked};
use super::cgroup;
use super::hooks::{HOOKS, Hook};
use super::modify_return::ModifyReturn;
use super::pins::Pins;
use crate::policy::Compiled;

/// The tracepoints: program, hook.
const TRACEPOINTS: &[(&str, &str)] = &[
    // In this order: a process that forks or execs while the others are being attached is already followed.
    ("on_fork", "sched_process_fork"),
    ("on_exit", "sched_process_exit"),
    ("on_sys_exit", "sys_exit"),
    ("on_exec", "sched_process_exec"),
    // After that one: who is moved is followed by it.
    ("on_group_entered", "cgroup_attach_task"),
    ("on_group_removed", "cgroup_rmdir"),
    ("on_group_made", "cgroup_mkdir"),
];

/// The tracepoint of `io_uring`, where it shows enough.
const URING: (&str, &str) = ("on_uring_complete", "io_uring_complete");

/// What judges calls that have succeeded: the program for `sys_exit` goes on with it. And what judges signals that they send.
const CALLS: (&str, &str) = ("on_call", "sys_exit");
const SIGNALS: (&str, &str) = ("on_signal", "signal_generate");

/// The program of the control group's hook for new internet sockets.
const SOCKET_PROGRAM: &str = "on_sock_create";

/// The program that the control group tells of TCP connections.
const CONNECTION_PROGRAM: &str = "on_connection";

/// Said where the kernel's types can't be read.
const NO_BTF: &str = "this kernel's BTF can't be read";

/// The programs of the control group's hooks for addresses.
const CGROUP_PROGRAMS: &[&str] =
    &["on_connect4", "on_connect6", "on_sendmsg4", "on_sendmsg6", "on_bind4", "on_bind6"];

/// A program to be loaded.
#[derive(Clone, Copy)]
struct Task {
    program: &'static str,
    /// The hook that it has to be told before it is loaded, or nothing.
    hook: &'static str,
    /// Whether it is a security hook, which guard can do without.
    optional: bool,
}

impl Task {
    const fn of((program, hook): (&'static str, &'static str)) -> Self {
        Self { program, hook, optional: false }
    }

    fn on(hook: &Hook) -> Self {
        Self { program: hook.program, hook: hook.name, optional: true }
    }
}

/// Programs that the kernel checks at the same time.
const AT_ONCE: usize = 4;

/// How programs get onto security hooks.
pub enum Hooks {
    /// Not at all: no hook is asked.
    Unasked,
    /// As a security module's.
    Module,
    /// As those that modify returns.
    ModifiedReturn(Box<ModifyReturn>),
}

impl Hooks {
    /// As the kernel asks, for the programs and maps of `ebpf`, which was made of `object`; `functions` are the kernel's.
    ///
    /// # Errors
    /// If the programs can't be made ready for that.
    pub fn new(
        asked: &Result<Asked, Unasked>,
        object: &[u8],
        ebpf: &Ebpf,
        functions: HashMap<&'static str, u32>,
    ) -> anyhow::Result<Self> {
        Ok(match asked {
            Ok(Asked::Module) => Self::Module,
            Ok(Asked::ModifiedReturn) => Self::ModifiedReturn(Box::new(ModifyReturn::new(object, ebpf, functions)?)),
            Err(_) => Self::Unasked,
        })
    }

    fn asked(&self) -> Option<Asked> {
        match self {
            Self::Unasked => None,
            Self::Module => Some(Asked::Module),
            Self::ModifiedReturn(_) => Some(Asked::ModifiedReturn),
        }
    }

    /// Loads a program, for the hook or tracepoint of this name if it is one that has to be told.
    fn load(&self, program: &mut Program, task: Task, btf: &Btf) -> Loaded {
        match (program, self) {
            (Program::BtfTracePoint(program), _) => program.load(task.hook, btf)?,
            (Program::Lsm(_), Self::ModifiedReturn(programs)) => {
                return programs.load(task.program, task.hook).map(Some);
            }
            (Program::Lsm(program), _) => program.load(task.hook, btf)?,
            (Program::FExit(program), _) => program.load(&Asked::ModifiedReturn.function(task.hook), btf)?,
            (Program::CgroupSockAddr(program), _) => program.load()?,
            (Program::CgroupSock(program), _) => program.load()?,
            (Program::SockOps(program), _) => program.load()?,
            _ => return Err(ProgramError::UnexpectedProgramType),
        }
        Ok(None)
    }

    /// Attaches a program that was loaded for a hook; what holds it there, if it is aya's.
    fn attach(&mut self, program: &mut Program, name: &'static str) -> Result<Option<FdLink>, ProgramError> {
        let link = match (program, self) {
            (Program::Lsm(_), Self::ModifiedReturn(programs)) => return programs.attach(name).map(|()| None),
            (Program::Lsm(program), _) => program.attach().and_then(|link| program.take_link(link))?.into(),
            (Program::FExit(program), _) => program.attach().and_then(|link| program.take_link(link))?.into(),
            _ => return Err(ProgramError::UnexpectedProgramType),
        };
        Ok(Some(link))
    }
}

/// What became of a program; one that is not aya's is there.
type Loaded = Result<Option<OwnedFd>, ProgramError>;

/// The programs. Dropping them detaches them.
pub struct Programs {
    ebpf: Ebpf,
    hooks: Hooks,
    sees_uring: bool,
    attached: bool,
    /// What holds them where they are attached, by their names.
    links: Vec<(&'static str, FdLink)>,
    /// The same, of what is pinned.
    pinned: Vec<PinnedLink>,
    /// Loaded, and not attached yet.
    waiting: Vec<&'static Hook>,
    /// Attached.
    on: Vec<&'static Hook>,
    /// Those that this kernel refuses, and why.
    refused: Vec<(&'static str, String)>,
    /// What those on hooks have taken over from others, and what is judged for want of one.
    taken_over: Array<MapData, u32>,
    /// Whether calls are judged once they have succeeded, where no hook is asked.
    judge_calls: bool,
    /// The hooks that the policy needs, there or not.
    wanted: Vec<&'static Hook>,
    /// Where the program for `sys_exit` finds that for calls.
    called: ProgramArray<MapData>,
    /// Programs for calls that have succeeded: loaded, and not attached yet.
    late_waiting: Vec<&'static str>,
    /// Those that are attached.
    late_on: Vec<&'static str>,
}

impl Programs {
    /// Takes the programs of `ebpf`, loads those that are always needed, and those on security hooks that `policy` needs.
    ///
    /// # Errors
    /// Names what this kernel lacks or refuses. A security hook that it refuses is left out, by its name.
    pub fn load(
        mut ebpf: Ebpf,
        hooks: Hooks,
        sees_uring: bool,
        judge_calls: bool,
        policy: &Compiled,
    ) -> anyhow::Result<Self> {
        let taken_over = Array::try_from(ebpf.take_map("HOOKS").context("the programs have no map HOOKS")?)?;
        let called = ProgramArray::try_from(ebpf.take_map("CALLED").context("the programs have no map CALLED")?)?;
        let mut programs = Self {
            ebpf,
            hooks,
            sees_uring,
            attached: false,
            links: Vec::new(),
            pinned: Vec::new(),
            waiting: Vec::new(),
            on: Vec::new(),
            refused: Vec::new(),
            taken_over,
            judge_calls,
            wanted: wanted(policy),
            called,
            late_waiting: Vec::new(),
            late_on: Vec::new(),
        };
        let btf = Btf::from_sys_fs().context(NO_BTF)?;
        let hooks = programs.needed(policy);
        let tracepoints = TRACEPOINTS.iter().chain(sees_uring.then_some(&URING)).copied().map(Task::of);
        let of_cgroup = CGROUP_PROGRAMS
            .iter()
            .chain([&SOCKET_PROGRAM, &CONNECTION_PROGRAM])
            .map(|program| Task::of((*program, "")));
        // Those that a hook's refusal makes necessary come afterwards.
        let late = if programs.hooks.asked().is_none() { programs.missing_late() } else { Vec::new() };
        let on_hooks = hooks.into_iter().map(Task::on);
        let tasks: Vec<Task> = tracepoints.chain(of_cgroup).chain(on_hooks).chain(late).collect();
        for (task, result) in programs.load_all(&tasks, &btf)? {
            match result {
                result if task.optional => programs.loaded(task.program, result),
                Err(error) => return Err(refused(task.program, error)),
                Ok(_) => {}
            }
        }
        programs.load_late()?;
        Ok(programs)
    }

    /// Has what is needed for `policy` in the kernel, and attached where the others are.
    ///
    /// # Errors
    /// If the kernel's types can't be read any more.
    pub fn want(&mut self, policy: &Compiled) -> anyhow::Result<()> {
        // What the policy in force needs stays: this one may yet be refused.
        let new =
            wanted(policy).into_iter().filter(|hook| !self.wanted.iter().any(|old| old.program == hook.program));
        self.wanted.extend(new.collect::<Vec<_>>());
        let hooks: Vec<Task> = self.needed(policy).into_iter().map(Task::on).collect();
        self.load_optional(&hooks)?;
        self.load_late()?;
        if self.attached { self.attach_hooks() } else { Ok(()) }
    }

    /// The calls that are judged once they have succeeded, a bit each: what the policy is about, and no hook is asked about.
    fn late_calls(&self) -> u32 {
        let is_asked = |hook: &Hook| self.waiting.iter().chain(&self.on).any(|other| other.program == hook.program);
        let calls = self.wanted.iter().filter(|hook| !is_asked(hook)).filter_map(|hook| hook.call);
        if self.judge_calls { calls.fold(0, |all, call| all | call.bit()) } else { 0 }
    }

    /// The programs that these calls need and that are not there yet.
    fn missing_late(&self) -> Vec<Task> {
        let calls = self.late_calls();
        let signals = Call::Kill.bit();
        let needed = [(CALLS, calls & !signals != 0), (SIGNALS, calls & signals != 0)];
        let there = |name: &str| self.late_waiting.iter().chain(&self.late_on).any(|other| *other == name);
        let missing = needed.into_iter().filter(|((name, _), needed)| *needed && !there(name));
        missing.map(|(program, _)| Task { optional: true, ..Task::of(program) }).collect()
    }

    /// Loads them.
    fn load_late(&mut self) -> anyhow::Result<()> {
        self.load_optional(&self.missing_late())
    }

    /// Loads programs that guard can do without, and takes note of those that it has to.
    fn load_optional(&mut self, tasks: &[Task]) -> anyhow::Result<()> {
        if tasks.is_empty() {
            return Ok(());
        }
        let btf = Btf::from_sys_fs().context(NO_BTF)?;
        for (task, result) in self.load_all(tasks, &btf)? {
            self.loaded(task.program, result);
        }
        Ok(())
    }

    /// The security hooks that a policy needs and that are not there yet.
    fn needed(&self, policy: &Compiled) -> Vec<&'static Hook> {
        let Some(asked) = self.hooks.asked() else { return Vec::new() };
        let there = |hook: &&Hook| {
            self.waiting.iter().chain(&self.on).any(|other| other.program == hook.program)
                || self.refused.iter().any(|(name, _)| *name == hook.name)
        };
        wanted(policy).into_iter().filter(|hook| hook.is_for(asked) && !there(hook)).collect()
    }

    /// Takes note of what became of a hook's program.
    fn loaded(&mut self, program: &str, result: Loaded) {
        let late = [CALLS, SIGNALS].into_iter().find(|(name, _)| *name == program);
        if let Some((name, tracepoint)) = late {
            match result {
                Ok(_) => self.late_waiting.push(name),
                Err(error) => {
                    self.judge_calls = false;
                    self.refused.push((tracepoint, format!("{:#}", refused(program, error))));
                }
            }
            return;
        }
        let Some(hook) = HOOKS.iter().find(|hook| hook.program == program) else { return };
        match result {
            Ok(loaded) => {
                if let (Hooks::ModifiedReturn(programs), Some(loaded)) = (&mut self.hooks, loaded) {
                    programs.keep(hook.program, loaded);
                }
                self.waiting.push(hook);
            }
            Err(error) => self.refused.push((hook.name, format!("{:#}", refused(program, error)))),
        }
    }

    /// Loads programs, several at once, for the kernel takes its time to check one. What became of each, in their order.
    fn load_all(&mut self, tasks: &[Task], btf: &Btf) -> anyhow::Result<Vec<(Task, Loaded)>> {
        let mut found = Vec::new();
        for (name, program) in self.ebpf.programs_mut() {
            if let Some(place) = tasks.iter().position(|task| task.program == name) {
                found.push((place, program));
            }
        }
        let is_there = |place: usize| found.iter().any(|(other, _)| *other == place);
        if let Some(missing) = (0..tasks.len()).find(|&place| !is_there(place)) {
            return Err(anyhow!("there is no program {}", tasks[missing].program));
        }
        let (queue, results) = (Mutex::new(found.into_iter()), Mutex::new(Vec::new()));
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let hooks = &self.hooks;
        let work = || {
            while let Some((place, program)) = next() {
                let result = hooks.load(program, tasks[place], btf);
                results.lock().unwrap_or_else(PoisonError::into_inner).push((place, result));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..AT_ONCE.min(tasks.len()) {
                scope.spawn(work);
            }
            work();
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(place, _)| *place);
        Ok(results.into_iter().map(|(place, result)| (tasks[place], result)).collect())
    }

    /// Attaches them.
    ///
    /// # Errors
    /// Names the hook that refused.
    pub fn attach(&mut self) -> anyhow::Result<()> {
        let cgroup_path = cgroup::root()?;
        let cgroup = File::open(&cgroup_path)
            .with_context(|| format!("the control group {} can't be opened", cgroup_path.display()))?;
        let single = CgroupAttachMode::Single;
        let refused =
            |name: &str| format!("{name} could not be attached to the control group {}", cgroup_path.display());
        for name in CGROUP_PROGRAMS {
            let program: &mut CgroupSockAddr = self.program(name)?.try_into()?;
            let link = program.attach(&cgroup, single).with_context(|| refused(name))?;
            let link = program.take_link(link)?.try_into()?;
            self.links.push((name, link));
        }
        let program: &mut CgroupSock = self.program(SOCKET_PROGRAM)?.try_into()?;
        let link = program.attach(&cgroup, single).with_context(|| refused(SOCKET_PROGRAM))?;
        let link = program.take_link(link)?.try_into()?;
        self.links.push((SOCKET_PROGRAM, link));
        let program: &mut SockOps = self.program(CONNECTION_PROGRAM)?.try_into()?;
        let link = program.attach(&cgroup, single).with_context(|| refused(CONNECTION_PROGRAM))?;
        let link = program.take_link(link)?.try_into()?;
        self.links.push((CONNECTION_PROGRAM, link));
        for (name, hook) in self.sees_uring.then_some(&URING).into_iter().chain(TRACEPOINTS) {
            let program: &mut BtfTracePoint = self.program(name)?.try_into()?;
            let link = program.attach().with_context(|| format!("{hook} refused guard's program"))?;
            let link = program.take_link(link)?.into();
            self.links.push((name, link));
        }
        self.attached = true;
        self.attach_hooks()
    }

    /// Attaches what is on security hooks, and says so to the others, which leave to them what they judge.
    fn attach_hooks(&mut self) -> anyhow::Result<()> {
        for hook in std::mem::take(&mut self.waiting) {
            let program = self.ebpf.program_mut(hook.program).with_context(|| missing(hook.program))?;
            match self.hooks.attach(program, hook.program) {
                Ok(link) => {
                    self.links.extend(link.map(|link| (hook.program, link)));
                    self.on.push(hook);
                }
                Err(error) => self.refused.push((hook.name, error.to_string())),
            }
        }
        self.load_late()?;
        for name in std::mem::take(&mut self.late_waiting) {
            let program: &mut BtfTracePoint =
                self.ebpf.program_mut(name).with_context(|| missing(name))?.try_into()?;
            if name == SIGNALS.0 {
                let link = program.attach().with_context(|| format!("{} refused guard's program", SIGNALS.1))?;
                let link = program.take_link(link)?.into();
                self.links.push((name, link));
            } else {
                self.called.set(0, program.fd()?, 0).context("calls can't be judged once they have succeeded")?;
            }
            self.late_on.push(name);
        }
        let taken_over = self.on.iter().fold(0, |all, hook| all | hook.takes_over);
        let late = self.late_calls();
        self.taken_over
            .set(HOOKS_IN_FORCE, taken_over, 0)
            .and_then(|()| self.taken_over.set(CALLS_JUDGED, late, 0))
            .context("the security hooks could not be put in force")
    }

    /// Has those that are attached outlive this process.
    ///
    /// # Errors
    /// Whatever bpffs says.
    pub fn pin(&mut self, pins: &Pins) -> anyhow::Result<()> {
        for (name, link) in self.links.drain(..) {
            let link = link.pin(pins.at(name)).with_context(|| format!("program {name} could not be pinned"))?;
            self.pinned.push(link);
        }
        if let Hooks::ModifiedReturn(programs) = &mut self.hooks { programs.pin(pins) } else { Ok(()) }
    }

    /// Whether calls are judged once they have succeeded where no hook is asked.
    pub fn judge_calls(&self) -> bool {
        self.judge_calls
    }

    /// Whether some are on security hooks.
    pub fn on_hooks(&self) -> bool {
        !self.on.is_empty()
    }

    /// The security hooks that this kernel keeps guard from, and why.
    pub fn refused(&self) -> &[(&'static str, String)] {
        &self.refused
    }

    /// How long each that is loaded has run, and how often, as far as the kernel measures.
    pub fn runs(&self) -> impl Iterator<Item = (&str, Duration, u64)> {
        // One that was not loaded has no information.
        let of_aya = self.ebpf.programs().filter_map(|(name, program)| {
            let info = program.info().ok()?;
            Some((name, info.run_time(), info.run_count()))
        });
        let others = match &self.hooks {
            Hooks::ModifiedReturn(programs) => {
                Some(programs.runs().map(|(name, time, count)| (name as &str, time, count)))
            }
            _ => None,
        };
        of_aya.chain(others.into_iter().flatten())
    }

    /// Shows their own diagnostics.
    ///
    /// # Errors
    /// If they offer none.
    pub fn show_diagnostics(&mut self) -> anyhow::Result<()> {
        super::diagnostics::show(&mut self.ebpf)
    }

    /// Takes a map of theirs.
    pub fn take_map(&mut self, name: &str) -> Option<Map> {
        self.ebpf.take_map(name)
    }

    fn program(&mut self, name: &str) -> anyhow::Result<&mut Program> {
        self.ebpf.program_mut(name).with_context(|| missing(name))
    }
}

/// The hooks that `policy` needs.
fn wanted(policy: &Compiled) -> Vec<&'static Hook> {
    HOOKS.iter().filter(|hook| hook.is_needed(policy)).collect()
}

fn missing(program: &str) -> String {
    format!("there is no program {program}")
}

/// The error for a program that the verifier turned down, with its last words.
fn refused(name: &str, error: ProgramError) -> anyhow::Error {
    if let ProgramError::LoadError { io_error, verifier_log } = &error {
        let log = verifier_log.to_string();
        let tail: Vec<_> = log.lines().rev().take(12).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        return anyhow!("the kernel refused program {name}: {io_error}\n{}", tail.join("\n"));
    }
    anyhow!(error).context(format!("the kernel refused program {name}"))
}
