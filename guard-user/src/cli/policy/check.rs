//! `guard policy check`: errors, warnings and remarks, for people and for programs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::NOT_GOOD;
use super::screen::{Screen, counted};
use crate::cli::in_use;
use crate::policy::{Failure, Finding, Severity, named, read};

/// Say what is wrong with policies, and what in them will surprise.
///
/// Says what is wrong with policies: errors, for which they would be refused, and warnings, where they are accepted and
/// do not do what they seem to. Remarks are good to know, and no more; some are about this machine.
///
/// Exits with 0 if there is no error, with 1 if there is, with 2 if it is used in a wrong way.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Check {
    /// The policies, files or those that guard ships by name; without one, what `guard daemon` would use: /etc/guard/policy.toml, or else the policy that guard
    /// ships
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print what was found as a list in JSON
    #[arg(long)]
    json: bool,
    /// Exit with 1 for warnings too
    #[arg(long, visible_alias = "deny-warnings")]
    strict: bool,
}

impl Check {
    /// Does it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let sources =
            if self.files.is_empty() { vec![in_use()] } else { self.files.iter().map(|file| named(file)).collect() };
        let mut all = Vec::new();
        let mut screen = Screen::new();
        for source in sources {
            let name = source.as_ref().map_or_else(Failure::origin, |source| &source.origin).to_owned();
            let findings =
                source.and_then(read).map_or_else(|failure| failure.findings().collect(), |whole| whole.remarks());
            if !self.json {
                for finding in &findings {
                    screen.finding(finding);
                }
                screen.line(&format!("{name}: {}", summary(&findings)));
            }
            all.extend(findings);
        }
        if self.json {
            screen.json(&all.iter().map(Finding::told).collect::<Vec<_>>())?;
        }
        let worst = if self.strict { Severity::Warning } else { Severity::Error };
        let good = all.iter().all(|finding| finding.severity > worst);
        screen.done(if good { ExitCode::SUCCESS } else { ExitCode::from(NOT_GOOD) })
    }
}

/// What was found, in numbers.
fn summary(findings: &[Finding]) -> String {
    let counts: Vec<String> = [Severity::Error, Severity::Warning, Severity::Remark]
        .into_iter()
        .filter_map(|severity| {
            let count = findings.iter().filter(|finding| finding.severity == severity).count();
            (count > 0).then(|| counted(count, severity.word()))
        })
        .collect();
    if counts.is_empty() { "nothing to object to".to_owned() } else { counts.join(", ") }
}
