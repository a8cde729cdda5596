//! `cargo xtask vm`: the kernel matrix. Each kernel that matters is booted in a machine of its own, in software emulation
//! over this machine's files, and `guard-matrix` runs inside; on one of them `guard-evasion` too, and on one `guard-systemd`, under
//! a systemd.

mod archive;
mod beside;
mod busybox;
mod emulator;
mod guest;
mod image;
mod kernels;
mod package;
mod systemd;
mod table;
mod verifier;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::{build, codex, dist, host, say, setup, workspace};
use beside::Said;
use guest::Task;
use image::Then;
use kernels::{KERNELS, Kernel};
use verifier::Recorded;

#[derive(Args, Default)]
pub struct Options {
    /// Which: 5.10, 5.10-lsm (with bpf among its security modules), 6.1 (without), 6.12, 7.2. All, if none is named.
    #[arg(value_name = "KERNEL")]
    kernels: Vec<String>,
    /// Record what the programs cost the verifier, in tests/matrix/verifier.toml, instead of comparing it.
    #[arg(long)]
    record: bool,
    /// Only the machine in which guard is a service of systemd; its kernel is 6.1.
    #[arg(long, conflicts_with_all = ["kernels", "record", "filter"])]
    service: bool,
    /// Only the checks with this in their name.
    #[arg(last = true, value_name = "TEST FILTER")]
    filter: Vec<String>,
}

/// What virtual machines take beside an [`emulator`], and the Debian packages these are in.
const PROGRAMS: [(&str, &str); 3] = [("cpio", "cpio"), ("xz", "xz-utils"), ("zstd", "zstd")];

/// The longest that the checks may take. Three to five minutes are usual, and several times that where the host is slow.
const CHECKING: Duration = Duration::from_mins(25);
/// The kernel on which the ways out are tried, those with security hooks.
const EVADED: &str = "6.1";
/// The longest that they may take. Six minutes are usual, and several times that where the host is busy.
const TRYING: Duration = Duration::from_hours(1);
/// What the machine is called in which guard is a service. It installs the packages that were made for the tests.
const SERVICE: &str = "service";
/// The kernel on which guard is installed as a service: one that takes little time to check programs, for they are loaded again
/// and again there.
const SERVED: &str = "6.1";
/// The longest that this may take. Ten minutes are usual, of which starts take most.
const SERVING: Duration = Duration::from_mins(25);

pub fn run(options: &Options) -> Result<ExitCode> {
    let served = [SERVED.to_owned()];
    let chosen = chosen(if options.service { &served } else { &options.kernels })?;
    build::build()?;
    prepare(&chosen)?;
    let tasks = if options.service { vec![service(chosen[0])?] } else { tasks(&chosen, options)? };
    if tasks.iter().any(|task| task.part == Some(SERVICE)) {
        dist::for_tests()?;
    }
    let passed = matrix(&tasks, options.record, &mut |line| println!("{line}"))?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The whole matrix, as a part of all tests: whether all is as it should be. Where there can be no machines that is said and
/// counted; in CI it is an error.
pub fn test(tell: &mut dyn FnMut(&str)) -> Result<bool> {
    let all = chosen(&[])?;
    match prepare(&all) {
        Ok(()) => matrix(&tasks(&all, &Options::default())?, false, tell),
        Err(error) if env::var_os("CI").is_some_and(|value| value == "true") => {
            Err(error.context("the kernel matrix can't be run, and in CI it has to be"))
        }
        Err(error) => {
            say::error(&format!("the kernel matrix was not run: {error:#}"));
            tell(&format!("test result: not run. 0 passed; 0 failed; {} ignored", all.len()));
            Ok(true)
        }
    }
}

/// The named kernels, in the order of the list.
fn chosen(names: &[String]) -> Result<Vec<&'static Kernel>> {
    if let Some(unknown) = names.iter().find(|name| !KERNELS.iter().any(|kernel| kernel.name == **name)) {
        bail!("there is no kernel {unknown}: expected {}", KERNELS.map(|kernel| kernel.name).join(", "));
    }
    Ok(KERNELS.iter().filter(|kernel| names.is_empty() || names.iter().any(|name| name == kernel.name)).collect())
}

