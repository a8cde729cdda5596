//! Whether the open of a marked file is refused: by the tables and the walk of the programs, on what user space can see.
//!
//! The programs judge the same open again, when it has happened. So every doubt here lets it pass: what then must not be
//! is contained.

use std::fs::File;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use anyhow::Context as _;
use aya::Pod;
use aya::maps::{HashMap, Map, MapData};
use bytes::Bytes;
use guard_common::event::{
    FLAG_ENFORCED, FLAG_INNER_PATH, Head, Kind, NO_DESCRIPTOR, NO_RULE, OPENED_READ, OPENED_TRUNCATED, OPENED_WRITE,
    Open,
};
use guard_common::table::{MAX_PHASES, NO_WORD};
use guard_common::tree::{Id, KnownClasses, Member, Places};
use guard_common::walk::{FACT_CLASSES_UNKNOWN, Who};
use guard_common::words::{Action, Backend, Mode, Op, Scope};

use super::called::{self, Called};
use super::names::{Names, file_of, leads_to, path_of};
use crate::kernel::{JUDGED_BY, Target};
use crate::policy::{self, Compiled, Decision, Object, Tables};
use crate::record::clock;
use crate::record::decode::{Body, Record};

/// Flags of an open that mean nothing any more once it is open (`fs/open.c:do_dentry_open`).
const AT_OPEN_ONLY: i32 = libc::O_CREAT | libc::O_EXCL | libc::O_NOCTTY | libc::O_TRUNC;

/// Descriptors of the maps that say who is guarded, in the order of [`JUDGED_BY`].
pub type MapFds = [RawFd; JUDGED_BY.len()];

/// The maps that say who is guarded.
pub struct Maps {
    members: HashMap<MapData, u32, Member>,
    places: HashMap<MapData, Id, Places>,
    phases: HashMap<MapData, Id, u32>,
    reclassed: HashMap<MapData, Id, [KnownClasses; 2]>,
    ended_calls: HashMap<MapData, Id, u8>,
    modes: HashMap<MapData, Id, u32>,
}

/// What an open is for.
#[derive(Clone, Copy)]
struct Wanted {
    read: bool,
    write: bool,
    /// Either; both have to be denied.
    unknown: bool,
    flags: i32,
}

impl Maps {
    /// Takes the maps over from descriptors of the calling thread's own.
    ///
    /// # Safety
    /// Each is an open descriptor in this thread's table, and nobody else there uses it.
    ///
    /// # Errors
    /// If one is not the map it should be.
    pub unsafe fn of(descriptors: MapFds) -> anyhow::Result<Self> {
        let mut next = descriptors.into_iter().zip(JUDGED_BY);
        // SAFETY: as the caller says.
        let mut owned = || next.next().map(|(fd, name)| (unsafe { OwnedFd::from_raw_fd(fd) }, name));
        Ok(Self {
            members: hash(owned())?,
            places: hash(owned())?,
            phases: hash(owned())?,
            reclassed: hash(owned())?,
            ended_calls: hash(owned())?,
            modes: hash(owned())?,
        })
    }

    /// What rules ask of a member; as the programs' own `who`.
    fn who(&self, policy: &Compiled, member: &Member) -> Who {
        let meta = policy.meta();
        let mut who = Who::default();
        if meta.class_word != NO_WORD {
            let of_this =
                |known: &[KnownClasses; 2]| known.iter().find(|one| one.generation == meta.generation).copied();
            let known = of_this(&member.classes)
                .or_else(|| self.reclassed.get(&member.image, 0).ok().as_ref().and_then(of_this));
            match known {
                Some(known) => who.classes = known.classes,
                None => who.facts = FACT_CLASSES_UNKNOWN,
            }
        }
        if meta.phases > 1 {
            let last = (meta.phases - 1).min(MAX_PHASES as u32 - 1);
            who.phase = self.phases.get(&member.tree, 0).unwrap_or(0).min(last);
        }
        who
    }
}

fn hash<K: Pod, V: Pod>(fd: Option<(OwnedFd, &str)>) -> anyhow::Result<HashMap<MapData, K, V>> {
    let (fd, name) = fd.context("there are fewer maps than it takes")?;
    let map = MapData::from_fd(fd).and_then(Map::from_map_data).and_then(HashMap::try_from);
    map.with_context(|| format!("the map {name} can't be read"))
}

/// The process that `thread` is of.
#[must_use]
pub fn process_of(thread: u32) -> Option<u32> {
    // SAFETY: no pointers. No signal is sent: it is only asked whether this thread is of the process of the same number, which is
    // so for the first of each.
    if unsafe { libc::syscall(libc::SYS_tgkill, thread, thread, 0) } == 0 {
        return Some(thread);
    }
    field(thread, "Tgid:", 0)
}

/// A number of `/proc/PID/status`: the one at place `at` after `name`.
fn field(process: u32, name: &str, at: usize) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().nth(at)?.parse().ok()
}

