//! How many events come through to a file, and whether what does not is told.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::time::Instant;

use serde_json::Value;
use support::place::Scratch;

use crate::loops::{FILE, NOTED};
use crate::worker::{Worker, run};

/// Processes that open files at once.
const PROCESSES: usize = 2;

/// What became of a flood.
pub struct Flood {
    /// Opens there were, those to be noted left out.
    pub opened: u64,
    /// Opens whose verdict is to be told.
    pub noted: u64,
    /// Events of opens that were written.
    pub received: u64,
    /// Noted opens that were written.
    pub noted_received: u64,
    /// Bulk events that guard says were lost.
    pub lost: u64,
    /// Other losses.
    pub other: Vec<Value>,
    /// How long it took.
    pub seconds: f64,
    /// How long it took until the last event was written and guard had ended.
    pub drained: f64,
}

impl Flood {
    /// No verdict was lost, and every lost event was counted.
    pub fn sound(&self) -> bool {
        let exact = self.opened == self.received + self.lost;
        if !exact {
            println!("{} opens, but {} events and {} losses", self.opened, self.received, self.lost);
        }
        for other in &self.other {
            println!("lost: {other}");
        }
        exact && self.noted == self.noted_received && self.other.is_empty()
    }
}

/// Has two processes open files, `rate` a second together or, where that is 0, as fast as it goes.
pub fn flood(scratch: &Scratch, seconds: f64, rate: u64) -> Flood {
    let path = scratch.join("events.jsonl");
    let mut front = run(scratch, "noted.toml");
    front.arg("--json").arg("--events").arg(&path);
    let mut worker = Worker::under(scratch, front);
    let began = Instant::now();
    let (opened, noted) = worker.order(&format!("flood {seconds} {rate} {PROCESSES}"));
    let took = began.elapsed().as_secs_f64();
    worker.stop();
    let drained = began.elapsed().as_secs_f64();
    let mut flood = Flood {
        opened: opened as u64,
        noted: noted as u64,
        received: 0,
        noted_received: 0,
        lost: 0,
        other: Vec::new(),
        seconds: took.max(seconds),
        drained,
    };
    let (file, noted) = (format!("/{FILE}\""), format!("/{NOTED}\""));
    let events = BufReader::new(File::open(&path).expect("there are events"));
    for line in events.lines().map(|line| line.expect("text")) {
        if line.contains(&file) {
            flood.received += 1;
        } else if line.contains(&noted) {
            flood.noted_received += 1;
        } else if line.contains("\"op\":\"lost\"") {
            let event: Value = serde_json::from_str(&line).expect("JSON");
            match event["kind"].as_str() {
                Some("bulk-ring-full") => flood.lost += event["count"].as_u64().expect("a number"),
                _ => flood.other.push(event),
            }
        }
    }
    fs::remove_file(path).expect("the events can be removed");
    flood
}
