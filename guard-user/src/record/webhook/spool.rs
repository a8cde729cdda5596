//! Where events wait until they were delivered: a folder of files, a batch each, named in the order in which they came.
//!
//! A file is written to until it is full or its turn to be sent has come, never after that. It is removed once it was delivered. So
//! what is there after a crash is what may not have been delivered, in the same batches under the same names.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;

/// Bytes of a batch, at most, unless a single event has more.
const BATCH: u64 = 256 << 10;
/// How the files end.
const ENDING: &str = ".jsonl";
/// Held by whoever uses the folder.
const LOCK: &str = "lock";

/// A batch to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Names it; the same whenever it is sent.
    pub key: String,
    /// Lines of the record, each ended.
    pub lines: Bytes,
    /// How many.
    pub events: u64,
}

/// A file of it.
#[derive(Clone, Debug)]
struct Entry {
    name: String,
    events: u64,
    bytes: u64,
}

/// Events that wait.
pub struct Spool {
    folder: PathBuf,
    entries: VecDeque<Entry>,
    /// The last of them, if it is still written to.
    open: Option<File>,
    /// The first of them is being sent.
    sending: bool,
    /// It was said that nothing can be written.
    complained: bool,
    /// What names made by this process end in: numbers begin anew where nothing has waited.
    run: String,
    number: u64,
    /// Events of a batch, bytes of a batch, bytes of all, at most.
    limits: (u64, u64, u64),
    // Held as long as this is.
    _lock: File,
}

