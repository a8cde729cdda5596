//! An event's way into the model.

use std::sync::Arc;

use super::meter::Meter;
use super::object::{About, Use};
use super::outcome::Outcome;
use super::session::{Pid, Process, Session, Touched};
use super::told::Told;
use super::{MAX_LINE, MAX_TOLD, MAX_TOUCHES, Model};
use crate::top::seen::{Seen, Text, Who};

/// What an event tells, as far as it is told apart here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tells {
    Start,
    End,
    Phase,
    Exec,
    Open,
    Connect,
    Outlive,
    Exit,
    Lost,
    Counted,
    Control,
    Other,
}

impl Tells {
    fn of(op: &str) -> Self {
        match op {
            "read" | "write" => Self::Open,
            "exec" => Self::Exec,
            "exit" => Self::Exit,
            "connect" | "send" => Self::Connect,
            "lost" => Self::Lost,
            "counted" => Self::Counted,
            "control" => Self::Control,
            "session-start" => Self::Start,
            "session-end" => Self::End,
            "phase" => Self::Phase,
            "outlive" => Self::Outlive,
            _ => Self::Other,
        }
    }
}

/// Takes from an event how often programs were executed, files opened and connections made.
fn meter([execs, opens, connects]: [&mut Meter; 3], seen: &Seen<'_>, tells: Tells, time: u64) {
    match tells {
        Tells::Exec => execs.tick(time),
        Tells::Open => opens.tick(time),
        Tells::Connect => connects.tick(time),
        Tells::Counted => {
            for counted in &seen.counts {
                match Tells::of(&counted.op) {
                    Tells::Open => opens.tick_often(time, counted.count),
                    Tells::Connect => connects.tick_often(time, counted.count),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

impl Model {
    /// Takes an event in.
    pub fn apply(&mut self, seen: &Seen<'_>) {
        let time = self.clock.read(&seen.time).unwrap_or(self.now);
        let tells = Tells::of(&seen.op);
        let events = if tells == Tells::Counted { seen.counts.iter().map(|counted| counted.count).sum() } else { 1 };
        self.events += u64::from(events);
        self.advance(time);
        self.rate.tick_often(time, events);
        if tells == Tells::Lost {
            let kind = seen.kind.as_deref().unwrap_or("unknown");
            *self.lost.entry(kind.into()).or_default() += seen.count.unwrap_or(0);
            return;
        }
        let Some(tree) = seen.tree.as_deref().and_then(|tree| u64::from_str_radix(tree, 16).ok()) else { return };
        meter([&mut self.execs, &mut self.opens, &mut self.connects], seen, tells, time);
        let outcome = seen.verdict.as_ref().and_then(Outcome::of);
        let rule = seen.verdict.as_ref().filter(|_| outcome.is_some()).and_then(|verdict| verdict.rule.as_deref());
        let rule = rule.map(|rule| self.word(rule));
        self.make_room_for_processes();
        let full = self.touches >= MAX_TOUCHES;
        // Whoever changes a session is no part of it.
        let who = seen.process.as_ref().filter(|_| tells != Tells::Control);
        let uid = who.and_then(|who| who.uid);
        if tells == Tells::Control && !self.sessions.contains_key(&tree) {
            return;
        }
        if self.sessions.get(&tree).is_none_or(|session| session.uid.is_none() && uid.is_some()) {
            self.enter_session(seen, tree, time);
        }
        let Some(session) = self.sessions.get_mut(&tree) else { return };
        session.see(seen, tells, time);
        let about = About::of(seen);
        let touched = about.as_ref().map(|about| (about, self.objects.touch(about, tree, time, outcome)));
        let pid = who.map(|who| Pid { pid: who.pid, start: who.start });
        if let (Some(who), Some(pid)) = (who, pid) {
            let call = seen.call.as_deref().map(|call| session.call(call, time));
            let before = session.processes.len();
            let process = session.enter(seen, tells, who, pid, call, time);
            // That a process executed what it runs, it says itself.
            let own = |about: &About<'_>| about.what == Use::Exec && outcome.is_none();
            if let Some((about, (object, name))) = touched.filter(|(about, _)| !own(about)) {
                let (kind, what, count) = (about.kind, about.what, about.count);
                let touched = Touched { object, kind, name, what, count, outcome, rule: rule.as_ref(), full };
                self.touches += usize::from(process.touch(touched));
            }
            for about in seen.counts.iter().filter_map(About::of_counted) {
                let (object, name) = self.objects.touch(&about, tree, time, None);
                let (kind, what, count) = (about.kind, about.what, about.count);
                let touched = Touched { object, kind, name, what, count, outcome: None, rule: None, full };
                self.touches += usize::from(process.touch(touched));
            }
            if let Some(outcome) = outcome {
                process.outcomes.add(outcome);
                process.left |= tells == Tells::Outlive;
                let call = process.call;
                if let Some(call) = session.calls.get_mut(&call) {
                    call.outcomes.add(outcome);
                }
            }
            self.processes += session.processes.len() - before;
            if matches!(tells, Tells::Exit | Tells::End) {
                session.exited(seen, tells, pid, time);
            }
        }
        if let Some(outcome) = outcome {
            session.outcomes.add(outcome);
            // Where the daemon tells it, that is so: in a session that is only watched, some rules hold all the same.
            if outcome != Outcome::Log && session.said.is_none() {
                session.enforce = Some(matches!(outcome, Outcome::Deny | Outcome::Kill));
            }
            let short = session.short();
            self.outcomes.add(outcome);
            self.tell(seen, Heard { time, tree, short, pid: pid.unwrap_or_default(), outcome, rule });
        }
    }

    /// Sees to it that the session is there, and knows whose it is.
    fn enter_session(&mut self, seen: &Seen<'_>, tree: u64, time: u64) {
        if !self.sessions.contains_key(&tree) {
            self.make_room_for_session();
            let root = seen.process.as_ref().map(|who| Pid { pid: who.pid, start: who.start }).unwrap_or_default();
            self.sessions.insert(tree, Session { began: time, last: time, root, ..Session::default() });
        }
        let uid = seen.process.as_ref().and_then(|who| who.uid);
        let unknown = self.sessions.get(&tree).is_some_and(|session| session.uid.is_none());
        if let Some(uid) = uid.filter(|_| unknown) {
            let user = self.user(uid);
            if let Some(session) = self.sessions.get_mut(&tree) {
                (session.uid, session.user) = (Some(uid), user);
            }
        }
    }

    /// Keeps a verdict.
    fn tell(&mut self, seen: &Seen<'_>, heard: Heard) {
        let Heard { time, tree, short, pid, outcome, rule } = heard;
        if self.told.len() >= MAX_TOLD {
            self.told.pop_front();
        }
        self.told_ever += 1;
        let verdict = seen.verdict.as_ref();
        let reason = verdict.and_then(|verdict| verdict.reason.as_deref()).map(|reason| self.word(reason));
        let about = About::of(seen);
        let process = self.process(tree, pid);
        let own = |text: Option<&str>| text.map(Into::into);
        let who = seen.process.as_ref();
        let argv: Box<str> = match (seen.argv.or(who.and_then(|who| who.argv)), process) {
            (Some(words), _) => words.line(MAX_LINE).into(),
            (None, Some(process)) => process.argv.clone(),
            (None, None) => Box::default(),
        };
        let exe: Box<str> = match (who.and_then(|who| who.exe.as_deref()), process) {
            (Some(exe), _) => exe.into(),
            (None, Some(process)) => process.exe.clone(),
            (None, None) => Box::default(),
        };
        let object: Box<str> = match (&about, &*seen.op) {
            (_, "exec") if !argv.is_empty() => argv.clone(),
            (Some(about), _) => (&*about.name).into(),
            (None, "outlive") => argv.clone(),
            (None, _) => Box::default(),
        };
        let told = Told {
            number: self.told_ever,
            time,
            tree,
            session: short.into(),
            process: pid,
            exe,
            argv,
            outcome,
            op: (&*seen.op).into(),
            kind: about.map(|about| about.kind),
            object,
            proto: own(seen.proto.as_deref()),
            rule,
            reason,
            backend: own(verdict.and_then(|verdict| verdict.backend.as_deref())),
            happened: verdict
                .map(|verdict| verdict.happened.iter().map(|word| &**word).collect::<Vec<_>>().join(" and "))
                .unwrap_or_default()
                .into(),
            call: own(seen.call.as_deref()),
            scope: own(seen.scope.as_deref()),
        };
        self.told.push_back(told);
    }
}

/// What is known of a verdict by the time it is kept.
struct Heard {
    time: u64,
    tree: u64,
    short: String,
    pid: Pid,
    outcome: Outcome,
    rule: Option<Arc<str>>,
}

impl Session {
    /// Takes from an event what it says of the session.
    fn see(&mut self, seen: &Seen<'_>, tells: Tells, time: u64) {
        meter([&mut self.execs, &mut self.opens, &mut self.connects], seen, tells, time);
        self.last = self.last.max(time);
        if let Some(name) = seen.session.as_deref() {
            self.name(name);
        }
        if self.agent.is_none() {
            self.agent = seen.agent.as_deref().map(Into::into);
        }
        match tells {
            Tells::Start => {
                let root = seen.process.as_ref().map(|who| Pid { pid: who.pid, start: who.start });
                self.root = root.unwrap_or_default();
                self.began = time;
                let own = |text: &Option<Text<'_>>| text.as_deref().map(Into::into);
                (self.repo, self.home) = (own(&seen.repo), own(&seen.home));
            }
            Tells::End => self.ended = Some(time),
            Tells::Phase => self.phase = seen.phase.as_deref().map(Into::into),
            Tells::Control => {
                if let Some(mode) = seen.mode.as_deref() {
                    self.enforce = Some(mode == "enforce");
                }
            }
            _ => {}
        }
    }

    /// Takes from an event what it says of its process, and gives that.
    fn enter(
        &mut self,
        seen: &Seen<'_>,
        tells: Tells,
        who: &Who<'_>,
        pid: Pid,
        call: Option<u32>,
        time: u64,
    ) -> &mut Process {
        let mut new = false;
        let process = self.processes.entry(pid).or_insert_with(|| {
            new = true;
            Process { began: time, ..Process::default() }
        });
        self.alive += usize::from(new);
        process.last = process.last.max(time);
        if let Some(call) = call {
            process.call = call;
        }
        if let Some(ppid) = who.ppid
            && process.ppid != Some(ppid)
        {
            // Only who has lost his parent gets another.
            process.orphan |= process.ppid.is_some() || ppid == 1 && pid != self.root;
            process.ppid = Some(ppid);
        }
        let started = matches!(tells, Tells::Exec | Tells::Start);
        // Allowed operations may be told after the next exec, and a verdict before it.
        let other = time >= process.imaged && who.exe.as_ref().is_some_and(|exe| **exe != *process.exe);
        if started && time >= process.imaged || new || other {
            process.imaged = time;
            let text = |text: &Option<Text<'_>>| text.as_deref().unwrap_or_default().into();
            process.exe = text(&who.exe);
            process.cwd = text(&who.cwd);
            let argv = if started { seen.argv.or(who.argv) } else { who.argv };
            process.argv = argv.map(|words| words.line(MAX_LINE)).unwrap_or_default().into();
        }
        process
    }

    /// A process has ended: its children that live have no parent any more.
    fn exited(&mut self, seen: &Seen<'_>, tells: Tells, pid: Pid, time: u64) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if process.ended.is_some() || tells == Tells::End && pid != self.root {
            return;
        }
        process.ended = Some((time, seen.exit.unwrap_or_default()));
        self.alive -= 1;
        for child in self.processes.values_mut().filter(|child| child.ppid == Some(pid.pid) && child.ended.is_none())
        {
            child.orphan = true;
        }
    }
}
