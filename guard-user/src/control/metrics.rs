//! `/metrics`: numbers for Prometheus, in its text format.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use prometheus::core::Collector;
use prometheus::{Counter, CounterVec};
use prometheus::{Encoder as _, Gauge, GaugeVec, Opts, Registry, TEXT_FORMAT, TextEncoder};

use super::Api;
use super::peer::Caller;
use super::problem::Problem;
use super::status::machine;
use super::types::{Machine, Refusal};
use crate::watch::request::Snapshot;

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// A metric: name, kind, labels, and what it says.
type Metric = (&'static str, Kind, &'static [&'static str], &'static str);

/// The metrics there are.
const ALL: [Metric; 35] = [
    ("guard_build_info", Kind::Gauge, &["version", "kernel"], "Which guard runs, on which kernel; always 1."),
    ("guard_start_time_seconds", Kind::Gauge, &[], "When the daemon was started, in seconds since 1970."),
    ("guard_enforcing", Kind::Gauge, &["op"], "Whether a denial of this operation is carried out now: 1 or 0."),
    (
        "guard_protection_info",
        Kind::Gauge,
        &["op", "what", "reach", "backend"],
        "What becomes of each kind of operation where it is denied; always 1.",
    ),
    ("guard_operations_total", Kind::Counter, &["op", "action"], "Operations of guarded processes, by verdict."),
    (
        "guard_would_have_total",
        Kind::Counter,
        &["op", "action"],
        "Denials that were not carried out because the mode is audit.",
    ),
    ("guard_life_total", Kind::Counter, &["op"], "What else happened: forks, exits, sessions that start and end."),
    ("guard_rule_hits_total", Kind::Counter, &["rule", "action"], "Operations that a rule, or the default, decided."),
    ("guard_lost_total", Kind::Counter, &["kind"], "What could not be told or done; no verdict is changed by it."),
    ("guard_ring_size_bytes", Kind::Gauge, &["ring"], "Size of a ring buffer between kernel and daemon."),
    ("guard_ring_used_bytes", Kind::Gauge, &["ring"], "Bytes in it that were not read yet."),
    ("guard_ring_peak_bytes", Kind::Gauge, &["ring"], "The most that was found in it since the daemon's start."),
    (
        "guard_program_run_seconds_total",
        Kind::Counter,
        &["program"],
        "How long a kernel program has run; only where the kernel measures.",
    ),
    (
        "guard_program_runs_total",
        Kind::Counter,
        &["program"],
        "How often a kernel program has run; only where the kernel measures.",
    ),
    (
        "guard_sent_bytes_total",
        Kind::Counter,
        &[],
        "Bytes that TCP connections of sessions have brought to other addresses than the loopback's.",
    ),
    ("guard_sessions", Kind::Gauge, &[], "Sessions that run."),
    ("guard_tree_processes", Kind::Gauge, &[], "Processes that are guarded: the size of all trees."),
    ("guard_tree_processes_max", Kind::Gauge, &[], "Processes that can be guarded at once."),
    ("guard_policy_generation", Kind::Gauge, &[], "Number of the policy in force."),
    ("guard_policy_rules", Kind::Gauge, &[], "Rules of the policy in force."),
    ("guard_policy_reloads_total", Kind::Counter, &[], "Policies that came into force after the first."),
    (
        "guard_policy_reload_failures_total",
        Kind::Counter,
        &[],
        "Policies that were refused; the one in force stayed.",
    ),
    (
        "guard_store_lag_seconds",
        Kind::Gauge,
        &[],
        "The longest that an event had waited before it was written, lately; only where events are recorded.",
    ),
    ("guard_webhook_sent_events_total", Kind::Counter, &[], "Events that the webhook's receiver has taken."),
    ("guard_webhook_failed_requests_total", Kind::Counter, &[], "Requests to the webhook that came to nothing."),
    ("guard_webhook_dropped_events_total", Kind::Counter, &[], "Events for the webhook that were dropped."),
    ("guard_webhook_spooled_events", Kind::Gauge, &[], "Events that wait to be sent to the webhook."),
    ("guard_webhook_spooled_bytes", Kind::Gauge, &[], "Bytes that they take on disk."),
    ("guard_api_connections", Kind::Gauge, &[], "Connections to the control API."),
    ("guard_api_streams", Kind::Gauge, &[], "Clients that follow the events."),
    ("guard_api_refused_total", Kind::Counter, &[], "Connections that were turned away: there were too many."),
    ("guard_api_missed_events_total", Kind::Counter, &[], "Events that slow clients have missed."),
    ("process_cpu_seconds_total", Kind::Counter, &[], "Processor time that the daemon has used."),
    ("process_resident_memory_bytes", Kind::Gauge, &[], "Memory that the daemon holds."),
    ("guard_audit_mode", Kind::Gauge, &[], "1 where no verdict is carried out, whatever it is."),
];

/// Names of all metrics there can be.
pub const NAMES: [&str; ALL.len()] = {
    let mut names = [""; ALL.len()];
    let mut at = 0;
    while at < ALL.len() {
        names[at] = ALL[at].0;
        at += 1;
    }
    names
};

/// Numbers for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "status", responses(
    (status = 200, description = "Metrics in Prometheus' text format", body = String, content_type = "text/plain"),
    (status = 403, description = "The caller may see its own sessions only", body = Refusal),
    (status = 503, description = "The daemon is busy", body = Refusal),
))]
pub async fn metrics(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    caller.reads("the metrics of the machine")?;
    let snapshot = api.desk.snapshot().await?;
    let numbers = machine(&api, &snapshot);
    let text = text(&api, &snapshot, &numbers).map_err(|error| {
        Problem::new(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            format!("the metrics can't be put together: {error}"),
        )
    })?;
    Ok(([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}

/// The metrics being put together.
struct Sheet(Registry);

impl Sheet {
    /// All values of one metric, each with its labels' values.
    fn add<'a>(
        &self,
        name: &str,
        values: impl IntoIterator<Item = (Vec<&'a str>, f64)>,
    ) -> Result<(), prometheus::Error> {
        let Some((name, kind, labels, help)) = ALL.iter().find(|metric| metric.0 == name) else {
            return Err(prometheus::Error::Msg(format!("{name} is no metric")));
        };
        let opts = Opts::new(*name, *help);
        let family: Box<dyn Collector> = match (kind, labels.is_empty()) {
            (Kind::Counter, false) => {
                let family = CounterVec::new(opts, labels)?;
                for (labels, value) in values {
                    family.get_metric_with_label_values(&labels)?.inc_by(value);
                }
                Box::new(family)
            }
            (Kind::Gauge, false) => {
                let family = GaugeVec::new(opts, labels)?;
                for (labels, value) in values {
                    family.get_metric_with_label_values(&labels)?.set(value);
                }
                Box::new(family)
            }
            (Kind::Counter, true) => {
                let counter = Counter::with_opts(opts)?;
                values.into_iter().for_each(|(_, value)| counter.inc_by(value));
                Box::new(counter)
            }
            (Kind::Gauge, true) => {
                let gauge = Gauge::with_opts(opts)?;
                values.into_iter().for_each(|(_, value)| gauge.set(value));
                Box::new(gauge)
            }
        };
        self.0.register(family)
    }

    /// A metric without labels.
    fn one(&self, name: &str, value: f64) -> Result<(), prometheus::Error> {
        self.add(name, [(Vec::new(), value)])
    }
}

/// Whether, as a number.
fn flag(so: bool) -> f64 {
    f64::from(u8::from(so))
}

fn text(api: &Api, snapshot: &Snapshot, machine: &Machine) -> Result<Vec<u8>, prometheus::Error> {
    let sheet = Sheet(Registry::new());
    sheet.add("guard_build_info", [(vec![env!("CARGO_PKG_VERSION"), api.kernel.as_str()], 1.0)])?;
    sheet.one("guard_start_time_seconds", api.started_unix)?;
    sheet.one("guard_audit_mode", flag(snapshot.mode == "audit"))?;
    protection(&sheet, snapshot)?;
    counts(&sheet, machine)?;
    costs(&sheet, machine)?;
    sheet.one("guard_sent_bytes_total", machine.bytes_out as f64)?;
    sheet.one("guard_sessions", machine.sessions as f64)?;
    sheet.one("guard_tree_processes", machine.processes as f64)?;
    sheet.one("guard_tree_processes_max", machine.max_processes as f64)?;
    sheet.one("guard_policy_generation", f64::from(snapshot.policy.generation))?;
    sheet.one("guard_policy_rules", snapshot.policy.rules as f64)?;
    sheet.one("guard_policy_reloads_total", machine.reloads.done as f64)?;
    sheet.one("guard_policy_reload_failures_total", machine.reloads.failed as f64)?;
    sheet.one("guard_api_connections", machine.clients.connections as f64)?;
    sheet.one("guard_api_streams", machine.clients.streams as f64)?;
    sheet.one("guard_api_refused_total", machine.clients.refused as f64)?;
    sheet.one("guard_api_missed_events_total", machine.clients.missed as f64)?;
    let mut text = Vec::new();
    TextEncoder::new().encode(&sheet.0.gather(), &mut text)?;
    Ok(text)
}

/// What is carried out.
fn protection(sheet: &Sheet, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
    let kinds = &snapshot.protection;
    sheet.add(
        "guard_protection_info",
        kinds.iter().map(|kind| {
            let backend = kind.backend.as_deref().unwrap_or("none");
            (vec![kind.op.as_str(), kind.what.as_str(), kind.reach.as_str(), backend], 1.0)
        }),
    )?;
    // What is listed first of an operation is its ordinary kind; the others are ways around it, told above.
    let ops = crate::policy::OPS.iter().map(|op| op.word());
    let first = ops.filter_map(|op| Some((op, kinds.iter().find(|kind| kind.op == op)?)));
    sheet.add("guard_enforcing", first.map(|(op, kind)| (vec![op], flag(kind.enforcing))))
}

/// What happened.
fn counts(sheet: &Sheet, machine: &Machine) -> Result<(), prometheus::Error> {
    for (name, counts) in
        [("guard_operations_total", &machine.operations), ("guard_would_have_total", &machine.would_have)]
    {
        let values = counts.iter().map(|one| (vec![one.op.as_str(), one.action.as_str()], one.count as f64));
        sheet.add(name, values)?;
    }
    let rules = machine.rules.iter().map(|one| (vec![one.rule.as_str(), one.action.as_str()], one.count as f64));
    sheet.add("guard_rule_hits_total", rules)?;
    for (name, counts) in [("guard_life_total", &machine.life), ("guard_lost_total", &machine.lost)] {
        sheet.add(name, counts.iter().map(|(what, count)| (vec![what.as_str()], *count as f64)))?;
    }
    Ok(())
}

/// What guard costs.
fn costs(sheet: &Sheet, machine: &Machine) -> Result<(), prometheus::Error> {
    let rings = |value: fn(&super::types::Ring) -> u64| {
        machine.rings.iter().map(move |ring| (vec![ring.name.as_str()], value(ring) as f64))
    };
    sheet.add("guard_ring_size_bytes", rings(|ring| ring.size))?;
    sheet.add("guard_ring_used_bytes", rings(|ring| ring.used))?;
    sheet.add("guard_ring_peak_bytes", rings(|ring| ring.peak))?;
    let programs = || machine.programs.iter();
    sheet.add(
        "guard_program_run_seconds_total",
        programs().filter_map(|program| Some((vec![program.name.as_str()], program.run_time_ns? as f64 / 1e9))),
    )?;
    sheet.add(
        "guard_program_runs_total",
        programs().filter_map(|program| Some((vec![program.name.as_str()], program.run_count? as f64))),
    )?;
    if let Some(lag) = machine.store_lag_seconds {
        sheet.one("guard_store_lag_seconds", lag)?;
    }
    if let Some(webhook) = &machine.webhook {
        sheet.one("guard_webhook_sent_events_total", webhook.sent as f64)?;
        sheet.one("guard_webhook_failed_requests_total", webhook.failed as f64)?;
        sheet.one("guard_webhook_dropped_events_total", webhook.dropped as f64)?;
        sheet.one("guard_webhook_spooled_events", webhook.spooled as f64)?;
        sheet.one("guard_webhook_spooled_bytes", webhook.spooled_bytes as f64)?;
    }
    sheet.one("process_cpu_seconds_total", machine.daemon.cpu_seconds)?;
    sheet.one("process_resident_memory_bytes", machine.daemon.memory_bytes as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_kind_they_are() {
        for (name, kind, labels, help) in ALL {
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            assert!(help.ends_with('.') && labels.iter().all(|label| !label.is_empty()), "{name}");
        }
        let mut names = NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
