//! Completions as a real bash makes them, and the manual pages as groff reads them.

use std::fs;
use std::path::Path;

use support::guard::binary;
use support::place::Scratch;
use support::pty::Terminal;
use support::run::{Finished, Job};

fn guard(folder: &Path, arguments: &[&str]) -> Finished {
    Job::new(binary(), folder).args(arguments).run()
}

/// Types `line` and tab at an interactive bash that has the script, until it has written `wanted`.
fn completes(folder: &Path, line: &str, wanted: &str) {
    let bash = Job::new("bash", folder).args(["--noprofile", "--rcfile", "rc", "-i"]).env("TERM", "dumb");
    let mut terminal = Terminal::start(&bash);
    terminal.wait_until("bash is ready", || terminal.screen().contains("ready>"));
    terminal.type_in(&format!("{line}\t"));
    terminal.wait_until(wanted, || terminal.screen().contains(wanted));
    // Away with the line: nothing of it is to run.
    terminal.type_in("\x15exit\r");
    terminal.wait();
}

#[test]
fn a_real_bash_completes_commands_options_values_and_files() {
    let scratch = Scratch::new("completions");
    let script = guard(scratch.path(), &["completions", "bash"]).succeeded();
    scratch.write("guard.bash", &script.stdout);
    // What a person's own set-up does beside is not what is looked at.
    scratch.write(
        "rc",
        "bind 'set bell-style none'\nbind 'set enable-bracketed-paste off'\nPS1='ready> '\n. ./guard.bash\n",
    );
    scratch.write("my-policy.toml", "version = 1\n");
    for (line, wanted) in [
        ("guard dae", "guard daemon "),
        ("guard policy expl", "guard policy explain "),
        ("guard daemon --verd", "guard daemon --verdict-ring "),
        ("guard top --view verd", "guard top --view verdicts "),
        ("guard policy check my-p", "guard policy check my-policy.toml "),
        ("guard daemon --policy my-p", "guard daemon --policy my-policy.toml "),
        ("guard completions z", "guard completions zsh "),
    ] {
        completes(scratch.path(), line, wanted);
    }
}

#[test]
fn every_shell_has_a_script_and_others_are_named() {
    let scratch = Scratch::new("completions");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = guard(scratch.path(), &["completions", shell]).succeeded().out();
        assert!(script.contains("daemon") && script.contains("verdict-ring"), "{shell}: {script}");
    }
    let done = guard(scratch.path(), &["completions", "tcsh"]);
    assert_eq!(done.code(), 2, "{}", done.err());
    assert!(done.err().contains("possible values: bash"), "{}", done.err());
}

/// Every command that help names has a page, and groff finds nothing wrong with any.
#[test]
fn every_command_has_a_manual_page_that_groff_reads() {
    let scratch = Scratch::new("man");
    let folder = scratch.join("man/pages");
    drop(guard(scratch.path(), &["man", "--out", folder.to_str().expect("a path")]).succeeded());
    let pages: Vec<_> = fs::read_dir(&folder).expect("pages").map(|entry| entry.expect("a page").path()).collect();
    let names: Vec<_> = pages.iter().map(|page| page.file_name().expect("a name").to_string_lossy()).collect();
    for wanted in
        ["guard.1", "guard-run.1", "guard-daemon.1", "guard-top.1", "guard-policy.1", "guard-policy-check.1"]
    {
        assert!(names.iter().any(|name| name == wanted), "{wanted}: {names:?}");
    }
    for page in &pages {
        let done = Job::new("groff", scratch.path()).args(["-man", "-Tutf8", "-ww", "-z"]).arg(page).run();
        assert_eq!((done.code(), done.err().as_str()), (0, ""), "{}", page.display());
    }
    let read =
        Job::new("groff", scratch.path()).args(["-man", "-Tascii", "-P-cbu"]).arg(folder.join("guard-daemon.1"));
    let text = read.run().succeeded().out();
    for part in ["NAME", "SYNOPSIS", "OPTIONS", "/run/guard/guard.sock", "--verdict-ring <BYTES>"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let one = guard(scratch.path(), &["man"]).succeeded();
    assert_eq!(one.stdout, fs::read(folder.join("guard.1")).expect("a page"));
}
