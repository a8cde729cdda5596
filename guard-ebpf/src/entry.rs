//! Names in folders: what makes, removes, moves and changes them.
//!
//! The kernel asks the hooks `path_*` with the folder's mount and the entry itself, after it has looked both up and before it
//! changes anything (`fs/namei.c`: `may_o_create`, `do_mknodat`, `do_mkdirat`, `do_rmdir`, `do_unlinkat`, `do_symlinkat`, `do_linkat`,
//! `do_renameat2`; `fs/open.c`: `chmod_common`, `chown_common`, `vfs_truncate`). The calls of `io_uring` go the same ways.
//!
//! `may_o_create` asks before a name is looked up that is not in the kernel's memory: there, who opens a file that exists, and
//! would make it if it did not, is told as one that makes it.

use aya_ebpf::programs::LsmContext;
use guard_common::below::{MOVED, bit};
use guard_common::offsets::Settings;
use guard_common::words::{How, Op};

use crate::attempt::{self, NEW, OLD};
use crate::kernel::{argument, exists, read_or_zero};
use crate::lsm::asked;
use crate::maps::{offset, setting};

/// `RENAME_EXCHANGE` (`include/uapi/linux/fs.h`).
pub const RENAME_EXCHANGE: u64 = 2;
/// What an entry that takes the place of a name comes to there: its content was not written to this name.
pub const ARRIVES: u32 = bit(Op::Create) | bit(Op::Write);

/// `path_mknod(dir, dentry, mode, dev)`.
#[inline(always)]
pub fn making(ctx: &LsmContext) -> i32 {
    asked(|slot, _| {
        attempt::begin(slot, How::Make, Op::Create);
        on_entry(slot, OLD, ctx, 0);
        attempt::judge(slot, OLD, bit(Op::Create), bit(Op::Write));
        attempt::judge_making(slot);
        attempt::conclude(slot)
    })
}

/// `path_mkdir(dir, dentry, mode)`.
#[inline(always)]
pub fn making_folder(ctx: &LsmContext) -> i32 {
    changing_entry(ctx, How::Mkdir, Op::Create)
}

/// `path_unlink(dir, dentry)`.
#[inline(always)]
pub fn removing(ctx: &LsmContext) -> i32 {
    changing_entry(ctx, How::Unlink, Op::Delete)
}

/// `path_rmdir(dir, dentry)`.
#[inline(always)]
pub fn removing_folder(ctx: &LsmContext) -> i32 {
    changing_entry(ctx, How::Rmdir, Op::Delete)
}

/// `path_symlink(dir, dentry, old_name)`.
#[inline(always)]
pub fn linking_softly(ctx: &LsmContext) -> i32 {
    asked(|slot, _| {
        attempt::begin(slot, How::Symlink, Op::Link);
        on_entry(slot, OLD, ctx, 0);
        attempt::judge(slot, OLD, bit(Op::Link) | ARRIVES, 0);
        attempt::conclude(slot)
    })
}

/// `path_link(old_dentry, new_dir, new_dentry)`: both are on one mount.
#[inline(always)]
pub fn linking(ctx: &LsmContext) -> i32 {
    asked(|slot, _| {
        attempt::begin(slot, How::Link, Op::Link);
        attempt::on(slot, OLD, argument(ctx, 0), read_or_zero(argument(ctx, 1), offset!(path_mnt)));
        on_entry(slot, NEW, ctx, 1);
        attempt::judge(slot, OLD, bit(Op::Link), MOVED);
        attempt::judge(slot, NEW, bit(Op::Link) | ARRIVES, MOVED);
        attempt::judge_move(slot, OLD, NEW);
        attempt::conclude(slot)
    })
}

/// `path_rename(old_dir, old_dentry, new_dir, new_dentry, flags)`; 5.10 gives no flags, and asks for both of two names that are
/// exchanged.
#[inline(always)]
pub fn renaming(ctx: &LsmContext) -> i32 {
    asked(|slot, _| {
        let has_flags = setting(core::mem::offset_of!(Settings, rename_has_flags)) != 0;
        let exchange = has_flags && argument(ctx, 4) & RENAME_EXCHANGE != 0;
        attempt::begin(slot, if exchange { How::Exchange } else { How::Rename }, Op::Rename);
        on_entry(slot, OLD, ctx, 0);
        on_entry(slot, NEW, ctx, 2);
        let replaces = if !exchange && exists(argument(ctx, 3)) { bit(Op::Delete) } else { 0 };
        attempt::judge(slot, OLD, bit(Op::Rename) | if exchange { ARRIVES } else { 0 }, MOVED);
        attempt::judge(slot, NEW, bit(Op::Rename) | ARRIVES | replaces, MOVED);
        attempt::judge_move(slot, OLD, NEW);
        if exchange {
            attempt::judge_move(slot, NEW, OLD);
        }
        attempt::conclude(slot)
    })
}

/// `path_truncate(path)`; descriptors are judged when they are opened.
#[inline(always)]
pub fn truncating(ctx: &LsmContext) -> i32 {
    changing(ctx, How::Truncate, Op::Write)
}

/// `path_chmod(path, mode)`.
#[inline(always)]
pub fn changing_mode(ctx: &LsmContext) -> i32 {
    changing(ctx, How::Chmod, Op::Chmod)
}

/// `path_chown(path, uid, gid)`.
#[inline(always)]
pub fn changing_owner(ctx: &LsmContext) -> i32 {
    changing(ctx, How::Chown, Op::Chmod)
}

/// Judges one operation on the entry whose folder and itself are the hook's first two arguments.
#[inline(always)]
fn changing_entry(ctx: &LsmContext, how: How, op: Op) -> i32 {
    asked(|slot, _| {
        let mnt = read_or_zero(argument(ctx, 0), offset!(path_mnt));
        attempt::simple(slot, how, op, argument(ctx, 1), mnt)
    })
}

/// Judges one operation on the path that is the hook's first argument.
#[inline(always)]
fn changing(ctx: &LsmContext, how: How, op: Op) -> i32 {
    asked(|slot, _| {
        let path = argument(ctx, 0);
        let (dentry, mnt) = (read_or_zero(path, offset!(path_dentry)), read_or_zero(path, offset!(path_mnt)));
        attempt::simple(slot, how, op, dentry, mnt)
    })
}

/// The attempt is on the entry whose folder is argument `first` of the hook, itself being the next.
#[inline(always)]
fn on_entry(slot: u32, which: u32, ctx: &LsmContext, first: u64) {
    let mnt = read_or_zero(argument(ctx, first), offset!(path_mnt));
    attempt::on(slot, which, argument(ctx, first + 1), mnt);
}