/// Gets what machines with these kernels take and isn't there yet.
fn prepare(kernels: &[&Kernel]) -> Result<()> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the matrix is made of x86-64 kernels, and of this machine's own programs: it takes an x86-64 machine");
    }
    programs()?;
    busybox::fetch()?;
    emulator::fetch()?;
    systemd::fetch()?;
    kernels::fetch(kernels)?;
    // On one of them it runs; which, the checks know.
    codex::install().map(drop)
}

fn programs() -> Result<()> {
    let missing = || -> Vec<&str> {
        let gone = PROGRAMS.iter().filter(|(name, _)| host::program(name).is_none());
        gone.map(|(_, package)| *package).collect()
    };
    let packages = missing();
    if !packages.is_empty() && host::is_root() && host::program("apt-get").is_some() {
        setup::install(&packages)?;
    }
    let packages = missing();
    if !packages.is_empty() {
        bail!(
            "virtual machines take programs that are not installed.\n    on Debian, as root: apt-get install \
             --no-install-recommends {}",
            packages.join(" ")
        );
    }
    Ok(())
}

/// Everything that is done on these kernels: the checks on each of them, and, where nothing less is asked for, the ways out and
/// the service on one. What takes longest comes first, so that at the end no machine is left alone for long.
fn tasks(kernels: &[&'static Kernel], options: &Options) -> Result<Vec<Task>> {
    let mut all = Vec::new();
    let whole = options.filter.is_empty() && !options.record;
    let also = |name| kernels.iter().copied().find(|kernel| whole && kernel.name == name);
    if let Some(kernel) = also(SERVED) {
        all.push(service(kernel)?);
    }
    // Which way out ends how depends on the backend, and hardly on the kernel: one with security hooks will do.
    if let Some(kernel) = also(EVADED) {
        all.push(Task { kernel, part: Some("ways"), then: Then::Alone, command: ways_out()?, limit: TRYING });
    }
    // The newer it is, the longer a kernel takes to look through programs.
    for kernel in kernels.iter().rev() {
        let command = command("guard-matrix", &options.filter)?;
        all.push(Task { kernel, part: None, then: Then::Alone, command, limit: CHECKING });
    }
    Ok(all)
}

/// Guard as a service of the systemd that runs a machine, which has nothing to do with the kernel.
fn service(kernel: &'static Kernel) -> Result<Task> {
    let command = command("guard-systemd", &[])?;
    Ok(Task { kernel, part: Some(SERVICE), then: Then::Systemd, command, limit: SERVING })
}

/// Has all of it done, and says whether all is as it should be. What the machines say is handed over line by line.
fn matrix(tasks: &[Task], record: bool, tell: &mut dyn FnMut(&str)) -> Result<bool> {
    let mut recorded = Recorded::read()?;
    let mut reports = Vec::new();
    let mut passed = true;
    beside::run(tasks, &mut |place, said| match said {
        Said::Line(line) => tell(&line),
        Said::Ended(report) => {
            let task = &tasks[place];
            let mut complaints = report.complaints(task.kernel);
            if record {
                recorded.set(task.kernel.name, &report.verifier);
            } else if task.part.is_none() {
                complaints.extend(recorded.compare(task.kernel.name, &report.verifier));
            }
            passed &= complaints.is_empty();
            conclude(&task.title(), &complaints, tell);
            reports.push((task.title(), report));
        }
    });
    table::print(&reports);
    if record {
        recorded.write()?;
    }
    Ok(passed)
}

/// Says what was wrong with a machine.
fn conclude(title: &str, complaints: &[String], tell: &mut dyn FnMut(&str)) {
    for complaint in complaints {
        say::error(&format!("{title}: {complaint}"));
    }
    let counts = if complaints.is_empty() { "ok. 1 passed; 0 failed" } else { "FAILED. 0 passed; 1 failed" };
    tell(&format!("test result: {counts}; Linux {title}, as a whole"));
}

/// A program of the tests', and its arguments.
fn command(program: &str, arguments: &[String]) -> Result<Vec<String>> {
    let program: PathBuf = workspace::target()?.join("release").join(program);
    Ok([program.display().to_string()].into_iter().chain(arguments.iter().cloned()).collect())
}

/// The program that tries the ways out, and holds the page against what it finds.
fn ways_out() -> Result<Vec<String>> {
    let page = workspace::root().join("docs/threat-model.md");
    command("guard-evasion", &["--minutes", "58", "--page", &page.display().to_string()].map(str::to_owned))
}
