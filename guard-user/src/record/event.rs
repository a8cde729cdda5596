//! The JSON event: the contract that other tools read. docs/events.md describes every member.

use serde::Serialize;
use utoipa::ToSchema;

/// One event. What is not known is absent.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Event {
    /// When, in UTC with nanoseconds.
    pub time: String,
    /// What was attempted, or what happened.
    pub op: &'static str,
    /// The file, executable or unix socket it was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether `path` is another of the object's names than the one it was reached by.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inner_path: bool,
    /// The new name, of what gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_path: Option<String>,
    /// What was called for, of operations that can be attempted in more than one way, and of moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<&'static str>,
    /// Process id of the process it was attempted on; `path` is its executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<u32>,
    /// The signal that was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<u32>,
    /// Command line of an exec, the one that was attempted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argv: Option<Vec<String>>,
    /// The command line is longer than `argv`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub argv_cut: bool,
    /// How a file was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<Open>,
    /// Address of a connection or datagram.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr: Option<String>,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proto: Option<&'static str>,
    /// How a process ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// The phase that has begun, of `phase`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The mode that the session is in from here on, of `control` where its kind is `mode`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<&'static str>,
    /// Where the session's repository is, of `session-start`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Where the user's home is, of `session-start`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Operations that the policy denies and this kernel does not show, of `session-start`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unenforced: Vec<&'static str>,
    /// The agent's session id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The tree, unique while the machine runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// The agent's name in the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// On whose behalf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'static str>,
    /// The agent's call id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// What was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// What was lost, of `lost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// When a guard that was killed has last shown that it lives, of `gap`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// How many, since the last such event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// What the process did, each thing once, of `counted`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<Counted>,
}

/// How often a process has done the same, which was allowed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Counted {
    /// The operation.
    pub op: &'static str,
    /// How often.
    pub count: u64,
    /// The file or unix socket it was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Address of a connection or datagram.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr: Option<String>,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proto: Option<&'static str>,
}

/// How a file was opened.
#[expect(clippy::struct_excessive_bools, reason = "members of the JSON contract, each a fact of its own")]
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Open {
    /// It can be read.
    pub read: bool,
    /// It can be written.
    pub write: bool,
    /// This open created it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub created: bool,
    /// This open truncated it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// The process did not open it: it had it open when it was executed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inherited: bool,
    /// The file's flags, as the kernel keeps them.
    pub flags: u32,
    /// The descriptor, where there was one already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<i32>,
}

/// How a process ended: one of both.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Exit {
    /// Exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    /// Signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<u8>,
}

/// A process.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Process {
    /// Process id, the host's.
    pub pid: u32,
    /// Its parent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppid: Option<u32>,
    /// Start in nanoseconds since boot; with the pid, it names the process.
    pub start: u64,
    /// True path of the executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argv: Option<Vec<String>>,
    /// Working folder at exec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// User id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

/// A verdict.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Verdict {
    /// What the policy says.
    pub action: &'static str,
    /// The rule that decided; absent where the default did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// It was carried out.
    pub enforced: bool,
    /// By what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<&'static str>,
    /// What had already happened when the verdict was carried out, and stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub happened: Vec<&'static str>,
}
