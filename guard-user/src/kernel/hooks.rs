//! The kernel's security hooks that guard has programs for, and what each of them decides.

use guard_common::calls::Call;
use guard_common::offsets::{HOOK_FILE, HOOK_SOCKET, HOOK_UNIX};
use guard_common::table::NO_OWN_RULE;
use guard_common::words::Op;

use super::asked::Asked;
use super::btf::Types;
use crate::policy::Compiled;

/// A security hook.
pub struct Hook {
    /// Its name in the kernel (`include/linux/lsm_hook_defs.h`).
    pub name: &'static str,
    /// guard's program for it.
    pub program: &'static str,
    /// What it takes over from programs elsewhere, `HOOK_*`.
    pub takes_over: u32,
    /// When it is needed.
    need: Need,
    /// The calls that are judged once they have succeeded where it is not asked.
    pub call: Option<Call>,
    /// The only way of asking that it is for, if it isn't for both.
    only: Option<Asked>,
}

/// When a hook is worth its cost.
enum Need {
    /// Always.
    Always,
    /// Where a rule or default is about one of these operations.
    About(&'static [Op]),
    /// The same, and where something is denied that depends on where a file lies: who moves it could get around that.
    AboutOrMoves(&'static [Op]),
    /// The same, and where writing is denied: what is made there is not made.
    AboutOrWrites(&'static [Op]),
    /// Where guard protects itself.
    Own,
}

use Need::{About, AboutOrMoves, AboutOrWrites, Always, Own};

const fn hook(name: &'static str, program: &'static str, takes_over: u32, need: Need) -> Hook {
    Hook { name, program, takes_over, need, call: None, only: None }
}

/// A hook without which calls are judged once they have succeeded.
const fn or_late(name: &'static str, program: &'static str, need: Need, call: Call) -> Hook {
    Hook { call: Some(call), ..hook(name, program, 0, need) }
}

/// All of them.
pub const HOOKS: &[Hook] = &[
    hook("file_open", "on_file_open", HOOK_FILE, Always),
    hook("file_receive", "on_file_receive", 0, Always),
    hook("bprm_check_security", "on_bprm_check", 0, Always),
    hook("unix_stream_connect", "on_unix_connect", HOOK_UNIX, Always),
    hook("unix_may_send", "on_unix_send", 0, Always),
    hook("socket_create", "on_socket_create", HOOK_SOCKET, Always),
    or_late("path_mknod", "on_path_mknod", AboutOrWrites(&[Op::Create]), Call::Make),
    or_late("path_mkdir", "on_path_mkdir", About(&[Op::Create]), Call::Mkdir),
    or_late("path_unlink", "on_path_unlink", About(&[Op::Delete]), Call::Unlink),
    or_late("path_rmdir", "on_path_rmdir", About(&[Op::Delete]), Call::Rmdir),
    or_late("path_symlink", "on_path_symlink", AboutOrWrites(&[Op::Link, Op::Create]), Call::Symlink),
    or_late("path_link", "on_path_link", AboutOrMoves(&[Op::Link, Op::Create]), Call::Link),
    or_late("path_rename", "on_path_rename", AboutOrMoves(&[Op::Rename, Op::Create, Op::Delete]), Call::Rename),
    or_late("path_truncate", "on_path_truncate", About(&[Op::Write]), Call::Truncate),
    or_late("path_chmod", "on_path_chmod", About(&[Op::Chmod]), Call::Chmod),
    or_late("path_chown", "on_path_chown", About(&[Op::Chmod]), Call::Chown),
    or_late("task_kill", "on_task_kill", About(&[Op::Signal]), Call::Kill),
    or_late("task_setrlimit", "on_task_setrlimit", About(&[Op::Signal]), Call::Limit),
    or_late("ptrace_access_check", "on_ptrace_access_check", About(&[Op::Ptrace]), Call::Attach),
    or_late("sb_mount", "on_sb_mount", About(&[Op::Mount]), Call::Mount),
    or_late("move_mount", "on_move_mount", About(&[Op::Mount]), Call::MoveMount),
    or_late("sb_umount", "on_sb_umount", About(&[Op::Mount]), Call::Unmount),
    or_late("sb_pivotroot", "on_sb_pivotroot", About(&[Op::Mount]), Call::PivotRoot),
    or_late("userns_create", "on_userns_create", About(&[Op::Mount]), Call::UserNamespace),
    hook("task_fix_setuid", "on_task_fix_setuid", 0, About(&[Op::Privilege])),
    or_late("bprm_creds_from_file", "on_bprm_creds_from_file", About(&[Op::Privilege]), Call::SetIdProgram),
    // At its end, for what is not known at its beginning.
    Hook {
        only: Some(Asked::ModifiedReturn),
        ..hook("bprm_creds_from_file", "on_creds_known", 0, About(&[Op::Privilege]))
    },
    or_late("kernel_read_file", "on_kernel_read_file", About(&[Op::Privilege]), Call::Module),
    or_late("kernel_load_data", "on_kernel_load_data", About(&[Op::Privilege]), Call::Module),
    or_late("bpf", "on_bpf", About(&[Op::Privilege]), Call::Bpf),
    hook("bpf", "on_bpf_link", 0, Own),
    hook("bpf_map", "on_bpf_map", 0, Own),
    hook("file_send_sigiotask", "on_file_send_sigiotask", 0, Own),
];

/// Operations of which one may be denied by where a file lies.
const PLACED: &[Op] = &[Op::Exec, Op::Read, Op::Write, Op::Create, Op::Delete, Op::Chmod, Op::Connect, Op::Send];

impl Hook {
    /// Whether something would be missed without it.
    pub fn is_needed(&self, policy: &Compiled) -> bool {
        let about = |ops: &[Op]| ops.iter().any(|&op| policy.is_about(op));
        match self.need {
            Always => true,
            About(ops) => about(ops),
            AboutOrMoves(ops) => about(ops) || PLACED.iter().any(|&op| policy.can_refuse(op)),
            AboutOrWrites(ops) => about(ops) || policy.can_refuse(Op::Write),
            Own => policy.meta().own_rule != NO_OWN_RULE,
        }
    }

    /// Whether it is for kernels that ask in this way.
    pub fn is_for(&self, asked: Asked) -> bool {
        self.only.is_none_or(|only| only == asked)
    }

    /// Why a kernel that asks in this way can't have a program there, if it can't.
    ///
    /// Each hook has a function that programs are put on. One with structures among its arguments takes none before 6.1
    /// (`kernel/bpf/btf.c:btf_distill_func_proto`), which is when `btf_func_model` got a member to say where they are.
    pub fn missing(&self, asked: Asked, types: &Types) -> Option<&'static str> {
        match types.takes_structures(&asked.function(self.name)) {
            None => Some("this kernel does not have it"),
            Some(true) if types.offset_of("btf_func_model.arg_flags").is_none() => {
                Some("this kernel takes no program there")
            }
            Some(_) => None,
        }
    }
}
