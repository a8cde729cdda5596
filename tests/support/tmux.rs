//! A terminal that can be looked at: tmux, with a server of its own.

use std::path::PathBuf;
use std::process::{self, Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::place::Scratch;
use crate::run::Job;

/// A program in a terminal; ended when dropped.
#[derive(Debug)]
pub struct Tmux {
    socket: PathBuf,
}

impl Tmux {
    /// Starts a job in a terminal of `columns` and `lines`. Its environment is the job's, with tmux's `TERM`; `term` is
    /// put in its place where it is given.
    ///
    /// # Panics
    /// Without tmux.
    #[must_use]
    pub fn start(scratch: &Scratch, job: &Job, (columns, lines): (u16, u16), term: Option<&str>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // The paths of sockets must be short.
        let name = format!("guard-tmux-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let tmux = Self { socket: std::env::temp_dir().join(name) };
        let mut command = vec!["exec".to_owned(), "env".to_owned()];
        command.extend(term.map(|term| format!("TERM={term}")));
        command.extend(job.argv().iter().map(|word| quoted(&word.to_string_lossy())));
        let empty = scratch.write("tmux.conf", "set -g status off\nset -g remain-on-exit on\nset -g default-terminal screen-256color\nset -s set-clipboard on\n");
        // The server's environment is that of what runs in it.
        let mut start = job.command_of("tmux");
        start.arg("-u").arg("-S").arg(&tmux.socket).arg("-f").arg(empty).args([
            "new-session",
            "-d",
            "-x",
            &columns.to_string(),
            "-y",
            &lines.to_string(),
            &command.join(" "),
        ]);
        let output = start.output().expect("tmux is installed; `cargo xtask test` sees to it");
        assert!(output.status.success(), "tmux: {}", String::from_utf8_lossy(&output.stderr));
        tmux
    }

    fn tell(&self, words: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(&self.socket).args(words);
        command.output().expect("tmux runs")
    }

    fn ask(&self, words: &[&str]) -> String {
        let output = self.tell(words);
        assert!(output.status.success(), "tmux {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Presses keys, by tmux's names for them.
    pub fn keys(&self, keys: &[&str]) {
        self.ask(&[&["send-keys", "-t", "0"], keys].concat());
    }

    /// Gives the terminal another size.
    pub fn resize(&self, (columns, lines): (u16, u16)) {
        self.ask(&["resize-window", "-t", "0", "-x", &columns.to_string(), "-y", &lines.to_string()]);
    }

    /// What is to be seen.
    #[must_use]
    pub fn screen(&self) -> String {
        self.ask(&["capture-pane", "-p", "-t", "0"])
    }

    /// The same, with the sequences that colour it.
    #[must_use]
    pub fn coloured(&self) -> String {
        self.ask(&["capture-pane", "-e", "-p", "-t", "0"])
    }

    /// What programs have put into the clipboard last.
    #[must_use]
    pub fn clipboard(&self) -> String {
        String::from_utf8_lossy(&self.tell(&["show-buffer"]).stdout).into_owned()
    }

    /// What tmux knows of the terminal, in its own format.
    #[must_use]
    pub fn know(&self, format: &str) -> String {
        self.ask(&["display-message", "-p", "-t", "0", format]).trim().to_owned()
    }

    /// The program's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.know("#{pane_pid}").parse().expect("a number")
    }

    /// Whether the program has ended, and tmux knows how. It calls a pane dead as soon as nobody holds the terminal, which is
    /// before that. On a busy machine tmux 3.3 misses the signal of a child's end now and then, and leaves a zombie: it is
    /// sent that signal again.
    #[must_use]
    pub fn ended(&self) -> bool {
        let known = self.know("#{pid} #{pane_dead} #{pane_dead_status}#{pane_dead_signal}");
        let mut words = known.split(' ');
        let server = words.next().and_then(|pid| pid.parse().ok()).expect("the server's process id");
        let dead = words.next() == Some("1");
        let how = words.next().is_some_and(|how| !how.is_empty());
        if dead && !how {
            kill(Pid::from_raw(server), Signal::SIGCHLD).expect("the server takes signals");
        }
        dead && how
    }

    /// Waits until something is to be seen.
    ///
    /// # Panics
    /// When it isn't after half a minute.
    #[expect(clippy::must_use_candidate, reason = "waiting is often all that is wanted")]
    pub fn wait_for(&self, what: &str) -> String {
        self.wait_until(what, |screen| screen.contains(what))
    }

    /// Waits until the screen is as it should be.
    ///
    /// # Panics
    /// When it isn't after half a minute.
    pub fn wait_until(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let screen = self.screen();
            if is(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "not to be seen: {what}\n{screen}");
            thread::sleep(Duration::from_millis(30));
        }
    }

    /// Waits until the program has ended.
    ///
    /// # Panics
    /// When it doesn't.
    pub fn wait_for_end(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.ended() {
            assert!(Instant::now() < deadline, "it does not end: {}\n{}", self.know("#{pane_dead}"), self.screen());
            thread::sleep(Duration::from_millis(30));
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.tell(&["kill-server"]);
        // tmux leaves it.
        let _gone = std::fs::remove_file(&self.socket);
    }
}

/// A word as the shell reads it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
