//! The maps, and the settings that user space fills in before the programs are loaded.

use core::arch::asm;

use aya_ebpf::btf_maps::{self, ArrayOfMaps};
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, ProgramArray, RingBuf};
use guard_common::calls::Call;
use guard_common::event::{MAX_ARGV, MAX_LABEL};
use guard_common::mounts::{MountKey, MountPoint};
use guard_common::offsets::{CALLS_JUDGED, HOOK_SLOTS, HOOKS_IN_FORCE, Settings};
use guard_common::table::{MAX_BLOCKS, Words};
use guard_common::tree::{Connection, Doomed, Home, Id, KnownClasses, Member, Pipe, PipeKey, Places};
use guard_common::walk::{Walk, Who};

/// Inner maps of different sizes may replace each other (5.10 and later).
const BPF_F_INNER_MAP: usize = 0x1000;
/// Hash maps whose entries are few and large.
const BPF_F_NO_PREALLOC: u32 = 1;

/// Guarded processes by tgid. Preallocated: an entry can be made in any context, and a full map is the only
/// way in which one can't.
#[map]
pub static MEMBERS: HashMap<u32, Member> = HashMap::with_max_entries(16384, 0);

/// Anchors of `{repo}` and `{home}` by tree.
#[map]
pub static PLACES: HashMap<Id, Places> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// Where filesystems are mounted, by filesystem and root.
#[map]
pub static MOUNTS: HashMap<MountKey, MountPoint> = HashMap::with_max_entries(16384, BPF_F_NO_PREALLOC);

/// Mount points of each filesystem, in number.
#[map]
pub static DEVICES: HashMap<u32, u32> = HashMap::with_max_entries(16384, BPF_F_NO_PREALLOC);

/// Homes by uid.
#[map]
pub static HOMES: HashMap<u32, Home> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// Calls that a `kill` verdict has ended: whoever is caught in one dies.
#[map]
pub static ENDED_CALLS: HashMap<Id, u8> = HashMap::with_max_entries(4096, 0);

/// Marks of children that could not be entered; sized to the machine's `pid_max` by user space, so that a
/// mark can always be set.
#[map]
pub static DOOMED: Array<Doomed> = Array::with_max_entries(1024, 0);

/// Pipes.
#[map]
pub static PIPES: HashMap<PipeKey, Pipe> = HashMap::with_max_entries(16384, 0);

/// The policy's two places. A reload fills the one that is not in use and then switches [`ACTIVE`].
#[btf_map]
pub static TABLES: ArrayOfMaps<btf_maps::Array<Words, MAX_BLOCKS, BPF_F_INNER_MAP>, 2> = ArrayOfMaps::new();

/// Entry 0: which place of [`TABLES`] is in use. Entry 1: which place is about to be, plus one; 0 for none.
#[map]
pub static ACTIVE: Array<u32> = Array::with_max_entries(2, 0);

/// Classes of executables by policies that came into force after they were executed: by [`Member::image`], for the policy
/// in each place.
#[map]
pub static RECLASSED: HashMap<Id, [KnownClasses; 2]> = HashMap::with_max_entries(16384, BPF_F_NO_PREALLOC);

/// Phase of each tree, where it is not the first.
#[map]
pub static PHASES: HashMap<Id, u32> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// [`Mode`](guard_common::words::Mode) of the trees that have one of their own, whatever the policy's is.
#[map]
pub static MODES: HashMap<Id, u32> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// TCP connections to other machines, by the cookie of their sockets.
#[map]
pub static CONNECTIONS: HashMap<u64, Connection> = HashMap::with_max_entries(65536, BPF_F_NO_PREALLOC);

/// Bytes that the connections of each tree have sent.
#[map]
pub static SENT: HashMap<Id, u64> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// Working memory, one for each program on each CPU ([`slot`]).
#[map]
pub static WORK: Array<Work> = Array::with_max_entries(PROGRAMS, 0);

/// Verdicts that are not `allow`, and the life of processes.
#[map]
pub static VERDICTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Allowed operations.
#[map]
pub static BULK: RingBuf = RingBuf::with_byte_size(1 << 23, 0);

