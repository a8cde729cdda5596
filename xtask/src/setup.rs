//! Installs what building guard takes. What there is to do follows from what the machine has, so a second run finds
//! nothing to do; where it can't be done, that says what is missing and how to get it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::host::{self, COMPILER_PACKAGES, Host, LINKER_PACKAGES, TOOLCHAIN};
use crate::{say, workspace};

/// The version of bpf-linker that guard is built with.
const LINKER: &str = "0.13.0";

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Install packages with apt.
    Packages(Vec<&'static str>),
    /// Make a compiler known to rustup as `guard-bpf`.
    Link(PathBuf),
    /// Build and install bpf-linker against the LLVM in this folder.
    Linker(PathBuf),
}

/// What to do, or what is missing that we can't get, each with the way to get it.
type Plan = Result<Vec<Step>, Vec<String>>;

/// Does whatever is missing. `aloud` also says so when that is nothing.
pub fn run(aloud: bool) -> Result<ExitCode> {
    // Each step changes what the next is decided by. One that changed nothing would come round for ever.
    for _ in 0..8 {
        let host = Host::look();
        match plan(&host) {
            Ok(steps) if steps.is_empty() => {
                if aloud {
                    say::step("set up: nothing to do");
                    say::note(&format!("compiler for BPF: {}", compiler(&host).unwrap_or(Path::new("?")).display()));
                    say::note(&format!("bpf-linker: {}", host.linker.as_deref().unwrap_or("?")));
                }
                return Ok(ExitCode::SUCCESS);
            }
            Ok(steps) => take(&steps[0])?,
            Err(missing) => bail!("set-up can't go on. Missing:\n{}", missing.join("\n")),
        }
    }
    bail!("set-up did all it knows, and something is still missing: {:?}", plan(&Host::look()))
}

/// The compiler that builds the kernel programs.
fn compiler(host: &Host) -> Option<&Path> {
    let chosen = if host.rustup { &host.linked } else { &host.plain };
    chosen.as_deref().filter(|folder| host::can_build_bpf(folder))
}

fn plan(host: &Host) -> Plan {
    plan_with(host, compiler(host).is_some())
}

