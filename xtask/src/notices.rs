//! The notices of all crates that are built into guard: their licences ask for them to go with the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::workspace;

/// Names, versions and licences of the crates, and each text that they come with, once, with the crates whose it is.
pub fn all() -> Result<String> {
    let built = built()?;
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version=1", "--locked"])?)?;
    let mut list = String::new();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().context("cargo metadata names no packages")? {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let name = format!("{} {}", text("name"), text("version"));
        // Those of the workspace have no source, and are under its own licence.
        if package["source"].is_null() || !built.contains(&name) {
            continue;
        }
        writeln!(list, "{name}: {}", text("license"))?;
        let folder = Path::new(text("manifest_path")).parent().context("a crate without a folder")?;
        for found in licences(folder)? {
            texts.entry(found).or_default().push(name.clone());
        }
    }
    let mut all = format!("guard is built with these crates:\n\n{list}");
    for (text, names) in texts {
        writeln!(all, "\n{}\n{}\n\n{}", "-".repeat(79), names.join(", "), text.trim_end())?;
    }
    Ok(all)
}

/// Names and versions of what the program is built of, the kernel's programs among them.
fn built() -> Result<BTreeSet<String>> {
    let of = |package: &str| {
        cargo(&["tree", "--locked", "--edges=normal", "--prefix=none", "--format={p}", "--package", package])
    };
    let lines = of("guard-user")? + &of("guard-ebpf")?;
    let name = |line: &str| {
        let (name, rest) = line.split_once(" v")?;
        Some(format!("{name} {}", rest.split(' ').next()?))
    };
    Ok(lines.lines().filter_map(name).collect())
}

/// The texts in a crate's folder that tell of its licence.
fn licences(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())?.flatten() {
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"]
            .iter()
            .any(|word| name.starts_with(word))
            && entry.path().is_file()
        {
            texts.push(String::from_utf8_lossy(&fs::read(entry.path())?).into_owned());
        }
    }
    Ok(texts)
}

fn cargo(args: &[&str]) -> Result<String> {
    let mut cargo = workspace::cargo(args);
    let output = cargo.stdin(Stdio::null()).output().context("cargo can't be run")?;
    if !output.status.success() {
        bail!("{} failed: {}", workspace::shown(&cargo), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