/// Which security hooks are in force, and which calls are judged for want of one: [`HOOKS_IN_FORCE`] and [`CALLS_JUDGED`]. User
/// space sets it once they are attached.
#[map]
pub static HOOKS: Array<u32> = Array::with_max_entries(2, 0);

/// The program that judges calls that have succeeded, where there are some to be judged.
#[map]
pub static CALLED: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Control groups whose processes are all guarded, by their number in the unified hierarchy. Preallocated: an entry can be
/// made where the kernel holds its locks.
#[map]
pub static GROUPS: HashMap<u64, u8> = HashMap::with_max_entries(4096, 0);

/// Numbers of the maps that guard itself works with, where it protects them.
#[map]
pub static OWN_MAPS: HashMap<u32, u8> = HashMap::with_max_entries(256, BPF_F_NO_PREALLOC);

/// Counters by `COUNT_*`.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(16, 0);

/// What user space has set before the load.
#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings::UNSET;

/// The offset of one member of a kernel structure.
macro_rules! offset {
    ($field:ident) => {
        $crate::maps::setting(core::mem::offset_of!(guard_common::offsets::Settings, offsets.$field))
    };
}
pub(crate) use offset;

/// Reads the member of [`SETTINGS`] that lies at byte `member` of it; volatile, so that the compiler can't take the
/// initial value for granted.
#[inline(always)]
pub fn setting(member: usize) -> u64 {
    // SAFETY: a static of this program, made of u32 only, and an offset of one of its members.
    u64::from(unsafe { core::ptr::read_volatile((&raw const SETTINGS).cast::<u8>().add(member).cast::<u32>()) })
}

/// Whether executables are matched against the agents' patterns machine-wide.
#[inline(always)]
pub fn host_wide() -> bool {
    setting(core::mem::offset_of!(Settings, host_wide)) != 0
}

/// guard's own process, where it protects itself; 0 where it does not.
#[inline(always)]
pub fn own_process() -> u32 {
    setting(core::mem::offset_of!(Settings, own_process)) as u32
}

/// Bytes of the bulk that gather before its reader is woken.
#[inline(always)]
pub fn bulk_wake() -> u64 {
    setting(core::mem::offset_of!(Settings, bulk_wake))
}

/// Bytes of processes' lives that gather before their reader is woken.
#[inline(always)]
pub fn verdict_wake() -> u64 {
    setting(core::mem::offset_of!(Settings, verdict_wake))
}

/// Programs that need working memory.
pub const PROGRAMS: u32 = 4;
/// Slot of what looks at system calls: of the programs on `sys_exit`, which run one after the other, and of that for a signal
/// that a call sends.
pub const SLOT_SYSCALL: u32 = 0;
/// Slot of the exec program.
pub const SLOT_EXEC: u32 = 1;
/// Slot of the `io_uring` program.
pub const SLOT_URING: u32 = 2;

/// Slot of the program for new control groups.
pub const SLOT_GROUP: u32 = 3;

/// Bytes that a record is put together in; twice the longest that is masked for, so that a masked offset
/// plus a masked length always stay inside.
pub const RECORD_BYTES: usize = 65536;

/// What a program run works in. The tracepoints run with preemption disabled, and the kernel does not
/// enter a tracing program again on a CPU on which it runs (`bpf_prog.active`), so a slot has one user.
#[repr(C)]
pub struct Work {
    /// Programs on security hooks that hold this slot or try to: see [`hold`].
    pub holders: u64,
    /// Place of [`TABLES`] that this run uses from start to end.
    pub table: u32,
    /// Length of `session`.
    pub session_len: u32,
    /// Length of `call`.
    pub call_len: u32,
    /// Length of the record so far.
    pub record_len: u32,
    /// The tree whose places anchor patterns.
    pub tree: Id,
    /// Who is judged, as far as rules ask.
    pub who: Who,
    /// A call that has succeeded.
    pub called: crate::called::Called,
    /// A name as a call was given it.
    pub given: crate::given::Given,
    /// The walk up a path.
    pub climb: crate::path::Climb,
    /// The search for a file's other names.
    pub names: crate::names::Names,
    /// An attempt on objects that have names.
    pub attempt: crate::attempt::Attempt,
    /// The look through what a process has open.
    pub look: crate::inherited::Look,
    /// An exec.
    pub image: crate::exec::Image,
    /// The search for labels.
    pub search: crate::labels::Search,
    /// The walk over a text.
    pub walk: Walk,
    /// Session label found in the environment.
    pub session: [u8; MAX_LABEL],
    /// Call label found in the environment.
    pub call: [u8; MAX_LABEL],
    /// Places being made for a new tree: too large for the stack.
    pub places: Places,
    /// The record.
    pub record: [u8; RECORD_BYTES],
}

