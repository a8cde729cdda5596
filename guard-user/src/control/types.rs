//! What the control API says, for the daemon that says it and the clients that read it.
//!
//! What is not known is absent, as in events. Members may be added: clients skip those they don't know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::prevent::Marks;

/// Counts by a word.
pub type Counts = BTreeMap<String, u64>;

/// `GET /v1/status`: the daemon as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Which guard this is.
    pub build: Build,
    /// The daemon's process id.
    pub pid: u32,
    /// When the daemon was started: UTC, as in events.
    pub started: String,
    /// Seconds since then.
    pub uptime_seconds: f64,
    /// What the caller may do: `all` (read everything, change), `read` (read everything) or `own` (its own sessions).
    pub access: String,
    /// `enforce`, or `audit`: every verdict is computed and reported, none is carried out.
    pub mode: String,
    /// The policy in force.
    pub policy: PolicyInForce,
    /// The backends in use, the strongest first: `lsm`, `fanotify`, `cgroup`, `signal`.
    pub backends: Vec<String>,
    /// Operations that the policy denies and this kernel does not show.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unenforced: Vec<String>,
    /// Whether what is enforced goes on should the daemon be killed, until the next one takes over.
    #[serde(default)]
    pub stands: bool,
    /// When nobody recorded, where this daemon has taken over from one that was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// What becomes of each kind of operation where it is denied.
    pub protection: Vec<Protection>,
    /// Numbers of the whole machine; absent for callers who may see their own sessions only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
}

/// Which guard it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Build {
    /// guard's version.
    pub version: String,
    /// The running kernel's release.
    pub kernel: String,
}

/// A time in which nobody recorded what the kernel went on enforcing; what it kept of that time was told afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gap {
    /// When the daemon before has last shown that it lives; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// When this one took over.
    pub until: String,
}

/// The policy in force, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyInForce {
    /// Where it was read from: a file's path, or in words.
    pub origin: String,
    /// Its number, counted up from 1 with each change.
    pub generation: u32,
    /// When it came into force.
    pub since: String,
    /// Rules in it, with those that sessions' repositories have added.
    pub rules: u64,
    /// Names of its agents.
    pub agents: Vec<String>,
    /// Names of its phases, in order; empty where sessions have none.
    pub phases: Vec<String>,
}

/// What becomes of one kind of operation where it is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Protection {
    /// The operation, in the words of policies.
    pub op: String,
    /// What is attempted.
    pub what: String,
    /// `prevented`, `contained` or `not seen`.
    pub reach: String,
    /// By which backend; absent where nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Whether a denial is carried out now: `false` in audit mode, and for what is not seen.
    pub enforcing: bool,
}

/// Numbers of the whole machine. Counts are since the daemon's start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Machine {
    /// Sessions that run.
    pub sessions: u64,
    /// Processes that are guarded now: the size of all trees.
    pub processes: u64,
    /// Processes that can be guarded at once.
    pub max_processes: u64,
    /// Operations that were decided, by operation and action.
    pub operations: Vec<OperationCount>,
    /// What else happened to processes and sessions, by the event's `op`: `fork`, `exit`, `session-start` and so on.
    pub life: Counts,
    /// Verdicts that would have been carried out, were the mode not audit.
    pub would_have: Vec<OperationCount>,
    /// Operations that each rule decided. The default goes by the name `default`, and is counted where it does not allow.
    pub rules: Vec<RuleCount>,
    /// Bytes that the TCP connections of all sessions have sent, as `bytes_out` of a session.
    #[serde(default)]
    pub bytes_out: u64,
    /// What could not be told or done, by kind, as in `lost` events.
    pub lost: Counts,
    /// The kernel's counters by name; what is no loss is among them.
    pub counters: Counts,
    /// The ring buffers.
    pub rings: Vec<Ring>,
    /// The kernel programs.
    pub programs: Vec<Program>,
    /// What the daemon itself costs.
    pub daemon: Usage,
    /// Changes of the policy.
    pub reloads: Reloads,
    /// The longest that an event had waited before it was written, in the last 10 to 20 seconds, in seconds; absent where
    /// events are not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_lag_seconds: Option<f64>,
    /// Events that are sent to a webhook; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// Files whose opens guard is asked about; absent where it is not asked by fanotify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<Marks>,
    /// Clients of this API.
    pub clients: Clients,
}

/// How often an operation came to a verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct OperationCount {
    /// The operation.
    pub op: String,
    /// `allow`, `log`, `deny` or `kill`.
    pub action: String,
    /// How often.
    pub count: u64,
}

/// How often a rule decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct RuleCount {
    /// Its name.
    pub rule: String,
    /// Its action.
    pub action: String,
    /// How often.
    pub count: u64,
}

/// A ring buffer between the kernel and the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ring {
    /// `verdicts` (verdicts and processes' lives) or `bulk` (allowed operations).
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes in it that were not read yet.
    pub used: u64,
    /// The most that was ever found in it, in bytes.
    pub peak: u64,
}

/// A kernel program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Nanoseconds it has run for in all; absent where the kernel does not measure (`kernel.bpf_stats_enabled`,
    /// `guard daemon --program-stats`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_time_ns: Option<u64>,
    /// How often it has run while that was measured; absent likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_count: Option<u64>,
}

/// What the daemon costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Processor time it has used since its start, in seconds.
    pub cpu_seconds: f64,
    /// Memory it holds (resident set), in bytes.
    pub memory_bytes: u64,
}

