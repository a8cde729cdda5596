//! A record, played with its own timing.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::{Shared, Source, Worker};
use crate::top::app::{Abilities, Act};
use crate::top::model::Model;
use crate::top::seen::Seen;
use crate::top::when;

/// Longest line that is taken for an event, in bytes.
const MAX_LINE: u64 = 1 << 20;
/// Events that are handed over before the screen has its turn.
const BATCH: usize = 512;
/// How often it is looked what is due.
const STEP: Duration = Duration::from_millis(50);
/// How long is slept at least: what is due meanwhile comes together, as a screen shows it together anyway. Waking up for each
/// event would take more than the event does.
const SLEEP: Duration = Duration::from_millis(10);
/// Pauses between two events that are longer than this are cut to it, in nanoseconds of the record.
const LONGEST_GAP: u64 = 3600 * when::SECOND;

/// A record that is played.
#[derive(Debug)]
pub struct Replay {
    name: String,
    shared: Arc<Shared>,
    worker: Worker,
}

impl Replay {
    /// Plays the record at `path`; `-` is standard input.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn start(path: &Path, shared: &Arc<Shared>) -> anyhow::Result<Self> {
        let file: Box<dyn Read + Send> = if path.as_os_str() == "-" {
            Box::new(std::io::stdin())
        } else {
            let file = File::open(path).with_context(|| {
                format!(
                    "the record {} can't be opened; guard run --events FILE and guard daemon --events FILE make one",
                    path.display()
                )
            })?;
            Box::new(file)
        };
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        let (worker_shared, path) = (Arc::clone(shared), path.display().to_string());
        let worker = Worker::start("guard-replay", move || {
            play(file, &worker_shared).with_context(|| format!("the record {path} can't be read"))
        })?;
        Ok(Self { name, shared: Arc::clone(shared), worker })
    }
}

impl Source for Replay {
    fn name(&self) -> String {
        let speed = self.shared.speed();
        if speed.is_finite() { format!("replay {} x{speed}", self.name) } else { format!("replay {}", self.name) }
    }

    fn abilities(&self) -> Abilities {
        let why = || Err("a record is played, nothing of it runs any more".to_owned());
        Abilities { kill: why(), mode: why(), speed: true }
    }

    fn act(&self, _: &Act) {}

    fn failure(&mut self) -> Option<anyhow::Error> {
        self.worker.failure()
    }

    fn join(&mut self) {
        // It may wait for somebody to write; the process's end ends it too.
        if self.shared.complete() {
            self.worker.join();
        }
    }
}

/// The time of a record, as it runs on with the clock on the wall.
struct Clock {
    /// Where the record was when the clock was last set, and when that was.
    set: Option<(u64, Instant)>,
    speed: f64,
    /// The latest time of an event.
    latest: u64,
}

impl Clock {
    /// What time it is in the record.
    fn now(&self) -> u64 {
        match self.set {
            Some(_) if !self.speed.is_finite() => u64::MAX,
            Some((time, at)) => time + (at.elapsed().as_nanos() as f64 * self.speed) as u64,
            None => 0,
        }
    }

    /// Runs on from here, at this speed.
    fn set(&mut self, time: u64, speed: f64) {
        (self.set, self.speed) = (Some((time, Instant::now())), speed);
    }
}

fn play(file: Box<dyn Read + Send>, shared: &Shared) -> anyhow::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut times = when::Reader::default();
    let mut clock = Clock { set: None, speed: shared.speed(), latest: 0 };
    let mut line = Vec::new();
    let mut model = shared.model();
    let (mut batch, mut due) = (0, 0);
    while !shared.stopped() {
        line.clear();
        let length = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if length == 0 {
            break;
        }
        let text = std::str::from_utf8(&line).unwrap_or_default();
        let Ok(seen) = Seen::parse(text) else {
            model.garbage += u64::from(!text.trim_ascii().is_empty() || line.len() > 1);
            continue;
        };
        let time = times.read(&seen.time).unwrap_or(clock.latest);
        if clock.set.is_none() || time > clock.latest + LONGEST_GAP {
            clock.set(time, shared.speed());
        }
        clock.latest = clock.latest.max(time);
        if time > due || batch >= BATCH {
            drop(model);
            due = wait(time, &mut clock, shared);
            model = shared.model();
            batch = 0;
        }
        model.apply(&seen);
        batch += 1;
    }
    drop(model);
    shared.set_complete();
    shared.set_state(Some("at its end".to_owned()));
    Ok(())
}

/// Waits until this time has come in the record, and gives the time that has come by then; the model's time goes on
/// meanwhile.
fn wait(time: u64, clock: &mut Clock, shared: &Shared) -> u64 {
    loop {
        let mut now = clock.now();
        if shared.paused() {
            while shared.paused() && !shared.stopped() {
                std::thread::sleep(STEP);
            }
            clock.set(now.min(time), shared.speed());
            now = clock.now();
        }
        #[expect(clippy::float_cmp, reason = "it is another number, or the very same")]
        if clock.speed != shared.speed() {
            clock.set(now.min(time), shared.speed());
        }
        if now >= time || shared.stopped() {
            return now;
        }
        advance(&mut shared.model(), now);
        let left = Duration::from_nanos(((time - now) as f64 / clock.speed) as u64);
        std::thread::sleep(left.clamp(SLEEP, STEP));
    }
}

fn advance(model: &mut Model, now: u64) {
    if model.began > 0 {
        model.advance(now);
    }
}
