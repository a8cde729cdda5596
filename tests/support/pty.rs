//! A terminal for programs that need one. It shows nothing, and answers what a terminal is asked.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

use crate::run::Job;

/// A program in a terminal of its own; killed when dropped.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keys: File,
    screen: Arc<Mutex<Vec<u8>>>,
    /// Reads the screen until the last program has closed its side.
    reader: thread::JoinHandle<()>,
}

/// What programs ask a terminal at their start, and what a plain one says.
const ANSWERS: [(&[u8], &[u8]); 4] = [
    // Where is the cursor?
    (b"\x1b[6n", b"\x1b[1;1R"),
    // What are you?
    (b"\x1b[c", b"\x1b[?1;2c"),
    // Which colours do you write in, and on?
    (b"\x1b]10;?", b"\x1b]10;rgb:ffff/ffff/ffff\x1b\\"),
    (b"\x1b]11;?", b"\x1b]11;rgb:0000/0000/0000\x1b\\"),
];

impl Terminal {
    /// Starts a job in a terminal.
    #[must_use]
    pub fn start(job: &Job) -> Self {
        let size = Winsize { ws_row: 50, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).expect("a terminal");
        let mut command = job.command();
        let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("a descriptor"));
        command.stdin(end(&pty.slave)).stdout(end(&pty.slave)).stderr(end(&pty.slave));
        // SAFETY: between fork and exec, system calls only.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                // Standard input is the terminal by now.
                if libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", job.argv()));
        // The master must not be handed down to what the test starts next, or the terminal never closes.
        nix::fcntl::fcntl(&pty.master, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))
            .expect("a descriptor's flags can be set");
        drop(pty.slave);
        let keys = File::from(pty.master);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, into) = (keys.try_clone().expect("a descriptor"), Arc::clone(&screen));
        let reader = thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            // Ends with an error when the last program has closed its side.
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                let heard = &buffer[..length];
                into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(heard);
                for (question, answer) in ANSWERS {
                    if heard.windows(question.len()).any(|window| window == question) {
                        reader.write_all(answer).unwrap_or_default();
                    }
                }
            }
        });
        Self { child, keys, screen, reader }
    }

    /// Types. What is typed for nobody is lost.
    pub fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap_or_default();
    }

    /// Whether the program has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// All the text that was written to the terminal, without what moves it about and colours it.
    #[must_use]
    pub fn screen(&self) -> String {
        plain(&String::from_utf8_lossy(&self.screen.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// All that was written to the terminal, as it was written.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until something is the case.
    ///
    /// # Panics
    /// When it isn't after a minute.
    pub fn wait_until(&self, what: &str, mut is: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !is() {
            assert!(Instant::now() < deadline, "not so: {what}\n{:?}", self.screen());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the program's end, and until what it wrote is on the screen. Others may go on writing.
    ///
    /// # Panics
    /// When it does not come within a minute.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                let read = Instant::now() + Duration::from_secs(5);
                while !self.reader.is_finished() && Instant::now() < read {
                    thread::sleep(Duration::from_millis(5));
                }
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end\n{:?}", self.screen());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Hangs up, as a line does that is cut: who goes on has no terminal any more.
    pub fn hang_up(&self) {
        /// `TIOCVHANGUP`, which libc does not name everywhere.
        const HANG_UP: libc::Ioctl = 0x5437;
        let line = File::open(format!("/proc/{}/fd/0", self.child.id())).expect("the program's terminal");
        // SAFETY: the call takes no argument, and the descriptor is a terminal's.
        let hung_up = unsafe { libc::ioctl(line.as_raw_fd(), HANG_UP) };
        assert_eq!(hung_up, 0, "{}", io::Error::last_os_error());
    }

    /// The program's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Already gone is what is wanted.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// Text without escape sequences; one that moves the cursor becomes a space.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        if next != '\x1b' {
            out.push(next);
            continue;
        }
        match rest.next() {
            Some('[') => {
                let end = rest.find(|end| ('@'..='~').contains(end));
                if matches!(end, Some('H' | 'B' | 'C' | 'E' | 'G')) && !out.ends_with(char::is_whitespace) {
                    out.push(' ');
                }
            }
            // To BEL, or to ESC and a backslash.
            Some(']') if rest.find(|end| ['\x07', '\x1b'].contains(end)) == Some('\x1b') => {
                rest.next();
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn escape_sequences_are_no_text() {
        assert_eq!(plain("\x1b[1;31ma\x1b[0mb\x1b[2;3Hc\x1b]0;title\x07d\x1b]1;x\x1b\\e\x1b7"), "ab cde");
    }

    #[test]
    fn a_program_finds_a_terminal_and_reads_what_is_typed() {
        let job =
            Job::new("sh", Path::new("/")).args(["-c", "tty >/dev/null && read word && echo \"<$word>\"; exit 3"]);
        let mut terminal = Terminal::start(&job);
        terminal.type_in("hello\r");
        terminal.wait_until("it answers", || terminal.screen().contains("<hello>"));
        assert_eq!(terminal.wait().code(), Some(3));
    }
}
