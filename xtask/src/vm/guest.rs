//! One machine: booted, listened to, ended.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, Result};

use super::emulator;
use super::image::{self, Then};
use super::kernels::{self, Kernel};
use super::verifier::Costs;

/// What the machine's own lines begin with; all others are its command's.
const GUEST: &str = "guest: ";

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// The kernel's release, once it has said so.
    pub release: String,
    /// Its security modules.
    modules: String,
    /// By which way the command says that guard is asked.
    hooks: String,
    /// From the start of the machine until it was up.
    pub boot: Duration,
    /// What the command said about loading guard's programs.
    pub load: String,
    /// What the command said in the end.
    pub result: String,
    /// What the programs cost the verifier, where the kernel tells.
    pub verifier: Costs,
    /// All of it.
    pub took: Duration,
    /// The command's exit code; none if the machine never said.
    exit: Option<i32>,
    /// What went wrong with the machine itself.
    trouble: Option<String>,
}

impl Report {
    /// What is not as it should be.
    pub fn complaints(&self, kernel: &Kernel) -> Vec<String> {
        let mut all: Vec<String> = self.trouble.iter().cloned().collect();
        if self.trouble.is_none() && self.exit != Some(0) {
            all.push(match self.exit {
                Some(code) => format!("checks failed (exit code {code})"),
                None => "the machine ended without a result".to_owned(),
            });
        }
        if self.exit.is_some() && self.hooks != kernel.hooks {
            all.push(format!(
                "its security modules are {}, and guard is asked by {:?}, not by {}",
                self.modules, self.hooks, kernel.hooks
            ));
        }
        all
    }

    /// Takes in a line.
    fn hear(&mut self, line: &str, since_boot: Duration) {
        if let Some(line) = line.strip_prefix(GUEST) {
            match line.split_once(' ') {
                Some(("up", rest)) => {
                    let (release, modules) = rest.split_once(' ').unwrap_or((rest, ""));
                    (self.release, self.modules) = (release.to_owned(), modules.to_owned());
                    self.boot = since_boot;
                }
                Some(("exit", code)) => self.exit = code.parse().ok(),
                _ => self.trouble = Some(format!("the machine {line}")),
            }
        } else if let Some(rest) = line.strip_prefix("loaded in ") {
            rest.clone_into(&mut self.load);
        } else if let Some(rest) = line.strip_prefix("hooks: ") {
            rest.clone_into(&mut self.hooks);
        } else if let Some(rest) = line.strip_prefix("test result: ") {
            rest.clone_into(&mut self.result);
        } else {
            self.verifier.hear(line);
        }
    }

    fn over(&self) -> bool {
        self.exit.is_some() || self.trouble.is_some()
    }
}

/// What a machine is there for.
pub struct Task {
    pub kernel: &'static Kernel,
    /// In a word what it does there, where that is not the checks.
    pub part: Option<&'static str>,
    /// Who runs the command.
    pub then: Then,
    /// The command.
    pub command: Vec<String>,
    /// One that takes longer has hung.
    pub limit: Duration,
}

impl Task {
    /// The kernel's name, and the part.
    pub fn title(&self) -> String {
        let part = self.part.map(|part| format!(" {part}")).unwrap_or_default();
        format!("{}{part}", self.kernel.name)
    }
}

/// Boots a machine, has it do its task, and ends it. Lines are handed over as they come.
pub fn run(task: &Task, tell: &mut dyn FnMut(&str)) -> Report {
    attempted(task, tell)
        .unwrap_or_else(|error| Report { trouble: Some(format!("no machine: {error:#}")), ..Report::default() })
}

fn attempted(task: &Task, tell: &mut dyn FnMut(&str)) -> Result<Report> {
    let work = kernels::folder()?.join("run").join(task.title().replace(' ', "-"));
    fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
    let console = work.join("console");
    let started = Instant::now();
    let mut machine = Machine(start(task, &work, &console)?);
    let output = machine.0.stdout.take().context("no pipe")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            // Nobody listens any more once the machine has said how it went.
            let _late = sender.send(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned());
        }
    });
    let mut report = Report::default();
    while !report.over() {
        match lines.recv_timeout(task.limit.saturating_sub(started.elapsed())) {
            Ok(line) => {
                report.hear(&line, started.elapsed());
                tell(&line);
            }
            Err(RecvTimeoutError::Disconnected) => {
                report.trouble = Some(format!("the machine ended without a result\n{}", tail(&console)));
            }
            Err(RecvTimeoutError::Timeout) => {
                report.trouble = Some(format!("no result within {} s\n{}", task.limit.as_secs(), tail(&console)));
            }
        }
    }
    report.took = started.elapsed();
    Ok(report)
}

/// Ended when dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // Already gone is what is wanted.
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

fn start(task: &Task, work: &Path, console: &Path) -> Result<Child> {
    let folder = task.kernel.folder()?;
    let mut qemu = emulator::command()?;
    // Emulated, so that every machine can do it, and does the same. By one thread: with one for each of the machine's CPUs,
    // QEMU now and then runs half of an instruction that the kernel is rewriting, and the kernel panics.
    qemu.args(["-accel", "tcg,thread=single,tb-size=512", "-cpu", "max", "-smp", "2", "-m", "2G"]);
    let initramfs = image::initramfs(&folder, work, task.then, &task.command)?;
    qemu.arg("-kernel").arg(folder.join("vmlinuz")).arg("-initrd").arg(initramfs);
    // A panic ends the machine.
    qemu.arg("-append").arg(format!("console=ttyS0 panic=-1 {}", task.kernel.append)).arg("-no-reboot");
    qemu.args(["-nodefaults", "-display", "none", "-nic", "none", "-serial"]);
    qemu.arg(format!("file:{}", console.display())).args(["-serial", "stdio"]);
    qemu.args(["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"]);
    let errors = File::create(work.join("errors"))?;
    qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn().context("cannot run qemu-system-x86_64")
}

/// The last that the kernel, and QEMU, had to say.
fn tail(console: &Path) -> String {
    let lines = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let said = lines(console) + &lines(&console.with_file_name("errors"));
    let last: Vec<&str> = said.lines().rev().take(40).collect();
    last.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::kernels::KERNELS;

    fn heard(lines: &[&str]) -> Report {
        let mut report = Report::default();
        for line in lines {
            report.hear(line, Duration::from_secs(7));
        }
        report
    }

    #[test]
    fn only_a_good_end_is_a_good_end() {
        let up = ["guest: up 5.10.0-32-amd64 lockdown,capability,yama", "hooks: modified-return"];
        let then = |line| heard(&[&up[..], &[line]].concat()).complaints(&KERNELS[0]);
        assert_eq!(then("guest: exit 0"), Vec::<String>::new());
        assert_eq!(then("guest: exit 1"), ["checks failed (exit code 1)"]);
        assert_eq!(then("exit 0"), ["the machine ended without a result"]);
        assert_eq!(then("guest: failed: no 9p"), ["the machine failed: no 9p"]);
    }

    #[test]
    fn guard_must_be_asked_by_the_way_the_machine_is_there_for() {
        let report = heard(&["guest: up 5.10.0-32-amd64 lockdown,bpf", "hooks: module", "guest: exit 0"]);
        assert_eq!(report.complaints(&KERNELS[0]).len(), 1);
        assert_eq!(report.complaints(&KERNELS[1]), Vec::<String>::new());
        assert_eq!(heard(&["guest: up 5.10 bpf", "guest: exit 0"]).complaints(&KERNELS[1]).len(), 1);
        assert_eq!((report.release.as_str(), report.boot.as_secs()), ("5.10.0-32-amd64", 7));
    }
}
