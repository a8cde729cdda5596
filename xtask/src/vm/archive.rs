//! Debian's archive, seen through an apt configuration of our own: other suites than this machine's, and nothing about
//! this machine changes. The mirror is the one that apt is configured with already.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{host, say, setup, workspace};

/// What Debian signs its archive with, in its package debian-archive-keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

pub struct Archive {
    folder: PathBuf,
}

impl Archive {
    /// Looks up what the suites hold now.
    pub fn open(folder: &Path, suites: &[&str]) -> Result<Self> {
        ensure!(
            host::program("apt-get").is_some() && Path::new(KEYRING).exists(),
            "the kernels of the matrix come from Debian's archive, by apt, and this is no Debian"
        );
        let mirror = mirror()?;
        for name in ["lists/partial", "cache/archives/partial"] {
            let folder = folder.join(name);
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut suites = suites.to_vec();
        suites.dedup();
        let sources: Vec<String> =
            suites.iter().map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n")).collect();
        fs::write(folder.join("sources.list"), sources.concat())?;
        // No package is installed here, as far as this apt knows.
        fs::write(folder.join("status"), "")?;
        let archive = Self { folder: folder.to_owned() };
        say::timed("looking up kernels in Debian's archive", || archive.said("apt-get", &["-q", "update"]))?;
        Ok(archive)
    }

    /// The newest packages whose names are these, a version of this series, and `-amd64`.
    pub fn newest(&self, suite: &str, series: &str, names: &[&str]) -> Result<Vec<String>> {
        let all = self.said("apt-cache", &["pkgnames", names[0]])?;
        let version = all.lines().filter_map(|name| plain(name.strip_prefix(names[0])?, series)).max_by_key(numbers);
        let version = version.with_context(|| {
            format!(
                "Debian's {suite} has no kernel {series} (any more). Where kernels come from is said in \
                 xtask/src/vm/kernels.rs"
            )
        })?;
        Ok(names.iter().map(|name| format!("{name}{version}-amd64")).collect())
    }

    /// Downloads packages into a folder; the files.
    pub fn download(&self, packages: &[String], into: &Path) -> Result<Vec<PathBuf>> {
        let mut download = self.command("apt-get");
        output(download.args(["-q", "download"]).args(packages).current_dir(into))?;
        let entries = fs::read_dir(into).with_context(|| into.display().to_string())?;
        let files = entries.flatten().map(|entry| entry.path());
        Ok(files.filter(|path| path.extension().is_some_and(|extension| extension == "deb")).collect())
    }

    fn said(&self, program: &str, args: &[&str]) -> Result<String> {
        output(self.command(program).args(args))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let options = [
            ("Dir::Etc::sourcelist", self.folder.join("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            ("Dir::State::lists", self.folder.join("lists")),
            ("Dir::State::status", self.folder.join("status")),
            ("Dir::Cache", self.folder.join("cache")),
        ];
        for (name, path) in options {
            command.arg("-o").arg(format!("{name}={}", path.display()));
        }
        // A mirror may stand still. Whom apt would otherwise download as can't write here.
        for option in ["Acquire::Check-Valid-Until=false", "Acquire::Languages=none", "Acquire::Retries=3"] {
            command.args(["-o", option]);
        }
        command.args(["-o", "APT::Sandbox::User=root"]).stdin(Stdio::null());
        command
    }
}

/// A version of this series out of a package's name, if it is that of an ordinary kernel.
fn plain<'a>(rest: &'a str, series: &str) -> Option<&'a str> {
    let version = rest.strip_suffix("-amd64")?;
    // `-cloud` and `-rt` are other kernels.
    let ordinary =
        version.strip_prefix(series)?.starts_with('.') && version.ends_with(|last: char| last.is_ascii_digit());
    ordinary.then_some(version)
}

/// What versions are compared by.
fn numbers(version: &&str) -> Vec<u64> {
    version.split(|other: char| !other.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// Where this machine gets Debian's packages from.
fn mirror() -> Result<String> {
    if let Some(mirror) = configured()? {
        return Ok(mirror);
    }
    // Nobody has asked the mirrors yet whose they are.
    if host::is_root() {
        say::timed("updating apt's lists", setup::update)?;
    }
    configured()?.context(
        "apt on this machine is configured with no mirror of Debian's, or has never asked it: apt-get update",
    )
}

fn configured() -> Result<Option<String>> {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"]);
    let text = output(&mut targets)?;
    Ok(text.lines().find_map(|line| line.strip_prefix("Debian Debian ")).map(str::to_owned))
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!("{} failed: {}", workspace::shown(command), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ordinary_kernels_of_the_series_count() {
        let names = ["5.10.0-9-amd64", "5.10.0-32-amd64", "5.10.0-40-cloud-amd64", "5.10.0-40-rt-amd64"];
        let found = names.iter().filter_map(|name| plain(name, "5.10")).max_by_key(numbers);
        assert_eq!(found, Some("5.10.0-32"));
        assert_eq!(plain("5.10.0-40-amd64-dbg", "5.10"), None);
        assert_eq!(plain("5.101.0-4-amd64", "5.10"), None);
        assert_eq!(plain("7.2.13+deb14-amd64", "7.2"), Some("7.2.13+deb14"));
        assert!(numbers(&"6.12.100+deb12") > numbers(&"6.12.95+deb12"));
    }
}
