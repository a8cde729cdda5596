//! What a machine boots with: a kernel, the modules by which it sees this machine's files, and a first process.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::busybox;
use super::kernels::empty;
use crate::{codex, workspace};

/// The modules a machine needs, each after those it needs itself. What isn't there as a file is built in.
const MODULES: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];
/// The first process.
const INIT: &str = include_str!("init.sh");

/// What the first process hands over to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The command, with nothing else beside it.
    Alone,
    /// systemd, which runs the command when the machine is up.
    Systemd,
}

impl Then {
    fn script(self) -> &'static str {
        match self {
            Self::Alone => include_str!("alone.sh"),
            Self::Systemd => include_str!("systemd.sh"),
        }
    }
}

/// Keeps of an unpacked kernel what a machine boots with: `vmlinuz`, and in `modules` the modules, numbered in the order
/// in which they can be loaded.
pub fn keep(unpacked: &Path, into: &Path) -> Result<()> {
    let mut all = Vec::new();
    files(unpacked, &mut all)?;
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let kernel =
        all.iter().find(|path| name(path).starts_with("vmlinuz")).context("there is no kernel in the package")?;
    fs::copy(kernel, into.join("vmlinuz"))?;
    let by_name: HashMap<String, &PathBuf> =
        all.iter().filter_map(|path| Some((name(path).split_once(".ko")?.0.replace('-', "_"), path))).collect();
    let mut chosen = Vec::new();
    for module in MODULES {
        choose(module, &by_name, &mut chosen)?;
    }
    fs::create_dir(into.join("modules"))?;
    for (number, (name, bytes)) in chosen.iter().enumerate() {
        fs::write(into.join(format!("modules/{number:02}-{name}.ko")), bytes)?;
    }
    Ok(())
}

/// Adds a module after those that it needs.
fn choose(name: &str, all: &HashMap<String, &PathBuf>, chosen: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let Some(path) = all.get(name) else { return Ok(()) };
    if chosen.iter().any(|(other, _)| other == name) {
        return Ok(());
    }
    let bytes = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => unpacked("xz", path)?,
        Some("zst") => unpacked("zstd", path)?,
        _ => fs::read(path)?,
    };
    for needed in needs(&bytes) {
        choose(&needed, all, chosen)?;
    }
    chosen.push((name.to_owned(), bytes));
    Ok(())
}

/// The modules that a module says it needs.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|bytes| bytes == KEY) else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

fn unpacked(program: &str, path: &Path) -> Result<Vec<u8>> {
    let output =
        Command::new(program).arg("-dc").arg(path).output().with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program} can't unpack {}", path.display());
    Ok(output.stdout)
}

/// All files below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// Makes the first file system of a machine that is to run `command`; its path.
pub fn initramfs(kernel: &Path, work: &Path, then: Then, command: &[String]) -> Result<PathBuf> {
    let root = work.join("initramfs");
    empty(&root)?;
    let mut names = ["busybox", "init", "then", "command", "modules"].map(str::to_owned).to_vec();
    fs::copy(busybox::program()?, root.join("busybox"))?;
    fs::write(root.join("init"), INIT)?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    fs::write(root.join("then"), then.script())?;
    fs::write(root.join("command"), script(command)?)?;
    fs::create_dir(root.join("modules"))?;
    for entry in fs::read_dir(kernel.join("modules")).context("the kernel's modules")? {
        let name = format!("modules/{}", entry?.file_name().display());
        fs::copy(kernel.join(&name), root.join(&name))?;
        names.push(name);
    }
    let image = work.join("initramfs.cpio");
    let mut cpio = Command::new("cpio");
    cpio.args(["--quiet", "-o", "-H", "newc", "-F"]).arg(&image).current_dir(&root).stdin(Stdio::piped());
    let mut child = cpio.spawn().context("cannot run cpio")?;
    child.stdin.take().context("no pipe")?.write_all(names.join("\n").as_bytes())?;
    let status = child.wait()?;
    if !status.success() {
        bail!("{} failed: {status}", workspace::shown(&cpio));
    }
    Ok(image)
}

/// What the machine's shell is to run, with the environment that the tests have here; more words may be given to it there.
fn script(command: &[String]) -> Result<String> {
    let variables = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("HOME", "/root".to_owned()),
        ("GUARD_BIN", workspace::guard()?.display().to_string()),
        ("GUARD_CODEX_DIR", codex::folder()?.display().to_string()),
        ("CARGO_TARGET_DIR", workspace::target()?.display().to_string()),
    ];
    let set = variables.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value)));
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    Ok(format!(
        "{}cd {}\n{} \"$@\"\n",
        set.collect::<String>(),
        quoted(&workspace::root().display().to_string()),
        words.join(" ")
    ))
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_say_what_they_need() {
        assert_eq!(needs(b"x\0license=GPL\0depends=9pnet,virtio-ring\0name=9p\0"), ["9pnet", "virtio_ring"]);
        assert_eq!(needs(b"x\0depends=\0"), Vec::<String>::new());
        assert_eq!(needs(b"nothing"), Vec::<String>::new());
    }

    #[test]
    fn words_stay_words() {
        assert_eq!(quoted("it's $x"), r"'it'\''s $x'");
    }
}
