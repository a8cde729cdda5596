//! Does for real what a policy may forbid, by each of the ways the kernel offers, so that tests see what came of it.
//!
//! What it read goes to standard output, what it was refused to standard error (`refused: EPERM`) with exit code 1.
//! Tests run it under a path of their own folder, and so nothing else on the machine is ever taken for an agent.

mod file;
mod net;
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
    /// Connect: to `tcp:ADDR:PORT`, `udp:ADDR:PORT`, `unix:PATH` or `abstract:NAME`.
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
    /// Become another program.
    Exec {
        /// The call that does it.
        #[arg(long, value_enum, default_value = "execve")]
        by: tree::Becoming,
        /// The program's path and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        argv: Vec<String>,
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
    /// Make the rest of the line that many processes' attempt, one after the other, and say on standard error how many
    /// ended in which way, as JSON: `{"done":1,"refused":2,"killed":3,"else":4}`.
    Each {
        /// How many.
        times: u32,
        /// The attempt.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        attempt: Vec<String>,
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
            Self::Write { by, file, text } => file::append(*by, file, text.as_bytes()),
            Self::Create { by, file } => file::create(*by, file),
            Self::Connect { uring, to } => net::connect(to, *uring),
            Self::Send { by, to } => net::send(*by, to),
            Self::Exec { by, argv } => tree::exec(*by, argv),
            Self::In { how, attempt } => tree::run_in(*how, attempt),
            Self::Each { times, attempt } => tree::each(*times, &Self::rest(attempt)),
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
    eprintln!("refused: {name}");
    REFUSED
}

fn main() -> ExitCode {
    ExitCode::from(Attempt::parse().end())
}
