//! What the kernel knows of guards and their programs.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};

/// The program that every guard has one of.
const SIGN: &str = "on_sys_exit";

/// Names of the loaded programs, by number.
fn names() -> HashMap<u32, String> {
    // One that is being unloaded can't be looked at any more.
    let programs = loaded_programs().filter_map(Result::ok);
    programs.map(|program| (program.id(), program.name_as_str().unwrap_or_default().to_owned())).collect()
}

/// How many guards there are on this machine.
pub fn guards() -> usize {
    names().values().filter(|name| *name == SIGN).count()
}

/// Waits until there are no more than so many, or for a while.
pub fn wait_for_quiet(guards_allowed: usize) {
    let began = Instant::now();
    while guards() > guards_allowed && began.elapsed() < Duration::from_mins(1) {
        sleep(Duration::from_millis(20));
    }
}

/// What `/proc/PID/fdinfo` says of each descriptor, as names and values.
fn descriptors(pid: u32) -> Vec<HashMap<String, String>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the process is there");
    let texts = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    texts.map(|text| text.lines().filter_map(pair).collect()).collect()
}

fn number(fields: &HashMap<String, String>, name: &str) -> Option<u64> {
    fields.get(name)?.parse().ok()
}

/// How often a program ran, and for how long.
#[derive(Clone, Copy, Default)]
pub struct Run {
    pub count: u64,
    pub nanoseconds: u64,
}

/// Has the kernel count runs and times of programs, as long as the descriptor is open.
pub fn enable_counting() -> OwnedFd {
    enable_stats(Stats::RunTime).expect("the kernel counts")
}

/// What the kernel counted of the programs that process `pid` holds, by name.
pub fn runs(pid: u32) -> BTreeMap<String, Run> {
    let names = names();
    let mut runs = BTreeMap::new();
    for fields in descriptors(pid) {
        let Some(name) = number(&fields, "prog_id").and_then(|id| names.get(&(id as u32))) else { continue };
        if let (Some(count), Some(nanoseconds)) = (number(&fields, "run_cnt"), number(&fields, "run_time_ns")) {
            runs.insert(name.clone(), Run { count, nanoseconds });
        }
    }
    runs
}

/// Kernel memory of the maps that a process holds.
pub fn map_bytes(pid: u32) -> u64 {
    let maps: HashMap<u64, u64> = descriptors(pid)
        .iter()
        .filter_map(|fields| Some((number(fields, "map_id")?, number(fields, "memlock")?)))
        .collect();
    maps.values().sum()
}

/// Resident memory of a process, in bytes.
pub fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// CPU time that a process has used.
pub fn cpu_seconds(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("the process is there");
    // The first thread's; others are counted by their own files.
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there").flatten();
    let of = |text: &str| text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    let all: u64 =
        tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok()).map(|text| of(&text)).sum();
    all.max(of(&text)) as f64 / 1e9
}
