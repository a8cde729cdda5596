//! What was found, a line a kernel.

use std::collections::BTreeSet;

use super::guest::Report;
use super::kernels::Kernel;

/// Prints the times and results of all machines, and the verifier's work on each kernel.
pub fn print(reports: &[(&Kernel, Report)]) {
    println!("\n{:<10} {:<22} {:>6} {:>8} {:>8}  checks", "kernel", "release", "boot", "load", "all");
    for (kernel, report) in reports {
        let (boot, took) = (report.boot.as_secs_f64(), report.took.as_secs_f64());
        let result = if report.result.is_empty() { "no result" } else { &report.result };
        println!(
            "{:<10} {:<22} {boot:>4.0} s {:>8} {took:>6.0} s  {result}",
            kernel.name, report.release, report.load
        );
    }
    let programs: BTreeSet<&String> = reports.iter().flat_map(|(_, report)| report.verifier.0.keys()).collect();
    if programs.is_empty() {
        return;
    }
    print!("\n{:<20}", "verified");
    for (kernel, _) in reports {
        print!(" {:>9}", kernel.name);
    }
    println!(" instructions (- not told by the kernel)");
    for program in programs {
        print!("{program:<20}");
        for (_, report) in reports {
            let count = report.verifier.0.get(program).map_or_else(|| "-".to_owned(), u64::to_string);
            print!(" {count:>9}");
        }
        println!();
    }
}
