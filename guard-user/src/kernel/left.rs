//! What a daemon has left behind that was killed: its programs go on enforcing, and its maps say who is guarded.

use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use guard_common::tree::{COUNTERS, Connection, Id, Member, Pipe, PipeKey, Places};
use nix::fcntl::Flock;

use super::pins::{ALIVE, PREFIX, Piece, remove};

/// The folder of a daemon that is dead. As long as this lives, nobody else takes it over.
pub struct Left {
    path: PathBuf,
    members: Option<HashMap<MapData, u32, Member>>,
    _lock: Flock<File>,
}

impl Left {
    pub(super) fn new(path: PathBuf, lock: Flock<File>) -> Self {
        let mut left = Self { path, members: None, _lock: lock };
        left.members = left.hash("MEMBERS");
        left
    }

    /// Whether its maps can be read: they are laid out as this guard's own.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.members.is_some()
    }

    /// Its entry of a process.
    #[must_use]
    pub fn member(&self, pid: u32) -> Option<Member> {
        self.members.as_ref()?.get(&pid, 0).ok()
    }

    /// Its entries.
    #[must_use]
    pub fn members(&self) -> Vec<(u32, Member)> {
        self.members.iter().flat_map(HashMap::iter).filter_map(Result::ok).collect()
    }

    /// When the daemon has last shown that it lives, in nanoseconds since boot.
    #[must_use]
    pub fn alive(&self) -> Option<u64> {
        let alive: Array<MapData, u64> = Array::try_from(self.map(ALIVE)?).ok()?;
        alive.get(&0, 0).ok().filter(|alive| *alive != 0)
    }

    /// What the daemon has [left](super::Pins::leave) by this name.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let pieces: Array<MapData, Piece> = Array::try_from(self.map(name)?).ok()?;
        let mut text: Vec<u8> = pieces.iter().collect::<Result<Vec<Piece>, MapError>>().ok()?.concat();
        let (length, rest) = text.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok().filter(|length| *length <= rest.len())?;
        text.drain(..8);
        text.truncate(length);
        Some(text)
    }

    /// Its ring buffers, of verdicts and of the bulk, as far as they can be had.
    #[must_use]
    pub fn rings(&self) -> Vec<RingBuf<MapData>> {
        ["VERDICTS", "BULK"].into_iter().filter_map(|ring| RingBuf::try_from(self.map(ring)?).ok()).collect()
    }

    /// Its counters by name, summed over the CPUs.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let counters: Option<PerCpuArray<MapData, u64>> =
            self.map("COUNTERS").and_then(|map| PerCpuArray::try_from(map).ok());
        let sum = |index| counters.as_ref()?.get(&index, 0).ok().map(|values| values.iter().sum());
        COUNTERS.iter().zip(0..).map(|(name, index)| (*name, sum(index).unwrap_or(0))).collect()
    }

    /// Where trees have their repositories and homes.
    pub(super) fn places(&self) -> Vec<(Id, Places)> {
        self.entries("PLACES")
    }

    /// The phases that trees are in.
    pub(super) fn phases(&self) -> Vec<(Id, u32)> {
        self.entries("PHASES")
    }

    /// The modes that trees have of their own; none where an older guard knew of none.
    pub(super) fn modes(&self) -> Vec<(Id, u32)> {
        self.entries("MODES")
    }

    /// What trees have sent; nothing where an older guard has not counted it.
    pub(super) fn sent(&self) -> Vec<(Id, u64)> {
        self.entries("SENT")
    }

    /// The connections of which that is counted.
    pub(super) fn connections(&self) -> Vec<(u64, Connection)> {
        self.entries("CONNECTIONS")
    }

    /// The calls that were ended.
    pub(super) fn ended_calls(&self) -> Vec<(Id, u8)> {
        self.entries("ENDED_CALLS")
    }

    /// What was known of pipes.
    pub(super) fn pipes(&self) -> Vec<(PipeKey, Pipe)> {
        self.entries("PIPES")
    }

    /// Removes the folder: what it held ends.
    pub fn release(self) {
        remove(&self.path);
    }

    /// All that is in a map, as far as it can be read.
    fn entries<K: Pod, V: Pod>(&self, name: &str) -> Vec<(K, V)> {
        self.hash(name).iter().flat_map(HashMap::iter).filter_map(Result::ok).collect()
    }

    fn hash<K: Pod, V: Pod>(&self, name: &str) -> Option<HashMap<MapData, K, V>> {
        HashMap::try_from(self.map(name)?).ok()
    }

    /// A map, if the folder's are laid out as this guard's own. What takes it looks at the size of its entries too.
    fn map(&self, name: &str) -> Option<Map> {
        let known = self.path.file_name().is_some_and(|folder| folder.as_bytes().starts_with(PREFIX.as_bytes()));
        let map = known.then(|| MapData::from_pin(self.path.join(name)))?;
        Map::from_map_data(map.ok()?).ok()
    }
}
