//! Several machines beside each other.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::guest::{self, Report, Task};
use crate::say;

/// The most machines at once. Each keeps one processor busy, and takes up to 2 GiB of memory.
const MOST: usize = 4;

/// What a machine has to say.
pub enum Said {
    Line(String),
    /// How it went. Nothing comes after it.
    Ended(Report),
}

/// Has machines do their tasks, as many at once as there are processors for. What they say is handed over with the place in
/// the list of the one that says it, and as if each had begun when the one before it had ended: what comes earlier waits.
pub fn run(tasks: &[Task], hear: &mut dyn FnMut(usize, Said)) {
    let at_once = thread::available_parallelism().map_or(1, NonZero::get).min(MOST).min(tasks.len());
    let next = AtomicUsize::new(0);
    let (sender, said) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..at_once {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some((place, task)) = taken(tasks, next) {
                    // The other end is there until all of these threads are done.
                    let tell = |said| sender.send((place, said)).unwrap_or_default();
                    say::step(&format!("booting Linux {} in a virtual machine", task.title()));
                    tell(Said::Ended(guest::run(task, &mut |line| tell(Said::Line(line.to_owned())))));
                }
            });
        }
        drop(sender);
        in_order(tasks.len(), said.iter(), hear);
    });
}

fn taken<'a>(tasks: &'a [Task], next: &AtomicUsize) -> Option<(usize, &'a Task)> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    Some((place, tasks.get(place)?))
}

/// Hands over what several say, one after the other.
fn in_order(count: usize, all: impl Iterator<Item = (usize, Said)>, hear: &mut dyn FnMut(usize, Said)) {
    let mut waiting: Vec<VecDeque<Said>> = (0..count).map(|_| VecDeque::new()).collect();
    let mut turn = 0;
    for (place, said) in all {
        waiting[place].push_back(said);
        while let Some(said) = waiting.get_mut(turn).and_then(VecDeque::pop_front) {
            let ended = matches!(said, Said::Ended(_));
            hear(turn, said);
            turn += usize::from(ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_early_waits_for_its_turn() {
        let line = |place, text: &str| (place, Said::Line(text.to_owned()));
        let ended = |place| (place, Said::Ended(Report::default()));
        let said = [line(1, "b"), line(0, "a"), ended(2), ended(1), line(0, "c"), ended(0)];
        let mut heard = Vec::new();
        in_order(3, said.into_iter(), &mut |place, said| {
            heard.push((place, if let Said::Line(text) = said { text } else { "ended".to_owned() }));
        });
        let heard: Vec<(usize, &str)> = heard.iter().map(|(place, text)| (*place, text.as_str())).collect();
        assert_eq!(heard, [(0, "a"), (0, "c"), (0, "ended"), (1, "b"), (1, "ended"), (2, "ended")]);
    }
}
