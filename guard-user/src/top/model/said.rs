//! What the daemon says of itself and of its sessions, beside the events.

use super::session::{Pid, Process, Session};
use super::{MAX_LINE, MAX_PROCESSES, Model};
use crate::control::types;
use crate::top::seen::Words;
use crate::top::when::SECOND;

/// What the daemon costs, as from one status to the next.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Processor time, as a part of one core.
    pub cpu: Option<f64>,
    /// Nanoseconds a run and runs a second of each program, in the order of the status.
    pub programs: Vec<(String, Option<f64>, Option<f64>)>,
    before: Option<(u64, types::Machine)>,
}

/// The whole number that a tree's id stands for.
fn tree_of(id: &str) -> Option<u64> {
    u64::from_str_radix(id, 16).ok()
}

impl Model {
    /// The daemon says how it is.
    pub fn hear_status(&mut self, status: types::Status, now: u64) {
        self.advance(now);
        if let Some(machine) = &status.machine {
            self.usage = self.usage.next(machine, now);
            for (kind, count) in &machine.lost {
                self.lost.insert(kind.as_str().into(), *count);
            }
        }
        self.status = Some(status);
    }

    /// The daemon says which sessions run.
    pub fn hear_sessions(&mut self, sessions: Vec<types::Session>, now: u64) {
        self.advance(now);
        let mut there = std::collections::HashSet::new();
        for said in sessions {
            let Some(tree) = tree_of(&said.id) else { continue };
            there.insert(tree);
            let began = self.clock.read(&said.started).unwrap_or(now);
            let user = said.user.as_deref().map(|user| self.word(user));
            if !self.sessions.contains_key(&tree) {
                self.make_room_for_session();
            }
            let session = self.sessions.entry(tree).or_insert_with(|| Session { last: now, ..Session::default() });
            session.began = began;
            session.root.pid = said.pid;
            said.agent_sessions.iter().for_each(|name| session.name(name));
            let own = |text: &Option<String>| text.as_deref().map(Into::into);
            session.agent = own(&said.agent).or(session.agent.take());
            session.uid = said.uid.or(session.uid);
            session.user = user.or(session.user.take());
            session.repo = own(&said.repo).or(session.repo.take());
            session.home = own(&said.home).or(session.home.take());
            session.phase = own(&said.phase).or(session.phase.take());
            session.enforce = Some(said.mode == "enforce");
            if said.over && session.ended.is_none() {
                session.ended = Some(now);
            }
            session.said = Some(said);
        }
        // One that the daemon had told of and tells of no more is over, whether its end was heard or not.
        for (tree, session) in &mut self.sessions {
            if session.said.is_some() && !there.contains(tree) {
                session.ended.get_or_insert(now);
                if let Some(said) = &mut session.said {
                    said.processes = 0;
                }
            }
        }
    }

    /// The daemon says which processes of a session run.
    pub fn hear_detail(&mut self, detail: &types::SessionDetail, now: u64) {
        let Some(tree) = tree_of(&detail.session.id) else { return };
        let Some(session) = self.sessions.get_mut(&tree) else { return };
        for member in &detail.processes {
            let pid = Pid { pid: member.pid, start: member.start };
            if session.processes.contains_key(&pid) || self.processes >= MAX_PROCESSES {
                continue;
            }
            let label = member.call.as_ref().and_then(|id| detail.calls.iter().find(|call| call.id == *id));
            let label = label.and_then(|call| call.label.as_deref());
            let call = label.map_or(0, |label| session.call(label, now));
            if member.pid == session.root.pid && member.agent {
                session.root = pid;
            }
            let process = Process {
                ppid: member.ppid,
                exe: member.exe.as_deref().unwrap_or_default().into(),
                argv: member
                    .argv
                    .as_deref()
                    .map(|words| Words::Ready(words).line(MAX_LINE))
                    .unwrap_or_default()
                    .into(),
                cwd: member.cwd.as_deref().unwrap_or_default().into(),
                call,
                began: now,
                last: now,
                ..Process::default()
            };
            session.processes.insert(pid, process);
            session.alive += 1;
            self.processes += 1;
        }
    }
}

impl Usage {
    /// What it has come to since the status before.
    fn next(&self, machine: &types::Machine, now: u64) -> Self {
        let before = self.before.as_ref().filter(|(time, _)| *time < now);
        let seconds = before.map(|(time, _)| (now - time) as f64 / SECOND as f64);
        let cpu = before.zip(seconds).map(|((_, before), seconds)| {
            (machine.daemon.cpu_seconds - before.daemon.cpu_seconds).max(0.0) / seconds
        });
        let programs = machine.programs.iter().map(|program| {
            let known = program.run_time_ns.zip(program.run_count);
            let each = known.filter(|(_, runs)| *runs > 0).map(|(time, runs)| time as f64 / runs as f64);
            let earlier = before.and_then(|(_, before)| before.programs.iter().find(|one| one.name == program.name));
            let rate = earlier.zip(seconds).and_then(|(earlier, seconds)| {
                Some(program.run_count?.saturating_sub(earlier.run_count?) as f64 / seconds)
            });
            (program.name.clone(), each, rate)
        });
        Self { cpu, programs: programs.collect(), before: Some((now, machine.clone())) }
    }
}
