//! What guard can do on this machine, why not more, and what would lift that.

mod boot;

use std::fs;
use std::path::Path;

use aya::programs::loaded_programs;
use guard_common::words::Backend;
use serde::Serialize;
use utoipa::ToSchema;

use crate::kernel::kernelfs::SECURITYFS;
use crate::kernel::{
    self, Abilities, Asked, Reach, Unasked, can_do_without_preemption, cgroup, find_offsets, holds, kernel_types,
    security_modules, sees_uring,
};
use crate::prevent;

/// `BPF_PROG_TYPE_LSM` (`include/uapi/linux/bpf.h`).
const PROGRAM_TYPE_LSM: u32 = 29;

/// The whole answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Report {
    /// The running kernel's release.
    pub kernel: String,
    /// Whether guard can run here at all.
    pub runs: bool,
    /// By which way security hooks are asked, `module` or `modified-return`. Absent where they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<&'static str>,
    /// What it needs, and what else matters.
    pub checks: Vec<Check>,
    /// What becomes of each operation where it is denied.
    pub operations: Vec<Operation>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize, ToSchema)]
pub struct Check {
    /// What it is.
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What would be better, and how to get there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Good,
    /// guard runs, and could do more.
    Less,
    /// guard can't run.
    Missing,
}

/// What becomes of an operation.
#[derive(Debug, Serialize, ToSchema)]
pub struct Operation {
    /// The operation, in the words of policies.
    pub op: &'static str,
    /// What is attempted.
    pub what: &'static str,
    /// `prevented`, `contained` or `not seen`.
    pub reach: &'static str,
    /// By which backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<&'static str>,
    /// The same in words.
    pub how: &'static str,
}

/// Looks at this machine.
#[must_use]
pub fn examine() -> Report {
    let mut checks: Vec<Check> = kernel::requirements()
        .into_iter()
        .map(|(name, met)| required(name, met.map(|()| "as it should be".to_owned())))
        .collect();
    let types = kernel_types();
    let uring = types.as_ref().is_ok_and(sees_uring);
    let abilities = Abilities::of_this_machine(types.as_ref().ok());
    checks.push(required(
        "kernel types (BTF)",
        types.and_then(|types| find_offsets(&types)).map(|_| "every member that guard reads is there".to_owned()),
    ));
    checks.push(control_groups());
    checks.push(lockdown());
    let modules = security_modules();
    checks.push(hooks(modules.as_deref(), &abilities));
    checks.push(uring_check(uring, abilities.hooks()));
    let fanotify = prevent::check();
    let asked_by_fanotify = fanotify.is_ok();
    checks.push(fanotify_check(fanotify, abilities.hooks()));
    checks.extend(others());
    let runs = checks.iter().all(|check| check.state != State::Missing);
    let abilities = Abilities { uring: Some(uring), fanotify: asked_by_fanotify, ..abilities };
    let hooks = abilities.asked.as_ref().ok().map(|asked| asked.word());
    Report { kernel: release(), runs, hooks, checks, operations: operations(&abilities) }
}

fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn operations(abilities: &Abilities) -> Vec<Operation> {
    let told = |hold: kernel::Hold| Operation {
        op: hold.op.word(),
        what: hold.what,
        reach: hold.reach.word(),
        backend: (hold.reach != Reach::NotSeen && hold.backend != Backend::None).then(|| hold.backend.word()),
        how: hold.how,
    };
    holds(abilities).into_iter().map(told).collect()
}

/// A thing without which guard does not run.
fn required(name: &'static str, found: anyhow::Result<String>) -> Check {
    match found {
        Ok(found) => Check { name, state: State::Good, found, remedy: None },
        Err(error) => Check { name, state: State::Missing, found: format!("{error:#}"), remedy: None },
    }
}

/// Whether connections can be judged, and all of a control group be guarded.
fn control_groups() -> Check {
    let name = "control groups";
    let found = cgroup::root().map(|path| path.display().to_string());
    match (found, kernel::whole_hierarchy()) {
        (Ok(_), Err(why)) => {
            let remedy = "where a policy has `[scope]`, run guard in the machine's own cgroup namespace".to_owned();
            Check { name, state: State::Less, found: format!("{why:#}"), remedy: Some(remedy) }
        }
        (found, _) => required(name, found),
    }
}

