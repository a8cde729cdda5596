//! Ways out: what a guarded process may try so that it gets what a policy forbids, each really tried.
//!
//! Each way is tried twice in a place of its own: without guard, where it has to work, or else it would prove nothing,
//! and under a guard that knows the agent by its path in there. What counts is what came out: bytes of the secret, a
//! changed file, something that a listener heard. How it ended is held against what is expected of this kernel.

mod inside;
mod place;
mod suite;
mod table;
mod way;
mod ways;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::json;
use support::kernel::hooks;
use support::net;

use crate::place::Place;
use crate::suite::{Found, Suite};
use crate::way::{Column, Way};

/// Tries ways out under guard, and says of each how it ended and whether that is what is expected.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Options {
    /// A line of JSON for each way.
    #[arg(long)]
    json: bool,
    /// Hold the table in this page against what was found.
    #[arg(long)]
    page: Option<PathBuf>,
    /// Put what was found into the page instead.
    #[arg(long, requires = "page")]
    write: bool,
    /// Start no further way after this many minutes.
    #[arg(long, default_value_t = 9)]
    minutes: u64,
    /// Have guard carry nothing out, to see that the suite would notice.
    #[arg(long)]
    audit: bool,
    /// Only these ways.
    #[arg(conflicts_with = "page")]
    names: Vec<String>,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What a process of the suite's own does.
#[derive(Subcommand)]
enum Role {
    /// Play a part in a way.
    #[command(hide = true)]
    Part {
        /// Which.
        part: Part,
        /// The way.
        way: String,
        /// Its place.
        place: PathBuf,
    },
}

/// Who takes part.
#[derive(Clone, Copy, ValueEnum)]
enum Part {
    /// Somebody outside, before.
    Before,
    /// Somebody outside, meanwhile.
    Beside,
    /// The guarded process.
    Attempt,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(Role::Part { part, way, place }) = &options.role {
        let way = ways::all().find(|known| known.name == way).expect("a way of the suite");
        let place = Place::at(place);
        return ExitCode::from(match part {
            Part::Before => inside::play(way.before, &place),
            Part::Beside => inside::play(way.beside, &place),
            Part::Attempt => inside::play_guarded(way.attempt, &place),
        });
    }
    support::require_kernel();
    if net::alone(|| run(&options)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tries all that is asked for; whether it ended as expected.
fn run(options: &Options) -> bool {
    let start = Instant::now();
    let mut suite = Suite::start(options.audit).expect("the suite can be set up");
    let column = suite.column();
    if !options.json {
        println!("hooks: {}", hooks());
    }
    let chosen = |way: &&Way| options.names.is_empty() || options.names.iter().any(|name| name == way.name);
    let mut found = Vec::new();
    let mut well = true;
    for way in ways::all().filter(chosen) {
        let late = start.elapsed().as_secs() > options.minutes * 60;
        let one = if late { Found::Nothing("no time was left".to_owned()) } else { suite.try_out(way) };
        well &= tell(options, way, &one, column.word(), way.ends.on(column));
        found.push((way, one));
    }
    if let Err(error) = suite.stop() {
        eprintln!("{error}");
        well = false;
    }
    if !options.json {
        println!("{} ways in {:.0} s", found.len(), start.elapsed().as_secs_f64());
        println!("{}", counted(&found, column));
    }
    well & options.page.as_ref().is_none_or(|page| compare(page, options.write, &table::render(&found, column)))
}

/// How many ended as they should, in the words of a test program.
fn counted(found: &[(&Way, Found)], column: Column) -> String {
    let mut counts = [0, 0, 0];
    for (way, found) in found {
        counts[match found {
            Found::Ended(outcome) if way.ends.on(column).met_by(*outcome) => 0,
            Found::Ended(_) | Found::Nothing(_) => 1,
            Found::NotTried(_) => 2,
        }] += 1;
    }
    let [passed, failed, ignored] = counts;
    let word = if failed == 0 { "ok" } else { "FAILED" };
    format!("test result: {word}. {passed} passed; {failed} failed; {ignored} ignored")
}

/// Says how a way ended; whether that is as expected.
fn tell(options: &Options, way: &Way, found: &Found, column: &str, expected: way::Outcome) -> bool {
    let (word, why, well) = match found {
        Found::Ended(outcome) => (outcome.word(), String::new(), expected.met_by(*outcome)),
        Found::NotTried(why) => ("not tried here", why.clone(), true),
        Found::Nothing(why) => ("no finding", why.clone(), false),
    };
    let plain = |word: &str| word.replace('*', "");
    if options.json {
        let line = json!({
            "name": way.name, "tries": way.tries, "class": way.class.word(), "rule": way.rule,
            "column": column.replace('`', ""), "outcome": plain(word), "why": why,
            "expected": plain(expected.word()), "as_expected": well,
        });
        println!("{line}");
    } else {
        let mark = if well { "ok" } else { "NOT" };
        println!("{mark:4} {:32} {} (expected: {}) {why}", way.name, plain(word), plain(expected.word()));
    }
    well
}

/// Writes the page's table, or finds where it differs; whether it is right.
fn compare(page: &Path, write: bool, table: &str) -> bool {
    let done = if write { table::write(page, table).map(|()| None) } else { table::difference(page, table) };
    let problem = match done {
        Ok(None) => return true,
        Ok(Some(difference)) => difference,
        Err(error) => error.to_string(),
    };
    eprintln!("{}: {problem}\nto write it anew: cargo xtask evasion --write", page.display());
    false
}
