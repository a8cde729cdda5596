//! What guard denies whatever a policy says: that a session ends, changes or blinds what guards it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use guard_common::words::{Action, Op};

use super::draft::{Draft, Entry};
use super::glob::escaped;
use super::{Failure, Imported, RuleInfo, Source, Whole, read_with};

/// The rule about files.
const FILES: &str = "self";
/// The rule about processes.
const PROCESSES: &str = "self-process";
/// What is said to whoever is refused.
const REASON: &str = "guard protects what it guards by.";
/// What the whole machine is switched by.
const SWITCHES: [&str; 4] = [
    // With 0 in it the kernel calls no program any more that is put on a function of it, security hooks among them
    // (`kernel/trace/ftrace.c:ftrace_enable_sysctl`).
    "/proc/sys/kernel/ftrace_enabled",
    // Some letters end all processes, without a security hook being asked (`drivers/tty/sysrq.c:send_sig_all`).
    "/proc/sysrq-trigger",
    // With `confidentiality` in it the kernel loads no program any more that reads its structures, until it is booted anew
    // (`security/lockdown/lockdown.c:lockdown_write`).
    "/sys/kernel/security/lockdown",
    // With `full` in it the kernel preempts programs, and skips those that modify a return on the CPU meanwhile
    // (`kernel/sched/debug.c:sched_dynamic_write`; the second name is that of 5.12).
    "/sys/kernel/debug/{sched/preempt,sched_preempt}",
];
/// Files of a control group by which all that is in it and below is killed, halted, or starved: in the unified hierarchy, and
/// in those of single controllers.
const REINS: [&str; 2] = [
    "{cgroup.kill,cgroup.freeze,memory.max,memory.high,cpu.max,pids.max}",
    "{freezer.state,memory.limit_in_bytes,memory.memsw.limit_in_bytes,cpu.cfs_quota_us}",
];

/// A guard's own things.
#[derive(Debug, Default)]
pub struct Own {
    /// Its executable: what runs it can't be ended or looked into.
    pub exe: Option<PathBuf>,
    /// Files and folders, each with all that is in it.
    pub places: Vec<PathBuf>,
    /// Folders themselves: where filesystems are mounted that hold such.
    pub mounts: Vec<PathBuf>,
    /// The folders of its control groups, one of each hierarchy.
    pub groups: Vec<PathBuf>,
    /// Those of all control groups above, the roots' left out.
    pub groups_above: Vec<PathBuf>,
}

impl Own {
    /// Reads and compiles the policy in `source`, with the rules about these things before its own.
    ///
    /// # Errors
    /// As [`super::read`].
    pub fn read(&self, source: Arc<Source>) -> Result<Whole, Failure> {
        read_with(source, &[self.rules()])
    }

    /// The rules: of what can be written as a pattern.
    #[must_use]
    pub fn rules(&self) -> Imported {
        let exe: Vec<Entry> = self.exe.iter().filter_map(|exe| itself(exe)).collect();
        let places = self.places.iter().flat_map(|place| itself(place).into_iter().chain(inside(place)));
        let mounts = self.mounts.iter().filter_map(|mount| itself(mount));
        let mut files: Vec<Entry> = exe.iter().cloned().chain(places).chain(mounts).collect();
        if !files.is_empty() {
            files.extend(SWITCHES.map(|switch| Entry::new(switch, "")));
        }
        files.extend(self.groups.iter().filter_map(|own| below(own, "*")));
        let above = self.groups_above.iter().flat_map(|group| REINS.map(|reins| below(group, reins)));
        files.extend(above.flatten());
        let rule = |name: &str, on: &[Op], path: Vec<Entry>| Draft {
            name: name.to_owned(),
            comments: Vec::new(),
            on: on.to_vec(),
            lists: vec![("path", path)],
            scope: None,
            action: Action::Deny,
            reason: Some(REASON.to_owned()),
        };
        let changes = [Op::Write, Op::Create, Op::Delete, Op::Rename, Op::Link, Op::Chmod, Op::Mount];
        let mut drafts = Vec::new();
        if !files.is_empty() {
            drafts.push(rule(FILES, &changes, files));
        }
        if !exe.is_empty() {
            drafts.push(rule(PROCESSES, &[Op::Signal, Op::Ptrace], exe));
        }
        Imported { drafts, ..Imported::default() }
    }
}

