//! What in an accepted policy will surprise whoever wrote it. What is said here is certain, or says that it is not.

mod bite;
mod except;
pub(super) mod overlap;
mod places;
mod shadow;

use super::failure::{Finding, Severity, sort};
use super::{Problem, Whole};

/// Warnings and remarks on one policy.
#[derive(Default)]
struct Notes {
    warnings: Vec<Problem>,
    remarks: Vec<Problem>,
}

impl Whole {
    /// All that there is to remark on this policy, on this machine: warnings, in the order of their places, and then
    /// what is only good to know.
    #[must_use]
    pub fn remarks(&self) -> Vec<Finding> {
        let mut notes = Notes::default();
        shadow::look(&self.policy, &mut notes);
        except::look(&self.policy, &mut notes);
        places::look(&self.policy, &mut notes);
        bite::look(self, &mut notes);
        let mut findings = self.compiled.warnings.clone();
        for (severity, mut problems) in [(Severity::Warning, notes.warnings), (Severity::Remark, notes.remarks)] {
            sort(&mut problems);
            // What is wrong with an entry of a list is wrong only once, however many rules use the list.
            problems.dedup_by(|next, before| next.span == before.span && next.message == before.message);
            findings.extend(problems.into_iter().map(|problem| Finding::new(severity, problem, &self.source)));
        }
        findings
    }
}