impl Spool {
    /// Opens the folder, which is made where it is missing; also how many events in it are lost.
    ///
    /// # Errors
    /// If it can't be read or written, or another guard uses it.
    pub fn open(folder: &Path, batch: u64, size: u64) -> anyhow::Result<(Self, u64)> {
        let what = || format!("events can't wait in {}", folder.display());
        // They may hold what others must not read.
        DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(what)?;
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(folder.join(LOCK));
        let lock = lock.with_context(what)?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(anyhow::anyhow!("another guard uses it")).with_context(what),
            Err(TryLockError::Error(error)) => return Err(error).with_context(what),
            Ok(()) => {}
        }
        let run = fs::read_to_string("/proc/sys/kernel/random/uuid").context("no random numbers")?;
        let mut spool = Self {
            folder: folder.to_owned(),
            entries: VecDeque::new(),
            open: None,
            sending: false,
            complained: false,
            run: run.trim().to_owned(),
            number: 0,
            limits: (batch.max(1), BATCH.min(size / 8), size),
            _lock: lock,
        };
        let lost = spool.find().with_context(what)?;
        let over = spool.make_room();
        Ok((spool, lost + over))
    }

    /// Finds what an earlier guard has left; how many events of that are not whole.
    fn find(&mut self) -> anyhow::Result<u64> {
        let mut names: Vec<String> = fs::read_dir(&self.folder)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(ENDING))
            .collect();
        names.sort_unstable();
        let mut lost = 0;
        for name in names {
            let path = self.folder.join(&name);
            let text = fs::read(&path).with_context(|| path.display().to_string())?;
            // The machine may have gone down in the middle of a line.
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
            if whole < text.len() {
                lost += 1;
                OpenOptions::new().write(true).open(&path)?.set_len(whole as u64)?;
            }
            if whole == 0 {
                fs::remove_file(&path)?;
                continue;
            }
            let events = text[..whole].split_inclusive(|byte| *byte == b'\n').count() as u64;
            let number = name.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(0);
            self.number = self.number.max(number);
            self.entries.push_back(Entry { name, events, bytes: whole as u64 });
        }
        Ok(lost)
    }

    /// Events that wait.
    pub fn events(&self) -> u64 {
        self.entries.iter().map(|entry| entry.events).sum()
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.bytes).sum()
    }

    /// Adds an event, a line without its end; how many events were dropped for it, itself where it can't be written.
    pub fn add(&mut self, line: &[u8]) -> u64 {
        match self.write(line) {
            Ok(()) => {
                self.complained = false;
                self.make_room()
            }
            Err(error) => {
                // Once for as long as it lasts.
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::error!("events for the webhook can't be written to {}: {error}", self.folder.display());
                }
                1
            }
        }
    }

    fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        let (events, bytes, _) = self.limits;
        let full = self.entries.back().is_none_or(|last| last.events >= events || last.bytes >= bytes);
        if full || self.open.is_none() {
            let name = format!("{:020}-{}{ENDING}", self.number + 1, self.run);
            let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(self.folder.join(&name))?;
            self.number += 1;
            self.open = Some(file);
            self.entries.push_back(Entry { name, events: 0, bytes: 0 });
        }
        let (Some(file), Some(entry)) = (&mut self.open, self.entries.back_mut()) else { return Ok(()) };
        let mut whole = Vec::with_capacity(line.len() + 1);
        whole.extend_from_slice(line);
        whole.push(b'\n');
        if let Err(error) = file.write_all(&whole) {
            // Half a line is none. Should it stay, no other may follow it.
            if file.set_len(entry.bytes).is_err() {
                self.open = None;
            }
            return Err(error);
        }
        entry.events += 1;
        entry.bytes += whole.len() as u64;
        Ok(())
    }

    /// Drops the oldest until what waits is within its limit, but not what is being sent; how many events that were.
    fn make_room(&mut self) -> u64 {
        let mut dropped = 0;
        while self.bytes() > self.limits.2 {
            let Some(entry) = self.entries.remove(usize::from(self.sending)) else { break };
            if self.entries.len() == usize::from(self.sending) {
                self.open = None;
            }
            dropped += entry.events;
            self.remove(&entry.name);
        }
        dropped
    }

    /// The oldest batch, which is not written to any more; and how many events had to be dropped to get there. It stays until
    /// it is [settled](Self::settled).
    pub fn oldest(&mut self) -> (Option<Batch>, u64) {
        let mut dropped = 0;
        while let Some(entry) = self.entries.front() {
            if self.entries.len() == 1 {
                self.open = None;
            }
            match read(&self.folder.join(&entry.name), entry.bytes) {
                Ok(lines) if !lines.is_empty() => {
                    self.sending = true;
                    let key = entry.name.trim_end_matches(ENDING).to_owned();
                    return (Some(Batch { key, lines: lines.into(), events: entry.events }), dropped);
                }
                result => {
                    if let Err(error) = result {
                        tracing::error!(
                            "{} events for the webhook are lost with {}: {error}",
                            entry.events,
                            entry.name
                        );
                    }
                    dropped += entry.events;
                    let name = entry.name.clone();
                    self.entries.pop_front();
                    self.remove(&name);
                }
            }
        }
        (None, dropped)
    }

    /// A batch was delivered, or will never be.
    pub fn settled(&mut self, batch: &Batch) {
        self.sending = false;
        if let Some(entry) = self.entries.pop_front_if(|entry| entry.name.starts_with(&batch.key)) {
            self.remove(&entry.name);
        }
    }

    fn remove(&self, name: &str) {
        if let Err(error) = fs::remove_file(self.folder.join(name)) {
            tracing::error!("{name} can't be removed from {}: {error}", self.folder.display());
        }
    }
}

