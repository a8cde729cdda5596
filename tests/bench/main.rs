//! What guard costs: `cargo xtask bench` runs this. Everything is measured in turns with the same thing without guard, so
//! that what else the machine does meets both, and told as ratios.

mod events;
mod kernel;
mod loops;
mod marks;
mod policies;
mod table;
mod top;
mod worker;

use std::fs;
use std::io::{IsTerminal as _, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use nix::sys::signal::Signal;
use support::guard::{binary, shipped};
use support::place::Scratch;
use support::require_kernel;

use crate::table::{Row, Series, median};
use crate::worker::{Place, Worker};

/// Measures what guard costs, against this machine without guard.
#[derive(Parser)]
struct Options {
    /// How often each thing is measured
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// What cargo says to every bench program
    #[arg(long, hide = true, global = true)]
    bench: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What this program does as somebody else's child.
#[derive(Subcommand)]
enum Part {
    /// Loops as told on standard input
    #[command(hide = true)]
    Work { folder: PathBuf },
    /// Only what `guard top` takes
    Top,
    /// Only what marked files cost
    Marks,
    /// Opens files as fast as it can, or as often as it is told to
    #[command(hide = true)]
    Flood { folder: PathBuf, seconds: f64, rate: u64 },
    /// One of many that open files, so often a second
    #[command(hide = true)]
    Crowd { folder: PathBuf, rate: u64 },
}

fn main() -> ExitCode {
    let options = Options::parse();
    match options.part {
        Some(Part::Work { folder }) => loops::serve(&folder),
        Some(Part::Flood { folder, seconds, rate }) => loops::flood(&folder, seconds, rate),
        Some(Part::Crowd { folder, rate }) => top::crowd(&folder, rate),
        Some(Part::Top) => {
            let mut bench = Bench::new(options.rounds);
            bench.top();
            table::print(&bench.table);
            bench.notes.iter().for_each(|note| println!("{note}"));
        }
        Some(Part::Marks) => {
            let mut bench = Bench::new(options.rounds);
            bench.marks();
            table::print(&bench.table);
        }
        None => return if Bench::new(options.rounds).run() { ExitCode::SUCCESS } else { ExitCode::FAILURE },
    }
    ExitCode::SUCCESS
}

/// How long a loop runs in one round.
const LOOP: Duration = Duration::from_millis(250);

/// Everything that is measured, and where.
struct Bench {
    scratch: Scratch,
    rounds: usize,
    table: Vec<Row>,
    notes: Vec<String>,
}

/// What one round found, by loop: nanoseconds an operation.
#[derive(Default)]
struct Round {
    open: f64,
    exec: f64,
    spawn: f64,
    connect: f64,
}

impl Bench {
    fn new(rounds: usize) -> Self {
        require_kernel();
        let scratch = Scratch::new("bench");
        loops::furnish(scratch.path());
        scratch.write("few.toml", policies::rules(10));
        scratch.write("many.toml", policies::rules(1000));
        scratch.write("noted.toml", policies::noted(scratch.path()));
        scratch.write("daemon.toml", policies::agent(scratch.path(), 10));
        Self { scratch, rounds, table: Vec::new(), notes: Vec::new() }
    }

    /// Measures it all and prints it; false if something that must hold did not.
    fn run(mut self) -> bool {
        let before = load();
        println!("guard: {}", binary().display());
        println!("kernel {}, {} CPUs, load {before} at the start\n", release(), cpus());
        self.ratios();
        self.real_work();
        self.policies();
        self.start_up();
        self.at_rest();
        self.marks();
        self.top();
        let exact = self.events();
        table::print(&self.table);
        println!(
            "\nA ratio is the median of {} rounds, and in brackets the lowest and highest of them.",
            self.rounds
        );
        println!("Not measured here: bytes of a denied file that get out; the tests see to that.");
        for note in &self.notes {
            println!("{note}");
        }
        println!("\nWhere the time goes, by the kernel's own count (bpf_stats, which costs some of it):");
        self.programs();
        println!("\nload {} at the end", load());
        let missed: Vec<_> =
            self.table.iter().filter(|row| row.met() == Some(false)).map(|row| row.what.clone()).collect();
        if missed.is_empty() {
            println!("Every target that was measured is met.");
        } else {
            println!("MISSED: {}", missed.join("; "));
        }
        if !exact {
            println!("WRONG: a verdict was lost, or losses were not counted exactly.");
        }
        exact
    }

    /// open+close, fork+exec and connect, in and out of trees.
    fn ratios(&mut self) {
        let (mut none, mut outside, mut few, mut many) =
            (Series::default(), Series::default(), Series::default(), Series::default());
        for number in 0..self.rounds {
            let mut turns: [(&mut Series, Place); 4] = [
                (&mut none, Place::Alone),
                (&mut outside, Place::Outside("daemon.toml")),
                (&mut few, Place::Inside("few.toml")),
                (&mut many, Place::Inside("many.toml")),
            ];
            if number % 2 == 1 {
                turns.reverse();
            }
            for (series, place) in turns {
                series.push(measure(&self.scratch, &place));
            }
            if stderr().is_terminal() {
                eprint!("\rround {} of {} ", number + 1, self.rounds);
            }
        }
        if stderr().is_terminal() {
            eprintln!();
        }
        if none.disturbed() + outside.disturbed() + few.disturbed() + many.disturbed() > 0 {
            self.notes
                .push("Another guard was on this machine during some rounds; those were taken again.".to_owned());
        }
        let lost = few.lost() + many.lost();
        if lost > 0 {
            self.notes.push(format!("{lost} bulk events were lost (and counted) in the loops inside trees."));
        }
        let rows = [
            Row::ratio("open+close outside any tree", &none, &outside, |round| round.open).at_most(1.10),
            Row::ratio("fork+exec outside any tree", &none, &outside, |round| round.exec).at_most(1.03),
            Row::ratio("posix_spawn outside any tree", &none, &outside, |round| round.spawn),
            Row::ratio("connect outside any tree", &none, &outside, |round| round.connect),
            Row::ratio("open+close in a tree, 10 rules", &none, &few, |round| round.open),
            Row::ratio("fork+exec in a tree, 10 rules", &none, &few, |round| round.exec),
            Row::ratio("posix_spawn in a tree, 10 rules", &none, &few, |round| round.spawn),
            Row::ratio("connect in a tree, 10 rules", &none, &few, |round| round.connect),
            Row::ratio("open+close in a tree, 1,000 rules", &none, &many, |round| round.open),
            Row::ratio("1,000 rules against 10, open+close", &few, &many, |round| round.open).at_most(1.15),
            Row::ratio("1,000 rules against 10, fork+exec", &few, &many, |round| round.exec),
        ];
        self.table.extend(rows);
    }

    /// A release build, alone and in a tree under the policy we ship.
    fn real_work(&mut self) {
        const ROUNDS: usize = 5;
        let mut took = [Vec::new(), Vec::new()];
        shipped_for(&self.scratch);
        // The first warms the page cache.
        for number in 0..=self.rounds.min(ROUNDS) {
            let mut turns = [(0, Place::Alone), (1, Place::Inside("shipped.toml"))];
            if number % 2 == 1 {
                turns.reverse();
            }
            for (series, place) in turns {
                let mut worker = Worker::start(&self.scratch, &place);
                let (time, _) = worker.order("build");
                worker.stop();
                if number > 0 {
                    took[series].push(time);
                }
            }
        }
        let [alone, inside] = took;
        self.table.push(Row::of_ratios("release build of a crate, in a tree", alone, inside).at_most(1.05));
    }

    /// What 1,000 rules take to compile and to put in force, and how large their tables are.
    fn policies(&mut self) {
        let text = policies::rules(1000);
        let mut took = Vec::new();
        let mut bytes = 0;
        for _ in 0..self.rounds {
            let compiled = guard::policy::compile("bench", &text).unwrap_or_else(|failure| panic!("{failure}"));
            took.push(compiled.took.as_secs_f64());
            bytes = compiled.blocks.len() * guard_common::table::BLOCK_BYTES;
            let states: usize = compiled.sizes.iter().map(|size| size.states).sum();
            if took.len() == self.rounds {
                self.notes.push(format!("1,000 rules make {states} states."));
            }
        }
        self.table.push(Row::value("compile 1,000 rules", median(&mut took), "s"));
        let mut daemon = worker::daemon(&self.scratch, "daemon.toml", false);
        let policy = self.scratch.join("daemon.toml");
        let mut took = Vec::new();
        for count in 1..=self.rounds.min(5) {
            fs::write(&policy, policies::agent(self.scratch.path(), 1000)).expect("a policy can be written");
            let started = Instant::now();
            daemon.signal(Signal::SIGHUP);
            daemon.wait_until(|said| said.matches("was read anew").count() == count);
            took.push(started.elapsed().as_secs_f64());
        }
        fs::write(&policy, policies::agent(self.scratch.path(), 10)).expect("a policy can be written");
        daemon.stop();
        self.table.push(Row::value("compile 1,000 rules and swap them in", median(&mut took), "s").at_most(1.0));
        self.table.push(Row::value("their tables", bytes as f64 / f64::from(1 << 20), "MiB").at_most(64.0));
    }

    /// What `guard run` adds to the start of a command.
    fn start_up(&mut self) {
        let (mut alone, mut guarded) = (Vec::new(), Vec::new());
        let policy = shipped();
        let took = |command: &mut Command| {
            let started = Instant::now();
            let status = command.stdin(Stdio::null()).stderr(Stdio::null()).status().expect("it starts");
            assert!(status.success(), "{status}");
            started.elapsed().as_secs_f64()
        };
        for _ in 0..self.rounds {
            alone.push(took(&mut Command::new("true")));
            guarded.push(took(Command::new(binary()).arg("run").arg("--policy").arg(&policy).args(["--", "true"])));
        }
        let added = median(&mut guarded) - median(&mut alone);
        self.table.push(Row::value("`guard run -- true` adds to `true`", added, "s").at_most(1.0));
    }

    /// The daemon when there is nothing to guard.
    fn at_rest(&mut self) {
        const WATCHED: Duration = Duration::from_secs(5);
        let started = Instant::now();
        let daemon = worker::daemon_with(&self.scratch, &shipped_for(&self.scratch), false);
        let ready = started.elapsed().as_secs_f64();
        sleep(Duration::from_millis(500));
        let before = kernel::cpu_seconds(daemon.pid());
        sleep(WATCHED);
        let share = (kernel::cpu_seconds(daemon.pid()) - before) / WATCHED.as_secs_f64() * 100.0;
        let resident = kernel::resident(daemon.pid()) as f64 / f64::from(1 << 20);
        let maps = kernel::map_bytes(daemon.pid()) as f64 / f64::from(1 << 20);
        daemon.stop();
        self.table.push(Row::value("daemon, from start to enforcing", ready, "s").at_most(1.0));
        self.table.push(Row::value("daemon at rest, memory", resident, "MiB").at_most(30.0));
        self.table.push(Row::value("daemon at rest, of a core", share, "%").at_most(0.5));
        self.notes.push(format!(
            "The daemon's maps take {maps:.0} MiB of kernel memory beside that, the policy's tables not counted."
        ));
    }

    /// What it costs to be asked before files are opened.
    fn marks(&mut self) {
        self.table.extend(marks::measure(&self.scratch, self.rounds));
    }

    /// What `guard top` takes with 200 sessions and 50,000 events a second.
    fn top(&mut self) {
        let (live, alone, watched) = top::live(&self.scratch);
        self.add_top("guard top, 50,000 events a second, of a core", &live);
        self.table.push(Row::value("daemon meanwhile, of a core", watched * 100.0, "%"));
        self.table.push(Row::value("daemon where nobody looks, of a core", alone * 100.0, "%"));
        self.add_top("guard top --replay of as many, of a core", &top::measure(&self.scratch));
    }

    fn add_top(&mut self, what: &str, cost: &top::Cost) {
        self.table.push(Row::value(what, cost.cpu * 100.0, "%").at_most(10.0));
        self.table.push(Row::value("its frames", cost.frames, "1/s").at_least(9.5));
        if cost.events < cost.due / 10 * 9 {
            self.notes.push(format!("{what}: it did not keep up: {} events of {}.", cost.events, cost.due));
        }
    }

    /// How many events come through, and that losses are told.
    fn events(&mut self) -> bool {
        let mut well = true;
        let mut best = 0.0f64;
        for rate in [50_000, 100_000, 150_000, 200_000, 300_000] {
            let flood = events::flood(&self.scratch, 2.0, rate);
            well &= flood.sound();
            if flood.lost == 0 {
                best = best.max(flood.opened as f64 / flood.seconds);
            }
            // Where the loops themselves can't keep the pace, more is not to be learned.
            if flood.lost != 0 || (flood.opened as f64) < rate as f64 * 2.0 * 0.9 {
                break;
            }
        }
        let full = events::flood(&self.scratch, 4.0, 0);
        well &= full.sound();
        if full.lost == 0 {
            best = best.max(full.received as f64 / full.drained);
        }
        self.table.push(Row::value("events written, none lost", best, "1/s").at_least(200_000.0));
        self.table.push(Row::value("events written at full speed", full.received as f64 / full.drained, "1/s"));
        self.table.push(
            Row::value("verdicts lost at full speed", (full.noted - full.noted_received) as f64, "").at_most(0.0),
        );
        self.notes.push(format!(
            "At full speed two processes opened {:.0} files a second: {} events, {} of them written, {} lost and counted. \
             There were {} verdicts among them. All of it, guard included, on {} CPUs.",
            full.opened as f64 / full.seconds,
            full.opened,
            full.received,
            full.lost,
            full.noted,
            cpus(),
        ));
        well
    }

    /// The programs' own times.
    fn programs(&self) {
        let _counting = kernel::enable_counting();
        for place in [Place::Outside("daemon.toml"), Place::Inside("few.toml"), Place::Inside("many.toml")] {
            let mut worker = Worker::start(&self.scratch, &place);
            for what in ["open", "exec", "connect"] {
                let before = kernel::runs(worker.guard());
                let (_, count) = worker.run(what, LOOP);
                for (name, run) in kernel::runs(worker.guard()) {
                    let earlier = before.get(&name).copied().unwrap_or_default();
                    let (runs, time) = (run.count - earlier.count, run.nanoseconds - earlier.nanoseconds);
                    let each = runs as f64 / count;
                    // Less often than every second operation it has nothing to do with the loop.
                    if each >= 0.5 {
                        println!(
                            "  {:<24} {:<8} {name:<16} {:>7.0} ns a run, {each:>5.1} runs and {:>7.0} ns an operation",
                            place.name(),
                            what,
                            time as f64 / runs as f64,
                            time as f64 / count,
                        );
                    }
                }
            }
            worker.stop();
        }
    }
}

/// One turn: each loop once, at one place. Taken again where another guard came between.
fn measure(scratch: &Scratch, place: &Place) -> (Round, u64, u64) {
    let mut disturbed = 0;
    loop {
        kernel::wait_for_quiet(0);
        let mut worker = Worker::start(scratch, place);
        let round = Round {
            open: worker.run("open", LOOP).0,
            exec: worker.run("exec", LOOP).0,
            spawn: worker.run("spawn", LOOP).0,
            connect: worker.run("connect", LOOP).0,
        };
        let guards = kernel::guards();
        let lost = worker.stop();
        if guards == usize::from(!matches!(place, Place::Alone)) || disturbed > 20 {
            return (round, lost, disturbed);
        }
        disturbed += 1;
    }
}

/// The policy we ship, for an agent that is nowhere on the machine.
fn shipped_for(scratch: &Scratch) -> PathBuf {
    let text = fs::read_to_string(shipped()).expect("the policy we ship");
    let ours = format!("exe = [\"{}/agent\"]", scratch.path().display());
    scratch.write("shipped.toml", text.replace("exe = [\"**/codex\"]", &ours))
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

fn release() -> String {
    fs::read_to_string(Path::new("/proc/sys/kernel/osrelease")).unwrap_or_default().trim().to_owned()
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