const _: () = assert!(RECORD_BYTES >= 2 * MAX_ARGV);
// What is read and written in whole words in these arrays of bytes begins at a word.
const _: () = assert!(core::mem::offset_of!(Work, record).is_multiple_of(8));
const _: () = assert!(core::mem::offset_of!(Work, walk.text).is_multiple_of(8));

/// The slot of `program` on this CPU.
#[inline(always)]
pub fn slot(program: u32) -> u32 {
    // SAFETY: no arguments, no preconditions.
    let cpu = unsafe { aya_ebpf::helpers::bpf_get_smp_processor_id() };
    cpu * PROGRAMS + program
}

/// Holds a slot for a program on a security hook, until it is [released](release).
///
/// Such a program stays on its CPU but may be preempted there, by another one. Whoever counts himself as the only
/// holder has the slot: nobody else can count one until he is gone. Two that count each other both try the next slot.
#[inline(always)]
pub fn hold() -> Option<u32> {
    let first = setting(core::mem::offset_of!(Settings, hook_slots)) as u32;
    // SAFETY: no arguments, no preconditions.
    let cpu = unsafe { aya_ebpf::helpers::bpf_get_smp_processor_id() };
    let mut i = 0;
    while i < HOOK_SLOTS {
        let slot = first + cpu * HOOK_SLOTS + i;
        i += 1;
        let holders = holders(slot)?;
        add(holders, 1);
        // SAFETY: an aligned map value.
        if unsafe { holders.read_volatile() } == 1 {
            return Some(slot);
        }
        add(holders, u64::MAX);
    }
    None
}

/// Gives a slot back.
#[inline(always)]
pub fn release(slot: u32) {
    if let Some(holders) = holders(slot) {
        add(holders, u64::MAX);
    }
}

/// The count of those who hold a slot or try to.
#[inline(always)]
fn holders(slot: u32) -> Option<*mut u64> {
    // SAFETY: only an address is computed.
    work(slot).map(|work| unsafe { &raw mut (*work).holders })
}

/// What was written before can be seen by every CPU before anything is read that comes after: an atomic addition is a full
/// barrier (`Documentation/memory-barriers.txt`, of x86 every locked operation). `word` is any word at hand.
#[inline(always)]
pub fn fence(word: *mut u64) {
    add(word, 0);
}

/// Adds to a number in one step. 5.10 knows no atomic operation that gives anything back, and the standard library offers none
/// for this machine without.
#[inline(always)]
pub fn add(number: *mut u64, value: u64) {
    // SAFETY: an aligned map value, which the verifier checks too.
    unsafe { asm!("lock *(u64 *)({number} + 0) += {value}", number = in(reg) number, value = in(reg) value) };
}

/// Whether a security hook of these `HOOK_*` is in force, so that what it judges is judged there.
#[inline(always)]
pub fn hooked(hook: u32) -> bool {
    HOOKS.get(HOOKS_IN_FORCE).is_some_and(|hooks| *hooks & hook != 0)
}

/// Whether calls of a kind are judged once they have succeeded.
#[inline(always)]
pub fn judged_late(call: Call) -> bool {
    calls_judged() & call.bit() != 0
}

/// The kinds of calls that are judged once they have succeeded, a bit each.
#[inline(always)]
pub fn calls_judged() -> u32 {
    HOOKS.get(CALLS_JUDGED).copied().unwrap_or(0)
}

/// The working memory of a slot.
#[inline(always)]
pub fn work(slot: u32) -> Option<*mut Work> {
    WORK.get_ptr_mut(slot)
}

/// Counts one occurrence of `counter`, a `COUNT_*`.
#[inline(always)]
pub fn count(counter: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter) {
        // SAFETY: a valid map value of this CPU; a concurrent program on this CPU may lose one count, never more.
        unsafe { *value += 1 };
    }
}
