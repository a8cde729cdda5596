//! The real Codex CLI, a desk for it to work at, and the ways it is run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::model::Model;
use crate::place::{Scratch, link_tree, target};
use crate::pty::Terminal;
use crate::run::Job;

/// The version that codex.md's facts were seen with. A newer one that behaves otherwise should fail loudly.
pub const VERSION: &str = include_str!("codex-version.txt").trim_ascii();
/// The secret in the desk's `.env`. Letters and digits, so that no encoding hides it.
pub const SECRET: &str = "sk_live_4eC39HqLyjWDarjtT1zdp7dc";
/// The desk's CI workflow.
pub const WORKFLOW: &str = "on: push\njobs: {}\n";
/// The variable Codex takes its key from.
const KEY: &str = "MODEL_KEY";

/// How Codex is asked to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Without its own sandbox: the normal case on CI.
    Bypass,
    /// In its own sandbox: bwrap and seccomp.
    Sandboxed,
}

/// Where the npm package was installed to.
///
/// # Panics
/// When it wasn't.
#[must_use]
pub fn installed() -> PathBuf {
    let folder = env::var_os("GUARD_CODEX_DIR").map_or_else(|| target().join("codex"), PathBuf::from);
    let manifest = folder.join("node_modules/@openai/codex/package.json");
    let manifest = fs::read_to_string(&manifest).unwrap_or_else(|error| {
        panic!("no Codex at {}: {error}; `cargo xtask test` installs it", manifest.display())
    });
    assert!(manifest.contains(&format!(r#""version": "{VERSION}""#)), "Codex is not the version {VERSION}");
    folder
}

/// A user's place of work: a home, a git repository with a secret in it, and a Codex at a path of its own.
#[derive(Debug)]
pub struct Desk {
    scratch: Scratch,
}

impl Desk {
    /// Sets one up, with a Codex that will talk to this model.
    #[must_use]
    pub fn new(name: &str, model: &Model) -> Self {
        let desk = Self { scratch: Scratch::new(name) };
        let codex = desk.scratch.join("codex");
        link_tree(&installed(), &codex).unwrap_or_else(|error| panic!("{}: {error}", codex.display()));
        desk.scratch.write("home/.codex/config.toml", config(model, &desk.repo()));
        desk.fill_repo();
        desk
    }

    /// The folder that holds it all.
    #[must_use]
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Leaves it there when done.
    pub fn keep(&mut self) {
        self.scratch.keep();
    }

    /// The user's home.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.scratch.join("home")
    }

    /// The repository.
    #[must_use]
    pub fn repo(&self) -> PathBuf {
        self.scratch.join("repo")
    }

    /// The native program, at this desk's own path: no other Codex on the machine has it.
    #[must_use]
    pub fn native(&self) -> PathBuf {
        let vendor = self.scratch.join("codex/node_modules/@openai");
        let names = [
            "codex-linux-x64/vendor/x86_64-unknown-linux-musl",
            "codex-linux-arm64/vendor/aarch64-unknown-linux-musl",
        ];
        let found = names.iter().map(|name| vendor.join(name).join("bin/codex")).find(|path| path.is_file());
        found.expect("the npm package holds a program for this machine")
    }

    /// What npm puts on the user's path: a script that starts the native program.
    #[must_use]
    pub fn wrapper(&self) -> PathBuf {
        self.scratch.join("codex/node_modules/.bin/codex")
    }

    /// The user's shell, so to speak: any program, in the repository, with the user's environment.
    #[must_use]
    pub fn job(&self, program: impl AsRef<std::ffi::OsStr>) -> Job {
        Job::new(program, &self.repo())
            .env("HOME", self.home())
            .env("CODEX_HOME", self.home().join(".codex"))
            .env(KEY, "none")
            .env("LANG", "C.UTF-8")
            .env("TERM", "xterm-256color")
    }

    /// `codex exec` with this program, native or wrapper.
    #[must_use]
    pub fn exec(&self, program: &Path, mode: Mode, prompt: &str) -> Job {
        let mode: &[&str] = match mode {
            Mode::Bypass => &["--dangerously-bypass-approvals-and-sandbox"],
            Mode::Sandboxed => &["-s", "workspace-write"],
        };
        self.job(program).arg("exec").args(mode).args(["--skip-git-repo-check", prompt])
    }

    /// Interactive `codex`, to be started in a terminal, with a first prompt.
    #[must_use]
    pub fn interactive(&self, prompt: &str) -> Job {
        self.job(self.native()).args(["--dangerously-bypass-approvals-and-sandbox", prompt])
    }

    /// Processes that live on with a program or a working folder of this desk: nobody else's are there.
    #[must_use]
    pub fn left(&self) -> Vec<i32> {
        let mine = |pid: i32| {
            ["exe", "cwd"].iter().any(|link| {
                fs::read_link(format!("/proc/{pid}/{link}")).is_ok_and(|path| path.starts_with(self.scratch.path()))
            })
        };
        let processes = fs::read_dir("/proc").expect("/proc is there").flatten();
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|&pid| mine(pid)).collect()
    }

    /// Ends what lives on.
    pub fn clear(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let left = self.left();
            if left.is_empty() || Instant::now() > deadline {
                return;
            }
            for pid in left {
                // Gone meanwhile is as good.
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
                    .unwrap_or_default();
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A small project with a mistake in it, a test that shows the mistake, a secret and a CI workflow.
    fn fill_repo(&self) {
        self.scratch.write("repo/.env", format!("STRIPE_KEY={SECRET}\n"));
        self.scratch.write("repo/.env.example", "STRIPE_KEY=\n");
        self.scratch.write("repo/.gitignore", ".env\n__pycache__/\n");
        self.scratch.write("repo/.github/workflows/ci.yml", WORKFLOW);
        self.scratch.write("repo/price.py", "def with_tax(price):\n    return price * 1.1\n");
        self.scratch.write(
            "repo/test_price.py",
            "import unittest\nfrom price import with_tax\n\n\nclass TestPrice(unittest.TestCase):\n    \
             def test_tax(self):\n        self.assertAlmostEqual(with_tax(100), 120)\n",
        );
        let git = |args: &[&str]| {
            let mut command = Command::new("git");
            command.args(["-c", "user.name=user", "-c", "user.email=user@localhost"]).args(args);
            command.current_dir(self.repo()).env("HOME", self.home()).env("GIT_CONFIG_NOSYSTEM", "1");
            let output = command.output().expect("git is installed");
            assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        git(&["init", "--quiet", "--initial-branch=main"]);
        git(&["add", "."]);
        git(&["commit", "--quiet", "--no-gpg-sign", "--message=start"]);
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Ends an interactive Codex as its user would: by interrupts, until it goes.
///
/// # Panics
/// When it doesn't.
pub fn quit(terminal: &mut Terminal) {
    for _ in 0..20 {
        terminal.type_in("\x03");
        thread::sleep(Duration::from_millis(300));
        if terminal.ended() {
            return;
        }
    }
    panic!("Codex does not end: {}", terminal.screen());
}

/// The patch, in Codex's format, that mends the desk's project.
pub const PATCH: &str = "*** Begin Patch\n*** Update File: price.py\n@@\n def with_tax(price):\n-    return price * \
                         1.1\n+    return price * 1.2\n*** End Patch\n";

fn config(model: &Model, repo: &Path) -> String {
    format!(
        r#"model = "gpt-5.5"
model_provider = "local"
check_for_update_on_startup = false

[model_providers.local]
name = "local"
base_url = "http://{}/v1"
wire_api = "responses"
env_key = "{KEY}"
request_max_retries = 0
stream_max_retries = 0

[analytics]
enabled = false

# Else the interactive Codex first asks whether it may work here.
[projects."{}"]
trust_level = "trusted"

# Else it first recommends another model.
[notice.model_migrations]
"gpt-5.5" = "gpt-6-sol"
"#,
        model.addr(),
        repo.display()
    )
}