/// Changes of the policy since the daemon's start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reloads {
    /// Policies that came into force after the first.
    pub done: u64,
    /// Policies that were refused; what was in force stayed.
    pub failed: u64,
    /// Why the last of these was refused; absent once another has come into force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
}

/// Events that are sent to a webhook, since the daemon's start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    /// Events that the receiver has taken.
    pub sent: u64,
    /// Requests that came to nothing; what they held is sent again, unless the receiver refuses it for good.
    pub failed: u64,
    /// Events that were dropped: there was no room, or the receiver refuses them for good.
    pub dropped: u64,
    /// Events that wait to be sent.
    pub spooled: u64,
    /// Bytes that they take on disk.
    pub spooled_bytes: u64,
    /// Why the receiver takes nothing; absent where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Clients of this API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Clients {
    /// Connections that are open.
    pub connections: u64,
    /// Event streams among them.
    pub streams: u64,
    /// Connections that were turned away because there were too many.
    pub refused: u64,
    /// Events that slow clients have missed, each counted for each client.
    pub missed: u64,
}

/// `GET /v1/sessions`: the sessions that the caller may see.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Sessions {
    /// The sessions, the oldest first.
    pub sessions: Vec<Session>,
}

/// A session that runs, or of which processes are left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Its tree, as in events: unique while the machine runs.
    pub id: String,
    /// The agent's name in the policy; absent where no agent runs in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The agent's own ids of it: one process can serve several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agent_sessions: Vec<String>,
    /// User id of its first process, outside of user namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// That user's name, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Top of the repository it began in, or the folder where that is in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// The user's home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// `enforce` or `audit`.
    pub mode: String,
    /// Whether that is its own mode, given to it while it ran, and not the policy's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_mode: bool,
    /// Its phase; absent where the policy has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// When its first process was started: UTC, as in events.
    pub started: String,
    /// Its first process.
    pub pid: u32,
    /// Whether its last agent process has ended: what is left are processes that outlive it.
    pub over: bool,
    /// Calls that the agent labelled, since its start.
    pub calls: u64,
    /// Processes of it that run.
    pub processes: u64,
    /// What happened in it, by the event's `op`.
    pub ops: Counts,
    /// Verdicts by action; those of audit mode too.
    pub verdicts: Counts,
    /// The strictest of them: `allow`, `log`, `deny` or `kill`; absent where nothing was decided yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst: Option<String>,
    /// Bytes that its TCP connections have brought to other addresses than the loopback's; docs/api.md says what is not
    /// counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
}

/// `GET /v1/sessions/{id}`: one session with its processes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionDetail {
    /// The session.
    pub session: Session,
    /// Its processes that run, parents before their children where both are there.
    pub processes: Vec<Member>,
    /// Its calls that have processes or a label, in the order in which they were first seen; at most 1,000, the last ones.
    pub calls: Vec<Call>,
}

/// A guarded process that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// Process id, the host's.
    pub pid: u32,
    /// Its parent's; absent where it can't be told any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ppid: Option<u32>,
    /// When it was started, in nanoseconds since boot, as in events.
    pub start: u64,
    /// Its user id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Whether it keeps the session going: it runs an agent.
    pub agent: bool,
    /// `harness` or `tool`.
    pub scope: String,
    /// The call it belongs to ([`Call::id`]); absent for the agent itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// True path of its executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Its command line, secrets replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argv: Option<Vec<String>>,
    /// Its working folder when it executed the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
}

/// A call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Call {
    /// guard's own id of it, 16 hexadecimal digits.
    pub id: String,
    /// The agent's id of it, as `call` in events; absent where it gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The agent's id of the session it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_session: Option<String>,
    /// Processes of it that run.
    pub processes: u64,
}

/// `PUT /v1/sessions/{id}/mode`: the mode that a session is to be in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionMode {
    /// `enforce` or `audit`.
    pub mode: String,
}

/// `POST /v1/sessions/{id}/kill`: what to end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    /// One call, by the agent's id or by guard's; absent: the whole session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
}

/// What a kill has come to by the time it is answered. Processes that were just forked are seen to afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Killed {
    /// Processes that were killed.
    pub processes: u64,
}

/// `GET /v1/policy`: the policy in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// In short.
    pub policy: PolicyInForce,
    /// `enforce` or `audit`.
    pub mode: String,
    /// What was written, without what repositories have added.
    pub text: String,
}

/// `POST /v1/policy` and `PUT /v1/policy`: what became of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyResult {
    /// Whether it is, or would be, accepted.
    pub accepted: bool,
    /// The number under which it is in force; absent where it was only checked, or refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// What was found, as `guard policy check` shows it; empty where there is nothing to object to.
    pub text: String,
    /// The same for programs.
    pub findings: Vec<Finding>,
}

/// Something that was found in a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// `error`, `warning` or `remark`.
    pub severity: String,
    /// What it says.
    pub message: String,
    /// The line it is about, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The character of that line, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The rule it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// `GET /v1/phase`: the phases of the policy, and where each session that the caller may see is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Phases {
    /// Names of the policy's phases, in order.
    pub phases: Vec<String>,
    /// The phase of each session, by the session's id.
    pub sessions: BTreeMap<String, String>,
}

/// `POST /v1/phase`: which session is to go into which phase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PhaseChange {
    /// The session's id.
    pub session: String,
    /// The phase's name. Sessions only go forward.
    pub phase: String,
}

/// Why something was not done: the body of every answer whose status is 400 or more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// What was found, and what was expected.
    pub error: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}
