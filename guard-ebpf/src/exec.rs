//! Execs: which program, with which words, for whom.
//!
//! `sched_process_exec` fires in `fs/exec.c:exec_binprm` when the new image is in place and before the task
//! returns to it. At that moment the process has one thread and a new address space that nobody else has
//! seen, so the words and the environment are those that the program will get; the file is the one that was
//! loaded, whatever string the call was given. A task killed here never runs an instruction of the program.
//!
//! For a script, the file is the interpreter and the script is among the words; its own file is found elsewhere
//! ([`crate::script`]).

use aya_ebpf::helpers::bpf_get_current_uid_gid;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::programs::BtfTracePointContext;
use aya_log_ebpf::debug;
use guard_common::event::{Exec, FLAG_ARGV_CUT, FLAG_PATH_UNKNOWN, Kind, MAX_ARGV, NO_RULE};
use guard_common::table::{FAMILY_ARGV, MAX_PHASES};
use guard_common::tree::{
    COUNT_ARGV_CUT, COUNT_PHASES_FULL, COUNT_PLACES_FULL, COUNT_SCRATCH_MISSING, COUNT_TREE_FULL, Id, KnownClasses,
    MAX_ANCHOR, MEMBER_AGENT, MEMBER_GROUP, MEMBER_LABELLED, MEMBER_NETWORK, MEMBER_RUN, MEMBER_SEEDED, Member,
    Places, id_of,
};
use guard_common::walk::{FACT_ARGV_UNKNOWN, FACT_OBJECT_UNKNOWN, INTO_OBJECT, MAX_TEXT};
use guard_common::words::{Op, Scope};

use crate::argv::{arguments, match_argv_names, named_script};
use crate::kernel::{self, masked, read_or_zero};
use crate::labels::{append_labels, find_labels};
use crate::maps::{HOMES, MEMBERS, PHASES, PLACES, SLOT_EXEC, count, host_wide, offset, slot, work};
use crate::path::{self, Resolved};
use crate::verdict::{self, Verdict};
use crate::{act, emit, group, inherited, names, pipe, script, tree};

/// What is found out about an exec on the way. In memory, because the steps are functions of their own to the
/// verifier.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Image {
    /// The process, as it is entered after the exec.
    pub member: Member,
    /// The body of the record.
    body: Exec,
    /// Agent whose executable it is, or [`NOT_AN_AGENT`].
    agent: u32,
    /// `FACT_*` bits.
    pub facts: u32,
    /// [`Resolved`] of the executable.
    exe: Resolved,
    /// Not 0 if there is no policy to judge by.
    pub unjudged: u32,
    /// When it was executed, nanoseconds since boot.
    time: u64,
    /// The phases that the command line is a marker of, a bit each.
    marked: u64,
    /// `MEMBER_*` bits of the process before the exec.
    before: u32,
    /// Not 0: it has other names than the path it was reached by.
    named: u32,
    /// The file that was loaded: its directory entry.
    dentry: u64,
    /// Its mount.
    mnt: u64,
    /// What the process ran before: its directory entry.
    pub old: u64,
    /// Length of its base name, with which the path in the text ends.
    pub leaf: u32,
    /// Scope of the process before the exec.
    scope: u32,
    /// The search for scripts.
    pub scripts: script::Search,
    /// Classes of the executable, by the policy in each place.
    classes: [KnownClasses; 2],
}

/// [`Image::agent`] of every other program.
const NOT_AN_AGENT: u32 = u32::MAX;

