//! Answers what other threads ask.

use std::collections::HashMap;

use guard_common::tree::{Id, MEMBER_AGENT, MEMBER_RUN, Member};
use guard_common::words::{Action, Backend, Mode, Op, Scope};

use super::request::{By, Change, Done, Refused, Request, Snapshot};
use super::{Tally, Tree, Watch};
use crate::control::types::{self, Call, Counts, PolicyInForce, Program, Protection, Session, SessionDetail};
use crate::kernel::{ProgramRun, Reach, holds};
use crate::prevent::Prevention;
use crate::record::clock;
use crate::record::event::{Event, Process};
use crate::record::webhook::Webhook;
use crate::session::seed;

/// Calls of a session that are listed.
const MAX_CALLS: usize = 1000;

impl Watch<'_> {
    /// Answers a request.
    pub fn answer(&mut self, request: Request) {
        // An answer that nobody waits for any more is dropped.
        match request {
            Request::Snapshot(reply) => drop(reply.send(self.snapshot())),
            Request::Session(id, reply) => drop(reply.send(self.session(id))),
            Request::Guarded(pid, reply) => drop(reply.send(self.kernel.member(pid).is_some())),
            Request::Change(by, change, reply) => drop(reply.send(self.change(&by, change))),
            Request::PolicyRefused(by, why) => {
                tracing::error!(
                    "the policy that {} asked for is refused; the policy that was in force stays:\n{why}",
                    by.told()
                );
                self.refuse_policy(&why);
            }
        }
    }

    fn change(&mut self, by: &By, change: Change) -> Result<Done, Refused> {
        if self.kernel.member(by.pid).is_some() {
            return Err(Refused::Guarded);
        }
        let (kind, tree, done) = match change {
            Change::Policy(whole) => {
                let origin = whole.source.origin.clone();
                if let Err(error) = self.reload(*whole) {
                    let why = format!("{error:#}");
                    tracing::error!("the policy that was in force stays:\n{why}");
                    return Err(Refused::Failed(why));
                }
                tracing::info!(
                    "the policy of {origin}, which {} asked for, is in force, mode {}",
                    by.told(),
                    self.mode.word()
                );
                ("policy", None, Done::Policy(self.generation))
            }
            Change::Phase(tree, phase) => {
                self.begin_phase(by, tree, &phase)?;
                ("phase", Some(tree), Done::Phase)
            }
            Change::Mode(tree, mode) => {
                self.switch(tree, mode)?;
                ("mode", Some(tree), Done::Mode(mode))
            }
            Change::Kill(tree, call) => ("kill", Some(tree), Done::Killed(self.end(tree, call.as_deref())?)),
        };
        let count = if let Done::Killed(count) = done { Some(count) } else { None };
        let mode = if let Done::Mode(mode) = done { Some(mode.word()) } else { None };
        let event = Event { kind: Some(kind), count, mode, ..self.event_by("control", by, tree) };
        self.publish(&event, tree);
        self.flush();
        Ok(done)
    }

    /// An event about what a client has done.
    fn event_by(&self, op: &'static str, by: &By, tree: Option<Id>) -> Event {
        let process = procfs::process::Process::new(by.pid as i32).ok();
        let exe = process.as_ref().and_then(seed::executable);
        let agent = tree.and_then(|tree| self.trees.get(&tree)).and_then(|tree| tree.agent.clone());
        Event {
            time: clock::time_of_day(clock::now_since_boot()),
            op,
            tree: tree.map(name),
            agent,
            process: Some(Process {
                pid: by.pid,
                start: by.start,
                uid: Some(by.uid),
                exe: exe.map(|exe| exe.to_string_lossy().into_owned()),
                ..Process::default()
            }),
            ..Event::default()
        }
    }

    fn begin_phase(&mut self, by: &By, tree: Id, phase: &str) -> Result<(), Refused> {
        self.known(tree)?;
        let phases = &self.policy.phases;
        let Some(number) = phases.iter().position(|known| known == phase) else {
            let found = if phases.is_empty() { "none".to_owned() } else { phases.join(", ") };
            return Err(Refused::Absent(format!("the policy has no phase `{phase}`; its phases: {found}")));
        };
        let now = self.kernel.phase(tree) as usize;
        if number <= now {
            let current = phases.get(now).map_or("another", String::as_str);
            return Err(Refused::Conflict(format!(
                "the session is in the phase `{current}` already, and sessions only go forward"
            )));
        }
        self.kernel.set_phase(tree, number as u32).map_err(|error| Refused::Failed(format!("{error:#}")))?;
        let event = Event { phase: Some(phase.to_owned()), ..self.event_by("phase", by, Some(tree)) };
        self.publish(&event, Some(tree));
        Ok(())
    }

    /// Has a session enforce, or only watches it, whatever the policy says of all.
    fn switch(&mut self, tree: Id, mode: Mode) -> Result<(), Refused> {
        if self.known(tree)?.over {
            return Err(Refused::Conflict("the session is over".to_owned()));
        }
        if self.audit && mode == Mode::Enforce {
            return Err(Refused::Conflict("guard was started with --audit, which carries nothing out".to_owned()));
        }
        // One that is as the policy says has no mode of its own any more, and goes with the next policy.
        let own = Some(mode).filter(|mode| *mode != self.mode);
        self.kernel.set_mode(tree, own).map_err(|error| Refused::Failed(format!("{error:#}")))?;
        self.prevent_where_enforced();
        tracing::info!("the session {} is in mode {}, from the control API", name(tree), mode.word());
        Ok(())
    }

    /// Fails where there is no such session.
    pub(super) fn known(&self, tree: Id) -> Result<&Tree, Refused> {
        self.trees.get(&tree).ok_or_else(|| Refused::Absent(format!("there is no session {}", name(tree))))
    }

    fn snapshot(&self) -> Snapshot {
        let mut sizes: HashMap<Id, u64> = HashMap::new();
        let mut processes = 0;
        for (_, member) in self.kernel.members() {
            *sizes.entry(member.tree).or_default() += 1;
            processes += 1;
        }
        let mut trees: Vec<(&Id, &Tree)> = self.trees.iter().collect();
        trees.sort_unstable_by_key(|(id, tree)| (tree.root.1, **id));
        let sessions = trees
            .into_iter()
            .map(|(id, tree)| self.session_of(*id, tree, sizes.get(id).copied().unwrap_or(0)))
            .collect();
        Snapshot {
            mode: self.mode.word(),
            policy: PolicyInForce {
                origin: self.source.origin.clone(),
                generation: self.generation,
                since: self.since.clone(),
                rules: self.policy.rules.iter().filter(|rule| !rule.agent && !rule.is_own()).count() as u64,
                agents: self.policy.agents.iter().map(|agent| agent.name.clone()).collect(),
                cgroups: self.policy.groups.clone(),
                phases: self.policy.phases.clone(),
            },
            source: self.source.clone(),
            backends: self.kernel.backends().into_iter().map(|backend| backend.word().to_owned()).collect(),
            unenforced: self.unenforced.iter().map(|&op| op.to_owned()).collect(),
            protection: self.protection(),
            marks: self.prevention.as_ref().map(Prevention::marks),
            stands: self.kernel.stands(),
            gap: self.gap.clone(),
            sessions,
            processes,
            max_processes: u64::from(self.kernel.max_processes),
            totals: self.totals.clone(),
            counters: self.kernel.counters(),
            programs: self.kernel.programs().into_iter().map(program).collect(),
            reloads: self.reloads.clone(),
            store_lag_seconds: self.sink.as_ref().map(|_| self.lag.longest().as_secs_f64()),
            webhook: self.webhook.as_ref().map(Webhook::numbers),
        }
    }

    fn protection(&self) -> Vec<Protection> {
        let abilities = self.kernel.abilities();
        let enforced = self.mode == Mode::Enforce;
        let told = |hold: crate::kernel::Hold| Protection {
            op: hold.op.word().to_owned(),
            what: hold.what.to_owned(),
            reach: hold.reach.word().to_owned(),
            backend: (hold.backend != Backend::None).then(|| hold.backend.word().to_owned()),
            enforcing: enforced && hold.reach != Reach::NotSeen,
        };
        holds(&abilities).into_iter().map(told).collect()
    }

    fn session_of(&self, id: Id, tree: &Tree, processes: u64) -> Session {
        let places = self.kernel.places(id);
        let repo = places.as_ref().and_then(|places| text(&places.repo[..places.repo_len as usize]));
        let home = places.as_ref().and_then(|places| text(&places.home[..places.home_len as usize]));
        let phase = (!self.policy.phases.is_empty()).then(|| self.kernel.phase(id) as usize);
        Session {
            id: name(id),
            agent: tree.agent.clone(),
            agent_sessions: tree.agent_sessions.iter().map(ToString::to_string).collect(),
            uid: tree.uid,
            user: None,
            repo,
            home,
            mode: self.mode_of(Some(id)).word().to_owned(),
            own_mode: self.kernel.mode(id).is_some(),
            phase: phase.and_then(|phase| self.policy.phases.get(phase).cloned()),
            started: tree.started.clone(),
            pid: tree.root.0,
            over: tree.over,
            calls: tree.labelled,
            processes,
            ops: ops(&tree.tally),
            verdicts: verdicts(&tree.tally),
            worst: tree.tally.worst().map(|action| action.word().to_owned()),
            bytes_out: Some(self.kernel.sent(id)),
        }
    }

    fn session(&self, id: Id) -> Option<SessionDetail> {
        let tree = self.trees.get(&id)?;
        let mut members: Vec<(u32, Member)> = self.kernel.members().filter(|(_, member)| member.tree == id).collect();
        members.sort_unstable_by_key(|(pid, member)| (member.start, *pid));
        let session = self.session_of(id, tree, members.len() as u64);
        let mut sizes: HashMap<Id, u64> = HashMap::new();
        for (_, member) in &members {
            *sizes.entry(member.call).or_default() += 1;
        }
        let mut calls: Vec<Id> = Vec::new();
        for call in tree.calls.iter().copied().chain(members.iter().map(|(_, member)| member.call)) {
            if call != 0 && calls.last() != Some(&call) {
                calls.push(call);
            }
        }
        // The first time counts; few are there twice.
        let mut seen = std::collections::HashSet::new();
        calls.retain(|call| seen.insert(*call));
        let calls = calls.split_off(calls.len().saturating_sub(MAX_CALLS));
        let calls =
            calls.into_iter().map(|call| self.call_of(call, sizes.get(&call).copied().unwrap_or(0))).collect();
        let processes = members.into_iter().map(|(pid, member)| self.process_of(pid, &member)).collect();
        Some(SessionDetail { session, processes, calls })
    }

    fn call_of(&self, id: Id, processes: u64) -> Call {
        let known = self.calls.get(&id);
        let owned = |text: &std::sync::Arc<str>| text.to_string();
        Call {
            id: name(id),
            label: known.and_then(|call| call.label.as_ref()).map(owned),
            agent_session: known.and_then(|call| call.session.as_ref()).map(owned),
            processes,
        }
    }

    fn process_of(&self, pid: u32, member: &Member) -> types::Member {
        use std::os::unix::ffi::OsStrExt as _;
        let image = self.processes.image(pid, member.start, clock::now_since_boot());
        types::Member {
            pid,
            ppid: None,
            start: member.start,
            uid: None,
            agent: member.flags & (MEMBER_AGENT | MEMBER_RUN) != 0,
            scope: Scope::from_number(member.scope).unwrap_or(Scope::Tool).word().to_owned(),
            call: (member.call != 0).then(|| name(member.call)),
            exe: image.as_ref().and_then(|image| text(image.exe.as_bytes())),
            argv: image.as_ref().map(|image| image.argv.clone()),
            cwd: image.as_ref().and_then(|image| text(image.cwd.as_bytes())),
        }
    }
}

impl By {
    fn told(&self) -> String {
        format!("uid {}, process {}", self.uid, self.pid)
    }
}

/// A tree or a call as events name it.
fn name(id: Id) -> String {
    format!("{id:016x}")
}

/// Bytes as text, absent where there are none.
fn text(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
}

fn ops(tally: &Tally) -> Counts {
    let decided = Op::ALL.iter().map(|op| (op.word(), tally.of_op(*op)));
    let all = decided.chain(tally.life());
    all.filter(|(_, count)| *count > 0).map(|(op, count)| (op.to_owned(), count)).collect()
}

fn verdicts(tally: &Tally) -> Counts {
    let all = Action::ALL.iter().map(|action| (action.word().to_owned(), tally.of_action(*action)));
    all.filter(|(_, count)| *count > 0).collect()
}

fn program(run: ProgramRun) -> Program {
    let (time, count) = run.run.unzip();
    Program { name: run.name, run_time_ns: time.map(|time| time.as_nanos() as u64), run_count: count }
}
