//! The `guard` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    guard::cli::main()
}
