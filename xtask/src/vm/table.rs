//! What was found, a line a kernel.

use std::collections::BTreeSet;

use super::guest::Report;

/// Prints the times and results of all machines, and the verifier's work on each kernel.
pub fn print(reports: &[(String, Report)]) {
    println!("\n{:<10} {:<22} {:>6} {:>8} {:>8}  checks", "kernel", "release", "boot", "load", "all");
    for (name, report) in reports {
        let (boot, took) = (report.boot.as_secs_f64(), report.took.as_secs_f64());
        let result = if report.result.is_empty() { "no result" } else { &report.result };
        println!("{name:<10} {:<22} {boot:>4.0} s {:>8} {took:>6.0} s  {result}", report.release, report.load);
    }
    let programs: BTreeSet<&String> = reports.iter().flat_map(|(_, report)| report.verifier.0.keys()).collect();
    if programs.is_empty() {
        return;
    }
    // One that is there for the ways out loads the same programs again.
    let verified: Vec<_> = reports.iter().filter(|(_, report)| !report.load.is_empty()).collect();
    print!("\n{:<20}", "verified");
    for (name, _) in &verified {
        print!(" {name:>9}");
    }
    println!(" instructions (- not told by the kernel)");
    for program in programs {
        print!("{program:<20}");
        for (_, report) in &verified {
            let count = report.verifier.0.get(program).map_or_else(|| "-".to_owned(), u64::to_string);
            print!(" {count:>9}");
        }
        println!();
    }
}
