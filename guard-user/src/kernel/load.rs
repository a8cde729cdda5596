//! Loading and attaching the programs, and the maps that are shared with them.

mod entries;

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use aya::maps::{Array, ArrayOfMaps, HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::sys::{Stats, enable_stats};
use aya::{Ebpf, EbpfLoader};
use guard_common::offsets::HOOK_SLOTS;
use guard_common::table::{Block, Classes, NO_OWN_RULE, NO_WORD, VERSION};
use guard_common::tree::{Connection, DOOMED_PER_BLOCK, Home, Id, KnownClasses, Member, Pipe, PipeKey, Places};
use guard_common::words::{Backend, Mode};

use super::asked::{Asked, Unasked, how_asked};
use super::backends::Abilities;
use super::gauge::Gauge;
use super::groups::Groups;
use super::left::Left;
use super::mounts::{self, MountTable};
use super::own::{self, OwnMaps};
use super::pins::Pins;
use super::programs::{Hooks, Programs};
use super::{backends, modify_return, offsets};
use crate::policy::{self, Compiled, Own, Tables};

/// The programs as they were compiled.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/guard-ebpf"));
/// Slots of working memory each CPU has; as the programs' own `PROGRAMS`.
const PROGRAMS_PER_CPU: u32 = 4;
/// Maps that whoever takes over from this guard needs.
const TO_PIN: [&str; 12] = [
    "MEMBERS",
    "PLACES",
    "ENDED_CALLS",
    "PIPES",
    "PHASES",
    "MODES",
    "SENT",
    "CONNECTIONS",
    "COUNTERS",
    "VERDICTS",
    "BULK",
    // Not for whoever takes over: the kernel empties it once nobody has it open and it isn't pinned
    // (`kernel/bpf/arraymap.c:prog_array_map_clear`), and the programs go on.
    "CALLED",
];
/// Maps that say who is guarded, for who judges beside the programs.
pub const JUDGED_BY: [&str; 6] = ["MEMBERS", "PLACES", "PHASES", "RECLASSED", "ENDED_CALLS", "MODES"];
/// The hook that is asked before a file is opened.
const FILE_HOOK: &str = "file_open";
/// Put into a map only where there is nothing yet.
const BPF_NOEXIST: u64 = 1;
/// Inner maps of different sizes may replace each other.
const BPF_F_INNER_MAP: u32 = 0x1000;

/// What can be chosen at load.
#[expect(clippy::struct_excessive_bools, reason = "choices that have nothing to do with each other")]
#[derive(Clone, Debug)]
pub struct Settings {
    /// Match every executable on the machine against the agents' patterns, not only those in trees.
    pub host_wide: bool,
    /// Size of the ring buffer for verdicts and lifecycle; a power of two, at least a page.
    pub verdict_ring: u32,
    /// Size of the ring buffer for allowed operations; likewise.
    pub bulk_ring: u32,
    /// Processes that can be guarded at once.
    pub max_processes: u32,
    /// Show the programs' own diagnostics.
    pub debug: bool,
    /// Guard by a policy that denies what this kernel does not show.
    pub degrade: bool,
    /// Leave the security hooks alone, as on a kernel that has none.
    pub without_hooks: bool,
    /// Don't judge what calls have done where no security hook is asked about it.
    pub without_calls: bool,
    /// Where the security hooks are not asked about files, be asked by fanotify about those that are protected.
    pub fanotify: bool,
    /// Have the kernel measure how long programs run: all of the machine's, as long as this one is loaded.
    pub program_stats: bool,
    /// Number of the first policy: above those of a guard that is taken over.
    pub generation: u32,
    /// What no policy may have a session change.
    pub own: Arc<Own>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host_wide: false,
            verdict_ring: 1 << 20,
            bulk_ring: 4 << 20,
            max_processes: 16384,
            debug: false,
            degrade: false,
            without_hooks: false,
            without_calls: false,
            fanotify: false,
            program_stats: false,
            generation: 1,
            own: Arc::default(),
        }
    }
}

