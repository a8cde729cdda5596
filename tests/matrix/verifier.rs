//! What the programs cost the verifier.

use std::collections::BTreeMap;
use std::fs;

use aya::programs::loaded_programs;

/// Says, for each of a process's programs, how many instructions the verifier went through.
///
/// # Panics
/// When the process has none, or the kernel tells nothing about them.
pub fn tell(pid: u32) {
    let ids = ids(pid);
    assert!(!ids.is_empty(), "process {pid} holds no programs");
    // The kernel keeps fifteen letters of a name: programs that share them are counted together.
    let mut costs: BTreeMap<String, Option<u64>> = BTreeMap::new();
    for program in loaded_programs() {
        let program = program.expect("programs are told of");
        if ids.contains(&program.id()) {
            let name = program.name_as_str().expect("a name of ASCII").to_owned();
            let cost = program.verified_instruction_count().map(u64::from);
            let sum = costs.entry(name).or_insert(Some(0));
            *sum = sum.zip(cost).map(|(sum, cost)| sum + cost);
        }
    }
    for (name, cost) in costs {
        match cost {
            Some(count) => println!("verifier: {name} {count}"),
            None => println!("verifier: {name} is not told of by this kernel"),
        }
    }
}

/// The programs that a process has descriptors of.
fn ids(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the process is there");
    let texts = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts
        .filter(|text| text.lines().any(|line| line.starts_with("prog_type:")))
        .filter_map(|text| text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok()))
        .collect()
}