/// `sched_process_exec(task, old_pid, bprm)`.
#[inline(always)]
pub fn executed(ctx: &BtfTracePointContext) -> i32 {
    let tgid = kernel::tgid();
    let known = MEMBERS.get_ptr(tgid).is_some();
    if !known && !host_wide() {
        return 0;
    }
    let slot = slot(SLOT_EXEC);
    let Some(work) = work(slot) else {
        count(COUNT_SCRATCH_MISSING);
        act::kill_current();
        return 0;
    };
    if known && recall(slot) == 0 {
        return 0;
    }
    let kind = if known { Kind::Exec } else { Kind::Enrol };
    let bprm = ctx.arg::<*const u8>(2) as u64;
    let file: u64 = read_or_zero(bprm, offset!(binprm_file));
    if locate(slot, file, kind as u32) == 0 {
        return 0;
    }
    // SAFETY: as above.
    let table = unsafe { (*work).table };
    if let Some(pending) = verdict::pending().filter(|pending| *pending != table) {
        classify(slot, pending);
    }
    classify(slot, table);
    if recognise(slot, kind as u32) == 0 {
        return 0;
    }
    if kind as u8 == Kind::Enrol as u8 {
        if enrol(slot) == 0 {
            return 0;
        }
        debug!(ctx, "enrolled {}", tgid);
    }
    describe(slot, kind as u32);
    match_words(slot);
    join(slot, kind as u32);
    let mut verdict = judge_by_names(slot);
    let by_script = script::judge(slot, bprm);
    if by_script >> 16 > verdict >> 16 {
        verdict = by_script;
    }
    conclude(slot, verdict);
    if changes_hands(slot, kind as u32) != 0 {
        inherited::judge(slot);
    }
    0
}

/// Copies the process's entry; 0 if its call was ended, and it is to die. A function of its own for its stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn recall(slot: u32) -> u32 {
    let (Some(work), Some(member)) = (work(slot), tree::member(kernel::tgid())) else { return 0 };
    if act::call_ended(&member) {
        act::kill_current();
        return 0;
    }
    // SAFETY: the slot has one user, as throughout this file.
    unsafe { (*work).image.member = member };
    1
}

/// Finds out where the program is, and who executes it; 0 if there is no policy to find an agent by.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn locate(slot: u32, file: u64, kind: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: as above.
    let image = unsafe { &mut (*work).image };
    let enrols = kind == Kind::Enrol as u32;
    if enrols {
        image.member = tree::NOBODY;
    }
    let judged = verdict::begin(slot, &image.member);
    if !judged && enrols {
        return 0;
    }
    let dentry: u64 = read_or_zero(file, offset!(file_dentry));
    let mnt: u64 = read_or_zero(file, offset!(file_mnt));
    let mut exe = path::resolve(slot, dentry, mnt);
    (image.dentry, image.mnt, image.named) = (dentry, mnt, 0);
    image.old = image.member.exe;
    if exe.pathless() {
        // A program in memory could call itself anything.
        exe = Resolved::NOTHING;
    } else if names::may_be_more(mnt, exe) {
        image.named = 1;
    }
    image.exe = exe;
    image.leaf = exe.leaf_len();
    image.marked = 0;
    image.facts = if exe.unknown() { FACT_OBJECT_UNKNOWN } else { 0 };
    image.unjudged = u32::from(!judged);
    image.before = u32::from(image.member.flags);
    image.scope = u32::from(image.member.scope);
    image.time = emit::now();
    image.classes = tree::NOBODY.classes;
    image.body = Exec::NOTHING;
    1
}

/// Collects the rules that match the executable by the policy in place `table`, and takes note of its classes.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn classify(slot: u32, table: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: as above.
    let image = unsafe { &mut (*work).image };
    // SAFETY: as above.
    unsafe { (*work).table = table };
    verdict::clear(slot);
    // The classes of an executable that is not known are not known either.
    if !image.exe.unknown() {
        verdict::add_path(slot, image.exe.start(), INTO_OBJECT);
        image.classes[table as usize & 1] = verdict::classes(slot);
    }
    0
}

/// Finds out whether the program is an agent's; 0 if the process is no concern of guard's.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn recognise(slot: u32, kind: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    let agent = verdict::agent(slot, Scope::Harness as u8).map_or(NOT_AN_AGENT, u32::from);
    // SAFETY: as above.
    unsafe { (*work).image.agent = agent };
    u32::from(agent != NOT_AN_AGENT || kind != Kind::Enrol as u32 || group::is_guarded())
}