/// The loaded programs. Dropping it detaches them.
pub struct Kernel {
    programs: Programs,
    members: HashMap<MapData, u32, Member>,
    places: HashMap<MapData, Id, Places>,
    ended_calls: HashMap<MapData, Id, u8>,
    pipes: HashMap<MapData, PipeKey, Pipe>,
    phases: HashMap<MapData, Id, u32>,
    modes: HashMap<MapData, Id, u32>,
    connections: HashMap<MapData, u64, Connection>,
    sent: HashMap<MapData, Id, u64>,
    reclassed: HashMap<MapData, Id, [KnownClasses; 2]>,
    counters: PerCpuArray<MapData, u64>,
    homes: HashMap<MapData, u32, Home>,
    mounts: MountTable,
    tables: ArrayOfMaps<MapData, Array<MapData, Block>>,
    active: Array<MapData, u32>,
    active_place: u32,
    /// Number of the map that the policy in force is in.
    policy_map: u32,
    own_maps: OwnMaps,
    groups: Groups,
    /// Whether opens through `io_uring` are seen.
    pub sees_uring: bool,
    /// How security hooks are asked.
    asked: Result<Asked, Unasked>,
    /// Processes that can be guarded at once.
    pub max_processes: u32,
    /// Maps that are needed by who judges beside the programs, in the order of [`JUDGED_BY`].
    judged_by: Option<[OwnedFd; JUDGED_BY.len()]>,
    /// Opens of protected files are asked about by fanotify.
    fanotify: bool,
    /// As long as it is open, the kernel measures.
    stats: Option<OwnedFd>,
    /// Maps to be pinned, where anything is.
    to_pin: Vec<(&'static str, OwnedFd)>,
    /// What outlives this process.
    pins: Option<Pins>,
    /// Numbers of the maps with what was left there, by name.
    left: BTreeMap<&'static str, u32>,
}

/// How much a program has run, while that was measured.
#[derive(Clone, Debug)]
pub struct ProgramRun {
    /// Its name.
    pub name: String,
    /// How long in all and how often; `None` where the kernel does not measure.
    pub run: Option<(Duration, u64)>,
}

/// A ring buffer, to be read and to be looked at.
pub struct Ring {
    /// What is read.
    pub buffer: RingBuf<MapData>,
    /// How full it is.
    pub gauge: Gauge,
}

impl Kernel {
    /// Loads the programs and puts `policy` in force; nothing is attached yet.
    ///
    /// # Errors
    /// Names what this kernel lacks or refuses.
    pub fn load(settings: &Settings, policy: &Compiled) -> anyhow::Result<Self> {
        let types = offsets::kernel_types()?;
        let found = offsets::find(&types)?;
        let sees_uring = backends::sees_uring(&types);
        let asked = if settings.without_hooks { Err(Unasked::Unwanted) } else { how_asked(&types) };
        // The hook has been told them since 5.19; `security_path_rename` always was.
        let rename = asked.as_ref().map(|asked| asked.function("path_rename"));
        let rename_has_flags = rename.is_ok_and(|rename| types.function_arguments(&rename) > Some(4));
        let functions = match asked {
            Ok(Asked::ModifiedReturn) => modify_return::functions(&types),
            _ => std::collections::HashMap::default(),
        };
        drop(types);
        raise_memlock();
        let protected = policy.meta().own_rule != NO_OWN_RULE;
        let cpus = aya::util::nr_cpus().map_err(|(what, error)| anyhow!(error).context(what))? as u32;
        let told = guard_common::offsets::Settings {
            offsets: found,
            host_wide: u32::from(settings.host_wide),
            bulk_wake: (settings.bulk_ring / 16).min(256 << 10),
            verdict_wake: (settings.verdict_ring / 16).min(64 << 10),
            mount_namespaces: mounts::namespaces()?,
            hook_slots: cpus * PROGRAMS_PER_CPU,
            rename_has_flags: u32::from(rename_has_flags),
            own_process: if protected { std::process::id() } else { 0 },
        };
        let slots = PROGRAMS_PER_CPU + if asked.is_ok() { HOOK_SLOTS } else { 0 };
        let mut loader = EbpfLoader::new();
        let log_level = if settings.debug { u8::MAX } else { 0 };
        let mut ebpf = loader
            .override_global("SETTINGS", &told, true)
            .override_global(aya_log::LEVEL, &log_level, false)
            .map_max_entries("MEMBERS", settings.max_processes)
            .map_max_entries("WORK", cpus * slots)
            .map_max_entries("DOOMED", pid_max()? / DOOMED_PER_BLOCK as u32 + 1)
            .map_max_entries("VERDICTS", settings.verdict_ring)
            .map_max_entries("BULK", settings.bulk_ring)
            .load(OBJECT)
            .context("the kernel refused guard's maps")?;
        let to_pin = TO_PIN.into_iter().map(|name| Ok((name, descriptor(&ebpf, name)?)));
        let to_pin = to_pin.collect::<anyhow::Result<_>>()?;
        let judged_by = JUDGED_BY.map(|name| descriptor(&ebpf, name));
        let [members, places, phases, reclassed, ended_calls, modes] = judged_by;
        let judged_by = [members?, places?, phases?, reclassed?, ended_calls?, modes?];
        let hooks = Hooks::new(&asked, OBJECT, &ebpf, functions)?;
        let own_maps = OwnMaps::of(&mut ebpf, protected)?;
        let mut kernel = Self {
            to_pin,
            pins: None,
            left: BTreeMap::new(),
            judged_by: Some(judged_by),
            fanotify: false,
            members: HashMap::try_from(take(&mut ebpf, "MEMBERS")?)?,
            places: HashMap::try_from(take(&mut ebpf, "PLACES")?)?,
            ended_calls: HashMap::try_from(take(&mut ebpf, "ENDED_CALLS")?)?,
            pipes: HashMap::try_from(take(&mut ebpf, "PIPES")?)?,
            phases: HashMap::try_from(take(&mut ebpf, "PHASES")?)?,
            modes: HashMap::try_from(take(&mut ebpf, "MODES")?)?,
            connections: HashMap::try_from(take(&mut ebpf, "CONNECTIONS")?)?,
            sent: HashMap::try_from(take(&mut ebpf, "SENT")?)?,
            reclassed: HashMap::try_from(take(&mut ebpf, "RECLASSED")?)?,
            counters: PerCpuArray::try_from(take(&mut ebpf, "COUNTERS")?)?,
            homes: HashMap::try_from(take(&mut ebpf, "HOMES")?)?,
            mounts: MountTable::new(take(&mut ebpf, "MOUNTS")?, take(&mut ebpf, "DEVICES")?)?,
            tables: ArrayOfMaps::try_from(take(&mut ebpf, "TABLES")?)?,
            active: Array::try_from(take(&mut ebpf, "ACTIVE")?)?,
            active_place: 1,
            policy_map: 0,
            own_maps,
            groups: Groups::new(take(&mut ebpf, "GROUPS")?)?,
            sees_uring,
            asked,
            max_processes: settings.max_processes,
            stats: None,
            programs: Programs::load(ebpf, hooks, sees_uring, !settings.without_calls, policy)?,
        };
        if settings.program_stats {
            let stats = enable_stats(Stats::RunTime).context("this kernel does not measure how long programs run")?;
            kernel.stats = Some(stats);
        }
        if settings.debug {
            kernel.programs.show_diagnostics()?;
        }
        kernel.install(policy, |_, _| Ok(()))?;
        kernel.set_homes()?;
        give_back_object();
        Ok(kernel)
    }

