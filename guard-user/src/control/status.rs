//! `/v1/status`, `/v1/doctor`: how the daemon and the machine are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use guard_common::tree::{COUNTERS, TOLD_IN_EVENTS};
use guard_common::words::{Action, Op};
use nix::sys::resource::{UsageWho, getrusage};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::Api;
use super::peer::Caller;
use super::problem::Problem;
use super::types::{Build, Clients, Machine, OperationCount, Refusal, Ring, RuleCount, Status, Usage, Webhook};
use crate::doctor::{self, Report};
use crate::policy::OPS;
use crate::record::webhook::Numbers;
use crate::watch::request::Snapshot;
use crate::watch::{LOSSES, Tally, give_back_memory};

/// How old the doctor's findings may be: looking takes a moment.
const FRESH: Duration = Duration::from_secs(10);
/// The daemon as a whole.
#[utoipa::path(get, path = "/v1/status", tag = "status", responses(
    (status = 200, description = "How the daemon is; `machine` for callers who may read everything", body = Status),
    (status = 503, description = "The daemon is busy", body = Refusal),
))]
pub async fn status(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Status>, Problem> {
    let snapshot = api.desk.snapshot().await?;
    let machine = caller.only().is_none().then(|| machine(&api, &snapshot));
    Ok(Json(Status {
        build: Build { version: env!("CARGO_PKG_VERSION").to_owned(), kernel: api.kernel.clone() },
        pid: std::process::id(),
        started: api.started.clone(),
        uptime_seconds: api.since.elapsed().as_secs_f64(),
        access: caller.access.word().to_owned(),
        mode: snapshot.mode.to_owned(),
        policy: snapshot.policy.clone(),
        backends: snapshot.backends.clone(),
        unenforced: snapshot.unenforced.clone(),
        stands: snapshot.stands,
        gap: snapshot.gap.clone(),
        protection: snapshot.protection.clone(),
        machine,
    }))
}

/// What guard can do on this machine, why not more, and what would lift that.
#[utoipa::path(get, path = "/v1/doctor", tag = "status", responses(
    (status = 200, description = "As `guard doctor --json`; at most ten seconds old", body = Report),
    (status = 403, description = "The caller may see its own sessions only", body = Refusal),
))]
pub async fn doctor(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    caller.reads("what guard can do on this machine")?;
    // Who finds somebody looking waits for the same findings.
    let mut last = api.findings.0.lock().await;
    if let Some((at, report)) = &*last
        && at.elapsed() < FRESH
    {
        return Ok(Json(&**report).into_response());
    }
    let examine = || {
        let report = doctor::examine();
        give_back_memory();
        report
    };
    let report = Arc::new(spawn_blocking(examine).await.map_err(|_| Problem::busy())?);
    *last = Some((Instant::now(), Arc::clone(&report)));
    Ok(Json(&*report).into_response())
}

/// What the doctor has found, and when.
#[derive(Default)]
pub struct Findings(Mutex<Option<(Instant, Arc<Report>)>>);

/// Numbers of the whole machine.
pub fn machine(api: &Api, snapshot: &Snapshot) -> Machine {
    let totals = &snapshot.totals;
    let mut rules: Vec<RuleCount> = totals
        .rules
        .iter()
        .flat_map(|(rule, counts)| Action::ALL.iter().zip(counts).map(move |(action, count)| (rule, action, *count)))
        .filter(|(.., count)| *count > 0)
        .map(|(rule, action, count)| RuleCount { rule: rule.clone(), action: action.word().to_owned(), count })
        .collect();
    rules.sort_unstable();
    let losses = COUNTERS.iter().copied().filter(|kind| !TOLD_IN_EVENTS.contains(kind)).chain(LOSSES);
    let lost = losses.map(|kind| (kind.to_owned(), totals.lost.get(kind).copied().unwrap_or(0))).collect();
    Machine {
        sessions: snapshot.sessions.iter().filter(|session| !session.over).count() as u64,
        processes: snapshot.processes,
        max_processes: snapshot.max_processes,
        operations: operations(&totals.tally, Action::ALL),
        life: totals.tally.life().map(|(name, count)| (name.to_owned(), count)).collect(),
        would_have: operations(&totals.would_have, &[Action::Deny, Action::Kill]),
        rules,
        bytes_out: totals.sent + snapshot.sessions.iter().filter_map(|session| session.bytes_out).sum::<u64>(),
        lost,
        counters: snapshot
            .counters
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect::<BTreeMap<_, _>>(),
        rings: rings(api),
        programs: snapshot.programs.clone(),
        daemon: usage(),
        reloads: snapshot.reloads.clone(),
        store_lag_seconds: snapshot.store_lag_seconds,
        webhook: snapshot.webhook.clone().map(webhook),
        marks: snapshot.marks.clone(),
        clients: Clients {
            connections: api.limits.open(),
            streams: api.stream.readers(),
            refused: api.limits.refused(),
            missed: api.stream.missed(),
        },
    }
}

fn webhook(numbers: Numbers) -> Webhook {
    let Numbers { sent, failed, dropped, spooled, spooled_bytes, failure } = numbers;
    Webhook { sent, failed, dropped, spooled, spooled_bytes, failure }
}

fn operations(tally: &Tally, actions: &[Action]) -> Vec<OperationCount> {
    let count = |op: Op| {
        actions.iter().map(move |action| OperationCount {
            op: op.word().to_owned(),
            action: action.word().to_owned(),
            count: tally.count(op, *action),
        })
    };
    OPS.iter().flat_map(|op| count(*op)).collect()
}

fn rings(api: &Api) -> Vec<Ring> {
    let ring = |gauge: &crate::kernel::Gauge| {
        gauge.look();
        Ring { name: gauge.name.to_owned(), size: gauge.size, used: gauge.used(), peak: gauge.peak() }
    };
    api.gauges.iter().map(ring).collect()
}

fn usage() -> Usage {
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let cpu =
        getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |used| seconds(used.user_time()) + seconds(used.system_time()));
    let pages = procfs::process::Process::myself().and_then(|me| me.statm()).map_or(0, |statm| statm.resident);
    Usage { cpu_seconds: cpu, memory_bytes: pages * procfs::page_size() }
}
