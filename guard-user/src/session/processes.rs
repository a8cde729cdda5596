//! What is known of each guarded process, from what the kernel told when it could be seen.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::sync::Arc;

use guard_common::tree::Id;

/// Processes that have ended and are still remembered: records of the bulk may arrive after the end.
const REMEMBERED: usize = 4096;
/// Images of one process that are remembered.
const IMAGES: usize = 8;

/// What a process runs, since an exec.
#[derive(Debug, Default)]
pub struct Image {
    /// The kernel's number of this exec, as in [`guard_common::tree::Member::image`].
    pub id: Id,
    /// True path of the executable; empty if unknown.
    pub exe: OsString,
    /// Command line, secrets removed.
    pub argv: Vec<String>,
    /// Working folder at exec; empty if unknown.
    pub cwd: String,
}

/// A process by id and start, and what it ran since when.
type Images = HashMap<(u32, u64), VecDeque<(u64, Arc<Image>)>>;

/// The processes by id and start.
#[derive(Default)]
pub struct Processes {
    known: Images,
    ended: VecDeque<(u32, u64)>,
}

impl Processes {
    /// A process runs `image` since `time` (nanoseconds since boot).
    pub fn executed(&mut self, pid: u32, start: u64, time: u64, image: Image) {
        let images = self.known.entry((pid, start)).or_default();
        if images.len() == IMAGES {
            images.pop_front();
        }
        images.push_back((time, Arc::new(image)));
    }

    /// `child` runs what `parent` ran at `time`.
    pub fn forked(&mut self, parent: Option<(u32, u64)>, child: (u32, u64), time: u64) {
        if let Some(image) = parent.and_then(|(pid, start)| self.image(pid, start, time)) {
            self.known.insert(child, VecDeque::from([(time, image)]));
        }
    }

    /// The process with this id that is known to run now.
    #[must_use]
    pub fn running(&self, pid: u32) -> Option<(u32, u64)> {
        self.known.keys().filter(|(known, _)| *known == pid).max_by_key(|(_, start)| *start).copied()
    }

    /// A process has ended.
    pub fn exited(&mut self, pid: u32, start: u64) {
        self.ended.push_back((pid, start));
        if self.ended.len() > REMEMBERED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// What a process ran at `time`.
    #[must_use]
    pub fn image(&self, pid: u32, start: u64, time: u64) -> Option<Arc<Image>> {
        let images = self.known.get(&(pid, start))?;
        images.iter().rev().find(|(since, _)| *since <= time).or(images.front()).map(|(_, image)| Arc::clone(image))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(exe: &str) -> Image {
        Image { exe: exe.into(), ..Image::default() }
    }

    #[test]
    fn late_records_find_the_image_of_their_time() {
        let mut processes = Processes::default();
        processes.executed(7, 1, 10, image("sh"));
        processes.forked(Some((7, 1)), (8, 2), 15);
        processes.executed(8, 2, 20, image("cat"));
        processes.exited(8, 2);
        assert_eq!(processes.image(8, 2, 17).expect("known").exe, "sh");
        assert_eq!(processes.image(8, 2, 25).expect("known").exe, "cat");
        assert!(processes.image(8, 3, 25).is_none());
    }
}
