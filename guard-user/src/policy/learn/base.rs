//! What a learned policy keeps of the default one: its agents, and all that it denies, with the exceptions that stand
//! before a denial.

use crate::policy::default_text;

/// The default policy without the rules that only log: those match much that was never seen.
pub fn text() -> String {
    // The parts of the policy that guard ships are divided by blank lines.
    let logs = |part: &&str| part.contains("[[rule]]") && part.contains("\naction = \"log\"");
    let is_text_only = |part: &&str| part.lines().all(|line| line.starts_with('#'));
    let kept: Vec<&str> =
        default_text().trim().split("\n\n").filter(|part| !logs(part) && !is_text_only(part)).collect();
    kept.join("\n\n") + "\n"
}

#[cfg(test)]
mod tests {
    use guard_common::words::Action;

    use super::*;
    use crate::policy::compile;

    #[test]
    fn nothing_is_left_out_but_what_logs() {
        let names = |text: &str| -> Vec<String> {
            let compiled = compile("test", text).expect("valid");
            let kept = compiled.rules.iter().filter(|rule| rule.action != Action::Log);
            kept.map(|rule| rule.name.clone()).collect()
        };
        assert_eq!(names(&text()), names(default_text()));
        assert!(compile("test", &text()).expect("valid").rules.iter().all(|rule| rule.action != Action::Log));
    }
}