/// The first `bytes` of a file.
fn read(path: &Path, bytes: u64) -> std::io::Result<Vec<u8>> {
    let mut lines = Vec::with_capacity(bytes as usize);
    File::open(path)?.take(bytes).read_to_end(&mut lines)?;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of a test's own.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("guard-spool-{}-{name}", std::process::id()));
            let _absent = fs::remove_dir_all(&path);
            Self(path)
        }

        fn open(&self, batch: u64, size: u64) -> (Spool, u64) {
            Spool::open(&self.0, batch, size).expect("a spool")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _absent = fs::remove_dir_all(&self.0);
        }
    }

    fn next(spool: &mut Spool) -> Option<Batch> {
        let (batch, dropped) = spool.oldest();
        assert_eq!(dropped, 0);
        batch
    }

    #[test]
    fn what_waits_comes_out_in_order_and_in_batches() {
        let folder = Folder::new("order");
        let (mut spool, lost) = folder.open(2, 1 << 20);
        assert_eq!((lost, next(&mut spool)), (0, None));
        for line in ["a", "b", "c"] {
            assert_eq!(spool.add(line.as_bytes()), 0);
        }
        let first = next(&mut spool).expect("a batch");
        assert_eq!((&first.lines[..], first.events), (&b"a\nb\n"[..], 2));
        assert_eq!(next(&mut spool).as_ref(), Some(&first), "it stays until it is settled");
        spool.settled(&first);
        let second = next(&mut spool).expect("a batch");
        assert_eq!(&second.lines[..], b"c\n");
        // What is being sent does not change any more.
        spool.add(b"d");
        assert_eq!(next(&mut spool).as_ref(), Some(&second));
        spool.settled(&second);
        assert_eq!((spool.events(), spool.bytes()), (1, 2));
        let third = next(&mut spool).expect("a batch");
        spool.settled(&third);
        assert_eq!((&third.lines[..], next(&mut spool), spool.events()), (&b"d\n"[..], None, 0));
    }

    #[test]
    fn what_was_not_delivered_is_there_afterwards_under_the_same_key() {
        let folder = Folder::new("again");
        let (mut spool, _) = folder.open(2, 1 << 20);
        assert_eq!((0..3).map(|number| spool.add(format!("{number}").as_bytes())).sum::<u64>(), 0);
        let first = next(&mut spool).expect("a batch");
        assert!(Spool::open(&folder.0, 2, 1 << 20).is_err(), "two use it at once");
        drop(spool);
        // Half a line, as after a power failure.
        let last = fs::read_dir(&folder.0).expect("a folder").filter_map(Result::ok).map(|entry| entry.path());
        let last = last.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).max().expect("a file");
        OpenOptions::new().append(true).open(last).expect("a file").write_all(b"{\"hal").expect("written");
        let (mut spool, lost) = folder.open(2, 1 << 20);
        assert_eq!((lost, spool.events()), (1, 3));
        spool.add(b"3");
        assert_eq!(next(&mut spool).as_ref(), Some(&first));
        spool.settled(&first);
        let second = next(&mut spool).expect("a batch");
        assert_eq!(&second.lines[..], b"2\n");
        spool.settled(&second);
        let third = next(&mut spool).expect("a batch");
        assert_eq!(&third.lines[..], b"3\n");
        assert!(first.key < second.key && second.key < third.key, "{first:?} {second:?} {third:?}");
        spool.settled(&third);
        drop(spool);
        // A key is never used again, not even after nothing was left.
        let (mut spool, _) = folder.open(2, 1 << 20);
        spool.add(b"4");
        let fourth = next(&mut spool).expect("a batch");
        assert!([first, second, third].iter().all(|batch| batch.key != fourth.key), "{fourth:?}");
    }

    #[test]
    fn without_room_the_oldest_goes_but_not_what_is_being_sent() {
        let folder = Folder::new("full");
        let (mut spool, _) = folder.open(10, 1000);
        let line = [b'x'; 99];
        let mut dropped = spool.add(&line);
        let sending = next(&mut spool).expect("a batch");
        for _ in 0..50 {
            dropped += spool.add(&line);
            assert!(spool.bytes() <= 1000, "{}", spool.bytes());
        }
        assert_eq!(dropped + spool.events(), 51);
        assert!(dropped >= 41, "{dropped}");
        assert_eq!(next(&mut spool).as_ref(), Some(&sending));
        spool.settled(&sending);
        // One that is larger than all there is room for.
        let events = spool.events();
        assert_eq!(spool.add(&[b'y'; 2000]), events + 1);
        assert_eq!((spool.events(), spool.bytes(), next(&mut spool)), (0, 0, None));
        assert_eq!(spool.add(&line), 0);
        assert_eq!(next(&mut spool).expect("a batch").events, 1);
    }
}