/// Begins the record, with the executable's path.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn describe(slot: u32, kind: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: as above; nothing called below touches the image.
    let image = unsafe { &mut (*work).image };
    let kind = if kind == Kind::Enrol as u32 { Kind::Enrol } else { Kind::Exec };
    emit::begin::<Exec>(slot, kind, Op::Exec, &image.member);
    if let Some(head) = emit::head_of(slot) {
        // User space makes the image's number of it.
        head.time = image.time;
    }
    image.body.path_len = emit::append_path(slot, image.exe.start());
    let (start, end) = arguments(kernel::current());
    image.body.argv_total = end.saturating_sub(start).min(u64::from(u32::MAX)) as u32;
    0
}

/// Collects the rules whose `argv` patterns match the command line, and the phases whose markers do.
///
/// It is matched with the base name of the executable as its first word, and again with the base name of the first word
/// it was given: `python3` is found as `python3` and as `python3.11`.
#[inline(always)]
pub fn match_words(slot: u32) {
    let Some(work) = work(slot) else { return };
    // SAFETY: as above.
    let (image, table) = unsafe { (&mut (*work).image, (*work).table) };
    if verdict::meta(table).is_none_or(|meta| meta.family[FAMILY_ARGV].automata == 0) {
        return;
    }
    let start = arguments(kernel::current()).0;
    if match_argv_names(slot, image.leaf, start, image.body.argv_total) != 0 {
        image.facts |= FACT_ARGV_UNKNOWN;
    }
    image.marked |= verdict::marked(slot);
}

/// Finds out whose work it is, and enters the process with what it is now.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn join(slot: u32, kind: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: as above; nothing called below touches the image.
    let image = unsafe { &mut (*work).image };
    let tgid = kernel::tgid();
    let task = kernel::current();
    let cwd = path_of_cwd(slot, task);
    if !cwd.unknown() {
        image.body.cwd_len = emit::append_path(slot, cwd.start());
    }
    if kind == Kind::Enrol as u32 {
        set_places(slot, image.member.tree, cwd, bpf_get_current_uid_gid() as u32);
    } else {
        image.member.image = id_of(tgid, image.time);
        image.member.exe = image.dentry;
        image.member.classes = image.classes;
        image.member.flags &= !MEMBER_NETWORK;
        become_agent(&mut image.member, image.agent, tgid);
        if image.member.flags & MEMBER_LABELLED == 0 {
            let mm: u64 = read_or_zero(task, offset!(task_mm));
            let env_start: u64 = read_or_zero(mm, offset!(mm_env_start));
            let env_end: u64 = read_or_zero(mm, offset!(mm_env_end));
            if find_labels(slot, env_start, env_end) != 0 {
                image.member.call = id_of(tgid, emit::now());
                image.member.scope = Scope::Tool as u8;
                image.member.flags = (image.member.flags | MEMBER_LABELLED) & !MEMBER_AGENT;
                (image.body.session_len, image.body.call_len) = append_labels(slot);
            }
        }
        // The process is a member: this replaces its entry and can't fail for lack of room.
        let member: &Member = &image.member;
        if MEMBERS.insert(tgid, member, 0).is_err() {
            count(COUNT_TREE_FULL);
        }
    }
    image.body.member = u32::from(image.member.flags);
    0
}

/// Decides; the verdict, packed.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge(slot: u32) -> u32 {
    let Some(work) = work(slot) else { return pipe::pack(Verdict::UNJUDGED) };
    // SAFETY: as above.
    let (image, table) = unsafe { (&(*work).image, (*work).table) };
    if image.unjudged != 0 {
        return pipe::pack(Verdict::UNJUDGED);
    }
    let task = kernel::current();
    let known = (image.before, image.facts);
    pipe::pack(pipe::decide(slot, table, task, &image.member, known, || named_script(slot)))
}

