//! A line on the terminal of a session.
//!
//! The terminal is what the session's first process has as such when the session begins. It is held by a descriptor that only names
//! it, which keeps nothing open: it hangs up when it would have, and another that is given its number is another one. It is
//! opened for each line and never waited for.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use procfs::process::Process;

use super::limit::Limit;
use crate::record::event::Event;
use crate::record::sentence::Sentence;

/// Lines on one terminal, and in which time.
const LINES: (u32, Duration) = (4, Duration::from_secs(5));
/// Longest line, in characters.
const LONGEST: usize = 500;
/// How long a line is tried that the terminal does not take.
const KEPT: Duration = Duration::from_secs(10);
/// Parents that are asked for a terminal that is their child's too.
const PARENTS: usize = 16;
/// Terminals that programs make for each other, by major number.
const PTS: std::ops::RangeInclusive<u32> = 136..=143;

/// The sessions' terminals.
#[derive(Default)]
pub struct Terminals {
    /// By tree.
    of: HashMap<String, Terminal>,
    /// Those of sessions that are over, which have lines left.
    over: Vec<Terminal>,
}

impl Terminals {
    /// A session begins: finds its terminal.
    pub fn begins(&mut self, event: &Event) {
        if let (Some(tree), Some(process)) = (&event.tree, &event.process)
            && let Some(terminal) = Terminal::of(process.pid, process.start)
        {
            self.of.insert(tree.clone(), terminal);
        }
    }

    /// A session is over.
    pub fn ends(&mut self, event: &Event) {
        if let Some(mut terminal) = event.tree.as_ref().and_then(|tree| self.of.remove(tree)) {
            terminal.rest(None);
            self.over.push(terminal);
            self.over.retain(|terminal| !terminal.lines.is_empty());
        }
    }

    /// Something was denied.
    pub fn tell(&mut self, event: &Event, said: &Sentence, now: Instant) {
        let terminal = event.tree.as_ref().and_then(|tree| self.of.get_mut(tree));
        if let Some(terminal) = terminal
            && terminal.limit.pass(now)
        {
            let line = said.to_string();
            let end = line.char_indices().nth(LONGEST).map_or(line.len(), |(end, _)| end);
            terminal.write(&format!("{}{}", &line[..end], if end < line.len() { "…" } else { "" }));
        }
    }

    /// Tells how many more there were, where it is time, and what could not be written before.
    pub fn tick(&mut self, now: Instant) {
        self.of.values_mut().for_each(|terminal| terminal.rest(Some(now)));
        self.over.iter_mut().for_each(Terminal::write_on);
        self.over.retain(|terminal| !terminal.lines.is_empty());
    }
}

/// A session's terminal.
struct Terminal {
    /// Names it.
    named: File,
    /// It was made by a program, such as a terminal emulator or sshd.
    made: bool,
    /// The session's first process.
    process: (u32, u64),
    /// The number of what controls that process, or 0.
    controls: u64,
    limit: Limit,
    /// Lines that were not written yet, and since when they should have been.
    lines: VecDeque<(String, Instant)>,
}

impl Terminal {
    /// The terminal of the process that has this id and start, if it has one that is not guard's own.
    fn of(pid: u32, start: u64) -> Option<Self> {
        let controlling = controlling(pid, start)?;
        let named = match controlling {
            // Whoever has it as an output or input, be it a parent: all that has the same number is the same terminal.
            0 => output(pid, |found| PTS.contains(&libc::major(found))),
            number => {
                let mut family = std::iter::successors(Some(pid), |pid| parent(*pid)).take(PARENTS);
                family.find_map(|pid| output(pid, |found| encoded(found) == number))
            }
        }?;
        let limit = Limit::new(LINES.0, LINES.1);
        let made = PTS.contains(&libc::major(named.metadata().ok()?.rdev()));
        let found = Self { named, made, process: (pid, start), controls: controlling, limit, lines: VecDeque::new() };
        // There the log is.
        (!found.is_our_own()).then_some(found)
    }

