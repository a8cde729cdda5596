//! The kernel's security hooks that guard has programs for, and what each of them decides.

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
    Hook { name, program, takes_over, need, only: None }
}

/// All of them.
pub const HOOKS: &[Hook] = &[
    hook("file_open", "on_file_open", HOOK_FILE, Always),
    hook("file_receive", "on_file_receive", 0, Always),
    hook("bprm_check_security", "on_bprm_check", 0, Always),
    hook("unix_stream_connect", "on_unix_connect", HOOK_UNIX, Always),
    hook("unix_may_send", "on_unix_send", 0, Always),
    hook("socket_create", "on_socket_create", HOOK_SOCKET, Always),
    hook("path_mknod", "on_path_mknod", 0, AboutOrWrites(&[Op::Create])),
    hook("path_mkdir", "on_path_mkdir", 0, About(&[Op::Create])),
    hook("path_unlink", "on_path_unlink", 0, About(&[Op::Delete])),
    hook("path_rmdir", "on_path_rmdir", 0, About(&[Op::Delete])),
    hook("path_symlink", "on_path_symlink", 0, AboutOrWrites(&[Op::Link, Op::Create])),
    hook("path_link", "on_path_link", 0, AboutOrMoves(&[Op::Link, Op::Create])),
    hook("path_rename", "on_path_rename", 0, AboutOrMoves(&[Op::Rename, Op::Create, Op::Delete])),
    hook("path_truncate", "on_path_truncate", 0, About(&[Op::Write])),
    hook("path_chmod", "on_path_chmod", 0, About(&[Op::Chmod])),
    hook("path_chown", "on_path_chown", 0, About(&[Op::Chmod])),
    hook("task_kill", "on_task_kill", 0, About(&[Op::Signal])),
    hook("ptrace_access_check", "on_ptrace_access_check", 0, About(&[Op::Ptrace])),
    hook("sb_mount", "on_sb_mount", 0, About(&[Op::Mount])),
    hook("move_mount", "on_move_mount", 0, About(&[Op::Mount])),
    hook("sb_umount", "on_sb_umount", 0, About(&[Op::Mount])),
    hook("sb_pivotroot", "on_sb_pivotroot", 0, About(&[Op::Mount])),
    hook("userns_create", "on_userns_create", 0, About(&[Op::Mount])),
    hook("task_fix_setuid", "on_task_fix_setuid", 0, About(&[Op::Privilege])),
    hook("bprm_creds_from_file", "on_bprm_creds_from_file", 0, About(&[Op::Privilege])),
    // At its end, for what is not known at its beginning.
    Hook {
        only: Some(Asked::ModifiedReturn),
        ..hook("bprm_creds_from_file", "on_creds_known", 0, About(&[Op::Privilege]))
    },
    hook("kernel_read_file", "on_kernel_read_file", 0, About(&[Op::Privilege])),
    hook("kernel_load_data", "on_kernel_load_data", 0, About(&[Op::Privilege])),
    hook("bpf", "on_bpf", 0, About(&[Op::Privilege])),
    hook("bpf", "on_bpf_link", 0, Own),
    hook("bpf_map", "on_bpf_map", 0, Own),
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