    /// Attaches the programs; from here on, what the policy forbids is stopped.
    ///
    /// # Errors
    /// Names the hook that refused.
    pub fn attach(&mut self) -> anyhow::Result<()> {
        self.programs.attach()
    }

    /// The security hooks that this kernel keeps guard from, and why.
    #[must_use]
    pub fn refused_hooks(&self) -> &[(&'static str, String)] {
        self.programs.refused()
    }

    /// The backends in use, the strongest first.
    #[must_use]
    pub fn backends(&self) -> Vec<Backend> {
        let lsm = self.programs.on_hooks().then_some(Backend::Lsm);
        let fanotify = self.fanotify.then_some(Backend::Fanotify);
        lsm.into_iter().chain(fanotify).chain([Backend::Cgroup, Backend::Signal]).collect()
    }

    /// Whether a security hook is asked before a file is opened.
    #[must_use]
    pub fn asked_about_files(&self) -> bool {
        self.asked.is_ok() && !self.programs.refused().iter().any(|(hook, _)| *hook == FILE_HOOK)
    }

    /// Gives away, once, the maps that are needed to judge opens beside the programs, in the order of [`JUDGED_BY`].
    pub fn take_judged_by(&mut self) -> Option<[OwnedFd; JUDGED_BY.len()]> {
        self.judged_by.take()
    }

    /// Opens of protected files are asked about by fanotify from now on.
    pub fn asked_by_fanotify(&mut self) {
        self.fanotify = true;
    }

    /// How security hooks are asked, if they are.
    #[must_use]
    pub fn asked(&self) -> Option<Asked> {
        self.asked.as_ref().ok().copied()
    }

    /// What can be done here, with the hooks that were refused when they were needed.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        let without = self.programs.refused().iter().map(|(hook, _)| *hook).collect();
        Abilities {
            asked: self.asked.clone(),
            without,
            uring: Some(self.sees_uring),
            fanotify: self.fanotify,
            calls: self.programs.judge_calls(),
        }
    }

