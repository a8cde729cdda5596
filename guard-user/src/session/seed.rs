//! Agents that run already when guard starts, and what runs in control groups that are guarded.
//!
//! The programs are attached first, so whatever is forked or executed from then on is followed; what was there before is
//! entered from /proc, again and again until nothing is found any more. Entries are only ever added, so it does not
//! matter in which order both see a process.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use anyhow::Context as _;
use guard_common::tree::{
    KnownClasses, MEMBER_AGENT, MEMBER_GROUP, MEMBER_LABELLED, MEMBER_SEEDED, Member, NO_AGENT, id_of,
};
use guard_common::words::Scope;
use procfs::process::{Process, all_processes};

use super::{Image, repo, users};
use crate::kernel::{Kernel, mounts};
use crate::policy::{Compiled, Places};
use crate::record::redact;

/// Variable that carries the agent's call id.
const CALL_LABEL: &str = "CODEX_TOOL_CALL_ID";
/// Variable that carries the agent's session id.
const SESSION_LABEL: &str = "CODEX_SESSION_ID";
/// Rounds after which a machine that keeps forking is taken as seeded: the programs follow the rest.
const MAX_ROUNDS: usize = 16;

/// A process that was entered.
pub struct Seeded {
    /// Its id.
    pub pid: u32,
    /// Its entry.
    pub member: Member,
    /// Its real user id.
    pub uid: Option<u32>,
    /// What it runs.
    pub image: Image,
    /// The agent's session id, where the process carries it.
    pub session: Option<String>,
    /// The agent's call id, where the process carries it.
    pub call: Option<String>,
    /// Another guard has guarded it.
    pub inherited: bool,
}

/// What /proc says of a process.
struct Found {
    parent: u32,
    start: u64,
    exe: Vec<u8>,
}

/// Enters every running agent, every process in a control group that the policy names, and what descends from them. First counts what another guard has for a process in its own map, which is
/// `inherited`: it has followed what /proc does not tell.
///
/// # Errors
/// If /proc can't be read or the map is full.
pub fn seed(
    kernel: &mut Kernel,
    policy: &Compiled,
    inherited: &dyn Fn(u32) -> Option<Member>,
) -> anyhow::Result<Vec<Seeded>> {
    let mut seeded = Vec::new();
    let mut tables = policy.tables();
    let tick = 1_000_000_000 / procfs::ticks_per_second();
    for _ in 0..MAX_ROUNDS {
        let grouped = kernel.guard_groups(&mut tables)?;
        let found = look(tick)?;
        let mut order: Vec<u32> = found.keys().copied().collect();
        // Parents first: one round enters whole families, and an agent's child that runs the agent's executable is
        // found to be its child. Their starts may be the same, as far as /proc tells them.
        order.sort_by_cached_key(|pid| depth(&found, *pid));
        let mut entered = 0;
        for pid in order {
            let process = &found[&pid];
            // The id may have been another process's.
            let known = inherited(pid).filter(|member| member.start / tick * tick == process.start);
            let is_new = known.is_none();
            // What was executed before it was entered has made it a tree of its own.
            let is_right = |now: Member| known.is_none_or(|known| known.tree == now.tree);
            if kernel.member(pid).is_some_and(is_right) {
                continue;
            }
            let agent = tables.agent_of(&process.exe, &Places::default());
            let mut member = match (known, kernel.member(process.parent), agent) {
                (Some(known), ..) => known,
                (None, Some(parent), _) => inherit(parent, pid, process, agent),
                (None, None, Some(agent)) => root(kernel, pid, agent_process(pid, process, agent))?,
                (None, None, None) if grouped.contains(&pid) => root(kernel, pid, grouped_process(pid, process))?,
                (None, None, None) => continue,
            };
            if is_new {
                member.image = id_of(pid, process.start);
            }
            member.classes = Default::default();
            if let Some(classes) = kernel.classes_of(&mut tables, &process.exe, member.tree) {
                let generation = policy.meta().generation;
                member.classes[kernel.active_place()] =
                    KnownClasses { classes, generation, ..KnownClasses::default() };
            }
            if let Some(one) = enter(kernel, pid, process, member, is_new, tick)? {
                entered += 1;
                seeded.push(one);
            }
        }
        if entered == 0 {
            break;
        }
    }
    Ok(seeded)
}

/// How many ancestors a process has.
fn depth(found: &HashMap<u32, Found>, pid: u32) -> usize {
    let parent = |pid: &u32| found.get(pid).map(|process| process.parent);
    // What was looked at one after the other need not be a tree, so the way up is bounded.
    std::iter::successors(Some(pid), parent).take(found.len()).count()
}

