//! The policies that are measured: rules as people write them, none of which is about what the loops do.

use std::fmt::Write as _;
use std::path::Path;

use crate::loops::NOTED;

/// `count` rules, in the shapes of ignore files.
pub fn rules(count: usize) -> String {
    let mut text = "version = 1\n".to_owned();
    for n in 0..count {
        let pattern = match n % 5 {
            0 => format!("**/d{n}/**"),
            1 => format!("**/*.x{n}"),
            2 => format!("/srv/a{n}/**/b{n}*.txt"),
            3 => format!("{{home}}/.config/p{n}/*"),
            _ => format!("{{repo}}/opt/p{n}/*/conf"),
        };
        writeln!(
            text,
            "[[rule]]\nname = \"r{n}\"\non = [\"read\", \"write\"]\npath = [\"{pattern}\"]\naction = \"deny\""
        )
        .expect("strings take everything");
    }
    text
}

/// The same, for an agent that nobody ever starts.
pub fn agent(folder: &Path, count: usize) -> String {
    format!("{}\n[agent.bench]\nexe = [\"{}/agent\"]\n", rules(count), folder.display())
}

/// Ten rules, and one that notes an open now and then.
pub fn noted(folder: &Path) -> String {
    let path = folder.join(NOTED);
    format!(
        "{}[[rule]]\nname = \"noted\"\non = [\"read\"]\npath = [\"{}\"]\naction = \"log\"\n",
        rules(10),
        path.display()
    )
}