    /// Has the programs guard all of the control groups that the policy in force names; the processes that are in them.
    ///
    /// # Errors
    /// If the groups of the machine can't be seen, or are too many.
    pub fn guard_groups(&mut self, policy: &mut Tables<'_>) -> anyhow::Result<std::collections::HashSet<u32>> {
        self.groups.guard_by(policy)
    }

    /// Has the programs in place that a policy needs, before it is [put in force](Self::install).
    ///
    /// # Errors
    /// If the kernel's types can't be read any more.
    pub fn prepare(&mut self, policy: &Compiled) -> anyhow::Result<()> {
        self.programs.want(policy)?;
        self.pins.as_ref().map_or(Ok(()), |pins| self.programs.pin(pins))
    }

    /// Has all of it outlive this process, and be found by the next.
    ///
    /// # Errors
    /// Whatever bpffs says. Then nothing outlives it.
    pub fn stand(&mut self, mut pins: Pins) -> anyhow::Result<()> {
        for (name, map) in &self.to_pin {
            pins.pin(name, map.as_fd())?;
        }
        self.programs.pin(&pins)?;
        self.own_maps.add(pins.alive_number())?;
        pins.stand();
        self.pins = Some(pins);
        Ok(())
    }

    /// What outlives this process, if anything does.
    pub fn pins(&mut self) -> Option<&mut Pins> {
        self.pins.as_mut()
    }

    /// Whether all of it outlives this process.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.pins.is_some()
    }

    /// Leaves `content` under a name, where anything outlives this process, for who takes over.
    ///
    /// # Errors
    /// If the kernel has no room for it.
    pub fn leave_behind(&mut self, name: &'static str, content: &[u8]) -> anyhow::Result<()> {
        let Some(pins) = &self.pins else { return Ok(()) };
        let number = pins.leave(name, content)?;
        self.own_maps.add(number)?;
        if let Some(old) = self.left.insert(name, number) {
            self.own_maps.forget(old);
        }
        Ok(())
    }

    /// Ends it with this process.
    pub fn lift_pins(&mut self) {
        if let Some(pins) = self.pins.take() {
            pins.lift();
        }
    }

