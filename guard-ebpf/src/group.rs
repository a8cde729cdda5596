//! Control groups: who is guarded because of where it runs.
//!
//! The policy's `[scope]` names groups of the unified hierarchy by globs over their paths. [`GROUPS`] has the number of each such
//! group, and of each below one, since before anybody is in it: `cgroup_mkdir` fires in
//! `kernel/cgroup/cgroup.c:cgroup_mkdir` when the group is made and before its folder is shown (`kernfs_activate`). What was made before
//! the programs were attached, user space enters.
//!
//! A process gets into a group in three ways. It is moved: `cgroup_attach_task` fires when it has been (`cgroup_attach_task`), and it
//! begins a tree then. It is forked there, by one that is a member, and is one. Or it is forked there by one that is none, with
//! `CLONE_INTO_CGROUP`: then it begins a tree at its first exec.

use aya_ebpf::helpers::bpf_get_current_cgroup_id;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str};
use aya_ebpf::programs::BtfTracePointContext;
use guard_common::event::{Exec, FLAG_PATH_UNKNOWN, Kind};
use guard_common::tree::{COUNT_GROUPS_FULL, COUNT_TREE_FULL, MEMBER_GROUP, MEMBER_SEEDED, Member, id_of};
use guard_common::walk::{INTO_OBJECT, MAX_TEXT};
use guard_common::words::{Op, Scope};

use crate::kernel::{self, argument, masked, read, read_or_zero};
use crate::maps::{GROUPS, MEMBERS, SLOT_GROUP, count, host_wide, offset, slot, work};
use crate::{emit, exec, path, target, tree, verdict};

/// The kernel's tracepoints give no longer path (`TRACE_CGROUP_PATH_LEN`, `kernel/cgroup/cgroup-internal.h`).
const MAX_GROUP: u32 = 1024;

/// What [`is_named`] says. Anything else is that it can't tell.
const NOT_NAMED: u32 = 0;
const NAMED: u32 = 1;
const UNREADABLE: u32 = 2;

/// Whether the current process runs in a control group that is guarded.
#[inline(always)]
pub fn is_guarded() -> bool {
    // SAFETY: no arguments, no preconditions.
    let group = unsafe { bpf_get_current_cgroup_id() };
    GROUPS.get_ptr(group).is_some()
}

/// `cgroup_mkdir(group, path)`.
#[inline(always)]
pub fn made(ctx: &BtfTracePointContext) -> i32 {
    if !host_wide() {
        return 0;
    }
    let Some(number) = number_of(argument(ctx, 0)) else { return 0 };
    let missed = match is_named(slot(SLOT_GROUP), argument(ctx, 1)) {
        NOT_NAMED => false,
        NAMED => GROUPS.insert(number, 1, 0).is_err(),
        _ => true,
    };
    if missed {
        count(COUNT_GROUPS_FULL);
    }
    0
}

/// `cgroup_rmdir(group, path)`.
#[inline(always)]
pub fn removed(ctx: &BtfTracePointContext) -> i32 {
    if let Some(number) = number_of(argument(ctx, 0)) {
        // Most groups are not there.
        let _ = GROUPS.remove(number);
    }
    0
}

