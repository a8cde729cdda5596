//! Does for real what a policy may forbid, by each of the ways the kernel offers, so that tests see what came of it.
//!
//! What it read goes to standard output, what it was refused to standard error (`refused: EPERM`) with exit code 1.
//! Tests run it under a path of their own folder, and so nothing else on the machine is ever taken for an agent.

mod crowd;
mod file;
mod name;
mod net;
mod race;
mod rights;
mod tree;

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// What to attempt.
#[derive(Clone, Debug, Parser)]
#[command(name = "attempt")]
enum Attempt {
    /// Read a file to standard output.
    Read {
        /// The call that opens it.
        #[arg(long, value_enum, default_value = "openat")]
        by: file::By,
        /// Threads that all do it, at once.
        #[arg(long, default_value_t = 1)]
        threads: u32,
        /// How often each does.
        #[arg(long, default_value_t = 1)]
        times: u32,
        /// The file.
        file: PathBuf,
    },
    /// Try to read a file, whatever comes of it, by one call after the other. Standard error gets
    /// `{"refused":1,"bytes":2}`.
    Insist {
        /// Threads that all do it, at once.
        threads: u32,
        /// How often each does.
        times: u32,
        /// The file.
        file: PathBuf,
    },
    /// Append to a file that exists.
    Write {
        /// The call that opens it.
        #[arg(long, value_enum, default_value = "openat")]
        by: file::By,
        /// The file.
        file: PathBuf,
        /// What to append.
        text: String,
    },
    /// Make a file.
    Create {
        /// The call that makes it.
        #[arg(long, value_enum, default_value = "openat")]
        by: file::By,
        /// The file.
        file: PathBuf,
    },
    /// Open a file with `O_TRUNC`.
    Truncate {
        /// The call that opens it.
        #[arg(long, value_enum, default_value = "openat")]
        by: file::By,
        /// The file.
        file: PathBuf,
    },
    /// In that many processes: one thread opens the file while another tries to get at the descriptor that is about to be.
    /// Standard error gets `{"tries":1,"got":2,"opened":3}`: how often the other thread got something, and how often
    /// the first one lived on.
    Race {
        /// What the other thread does.
        #[arg(long, value_enum, default_value = "read")]
        by: race::By,
        /// How many processes.
        times: u32,
        /// The file.
        file: PathBuf,
    },
    /// Be so many children at once. Each first makes a file named by its number in a folder, then lives on for a while;
    /// standard error gets `{"forked":1,"refused":2,"killed":3}`.
    Crowd {
        /// How they come to be.
        #[arg(long, value_enum, default_value = "fork")]
        by: crowd::By,
        /// How many.
        times: u32,
        /// The folder.
        folder: PathBuf,
    },
    /// Connect: to `tcp:ADDR:PORT`, `mptcp:ADDR:PORT`, `udp:ADDR:PORT`, `unix:PATH` or `abstract:NAME`.
    Connect {
        /// Through `io_uring` instead of connect(2).
        #[arg(long)]
        uring: bool,
        /// Whereto.
        to: net::To,
    },
    /// Send a datagram to `udp:ADDR:PORT` or `unix:PATH` without connecting.
    Send {
        /// The call that sends it.
        #[arg(long, value_enum, default_value = "sendto")]
        by: net::Sending,
        /// Whereto.
        to: net::To,
    },
    /// Make a socket of another kind, and leave it at that.
    Socket {
        /// Through `io_uring` instead of socket(2).
        #[arg(long)]
        uring: bool,
        /// Which.
        #[arg(value_enum)]
        kind: net::Kind,
    },
    /// Change a name in a folder, or what lies behind it.
    #[command(flatten)]
    Name(name::Change),
    /// Do something to another process, to mounts or to one's own rights.
    #[command(flatten)]
    Rights(rights::Act),
    /// Become another program.
    Exec {
        /// The call that does it.
        #[arg(long, value_enum, default_value = "execve")]
        by: tree::Becoming,
        /// The program's path and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        argv: Vec<String>,
    },
    /// Open a file for reading as descriptor 9, one that stays open over an exec, and attempt the rest of the line.
    Hold {
        /// The file.
        file: PathBuf,
        /// The attempt.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        attempt: Vec<String>,
    },
    /// Make the rest of the line another process's, or another thread's, attempt, and end as that ends.
    In {
        /// How it comes to be.
        #[arg(value_enum)]
        how: tree::How,
        /// The attempt.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        attempt: Vec<String>,
    },
    /// Make the rest of the line the attempt of a process in a control group.
    Group {
        /// How it gets there.
        #[arg(value_enum)]
        by: tree::Joining,
        /// The group's folder.
        folder: PathBuf,
        /// The attempt.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        attempt: Vec<String>,
    },
    /// Make the rest of the line that many processes' attempt, one after the other, and say on standard error how many
    /// ended in which way, as JSON: `{"done":1,"refused":2,"killed":3,"else":4}`.
    Each {
        /// Threads that do so at once.
        #[arg(long, default_value_t = 1)]
        threads: u32,
        /// How many each of them.
        times: u32,
        /// The attempt.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        attempt: Vec<String>,
    },
    /// Open and close a file again and again until another is there; standard error gets `{"opened":1}`.
    Spin {
        /// The file whose appearance ends it.
        until: PathBuf,
        /// The file to open.
        file: PathBuf,
    },
    /// Do nothing for this many milliseconds.
    Sleep {
        /// How long.
        millis: u64,
    },
    /// Wait until a file is there, then attempt the rest of the line.
    After {
        /// The file.
        file: PathBuf,
        /// The attempt.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        attempt: Vec<String>,
    },
}

