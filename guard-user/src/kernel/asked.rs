//! By which way the kernel asks guard's programs on its security hooks, if it does.

use std::fmt::{Display, Formatter};

use aya::programs::{LsmAttachType, ProgramType};
use aya::sys::is_program_supported;

use super::btf::Types;
use super::kernelfs::SECURITYFS;
use super::modify_return;
use super::preemption::{self, Preemption};
use super::requirements::release;

/// How it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// As one of its security modules: `bpf` is in their list.
    Module,
    /// Before it asks these: programs modify the return of the functions that do.
    ModifiedReturn,
}

impl Asked {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::ModifiedReturn => "modified-return",
        }
    }

    /// The same in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Module => "as a security module",
            Self::ModifiedReturn => "by modified returns",
        }
    }

    /// The kernel's function that a program for a hook is put on: `bpf_lsm_` and its name (`kernel/bpf/bpf_lsm.c`), or the one that
    /// asks the modules (`security/security.c`), which for two has another name.
    #[must_use]
    pub fn function(self, hook: &str) -> String {
        match (self, hook) {
            (Self::Module, hook) => format!("bpf_lsm_{hook}"),
            (Self::ModifiedReturn, "bprm_check_security") => "security_bprm_check".to_owned(),
            (Self::ModifiedReturn, "userns_create") => "security_create_user_ns".to_owned(),
            (Self::ModifiedReturn, hook) => format!("security_{hook}"),
        }
    }
}

/// Why it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unasked {
    /// Nobody wants it to.
    Unwanted,
    /// It takes programs neither way: why not the second.
    Refused(String),
    /// It would skip some: it preempts them, in this mode if that is known.
    Skipped(Option<String>),
}

impl Display for Unasked {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unwanted => write!(out, "guard was told to do without them"),
            Self::Refused(why) => write!(out, "{why}"),
            Self::Skipped(mode) => {
                let mode = mode.as_deref().unwrap_or("not shown");
                write!(
                    out,
                    "this kernel preempts itself (mode {mode}), and skips a program on a CPU where it has preempted the same"
                )
            }
        }
    }
}

/// The security modules that were chosen at boot, in their order; `None` where the kernel does not tell.
#[must_use]
pub fn security_modules() -> Option<Vec<String>> {
    SECURITYFS.read(c"lsm").map(|list| list.trim().split(',').map(ToOwned::to_owned).collect())
}

/// How the kernel that has these types asks guard, or why it does not.
///
/// Programs for hooks load on every kernel that has them built in, but run only where `bpf` is among the security modules;
/// and some kernels that list it refuse them all the same, so one is tried. Else programs that modify returns are tried.
///
/// # Errors
/// Why it does not.
pub fn how_asked(types: &Types) -> Result<Asked, Unasked> {
    let listed = security_modules().is_some_and(|modules| modules.iter().any(|module| module == "bpf"));
    let asked = if listed && is_program_supported(ProgramType::Lsm(LsmAttachType::Mac)).unwrap_or(false) {
        Asked::Module
    } else {
        modify_return::works(types).map_err(|error| Unasked::Refused(format!("{error:#}")))?;
        Asked::ModifiedReturn
    };
    match preemption::of_this_machine() {
        Preemption::Possible(mode) if skips(asked, types) => Err(Unasked::Skipped(mode)),
        _ => Ok(asked),
    }
}

/// Whether a program is skipped that was preempted on the same CPU by one that comes to it as well: what that is about would
/// pass unseen. From 5.12 on each program notes where it runs, in this member (`kernel/bpf/trampoline.c:__bpf_prog_enter`).
/// Those of security modules are spared that from 6.1 on (`include/linux/bpf_verifier.h:bpf_prog_check_recur`).
fn skips(asked: Asked, types: &Types) -> bool {
    let notes = types.offset_of("bpf_prog.active").is_some();
    notes && (asked == Asked::ModifiedReturn || release().is_none_or(|release| release < (6, 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_has_a_function_either_way() {
        assert_eq!(Asked::Module.function("bprm_check_security"), "bpf_lsm_bprm_check_security");
        for (hook, function) in [
            ("bprm_check_security", "security_bprm_check"),
            ("userns_create", "security_create_user_ns"),
            ("path_rename", "security_path_rename"),
        ] {
            assert_eq!(Asked::ModifiedReturn.function(hook), function);
        }
    }
}