    fn is_our_own(&self) -> bool {
        let own = nix::sys::stat::fstat(std::io::stderr().as_fd());
        let named = self.named.metadata();
        own.is_ok_and(|own| named.is_ok_and(|named| (own.st_dev, own.st_ino) == (named.dev(), named.ino())))
    }

    /// Whether nobody else can have it by now: one that programs make for each other ends when they are done with it, and any
    /// other, to which somebody else logs in afterwards, has to be that of the session's first process still.
    fn still_theirs(&self) -> bool {
        let (pid, start) = self.process;
        self.made || controlling(pid, start) == Some(self.controls)
    }

    /// How many were held back: at its time, or at the end.
    fn rest(&mut self, now: Option<Instant>) {
        let now = now.unwrap_or_else(|| Instant::now() + LINES.1);
        if let Some(held) = self.limit.held(now) {
            self.write(&format!("{held} more were stopped"));
        }
        self.write_on();
    }

    /// Writes a line, at once or at one of the next ticks.
    fn write(&mut self, line: &str) {
        // A program that draws has switched off that a line ends where the next begins.
        self.lines.push_back((format!("\r\nguard: {line}\r\n"), Instant::now()));
        self.write_on();
    }

    /// Writes what there is, as far as that is possible without waiting: while somebody else is writing, the kernel takes
    /// nothing (`drivers/tty/tty_io.c:tty_write_lock`), and a terminal that nobody reads takes nothing any more. What can't be written
    /// for long is nobody's loss.
    fn write_on(&mut self) {
        self.lines.retain(|(_, since)| since.elapsed() < KEPT);
        if self.lines.is_empty() {
            return;
        }
        if !self.still_theirs() {
            self.lines.clear();
            return;
        }
        // The descriptor leads to what it names, whatever has that name by now.
        let path = format!("/proc/self/fd/{}", self.named.as_raw_fd());
        let flags = libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let Ok(mut terminal) = OpenOptions::new().write(true).custom_flags(flags).open(path) else { return };
        while let Some((line, _)) = self.lines.front() {
            if terminal.write(line.as_bytes()).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                return;
            }
            self.lines.pop_front();
        }
    }
}

/// The number of the terminal that controls a process, as the kernel writes it, or 0 where none does; nothing where the
/// process is gone.
fn controlling(pid: u32, start: u64) -> Option<u64> {
    let stat = Process::new(pid as i32).and_then(|process| process.stat()).ok()?;
    let tick = 1_000_000_000 / procfs::ticks_per_second();
    (stat.starttime == start / tick).then_some(u64::from(stat.tty_nr as u32))
}

fn parent(pid: u32) -> Option<u32> {
    let stat = Process::new(pid as i32).and_then(|process| process.stat()).ok()?;
    (stat.ppid > 1).then_some(stat.ppid as u32)
}

/// What a process writes errors or anything else to, or reads from, if its number is the one that is looked for. It is not
/// opened: that could do something, where it is no terminal.
fn output(pid: u32, is_it: impl Fn(u64) -> bool) -> Option<File> {
    [2, 1, 0].into_iter().find_map(|fd| {
        let path = format!("/proc/{pid}/fd/{fd}");
        let named = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(Path::new(&path));
        let named = named.ok()?;
        let about = named.metadata().ok()?;
        (about.file_type().is_char_device() && is_it(about.rdev())).then_some(named)
    })
}

/// A device's number as /proc has it.
fn encoded(number: u64) -> u64 {
    let (major, minor) = (u64::from(libc::major(number)), u64::from(libc::minor(number)));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_the_kernel_writes_them() {
        assert_eq!(encoded(libc::makedev(136, 3)), 0x8803);
        assert_eq!(encoded(libc::makedev(136, 300)), 0x0010_882c);
    }

    #[test]
    fn who_is_gone_has_none() {
        assert!(Terminal::of(std::process::id(), 1).is_none(), "another process had this id");
        assert!(Terminal::of(u32::MAX >> 1, 1).is_none());
    }
}