impl Attempt {
    /// Parses the rest of a line.
    fn rest(words: &[String]) -> Self {
        Self::parse_from([&["attempt".to_owned()], words].concat())
    }

    fn run(&self) -> io::Result<()> {
        match self {
            Self::Read { by, threads, times, file } => file::read(*by, file, *threads, *times),
            Self::Insist { threads, times, file } => file::insist(file, *threads, *times),
            Self::Write { by, file, text } => file::append(*by, file, text.as_bytes()),
            Self::Create { by, file } => file::create(*by, file),
            Self::Connect { uring, to } => net::connect(to, *uring),
            Self::Send { by, to } => net::send(*by, to),
            Self::Socket { uring, kind } => net::make(*kind, *uring),
            Self::Name(change) => change.run(),
            Self::Rights(act) => act.run(),
            Self::Exec { by, argv } => tree::exec(*by, argv),
            Self::Hold { file, attempt } => {
                file::hold(file)?;
                Self::rest(attempt).run()
            }
            Self::In { how, attempt } => tree::run_in(*how, attempt),
            Self::Group { by, folder, attempt } => tree::run_in_group(*by, folder, attempt),
            Self::Truncate { by, file } => file::truncate(*by, file),
            Self::Race { by, times, file } => race::run(*by, *times, file),
            Self::Crowd { by, times, folder } => crowd::run(*by, *times, folder),
            Self::Each { threads, times, attempt } => tree::each(*threads, *times, &Self::rest(attempt)),
            Self::Spin { until, file } => file::spin(until, file),
            Self::Sleep { millis } => {
                std::thread::sleep(Duration::from_millis(*millis));
                Ok(())
            }
            Self::After { file, attempt } => {
                while !file.exists() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Self::rest(attempt).run()
            }
        }
    }

    /// Runs, reports, and gives the exit code.
    fn end(&self) -> u8 {
        match self.run() {
            Ok(()) => 0,
            Err(error) => refused(&error),
        }
    }
}

/// Exit code of an attempt that the kernel refused.
const REFUSED: u8 = 1;

fn refused(error: &io::Error) -> u8 {
    let name: &dyn Display = match error.raw_os_error() {
        Some(number) => &format!("{:?}", nix::errno::Errno::from_raw(number)),
        None => error,
    };
    say(&format!("refused: {name}"));
    REFUSED
}

/// Says a line on standard error, whole: others write there too.
fn say(line: &str) {
    use std::io::Write as _;
    // Who listens may be gone.
    let _closed = io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn main() -> ExitCode {
    ExitCode::from(Attempt::parse().end())
}