/// Whether the open of `file`, which `thread` waits for, is refused; then what is told of it. What is refused with its whole call
/// has been ended.
pub fn judge(maps: &mut Maps, tables: &mut Tables<'_>, names: &Names, thread: u32, file: &File) -> Option<Record> {
    let process = process_of(thread)?;
    let member = maps.members.get(&process, 0).ok()?;
    let policy = tables.policy();
    // The programs tell what would be, and end what is of a call that was ended.
    let own_mode = maps.modes.get(&member.tree, 0).ok();
    let audits = policy.mode == Mode::Audit && own_mode != Some(Mode::Enforce as u32);
    if audits || member.call != 0 && maps.ended_calls.get(&member.call, 0).is_ok() {
        return None;
    }
    let wanted = Wanted::of(called::by(thread))?;
    let scope = Scope::from_number(member.scope)?;
    let places = maps.places.get(&member.tree, 0).ok();
    let anchors = places.as_ref().map_or_else(policy::Places::default, anchors);
    tables.judge_as(maps.who(policy, &member));
    let mut denied = |path: &[u8]| wanted.denied(|op| tables.decide(op, scope, &Object::Path(path), &anchors, 0));
    let metadata = file.metadata().ok()?;
    let path = path_of(file)?;
    let (decision, op, path, other) = if let Some((decision, op)) = denied(&path) {
        (decision, op, path, false)
    } else {
        let file = file_of(&metadata);
        let names = names.of(file).into_iter().filter(|name| **name != *path);
        let mut found = names.filter_map(|name| {
            let (decision, op) = denied(&name).filter(|_| leads_to(&name, file))?;
            Some((decision, op, name.into_vec(), true))
        });
        found.next()?
    };
    // A session that is only watched may not touch what guard protects itself by either; as the programs' own `audits`.
    let is_own = |rule: u16| u32::from(rule) < policy.meta().own_rules;
    if own_mode == Some(Mode::Audit as u32) && !decision.rule.is_some_and(is_own) {
        return None;
    }
    if decision.action == Action::Kill {
        end(maps, process, &member);
    }
    let head = Head {
        time: clock::now_since_boot(),
        tree: member.tree,
        call: member.call,
        start: member.start,
        tgid: process,
        tid: thread,
        ppid: field(process, "PPid:", 0).unwrap_or(0),
        uid: field(process, "Uid:", 0).unwrap_or(0),
        generation: policy.meta().generation,
        rule: decision.rule.unwrap_or(NO_RULE),
        kind: Kind::Open as u8,
        op: op as u8,
        action: decision.action as u8,
        scope: member.scope,
        backend: Backend::Fanotify as u8,
        flags: FLAG_ENFORCED | if other { FLAG_INNER_PATH } else { 0 },
        agent: member.agent,
        ..Head::default()
    };
    let body = wanted.told(path.len());
    Some(Record { head, body: Body::Open { body, path: Bytes::from(path) } })
}

/// Ends the call that a process is of, beginning with itself: the programs and the watch do the rest.
fn end(maps: &mut Maps, process: u32, member: &Member) {
    if member.call != 0 {
        // Without room for the mark, the watch ends the rest alone, by the record.
        drop(maps.ended_calls.insert(member.call, 1, 0));
    }
    if let Ok(Some(target)) = Target::hold(process)
        && maps.members.get(&process, 0).is_ok_and(|now| now.start == member.start)
    {
        // It waits for an answer, and has not gone anywhere; if it has been killed meanwhile, that is the same.
        drop(target.kill());
    }
}

/// Where a session's patterns are anchored.
fn anchors(places: &Places) -> policy::Places<'_> {
    let some = |path: &[u8]| !path.is_empty();
    let (repo, home) = (&places.repo[..places.repo_len as usize], &places.home[..places.home_len as usize]);
    policy::Places { repo: Some(repo).filter(|path| some(path)), home: Some(home).filter(|path| some(path)) }
}

impl Wanted {
    /// What a call opens a file for; `None` where that is nothing that is judged.
    fn of(called: Called) -> Option<Self> {
        let flags = match called {
            Called::Exec => return None,
            Called::Unknown => return Some(Self { read: true, write: true, unknown: true, flags: 0 }),
            Called::Open(flags) => flags,
        };
        let (read, mut write) = match flags & libc::O_ACCMODE {
            libc::O_RDONLY => (true, false),
            libc::O_WRONLY => (false, true),
            libc::O_RDWR => (true, true),
            // For ioctl alone.
            _ => (false, false),
        };
        // What empties a file writes to it, whatever the descriptor is for.
        write |= flags & libc::O_TRUNC != 0;
        (read || write).then_some(Self { read, write, unknown: false, flags })
    }

    /// The stricter of the verdicts on all it is for, if that denies.
    fn denied(self, mut decide: impl FnMut(Op) -> Decision) -> Option<(Decision, Op)> {
        let denies = |(decision, _): &(Decision, Op)| decision.action >= Action::Deny;
        let write = self.write.then(|| (decide(Op::Write), Op::Write));
        let read = self.read.then(|| (decide(Op::Read), Op::Read));
        match (write, read) {
            (Some(write), Some(read)) if self.unknown => (denies(&write) && denies(&read)).then_some(read),
            (Some(write), Some(read)) if read.0.action > write.0.action => Some(read).filter(denies),
            (Some(write), _) => Some(write).filter(denies),
            (None, read) => read.filter(denies),
        }
    }

    /// What is told of it.
    fn told(self, path: usize) -> Open {
        let mut opened = 0;
        for (is, bit) in [
            (self.read, OPENED_READ),
            (self.write, OPENED_WRITE),
            (self.flags & libc::O_TRUNC != 0, OPENED_TRUNCATED),
        ] {
            opened |= if is { bit } else { 0 };
        }
        let file_flags = (self.flags & !AT_OPEN_ONLY) as u32;
        Open { file_flags, opened, result: NO_DESCRIPTOR, path_len: path as u32 }
    }
}