fn plan_with(host: &Host, compiler: bool) -> Plan {
    let mut steps = Vec::new();
    let mut missing = Vec::new();
    let absent = |names: &[&'static str]| -> Vec<&'static str> {
        names.iter().copied().filter(|&name| !host.packages.iter().any(|have| have == name)).collect()
    };
    if !compiler {
        match (host.compilers.first(), host.rustup) {
            (Some(folder), true) => steps.push(Step::Link(folder.clone())),
            _ if host.apt && !absent(&COMPILER_PACKAGES).is_empty() => {
                steps.push(Step::Packages(absent(&COMPILER_PACKAGES)));
            }
            _ => missing.push(no_compiler(host)),
        }
    }
    if !host.linker.as_deref().is_some_and(new_enough) {
        match &host.llvm {
            Some(folder) => steps.push(Step::Linker(folder.clone())),
            None if host.apt => steps.push(Step::Packages(absent(&LINKER_PACKAGES))),
            None => missing.push(no_linker(host)),
        }
    }
    if missing.is_empty() { Ok(steps) } else { Err(missing) }
}

fn no_compiler(host: &Host) -> String {
    let mut lines = vec!["- a Rust compiler with `core` for bpfel-unknown-none".to_owned()];
    lines.extend(by_apt(host, &COMPILER_PACKAGES));
    if !host.rustup {
        lines.push("the cargo on this machine isn't rustup's: install rustup, then".to_owned());
    }
    lines.push("rustup toolchain install nightly --component rust-src".to_owned());
    lines.join("\n    ")
}

fn no_linker(host: &Host) -> String {
    let mut lines = vec![format!("- bpf-linker {LINKER} or newer, or LLVM 22 with its headers to build it with")];
    lines.extend(by_apt(host, &LINKER_PACKAGES));
    if !host.debian {
        lines.push(
            "install your distribution's development packages of LLVM 22 and Polly; where llvm-config isn't on"
                .into(),
        );
        lines.push(
            "the path, set LLVM_SYS_221_PREFIX to their folder. Or put a ready-made bpf-linker on the path.".into(),
        );
    }
    lines.join("\n    ")
}

/// How these packages get here on a Debian where we may not install them.
fn by_apt(host: &Host, names: &[&str]) -> Option<String> {
    (host.debian && !host.apt)
        .then(|| format!("run this task as root, or: apt-get install --no-install-recommends {}", names.join(" ")))
}

fn new_enough(version: &str) -> bool {
    let parts = |text: &str| text.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>();
    parts(version) >= parts(LINKER)
}

fn take(step: &Step) -> Result<()> {
    match step {
        Step::Packages(names) => install(names),
        Step::Link(folder) => {
            say::step(&format!("making the compiler in {} known as toolchain {TOOLCHAIN}", folder.display()));
            let mut link = Command::new(host::program("rustup").context("rustup is gone")?);
            workspace::ensure_runs(link.args(["toolchain", "link", TOOLCHAIN]).arg(folder))
        }
        Step::Linker(llvm) => {
            say::timed(
                &format!("building bpf-linker {LINKER} with the LLVM in {} (about a minute)", llvm.display()),
                || {
                    let mut cargo =
                        workspace::cargo(["install", "bpf-linker", "--version", LINKER, "--locked", "--quiet"]);
                    cargo.args(["--no-default-features", "--features", "llvm-22"]);
                    // llvm-sys finds its headers by the one, bpf-linker its libraries by the other.
                    cargo.env("LLVM_SYS_221_PREFIX", llvm).env("LLVM_PREFIX", llvm);
                    // The target folder of this workspace is no place for another project's parts.
                    cargo.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
                    workspace::ensure_runs(&mut cargo)
                },
            )
        }
    }
}

/// Installs Debian packages: quietly, without the recommended ones, and without removing anything for them.
pub fn install(names: &[&str]) -> Result<()> {
    say::timed(&format!("installing Debian packages: {}", names.join(" ")), || {
        if apt(&[&["install", "--simulate"], names].concat()).is_err() {
            // The lists are missing or old.
            update()?;
        }
        apt(&[&["install"], names].concat())
    })
}

/// Has apt look up what there is.
pub fn update() -> Result<()> {
    apt(&["update"])
}

fn apt(args: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["-y", "-q", "--no-install-recommends", "--no-remove", "-o", "DPkg::Lock::Timeout=300"]).args(args);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    let output = command.output().context("cannot run apt-get")?;
    if !output.status.success() {
        bail!(
            "{} failed: {}\n{}{}",
            workspace::shown(&command),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::SYSTEM;

    fn bare() -> Host {
        Host { debian: true, apt: true, rustup: true, ..Host::default() }
    }

    fn all(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_bare_debian_is_led_step_by_step_to_the_end() {
        let mut host = bare();
        assert_eq!(
            plan_with(&host, false),
            Ok(vec![Step::Packages(COMPILER_PACKAGES.to_vec()), Step::Packages(LINKER_PACKAGES.to_vec())])
        );
        host.packages = all(&COMPILER_PACKAGES);
        host.compilers = vec![SYSTEM.into()];
        assert_eq!(plan_with(&host, false).expect("steps")[0], Step::Link(SYSTEM.into()));
        host.packages.extend(all(&LINKER_PACKAGES[1..]));
        assert_eq!(plan_with(&host, true), Ok(vec![Step::Packages(vec![LINKER_PACKAGES[0]])]));
        host.llvm = Some("/llvm".into());
        assert_eq!(plan_with(&host, true), Ok(vec![Step::Linker("/llvm".into())]));
        host.linker = Some("0.12.9".into());
        assert_eq!(plan_with(&host, true), Ok(vec![Step::Linker("/llvm".into())]));
        host.linker = Some("0.13.0".into());
        assert_eq!(plan_with(&host, true), Ok(vec![]));
    }

    #[test]
    fn a_nightly_with_source_will_do_anywhere() {
        let host = Host { debian: false, apt: false, compilers: vec!["/nightly".into()], ..bare() };
        let host = Host { linker: Some("0.14.1".into()), ..host };
        assert_eq!(plan_with(&host, false), Ok(vec![Step::Link("/nightly".into())]));
    }

    #[test]
    fn without_root_everything_missing_is_named_at_once() {
        let missing = plan_with(&Host { apt: false, ..bare() }, false).expect_err("nothing can be installed");
        assert_eq!(missing.len(), 2);
        assert!(missing[0].contains("libstd-rust-web-dev-bpf") && missing[0].contains("rust-src"), "{}", missing[0]);
        assert!(missing[1].contains("llvm-22-dev"), "{}", missing[1]);
    }

    #[test]
    fn elsewhere_no_debian_package_is_named() {
        let host = Host { apt: false, debian: false, rustup: false, ..bare() };
        let missing = plan_with(&host, false).expect_err("nothing can be installed").join("\n");
        assert!(!missing.contains("apt-get") && missing.contains("install rustup"), "{missing}");
        assert!(missing.contains("LLVM_SYS_221_PREFIX"), "{missing}");
    }

    #[test]
    fn packages_that_give_no_compiler_are_not_installed_again() {
        // rustup is absent, and the cargo in use isn't Debian's.
        let host = Host { rustup: false, packages: all(&COMPILER_PACKAGES), linker: Some("0.13.0".into()), ..bare() };
        plan_with(&host, false).expect_err("only the user can help here");
    }
}
