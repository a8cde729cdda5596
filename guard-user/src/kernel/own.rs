//! Maps that no session gets at, not by the kernel's own calls either: those by which guard enforces.

use anyhow::Context as _;
use aya::Ebpf;
use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;

/// The numbers by which the kernel knows them, told to the programs.
pub struct OwnMaps {
    numbers: HashMap<MapData, u32, u8>,
}

impl OwnMaps {
    /// All maps that the programs were loaded with; none, where nothing is to be protected.
    ///
    /// # Errors
    /// Whatever the kernel says.
    pub fn of(ebpf: &mut Ebpf, protected: bool) -> anyhow::Result<Self> {
        let numbers = ebpf.take_map("OWN_MAPS").context("the programs have no map OWN_MAPS")?;
        let own = data(&numbers).context("OWN_MAPS is not what it should be")?;
        let mut known = vec![own.info()?.id()];
        for (name, map) in ebpf.maps() {
            let data = data(map).with_context(|| format!("nobody knows what the map {name} is"))?;
            known.push(data.info()?.id());
        }
        let mut own = Self { numbers: HashMap::try_from(numbers)? };
        if protected {
            known.into_iter().try_for_each(|number| own.add(number))?;
        }
        Ok(own)
    }

    /// Protects the map of this number.
    ///
    /// # Errors
    /// If there is no room for another.
    pub fn add(&mut self, number: u32) -> anyhow::Result<()> {
        self.numbers.insert(number, 1, 0).context("a map of guard's own could not be protected")
    }

    /// Forgets one that is no more.
    pub fn forget(&mut self, number: u32) {
        // One that was not protected is not there.
        drop(self.numbers.remove(&number));
    }
}

/// Makes an array by itself; with its number.
///
/// # Errors
/// Whatever the kernel says.
pub fn array<V: Pod>(entries: u32, flags: u32) -> anyhow::Result<(Array<MapData, V>, u32)> {
    let kind = BPF_MAP_TYPE_ARRAY as u32;
    let array = aya_obj::Map::new_from_params(kind, size_of::<u32>() as u32, size_of::<V>() as u32, entries, flags);
    let data = MapData::create(array, "guard", None)?;
    let number = data.info()?.id();
    Ok((Array::try_from(Map::Array(data))?, number))
}

/// What is behind a map of those kinds that the programs have.
#[must_use]
pub fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::ArrayOfMaps(data)
        | Map::HashMap(data)
        | Map::PerCpuArray(data)
        | Map::ProgramArray(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}