    /// Takes over what a guard that has died knew of trees, calls and pipes. Their processes are [seeded](crate::session::seed).
    ///
    /// # Errors
    /// If a map is full.
    pub fn adopt(&mut self, left: &Left) -> anyhow::Result<()> {
        for (tree, places) in left.places() {
            self.places.insert(tree, places, 0).context("the tree's places could not be stored")?;
        }
        for (tree, phase) in left.phases() {
            self.set_phase(tree, phase)?;
        }
        for (tree, mode) in left.modes() {
            self.set_mode(tree, u8::try_from(mode).ok().and_then(Mode::from_number))?;
        }
        // First what was sent: what is sent meanwhile is rather left out than counted twice.
        for (tree, sent) in left.sent() {
            self.sent.insert(tree, sent, 0).context("what a session has sent could not be stored")?;
        }
        for (cookie, connection) in left.connections() {
            // One that has begun since then is known already.
            drop(self.connections.insert(cookie, connection, BPF_NOEXIST));
        }
        for (call, _) in left.ended_calls() {
            self.end_call(call)?;
        }
        for (key, pipe) in left.pipes() {
            // The verdict on its reader was that policy's.
            self.pipes
                .insert(key, Pipe { reader: 0, ..pipe }, 0)
                .context("what is known of a pipe could not be stored")?;
        }
        Ok(())
    }

    /// Puts a policy in force, at once and whole.
    ///
    /// Programs that run while this happens go on by the policy they began with. The new one is put where no program
    /// looks and then switched to. A write to the places makes the kernel wait until no program that began before it is left
    /// (`kernel/bpf/syscall.c:maybe_wait_bpf_programs`): only after such a wait is the old policy taken from its place.
    ///
    /// Where rules ask for classes of executables, what runs already has to be classed by the new policy before it is in
    /// force: that is what `reclass` does, given the place of the new policy. Execs from then on class by both.
    ///
    /// # Errors
    /// Says what the kernel refused, or what `reclass` says; the policy that was in force stays.
    pub fn install(
        &mut self,
        policy: &Compiled,
        reclass: impl FnOnce(&mut Self, usize) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if policy.meta().version != VERSION {
            bail!("the policy was compiled for layout {}, the programs read {VERSION}", policy.meta().version);
        }
        let (mut inner, number) = own::array::<Block>(policy.blocks.len() as u32, BPF_F_INNER_MAP)
            .context("the kernel refused memory for the policy")?;
        for (number, block) in policy.blocks.iter().enumerate() {
            let block: &Block = block;
            inner.set(number as u32, block, 0).context("the policy could not be copied into the kernel")?;
        }
        self.own_maps.add(number)?;
        let place = 1 - self.active_place;
        self.tables.set(place, &inner, 0).context("the policy could not be put in place")?;
        if policy.meta().class_word != NO_WORD {
            self.active.set(1, place + 1, 0).context("the policy could not be announced")?;
            // Execs under way have not seen the announcement.
            self.wait_for_runs(place, &inner)?;
            if let Err(error) = reclass(self, place as usize) {
                self.active.set(1, 0, 0).context("the policy could not be taken back")?;
                self.own_maps.forget(number);
                return Err(error);
            }
        }
        self.active.set(0, place, 0).context("the policy could not be switched to")?;
        let old = self.active_place;
        self.active_place = place;
        self.active.set(1, 0, 0).context("the announcement could not be taken back")?;
        // A run that has begun with the old policy goes by it to its end, and may have been kept from its CPU for long.
        self.wait_for_runs(place, &inner)?;
        self.tables.set(old, &inner, 0).context("the old policy could not be taken away")?;
        let old = std::mem::replace(&mut self.policy_map, number);
        self.own_maps.forget(old);
        self.forget_classes(policy.meta().generation);
        Ok(())
    }

    /// Returns once every run of a program has ended that began before. A write to the places of policies makes the kernel wait for
    /// that, so what is in `place` is written there again.
    fn wait_for_runs(&mut self, place: u32, policy: &Array<MapData, Block>) -> anyhow::Result<()> {
        self.tables.set(place, policy, 0).context("the policy could not be put in place")
    }

    /// Which of the two places the policy in force is in.
    #[must_use]
    pub fn active_place(&self) -> usize {
        self.active_place as usize
    }

    /// Classes of the executable `exe` in `tree`, by the policy behind `tables`; `None` where the path can't be told.
    pub fn classes_of(&self, tables: &mut Tables<'_>, exe: &[u8], tree: Id) -> Option<Classes> {
        let places = self.places(tree);
        let home = places.as_ref().map(|places| &places.home[..places.home_len as usize]);
        tables.classes_of(exe, &policy::Places { repo: None, home })
    }