/// `cgroup_attach_task(group, path, task, threadgroup)`. Whoever moved a process that is not its own is judged, whatever the
/// group, of any hierarchy.
#[inline(always)]
pub fn entered(ctx: &BtfTracePointContext) -> i32 {
    let task = argument(ctx, 2);
    target::regrouped(slot(SLOT_GROUP), task);
    let Some(number) = number_of(argument(ctx, 0)) else { return 0 };
    if GROUPS.get_ptr(number).is_none() {
        return 0;
    }
    let (Some(tgid), Some(start)) = (read::<u32>(task, offset!(task_tgid)), kernel::process_start(task)) else {
        return 0;
    };
    let mm: u64 = read_or_zero(task, offset!(task_mm));
    // The kernel's own threads have no memory; members are guarded already.
    if mm == 0 || MEMBERS.get_ptr(tgid).is_some() {
        return 0;
    }
    let exe: u64 = read_or_zero(mm, offset!(mm_exe_file));
    let tree = id_of(tgid, start);
    let member = Member {
        tree,
        call: tree,
        start,
        scope: Scope::Tool as u8,
        flags: MEMBER_GROUP | MEMBER_SEEDED,
        image: tree,
        exe: read_or_zero(exe, offset!(file_dentry)),
        ..tree::NOBODY
    };
    if MEMBERS.insert(tgid, member, 0).is_err() {
        // It is stopped at its next exec, if there is no room by then.
        count(COUNT_TREE_FULL);
        return 0;
    }
    let slot = slot(SLOT_GROUP);
    emit::begin::<Exec>(slot, Kind::Moved, Op::Enrol, &member);
    tell(slot, task, exe);
    0
}

/// Tells that `task` is guarded from now on, which runs the file `exe`. The current process is whoever moved it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell(slot: u32, task: u64, exe: u64) -> u32 {
    let Some(head) = emit::head_of(slot) else { return 0 };
    let parent: u64 = read_or_zero(task, offset!(task_real_parent));
    let uid: u32 = read_or_zero(read_or_zero(task, offset!(task_cred)), offset!(cred_uid));
    head.tgid = read_or_zero(task, offset!(task_tgid));
    head.tid = read_or_zero(task, offset!(task_pid));
    head.ppid = read_or_zero(parent, offset!(task_tgid));
    head.uid = uid;
    let tree = head.tree;
    let mut body = Exec::NOTHING;
    let path = path::resolve(slot, read_or_zero(exe, offset!(file_dentry)), read_or_zero(exe, offset!(file_mnt)));
    if path.unknown() {
        head.flags |= FLAG_PATH_UNKNOWN;
    } else {
        body.path_len = emit::append_path(slot, path.start());
    }
    let cwd = exec::path_of_cwd(slot, task);
    if !cwd.unknown() {
        body.cwd_len = emit::append_path(slot, cwd.start());
    }
    exec::set_places(slot, tree, cwd, uid);
    emit::set_body(slot, body);
    emit::send(slot);
    0
}

/// Number of a control group of the unified hierarchy.
#[inline(always)]
fn number_of(group: u64) -> Option<u64> {
    let root: u64 = read(group, offset!(group_root))?;
    if read::<u32>(root, offset!(hierarchy_number))? != 0 {
        return None;
    }
    read(read(group, offset!(group_node))?, offset!(node_number))
}

/// Whether the policy names the group whose path is at `path`, or one above it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_named(slot: u32, path: u64) -> u32 {
    let Some(work) = work(slot) else { return UNREADABLE };
    if !verdict::begin(slot, &tree::NOBODY) {
        return UNREADABLE;
    }
    // SAFETY: the slot has one user; only addresses are computed.
    let (text, spare) =
        unsafe { ((&raw mut (*work).walk.text).cast::<u8>(), (&raw mut (*work).record).cast::<u8>()) };
    // SAFETY: the record is larger than what is read; the helper checks the source.
    let len = unsafe { bpf_probe_read_kernel_str(spare.cast(), MAX_GROUP, path as *const _) };
    if len <= 1 {
        return UNREADABLE;
    }
    // A text ends where its buffer does.
    let len = masked(len as u32 - 1, MAX_GROUP - 1);
    let start = MAX_TEXT as u32 - len;
    // SAFETY: both ends lie in the text; the helper checks the source.
    let copied = unsafe {
        bpf_probe_read_kernel(text.add(masked(start, MAX_TEXT as u32 - 1) as usize).cast(), len, path as *const _)
    };
    if copied != 0 {
        return UNREADABLE;
    }
    verdict::clear(slot);
    verdict::add_path(slot, start, INTO_OBJECT);
    if verdict::agent(slot, Scope::Tool as u8).is_some() { NAMED } else { NOT_NAMED }
}
