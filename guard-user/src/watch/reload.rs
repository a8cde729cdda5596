//! A new policy, in force at once and whole.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use guard_common::tree::{Id, KnownClasses, Member};
use guard_common::words::Mode;

use super::{Watch, give_back_memory, unseen};
use crate::kernel::{Kernel, whole_hierarchy};
use crate::policy::{Compiled, Whole};
use crate::record::clock;
use crate::session::{Processes, seed};

/// Policies whose rule names are remembered: records that were written under them may still arrive.
const REMEMBERED_POLICIES: usize = 16;

impl Watch<'_> {
    /// Replaces the policy in the kernel.
    ///
    /// # Errors
    /// If the kernel refuses it; the old one stays in force.
    pub fn reload(&mut self, policy: Whole) -> anyhow::Result<()> {
        let Whole { source, compiled, .. } = policy;
        // What the sessions that run have brought with them holds by the new policy too, and from its first moment.
        let compiled = self.with_imports(&source, compiled);
        let named = self.host_wide && !compiled.groups.is_empty();
        let groups = named || self.host_wide && !self.policy.groups.is_empty();
        let seen = if named { whole_hierarchy().map(|_| ()) } else { Ok(()) };
        if let Err(error) = seen.and_then(|()| self.put_in_force(compiled)) {
            self.refuse_policy(&format!("{error:#}"));
            return Err(error);
        }
        if groups {
            self.guard_groups();
        }
        self.source = source;
        self.reloads.done += 1;
        self.reloads.last_failure = None;
        Ok(())
    }

    /// Remembers that a new policy was refused, and why.
    pub fn refuse_policy(&mut self, why: &str) {
        self.reloads.failed += 1;
        self.reloads.last_failure = Some(why.to_owned());
    }

    /// Replaces what the kernel has.
    pub(super) fn put_in_force(&mut self, mut policy: Compiled) -> anyhow::Result<()> {
        if self.audit {
            policy.set_mode(Mode::Audit);
        }
        let generation = self.generation + 1;
        policy.set_generation(generation);
        self.kernel.prepare(&policy)?;
        let unenforced = unseen::check(&policy, &self.kernel.abilities(), self.degrade)?;
        // What was executed until now is known then.
        self.drain_verdicts();
        let processes = &self.processes;
        self.kernel.install(&policy, |kernel, place| reclass(kernel, processes, &policy, place))?;
        self.generation = generation;
        self.unenforced = unenforced;
        self.since = clock::time_of_day(clock::now_since_boot());
        if self.policies.len() == REMEMBERED_POLICIES {
            self.policies.pop_front();
        }
        self.policies.push_back((generation, Arc::new(policy.rules.clone())));
        self.mode = policy.mode;
        self.policy = Arc::new(policy);
        self.prevent_by_this();
        self.leave_policies();
        give_back_memory();
        Ok(())
    }
}

/// Finds the classes, by the new `policy`, of everything that runs and was executed before it was announced.
fn reclass(kernel: &mut Kernel, processes: &Processes, policy: &Compiled, place: usize) -> anyhow::Result<()> {
    let generation = policy.meta().generation;
    let mut tables = policy.tables();
    let mut done: Vec<Id> = Vec::new();
    let members: Vec<(u32, Member)> = kernel.members().collect();
    for (pid, member) in members {
        if member.classes[place].generation == generation || done.contains(&member.image) {
            continue;
        }
        // An executable that can't be found out stays without classes: rules that deny take it as theirs.
        let Some(exe) = executable(kernel, processes, pid, &member) else { continue };
        if let Some(classes) = kernel.classes_of(&mut tables, exe.as_bytes(), member.tree) {
            kernel.reclass(member.image, place, KnownClasses { classes, generation, ..KnownClasses::default() })?;
            done.push(member.image);
        }
    }
    Ok(())
}

/// True path of what a member runs, as the kernel saw it at the exec; from /proc where that record is missing.
fn executable(kernel: &Kernel, processes: &Processes, pid: u32, member: &Member) -> Option<OsString> {
    let image = processes.image(pid, member.start, clock::now_since_boot());
    if let Some(image) = image.filter(|image| image.id == member.image && !image.exe.is_empty()) {
        return Some(image.exe.clone());
    }
    let exe = seed::executable(&procfs::process::Process::new(pid as i32).ok()?)?;
    kernel.member(pid).filter(|now| now.image == member.image).map(|_| exe)
}