fn look(tick: u64) -> anyhow::Result<HashMap<u32, Found>> {
    let mut found = HashMap::new();
    for process in all_processes().context("/proc can't be read")?.flatten() {
        // A process may end at any moment; kernel threads have no executable.
        let (Ok(stat), Some(exe)) = (process.stat(), executable(&process)) else { continue };
        let exe = exe.into_vec();
        found.insert(stat.pid as u32, Found { parent: stat.ppid as u32, start: stat.starttime * tick, exe });
    }
    Ok(found)
}

/// Path of what a process runs, also where the file is gone by now.
#[must_use]
pub fn executable(process: &Process) -> Option<OsString> {
    let exe = process.exe().ok()?;
    let exe = exe.as_os_str().as_bytes();
    Some(OsStr::from_bytes(exe.strip_suffix(b" (deleted)").unwrap_or(exe)).to_owned())
}

/// An agent that begins a tree.
fn agent_process(pid: u32, process: &Found, agent: u8) -> Member {
    Member {
        tree: id_of(pid, process.start),
        start: process.start,
        agent,
        scope: Scope::Harness as u8,
        flags: MEMBER_AGENT | MEMBER_SEEDED,
        ..Member::default()
    }
}

/// A process that begins a tree because of its control group, as the programs enter one that is moved there.
fn grouped_process(pid: u32, process: &Found) -> Member {
    let tree = id_of(pid, process.start);
    Member {
        tree,
        call: tree,
        start: process.start,
        agent: NO_AGENT,
        scope: Scope::Tool as u8,
        flags: MEMBER_GROUP | MEMBER_SEEDED,
        ..Member::default()
    }
}

/// Finds the places of the tree that `member` begins.
fn root(kernel: &mut Kernel, pid: u32, member: Member) -> anyhow::Result<Member> {
    let running = Process::new(pid as i32);
    let cwd = running.as_ref().ok().and_then(|running| running.cwd().ok()).unwrap_or_default();
    let uid = running.ok().and_then(|running| running.uid().ok());
    let home = uid.and_then(users::home_of).unwrap_or_default();
    if let Some(mounts) = mounts::of_process(pid) {
        kernel.mounts().add(&mounts);
    }
    kernel.set_places(member.tree, repo::top_level(&cwd).as_os_str().as_bytes(), &home)?;
    Ok(member)
}

fn inherit(parent: Member, pid: u32, process: &Found, agent: Option<u8>) -> Member {
    let mut member = Member {
        start: process.start,
        flags: parent.flags & (MEMBER_GROUP | MEMBER_LABELLED) | MEMBER_SEEDED,
        ..parent
    };
    if parent.flags & MEMBER_AGENT != 0 {
        member.call = id_of(pid, process.start);
    }
    if let Some(agent) = agent.filter(|_| member.flags & MEMBER_LABELLED == 0) {
        member.agent = agent;
        member.call = 0;
        member.scope = Scope::Harness as u8;
        member.flags |= MEMBER_AGENT;
    }
    member
}

/// Enters one process, unless it has ended in the meantime.
fn enter(
    kernel: &mut Kernel,
    pid: u32,
    process: &Found,
    mut member: Member,
    is_new: bool,
    tick: u64,
) -> anyhow::Result<Option<Seeded>> {
    let Ok(running) = Process::new(pid as i32) else { return Ok(None) };
    let environment = running.environ().unwrap_or_default();
    let label =
        |name: &str| environment.get(Path::new(name).as_os_str()).map(|value| value.to_string_lossy().into_owned());
    let (mut session, mut call) = (None, None);
    if is_new
        && member.flags & (MEMBER_LABELLED | MEMBER_AGENT) == 0
        && let Some(found) = label(CALL_LABEL)
    {
        member.call = id_of(pid, process.start);
        member.scope = Scope::Tool as u8;
        member.flags |= MEMBER_LABELLED;
        call = Some(found);
        session = label(SESSION_LABEL);
    }
    if is_new {
        kernel.enter_new(pid, member)?;
    } else {
        kernel.enter(pid, member)?;
    }
    // The id may have been given to another process between the look and the entry.
    if !running.stat().is_ok_and(|stat| stat.starttime * tick == process.start) {
        kernel.leave(pid);
        return Ok(None);
    }
    let image = Image {
        id: member.image,
        exe: OsStr::from_bytes(&process.exe).to_owned(),
        argv: redact::argv(running.cmdline().unwrap_or_default()),
        cwd: running.cwd().map(|cwd| cwd.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    let uid = running.status().ok().map(|status| status.ruid);
    Ok(Some(Seeded { pid, member, uid, image, session, call, inherited: !is_new }))
}
