//! What happened is counted, told, written, and handed to those who follow; so is what was lost.

use bytes::Bytes;
use guard_common::event::FLAG_ENFORCED;
use guard_common::tree::{COUNT_VERDICT_RING_FULL, COUNTERS, Id, TOLD_IN_EVENTS};
use guard_common::words::{Action, Mode, Op};

use super::{Watch, prevented};
use crate::prevent::Prevention;
use crate::record::decode::{Body, Record};
use crate::record::event::Event;
use crate::record::stream::{Audience, Of, Told};
use crate::record::webhook::{self, Webhook};
use crate::record::{Sink, clock};

/// Bytes of events that gather before they are handed to those who follow them.
const STREAM_BATCH: usize = 256 << 10;

impl Watch<'_> {
    pub(super) fn report_losses(&mut self) {
        let mut losses = Vec::new();
        let mut unseen = false;
        for (name, value) in self.kernel.counters() {
            let before = self.counters.insert(name, value).unwrap_or(0);
            if value > before && !TOLD_IN_EVENTS.contains(&name) {
                unseen |= name == COUNTERS[COUNT_VERDICT_RING_FULL as usize];
                losses.push((name, value - before));
            }
        }
        if unseen {
            self.settle_empty();
        }
        if self.unmarked > 0 {
            losses.push(("ended-calls-full", std::mem::take(&mut self.unmarked)));
        }
        if let Some(lost) = self.prevention.as_ref().map(Prevention::untold).filter(|lost| *lost > 0) {
            losses.push((prevented::LOSS, lost));
        }
        if self.garbled > 0 {
            losses.push(("garbled", std::mem::take(&mut self.garbled)));
        }
        if let Some((lost, error)) = self.sink.as_mut().and_then(Sink::take_failure) {
            tracing::error!("{lost} events could not be written: {error}");
            losses.push(("not-written", lost));
        }
        if let Some(lost) = self.webhook.as_mut().map(Webhook::lost).filter(|lost| *lost > 0) {
            losses.push((webhook::LOSS, lost));
        }
        for (kind, count) in losses {
            self.lose(kind, count);
        }
    }

    /// Counts a loss, and tells it.
    pub(super) fn lose(&mut self, kind: &'static str, count: u64) {
        *self.totals.lost.entry(kind).or_default() += count;
        let event = Event {
            time: clock::time_of_day(clock::now_since_boot()),
            op: "lost",
            kind: Some(kind),
            count: Some(count),
            ..Event::default()
        };
        self.publish(&event, None);
    }

    /// Counts an event that no record has brought, tells it and writes it.
    pub(super) fn publish(&mut self, event: &Event, tree: Option<Id>) {
        let verdict = event.verdict.as_ref();
        let action = verdict.and_then(|verdict| Action::from_word(verdict.action));
        match Op::from_word(event.op).zip(action) {
            Some((op, action)) => {
                let kept = self.mode_of(tree) == Mode::Audit && !verdict.is_some_and(|verdict| verdict.enforced);
                self.count_decided(tree, op, action, kept);
            }
            None => self.count_happened(tree, event.op, action),
        }
        if let Some(action) = action {
            self.totals.ruled(verdict.and_then(|verdict| verdict.rule.as_deref()), action);
        }
        self.emit(event, tree);
    }

    /// Tells an event, unless it is an allowed operation, writes it, and hands it to those who follow.
    pub(super) fn emit(&mut self, event: &Event, tree: Option<Id>) {
        let allowed = event.verdict.as_ref().is_some_and(|verdict| verdict.action == Action::Allow.word());
        if !allowed {
            (self.tell)(event);
        }
        let of = match allowed {
            true if event.op == Op::Exec.word() => Of::Execs,
            true => Of::Allowed,
            false => Of::Rest,
        };
        let followed = self.stream.as_ref().is_some_and(|stream| stream.wanted(of));
        let sent = self.webhook.as_ref().is_some_and(|webhook| webhook.wants(event));
        if self.sink.is_none() && !followed && !sent || !self.put(event) {
            return;
        }
        if followed {
            self.follow(event, of, tree);
        }
        if let Some(webhook) = self.webhook.as_ref().filter(|_| sent) {
            webhook.take(&self.line);
        }
        if let Some(sink) = &mut self.sink {
            self.line.push(b'\n');
            sink.write(&self.line);
        }
    }

    /// Writes an event's line; false where that can't be.
    pub(super) fn put(&mut self, event: &Event) -> bool {
        self.line.clear();
        let put = serde_json::to_writer(&mut self.line, event).is_ok();
        // Not for any event there is; a loss all the same.
        self.garbled += u64::from(!put);
        put
    }

    /// Hands the event whose line was written to those who follow.
    pub(super) fn follow(&mut self, event: &Event, of: Of, tree: Option<Id>) {
        let Some(stream) = &self.stream else { return };
        let owner = tree.map(|tree| self.trees.get(&tree).and_then(|tree| tree.uid));
        let audience = match owner {
            Some(Some(uid)) => Audience::User(uid),
            None if ["lost", "gap"].contains(&event.op) => Audience::All,
            _ => Audience::Trusted,
        };
        let line = Bytes::copy_from_slice(&self.line);
        let action = event.verdict.as_ref().map(|verdict| verdict.action);
        let stands_for = if of == Of::Counted { event.count.unwrap_or(1) } else { 1 };
        self.batch.1 += line.len();
        self.batch.0.push(Told { line, tree, audience, op: event.op, action, of, stands_for });
        if self.batch.1 >= STREAM_BATCH {
            stream.tell(&mut self.batch.0);
            self.batch.1 = 0;
        }
    }

    /// Counts what a record tells, whether anybody wants its event or not.
    pub(super) fn count(&mut self, record: &Record) {
        let head = &record.head;
        let (tree, action) = (Some(head.tree), Action::from_number(head.action).unwrap_or(Action::Deny));
        match &record.body {
            Body::Exit(_) => return self.count_happened(tree, "exit", None),
            Body::Fork => return self.count_happened(tree, "fork", None),
            Body::Exec { enrol: true, .. } | Body::Moved { .. } => {
                return self.count_happened(tree, "session-start", None);
            }
            Body::Doomed => self.count_happened(tree, "fork", Some(action)),
            _ => {
                let denied = head.action >= Action::Deny as u8 && head.flags & FLAG_ENFORCED == 0;
                let kept = denied && self.mode_of(tree) == Mode::Audit;
                if let Some(op) = Op::from_number(head.op) {
                    self.count_decided(tree, op, action, kept);
                }
            }
        }
        let rules = self.policies.iter().find(|(number, _)| *number == head.generation).map(|(_, rules)| rules);
        let rule = rules.and_then(|rules| rules.get(usize::from(head.rule)));
        self.totals.ruled(rule.map(|rule| rule.name.as_str()), action);
    }

    /// Counts a decided operation. `kept`: not carried out because the mode is audit.
    pub(super) fn count_decided(&mut self, tree: Option<Id>, op: Op, action: Action, kept: bool) {
        self.totals.tally.decided(op, action);
        if kept && action >= Action::Deny {
            self.totals.would_have.decided(op, action);
        }
        if let Some(tree) = tree.and_then(|tree| self.trees.get_mut(&tree)) {
            tree.tally.decided(op, action);
        }
    }

    /// Counts what happened beside operations.
    pub(super) fn count_happened(&mut self, tree: Option<Id>, what: &str, action: Option<Action>) {
        self.totals.tally.happened(what, action);
        if let Some(tree) = tree.and_then(|tree| self.trees.get_mut(&tree)) {
            tree.tally.happened(what, action);
        }
    }
}
