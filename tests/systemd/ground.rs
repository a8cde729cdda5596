//! Where attempts are made, and by whom.

use std::fs;
use std::path::{Path, PathBuf};

use support::guard::binary;
use support::run::{Finished, Job};
use support::stage::Stage;

/// What the first process of such a machine has put there (`xtask/src/vm/init.sh`).
const MADE: &str = "/.guest/command";
/// The policy that the service is run by.
pub const POLICY: &str = "/etc/guard/policy.toml";
/// Where the service writes events.
pub const EVENTS: &str = "/var/log/guard/events.jsonl";
/// guard, where it is installed.
pub const INSTALLED: &str = "/usr/local/bin/guard";

/// Goes on only in a machine that was made for this: all of it is changed.
///
/// # Panics
/// Elsewhere.
pub fn require_machine() {
    assert!(
        Path::new(MADE).exists(),
        "this changes the machine that it runs on: cargo xtask vm --service makes one for it"
    );
}

/// All of it.
pub struct Ground {
    /// A denied file and an allowed one.
    pub stage: Stage,
    /// An agent by the policy that guard brings along.
    pub codex: PathBuf,
}

impl Ground {
    /// Prepares it.
    pub fn new() -> Self {
        let stage = Stage::new("service");
        stage.scratch().write(".env", "KEY=1\n");
        let codex = stage.scratch().program(&stage.agent(), "codex");
        Self { stage, codex }
    }

    /// An attempt by this agent.
    pub fn attempt(&self, agent: &Path, words: &[&str]) -> Finished {
        Job::new(agent, self.stage.path()).args(words).run()
    }

    /// The agent of the policy that guard brings along attempts something, which is refused.
    pub fn refused(&self, agent: &Path, words: &[&str]) {
        let done = self.attempt(agent, words);
        assert_eq!((done.code(), done.out().as_str()), (1, ""), "{words:?}: {}", done.err());
        assert_eq!(done.err(), "refused: EPERM\n", "{words:?}");
    }

    /// Reads what the policy of this story denies, and is stopped: refused, or killed without a byte.
    pub fn stopped(&self) {
        let done = self.attempt(&self.stage.agent(), &["read", "denied/secret"]);
        assert!(stopped(&done), "{} {:?} {:?}", done.code(), done.out(), done.err());
    }

    /// It attempts something, and nobody minds.
    pub fn allowed(&self, agent: &Path, words: &[&str]) {
        let done = self.attempt(agent, words);
        assert_eq!(done.code(), 0, "{words:?}: {}", done.err());
    }

    /// The policy of this story: about the agent of the stage, and with more rules before the one about secrets.
    pub fn policy(&self, more: &str) -> String {
        self.stage.policy(more)
    }

    /// An administrator writes the policy.
    pub fn write_policy(&self, more: &str) {
        fs::write(POLICY, self.policy(more)).unwrap_or_else(|error| panic!("{POLICY}: {error}"));
    }
}

/// Whether an attempt to read was refused, or killed without a byte, as where guard has no security hooks.
pub fn stopped(done: &Finished) -> bool {
    let end = (done.code(), done.err());
    done.out().is_empty() && (end == (1, "refused: EPERM\n".to_owned()) || end == (137, String::new()))
}

/// What guard that was built says, asked for a service.
pub fn service(arguments: &[&str]) -> Finished {
    Job::new(binary(), Path::new("/")).arg("service").args(arguments).run()
}

/// The events that the service has written so far.
pub fn events() -> support::guard::Events {
    let text = fs::read_to_string(EVENTS).unwrap_or_default();
    // The last line may be half written.
    support::guard::Events::parse(text.rsplit_once('\n').map_or("", |(whole, _)| whole))
}

/// What is there of guard below folders that systems are made of, and in the kernel; by name.
pub fn traces() -> Vec<String> {
    let find = Job::new("find", Path::new("/"))
        .args(["/etc", "/usr/local", "/usr/lib/systemd", "/run", "/var", "/sys/fs/bpf", "/sys/fs/cgroup"])
        .args(["-name", "*guard*", "-not", "-path", "/var/lib/dpkg/*", "-not", "-path", "*wireguard*"]);
    let mut found: Vec<String> = find.run().succeeded().out().lines().map(str::to_owned).collect();
    let group = Job::new("getent", Path::new("/")).args(["group", "guard"]).run().out();
    found.extend(group.lines().map(|line| format!("group {line}")));
    found.sort();
    found
}