/// Decides by the executable's path and by its other names, the stricter verdict of both; packed.
#[inline(always)]
fn judge_by_names(slot: u32) -> u32 {
    let Some(work) = work(slot) else { return pipe::pack(Verdict::UNJUDGED) };
    // SAFETY: as above; nothing called below keeps a reference to the image.
    let image = unsafe { &mut (*work).image };
    if image.named == 0 {
        return judge(slot);
    }
    // In its first moments the mounts that a session began with are not known: there the path is one of the names.
    let settled = names::settled(image.member.tree);
    let by_path = if settled {
        let verdict = judge(slot);
        verdict::clear(slot);
        image.facts = 0;
        verdict
    } else {
        0
    };
    let other = names::add(slot, image.dentry, image.mnt, image.exe.partial());
    if other.pathless() {
        return if settled { by_path } else { judge(slot) };
    }
    if other.unknown() {
        image.facts |= FACT_OBJECT_UNKNOWN;
    } else {
        image.leaf = other.leaf_len();
    }
    match_words(slot);
    let by_names = judge(slot);
    if settled && by_path >> 16 >= by_names >> 16 { by_path } else { by_names }
}

/// Carries the verdict out, and tells.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn conclude(slot: u32, verdict: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: as above.
    let (image, table) = unsafe { (&mut (*work).image, (*work).table) };
    let verdict = pipe::unpack(verdict);
    let arg_start = arguments(kernel::current()).0;
    if !verdict.denies() || act::audits(table, image.member.tree, verdict.rule) {
        image.body.phase = begin_phase(table, image.member.tree, image.marked);
    }
    let backend = act::by_signal(table, verdict, &image.member);
    let Some(head) = emit::head_of(slot) else { return 0 };
    head.call = image.member.call;
    head.scope = image.member.scope;
    head.agent = image.member.agent;
    emit::decided(head, table, verdict, backend);
    if image.exe.unknown() {
        head.flags |= FLAG_PATH_UNKNOWN;
    }
    image.body.argv_len = emit::append_user(slot, arg_start, image.body.argv_total.min(MAX_ARGV as u32 - 1));
    if image.body.argv_len != image.body.argv_total {
        head.flags |= FLAG_ARGV_CUT;
        count(COUNT_ARGV_CUT);
    }
    emit::set_body(slot, image.body);
    emit::send(slot);
    0
}

/// Whether what the process has open was opened by somebody of another standing: by nobody that is guarded, or in another
/// scope, or by a program that rules treat differently. 0 means that it may have it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn changes_hands(slot: u32, kind: u32) -> u32 {
    let Some(work) = work(slot) else { return 1 };
    // SAFETY: as above.
    let (image, table, before) = unsafe { (&(*work).image, (*work).table, &(*work).who) };
    // What was found running, and all that comes of it, has files that were opened before anybody was looking.
    if kind == Kind::Enrol as u32 || image.before & u32::from(MEMBER_RUN | MEMBER_SEEDED) != 0 {
        return 1;
    }
    let Some(meta) = verdict::meta(table) else { return 1 };
    let after = verdict::who(meta, table, &image.member);
    let same = after.classes == before.classes && after.facts | before.facts == 0;
    u32::from(!same || u32::from(image.member.scope) != image.scope)
}

/// Begins the last of the `marked` phases, unless the session is past it; the phase, or 0 where nothing begins.
#[inline(always)]
fn begin_phase(table: u32, tree: Id, marked: u64) -> u32 {
    if marked == 0 {
        return 0;
    }
    let Some(meta) = verdict::meta(table) else { return 0 };
    let mut phase = 0;
    let mut next = 1;
    while next < MAX_PHASES as u32 {
        if marked >> next & 1 != 0 && next < meta.phases {
            phase = next;
        }
        next += 1;
    }
    // SAFETY: a number is written whole.
    if phase <= unsafe { PHASES.get(tree) }.copied().unwrap_or(0) {
        return 0;
    }
    if PHASES.insert(tree, phase, 0).is_err() {
        count(COUNT_PHASES_FULL);
    }
    phase
}