/// In the mode `confidentiality` the kernel lets nobody read its memory (`LOCKDOWN_BPF_READ_KERNEL`).
fn lockdown() -> Check {
    let name = "lockdown";
    let text = SECURITYFS.read(c"lockdown").unwrap_or_default();
    let mode = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("none", |(mode, _)| mode);
    if mode == "confidentiality" {
        let remedy = "boot with lockdown=integrity, or without the parameter lockdown=".to_owned();
        let found = "confidentiality: the kernel's memory can't be read by programs".to_owned();
        return Check { name, state: State::Missing, found, remedy: Some(remedy) };
    }
    Check { name, state: State::Good, found: mode.to_owned(), remedy: None }
}

/// Whether the kernel asks guard before things happen, and by which way.
fn hooks(modules: Option<&[String]>, abilities: &Abilities) -> Check {
    let name = "security hooks";
    let list =
        modules.map_or_else(|| "the kernel does not list its security modules".to_owned(), |all| all.join(","));
    let listed = modules.is_some_and(|modules| modules.iter().any(|module| module == "bpf"));
    let found = match &abilities.asked {
        Ok(Asked::Module) => list,
        Ok(Asked::ModifiedReturn) => {
            let refused = if listed { "its programs are refused" } else { "bpf is not among them" };
            format!("{list}; {refused}, and guard is asked {} instead", Asked::ModifiedReturn.words())
        }
        Err(why) => return unasked(name, &list, listed, why, modules.unwrap_or_default()),
    };
    if abilities.without.is_empty() {
        return Check { name, state: State::Good, found, remedy: None };
    }
    let found = format!("{found}; this kernel has none that guard could use of: {}", abilities.without.join(", "));
    Check { name, state: State::Less, found, remedy: Some("a later kernel has them".to_owned()) }
}

/// Why it is not asked, and what would lift that.
fn unasked(name: &'static str, list: &str, listed: bool, why: &Unasked, modules: &[String]) -> Check {
    let first = match why {
        _ if !listed => "bpf is not among them; ",
        Unasked::Refused(_) => "but this kernel, or who runs guard, may not load programs for them; ",
        _ => "",
    };
    let found = format!("{list}; {first}{why}");
    let mut remedies = Vec::new();
    if matches!(why, Unasked::Skipped(_)) && can_do_without_preemption() {
        remedies.push(boot::how_to_set("preempt=voluntary"));
    }
    if !listed {
        remedies.push(boot::how_to_add_bpf(modules));
    }
    let remedy = (!remedies.is_empty()).then(|| remedies.join("; or "));
    Check { name, state: State::Less, found, remedy }
}

fn uring_check(seen: bool, lsm: bool) -> Check {
    let name = "io_uring";
    if seen || lsm {
        return Check {
            name,
            state: State::Good,
            found: "opens and connections through it are seen".to_owned(),
            remedy: None,
        };
    }
    let forbidden = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").is_ok_and(|text| text.trim() == "2");
    if forbidden {
        return Check { name, state: State::Good, found: "nobody may use it".to_owned(), remedy: None };
    }
    let remedy = if Path::new("/proc/sys/kernel/io_uring_disabled").exists() {
        "sysctl kernel.io_uring_disabled=2, or a later kernel (6.18 shows them), or security hooks"
    } else {
        "a later kernel (6.18 shows them), or security hooks"
    };
    let found = "opens through it are not seen on this kernel".to_owned();
    Check { name, state: State::Less, found, remedy: Some(remedy.to_owned()) }
}

/// Whether the kernel asks guard before marked files are opened.
fn fanotify_check(asked: std::io::Result<()>, hooks: bool) -> Check {
    let name = "questions before opens (fanotify)";
    let (state, found, remedy) = match asked {
        Ok(()) if hooks => (State::Good, "to be had, and not needed: security hooks are asked".to_owned(), None),
        Ok(()) => (State::Good, "protected files that exist are marked, and their opens fail".to_owned(), None),
        Err(error) if hooks => (State::Good, format!("{error}; not needed: security hooks are asked"), None),
        Err(error) => {
            let remedy =
                "a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS, and CAP_SYS_ADMIN in the host's user namespace";
            (State::Less, format!("{error}: what is denied is contained"), Some(remedy.to_owned()))
        }
    };
    Check { name, state, found, remedy }
}

/// What else is on the security hooks: where several may refuse, an EPERM need not be guard's.
fn others() -> Option<Check> {
    let programs = loaded_programs().filter_map(Result::ok);
    let hooks = programs.filter(|program| program.program_type() as u32 == PROGRAM_TYPE_LSM);
    let mut names: Vec<String> = hooks.filter_map(|program| program.name_as_str().map(ToOwned::to_owned)).collect();
    names.sort();
    names.dedup();
    (!names.is_empty()).then(|| Check {
        name: "others on the security hooks",
        state: State::Good,
        found: format!("{}: what they refuse is not told by guard", names.join(", ")),
        remedy: None,
    })
}