impl RuleInfo {
    /// Whether it is one that guard has written for itself.
    #[must_use]
    pub fn is_own(&self) -> bool {
        // A policy's own rules stand on a line of it.
        self.line == 0 && [FILES, PROCESSES].contains(&self.name.as_str())
    }

    /// Whether it is the one that is told where a session asks for a map of guard's.
    pub(super) fn is_about_own_maps(&self) -> bool {
        self.is_own() && self.name == PROCESSES
    }
}

/// A path as a pattern that matches it alone.
fn itself(path: &Path) -> Option<Entry> {
    path.to_str().map(|path| Entry::new(escaped(path), ""))
}

/// What is in it.
fn inside(path: &Path) -> Option<Entry> {
    below(path, "**")
}

/// What in it a pattern matches.
fn below(path: &Path, pattern: &str) -> Option<Entry> {
    path.to_str().map(|path| Entry::new(format!("{}/{pattern}", escaped(path)), ""))
}

#[cfg(test)]
mod tests {
    use guard_common::words::Scope;

    use super::*;
    use crate::policy::{Object, Places};

    #[test]
    fn a_policy_that_allows_everything_does_not_allow_that() {
        let source = Source::new(
            "test",
            "version = 1\n[[rule]]\nname = \"all\"\non = [\"write\", \"signal\"]\npath = [\"/**\"]\naction = \"allow\"\n",
        );
        let own = Own {
            exe: Some("/opt/a [1]/guard".into()),
            places: vec!["/etc/guard".into()],
            mounts: vec!["/mnt".into()],
            groups: vec!["/cg/system/guard.service".into(), "/cg1/freezer/guard".into()],
            groups_above: vec!["/cg/system".into()],
        };
        let compiled = own.read(source).expect("a policy").compiled;
        let decide = |op, path: &str| {
            let decision =
                compiled.tables().decide(op, Scope::Harness, &Object::Path(path.as_bytes()), &Places::default(), 0);
            decision.action
        };
        for (op, path, action) in [
            (Op::Write, "/etc/guard/policy.toml", Action::Deny),
            (Op::Delete, "/etc/guard", Action::Deny),
            (Op::Write, "/etc/guardian", Action::Allow),
            (Op::Mount, "/mnt", Action::Deny),
            (Op::Mount, "/mnt/other", Action::Allow),
            (Op::Write, "/opt/a [1]/guard", Action::Deny),
            (Op::Write, "/proc/sys/kernel/ftrace_enabled", Action::Deny),
            (Op::Write, "/proc/sysrq-trigger", Action::Deny),
            (Op::Write, "/sys/kernel/security/lockdown", Action::Deny),
            (Op::Write, "/sys/kernel/debug/sched/preempt", Action::Deny),
            (Op::Write, "/cg1/freezer/guard/freezer.state", Action::Deny),
            (Op::Write, "/cg/system/memory.limit_in_bytes", Action::Deny),
            (Op::Write, "/cg/system/memory.low", Action::Allow),
            (Op::Write, "/cg/system/guard.service/cgroup.procs", Action::Deny),
            (Op::Write, "/cg/system/guard.service/other/cgroup.procs", Action::Allow),
            (Op::Write, "/cg/system/cgroup.freeze", Action::Deny),
            (Op::Write, "/cg/system/cgroup.procs", Action::Allow),
            (Op::Signal, "/opt/a [1]/guard", Action::Deny),
            (Op::Signal, "/opt/a 1/guard", Action::Allow),
            (Op::Ptrace, "/opt/a [1]/guard", Action::Deny),
            (Op::Read, "/etc/guard/policy.toml", Action::Allow),
        ] {
            assert_eq!(decide(op, path), action, "{} {path}", op.word());
        }
        assert_eq!(compiled.rules.iter().filter(|rule| rule.is_own()).count(), 2);
        // The programs know them by their places.
        assert_eq!(compiled.meta().own_rules, 2);
    }
}