/// What the process becomes by running `agent`'s executable, or one that is no agent's.
#[inline(always)]
fn become_agent(member: &mut Member, agent: u32, tgid: u32) {
    if member.flags & MEMBER_LABELLED != 0 {
        return;
    }
    if agent == NOT_AN_AGENT {
        member.flags &= !MEMBER_AGENT;
        if member.flags & MEMBER_RUN != 0 {
            // What `guard run` was given is no agent: all of its tree is one call.
            member.call = id_of(tgid, member.start);
        }
    } else {
        member.agent = agent as u8;
        member.call = 0;
        member.flags |= MEMBER_AGENT;
        if member.flags & MEMBER_GROUP != 0 {
            // All else in its control group is a tool's work.
            member.scope = Scope::Harness as u8;
        }
    }
}

/// Enters the current process as the root of a new tree; 0 if it could not be entered.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn enrol(slot: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: as above.
    let image = unsafe { &mut (*work).image };
    let tgid = kernel::tgid();
    let Some(start) = kernel::process_start(kernel::current()) else { return 0 };
    image.member.tree = id_of(tgid, start);
    image.member.start = start;
    image.member.agent = image.agent as u8;
    if image.agent == NOT_AN_AGENT {
        // Guarded because of its control group.
        image.member.call = image.member.tree;
        image.member.scope = Scope::Tool as u8;
        image.member.flags = MEMBER_GROUP;
    } else {
        image.member.scope = Scope::Harness as u8;
        image.member.flags = MEMBER_AGENT;
    }
    image.member.image = id_of(tgid, image.time);
    image.member.exe = image.dentry;
    image.member.classes = image.classes;
    let member: &Member = &image.member;
    if MEMBERS.insert(tgid, member, 0).is_err() {
        // An agent that can't be followed must not run, except where nothing is carried out.
        count(COUNT_TREE_FULL);
        if !act::audits(verdict::active(), image.member.tree, NO_RULE) {
            act::kill_current();
        }
        return 0;
    }
    1
}

/// Anchors the tree's `{repo}` at the working folder, whose path the text holds, until user space has found the
/// repository, and its `{home}` at the home of user `uid`.
#[inline(always)]
pub fn set_places(slot: u32, tree: Id, cwd: Resolved, uid: u32) {
    let Some(work) = work(slot) else { return };
    // SAFETY: the slot has one user.
    let (places, text) = unsafe { (&mut (*work).places, (&raw const (*work).walk.text).cast::<u8>()) };
    places.repo_len = 0;
    places.home_len = 0;
    places.settled = 0;
    let len = MAX_TEXT as u32 - cwd.start();
    if !cwd.unknown() && len < MAX_ANCHOR as u32 {
        // SAFETY: start and length are masked below the arrays'; the helper checks the source.
        let copied = unsafe {
            bpf_probe_read_kernel(
                places.repo.as_mut_ptr().cast(),
                masked(len, MAX_ANCHOR as u32 - 1),
                text.add(masked(cwd.start(), MAX_TEXT as u32 - 1) as usize).cast(),
            )
        };
        if copied == 0 {
            places.repo_len = len;
        }
    }
    if let Some(home) = HOMES.get_ptr(uid) {
        // SAFETY: a map value; the sizes are those of both arrays.
        unsafe {
            let from = (&raw const (*home).path).cast();
            if bpf_probe_read_kernel(places.home.as_mut_ptr().cast(), MAX_ANCHOR as u32, from) == 0 {
                places.home_len = (*home).len;
            }
        }
    }
    // SAFETY: as above.
    unsafe { (*work).tree = tree };
    let places: &Places = places;
    if PLACES.insert(tree, places, 0).is_err() {
        count(COUNT_PLACES_FULL);
    }
}

/// Resolves the working folder of `task`.
#[inline(always)]
pub fn path_of_cwd(slot: u32, task: u64) -> Resolved {
    let fs: u64 = read_or_zero(task, offset!(task_fs));
    let dentry: u64 = read_or_zero(fs, offset!(fs_pwd_dentry));
    let mnt: u64 = read_or_zero(fs, offset!(fs_pwd_mnt));
    path::resolve(slot, dentry, mnt)
}
