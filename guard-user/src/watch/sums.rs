//! Allowed operations by their number, for those who follow what happens and need not be told of each: once in a while, what
//! a process has done since, each object once.
//!
//! Counting one takes a small part of what it takes to put an event together, to send it, and to read it at the other end.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use guard_common::event::{FLAG_PATH_UNKNOWN, Head};
use guard_common::words::{Action, Op};

use super::{Watch, tell};
use crate::record::decode::{Body, Record};
use crate::record::event::Counted;
use crate::record::stream::Of;
use crate::session::Image;

/// Different things that are counted before they are told, whether it is time or not.
const MAX_THINGS: usize = 16_384;

/// The `op` of an event that tells numbers.
pub(super) const OP: &str = "counted";

/// What was counted and not told yet, by process.
#[derive(Default)]
pub(super) struct Sums {
    processes: HashMap<(u32, u64), Vec<Sum>>,
    things: usize,
}

/// What a process did while it ran one program, for one call.
struct Sum {
    /// Of the first record.
    head: Head,
    image: Option<Arc<Image>>,
    things: HashMap<(u8, Thing), u64>,
}

/// What something was done to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Thing {
    /// Nothing that has a name.
    Unknown,
    /// A file or a unix socket.
    Path(Bytes),
    /// An address, with its port.
    Address(IpAddr, u16, Option<&'static str>),
}

impl Sums {
    fn add(&mut self, record: &Record, image: Option<Arc<Image>>) {
        let head = &record.head;
        let sums = self.processes.entry((head.tgid, head.start)).or_default();
        let same = |sum: &Sum| {
            let (one, other) = (sum.image.as_ref().map(Arc::as_ptr), image.as_ref().map(Arc::as_ptr));
            one == other && sum.head.call == head.call && sum.head.tree == head.tree && sum.head.uid == head.uid
        };
        let sum = match sums.iter().position(same) {
            Some(at) => &mut sums[at],
            None => sums.push_mut(Sum { head: *head, image, things: HashMap::new() }),
        };
        let count = sum.things.entry((head.op, Thing::of(record))).or_default();
        *count += 1;
        self.things += usize::from(*count == 1);
    }
}

impl Thing {
    fn of(record: &Record) -> Self {
        let path = |path: &Bytes| {
            let known = record.head.flags & FLAG_PATH_UNKNOWN == 0 && !path.is_empty();
            if known { Self::Path(path.clone()) } else { Self::Unknown }
        };
        match &record.body {
            Body::Open { path: of, .. } | Body::Attempt { path: of, .. } => path(of),
            Body::Connect { body, path: of } => match tell::address_of(body) {
                Some((address, port)) => Self::Address(address, port, tell::protocol(body)),
                None => path(of),
            },
            _ => Self::Unknown,
        }
    }

    /// As it is told.
    fn counted(self, op: u8, count: u64) -> Counted {
        let (mut path, mut addr, mut port, mut proto) = (None, None, None, None);
        match self {
            Self::Unknown => {}
            Self::Path(bytes) => path = tell::known(&bytes),
            Self::Address(address, number, protocol) => {
                (addr, port, proto) = (Some(address.to_string()), Some(number), protocol);
            }
        }
        Counted { op: Op::from_number(op).map_or("unknown", Op::word), count, path, addr, port, proto }
    }
}

impl Watch<'_> {
    /// Counts what a record tells, if it is an allowed operation that somebody wants counted.
    pub(super) fn sum(&mut self, record: &Record) {
        let head = &record.head;
        let counts = matches!(record.body, Body::Open { .. } | Body::Connect { .. } | Body::Attempt { .. })
            && head.action == Action::Allow as u8;
        if !counts || !self.stream.as_ref().is_some_and(|stream| stream.wanted(Of::Counted)) {
            return;
        }
        let image = self.processes.image(head.tgid, head.start, head.time);
        self.sums.add(record, image);
        if self.sums.things >= MAX_THINGS {
            self.tell_sums();
        }
    }

    /// Tells what was counted of a process: it is about to be another, or has ended.
    pub(super) fn tell_sums_of(&mut self, pid: u32, start: u64) {
        let sums = self.sums.processes.remove(&(pid, start)).unwrap_or_default();
        for sum in sums {
            self.tell_sum(sum);
        }
    }

    /// Tells what was counted.
    pub(super) fn tell_sums(&mut self) {
        let sums = std::mem::take(&mut self.sums);
        for sum in sums.processes.into_values().flatten() {
            self.tell_sum(sum);
        }
    }

    fn tell_sum(&mut self, sum: Sum) {
        self.sums.things = self.sums.things.saturating_sub(sum.things.len());
        let mut event = self.event_of_head(&sum.head);
        event.op = OP;
        event.counts = sum.things.into_iter().map(|((op, thing), count)| thing.counted(op, count)).collect();
        event.count = Some(event.counts.iter().map(|counted| counted.count).sum());
        if self.put(&event) {
            self.follow(&event, Of::Counted, Some(sum.head.tree));
        }
    }
}
