//! What guard's programs cost the kernels' verifiers, compared with what they cost before. A program that grows is near a
//! limit before anybody notices, and its start is slow.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{say, workspace};

/// By how much a program may grow: this many per cent.
const MARGIN: u64 = 25;
/// What the file begins with.
const HEAD: &str = "\
# Instructions that the kernel's verifier went through for each program, by kernel. `cargo xtask vm` fails when a program
# costs 25 % more than this; `cargo xtask vm --record` writes this file anew. Linux 5.10 does not tell.
";

/// Instructions that the verifier went through, by program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Costs(pub BTreeMap<String, u64>);

impl Costs {
    /// Takes in a line `verifier: NAME COUNT`. Of a program that is loaded more than once, with other settings, the most counts.
    pub fn hear(&mut self, line: &str) {
        let cost = line.strip_prefix("verifier: ").and_then(|rest| rest.split_once(' '));
        if let Some((name, Ok(count))) = cost.map(|(name, count)| (name, count.parse::<u64>())) {
            let most = self.0.entry(name.to_owned()).or_default();
            *most = count.max(*most);
        }
    }
}

/// What was recorded, by kernel.
pub struct Recorded(BTreeMap<String, BTreeMap<String, u64>>);

impl Recorded {
    pub fn read() -> Result<Self> {
        let path = path();
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Self(toml::from_str(&text).with_context(|| path.display().to_string())?))
    }

    pub fn write(&self) -> Result<()> {
        let text = format!("{HEAD}\n{}", toml::to_string(&self.0)?);
        fs::write(path(), text).with_context(|| path().display().to_string())?;
        say::step(&format!("recorded what the verifier's work costs in {}", path().display()));
        Ok(())
    }

    /// Takes these for what it costs from now on.
    pub fn set(&mut self, kernel: &str, costs: &Costs) {
        if !costs.0.is_empty() {
            self.0.insert(kernel.to_owned(), costs.0.clone());
        }
    }

    /// What is not as recorded.
    pub fn compare(&self, kernel: &str, costs: &Costs) -> Vec<String> {
        let none = BTreeMap::new();
        let recorded = self.0.get(kernel).unwrap_or(&none);
        let mut complaints = Vec::new();
        for (name, count) in &costs.0 {
            match recorded.get(name) {
                None => complaints
                    .push(format!("{name} costs the verifier {count} instructions, and nothing is recorded")),
                Some(before) if *count * 100 > before * (100 + MARGIN) => {
                    complaints
                        .push(format!("{name} costs the verifier {count} instructions, {before} were recorded"));
                }
                Some(_) => {}
            }
        }
        if !complaints.is_empty() {
            complaints.push(format!("if that is as it has to be: cargo xtask vm {kernel} --record"));
        }
        complaints
    }
}

fn path() -> PathBuf {
    workspace::root().join("tests/matrix/verifier.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_and_little_is_none() {
        let costs = |count: u64| {
            let mut costs = Costs::default();
            costs.hear(&format!("verifier: on_exec {count}"));
            costs.hear("verifier: on_exec 6");
            costs.hear("verifier: not told by this kernel");
            costs
        };
        let mut recorded = Recorded(BTreeMap::new());
        assert_eq!(recorded.compare("6.1", &costs(7)).len(), 2, "what is new has to be recorded");
        recorded.set("6.1", &costs(1000));
        assert_eq!(recorded.compare("6.1", &costs(1250)), Vec::<String>::new());
        assert_eq!(recorded.compare("6.1", &costs(1251)).len(), 2);
        assert_eq!(recorded.compare("6.1", &Costs::default()), Vec::<String>::new());
    }
}