    /// Says of which classes an executable is that runs already, by the policy in `place`.
    ///
    /// # Errors
    /// If the map is full.
    pub fn reclass(&mut self, image: Id, place: usize, classes: KnownClasses) -> anyhow::Result<()> {
        let mut known = self.reclassed.get(&image, 0).unwrap_or_default();
        known[place] = classes;
        self.reclassed.insert(image, known, 0).context("the classes of running programs could not be stored")
    }

    /// Forgets classes that were found by another policy than the one of number `generation`.
    fn forget_classes(&mut self, generation: u32) {
        let old: Vec<Id> = self
            .reclassed
            .iter()
            .filter_map(Result::ok)
            .filter(|(_, classes)| classes.iter().all(|known| known.generation != generation))
            .map(|(image, _)| image)
            .collect();
        for image in old {
            drop(self.reclassed.remove(&image));
        }
    }

    /// Takes the ring buffers: verdicts and lifecycle, and the bulk.
    ///
    /// # Errors
    /// If they were taken before.
    pub fn take_rings(&mut self) -> anyhow::Result<(Ring, Ring)> {
        let mut ring = |map: &str, name| -> anyhow::Result<Ring> {
            let map = self.programs.take_map(map).with_context(|| missing(map))?;
            let gauge = Gauge::of(&map, name)?;
            Ok(Ring { buffer: RingBuf::try_from(map)?, gauge })
        };
        Ok((ring("VERDICTS", "verdicts")?, ring("BULK", "bulk")?))
    }

    /// The places where filesystems are mounted, as far as the programs know them.
    pub fn mounts(&mut self) -> &mut MountTable {
        &mut self.mounts
    }

    /// The loaded programs, and how much each has run.
    #[must_use]
    pub fn programs(&self) -> Vec<ProgramRun> {
        let measured = self.stats.is_some()
            || std::fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").is_ok_and(|text| text.trim() == "1");
        let run = |(name, time, count): (&str, Duration, u64)| ProgramRun {
            name: name.to_owned(),
            run: measured.then_some((time, count)),
        };
        let mut programs: Vec<ProgramRun> = self.programs.runs().map(run).collect();
        programs.sort_by(|one, other| one.name.cmp(&other.name));
        programs
    }
}

/// Returns to the machine the memory that the object takes: once its programs are loaded, nobody reads it.
fn give_back_object() {
    let page = procfs::page_size() as usize;
    let first = OBJECT.as_ptr().align_offset(page);
    let whole = OBJECT.len().saturating_sub(first) / page * page;
    // SAFETY: whole pages in the object, which nothing writes to. They are the program's file: read again, they are as before.
    unsafe { libc::madvise(OBJECT.as_ptr().wrapping_add(first).cast_mut().cast(), whole, libc::MADV_DONTNEED) };
}

/// A descriptor of a map, beside the one that it has.
fn descriptor(ebpf: &Ebpf, name: &str) -> anyhow::Result<OwnedFd> {
    let map = ebpf.map(name).with_context(|| missing(name))?;
    let data = own::data(map).with_context(|| missing(name))?;
    Ok(data.fd().as_fd().try_clone_to_owned()?)
}

fn take(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<Map> {
    ebpf.take_map(name).with_context(|| missing(name))
}

fn missing(map: &str) -> String {
    format!("the programs have no map {map} left to take")
}

/// Process ids that the machine hands out stay below this.
fn pid_max() -> anyhow::Result<u32> {
    let text =
        std::fs::read_to_string("/proc/sys/kernel/pid_max").context("/proc/sys/kernel/pid_max can't be read")?;
    text.trim().parse().context("/proc/sys/kernel/pid_max is not a number")
}

/// Before 5.11 the kernel counts maps and programs against the limit on locked memory.
pub(super) fn raise_memlock() {
    use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
    // Without it, 5.10 refuses the maps by itself, with an error that is shown.
    let _refused = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
}
