//! Any text as a policy: refused with places that lie in it, or accepted, and then good for every question.
#![no_main]

use guard::policy::{Question, Source, Thing, cases, read};
use guard_common::words::{Op, Scope};
use libfuzzer_sys::fuzz_target;

fn ask(op: Op, thing: Thing) -> Question {
    Question {
        op,
        thing,
        scope: Scope::Tool,
        repo: Some("/home/u/repo".to_owned()),
        home: Some("/home/u".to_owned()),
        exe: Some("/usr/bin/git".to_owned()),
        phase: 0,
        network_stdin: true,
    }
}

fuzz_target!(|text: &str| {
    let source = Source::new("fuzz", text);
    match read(source.clone()) {
        Ok(whole) => {
            for finding in whole.remarks() {
                assert!(!finding.shown(true).is_empty());
            }
            let mut tables = whole.compiled.tables();
            for question in [
                ask(Op::Read, Thing::File("/home/u/repo/.env".to_owned())),
                ask(Op::Exec, Thing::Command("/usr/bin/sh".to_owned(), vec!["sh".to_owned(), "-s".to_owned()])),
                ask(Op::Connect, Thing::Socket("/run/docker.sock".to_owned())),
                ask(Op::Outlive, Thing::Itself),
            ] {
                // The first rule that matches decides, and the explanation says the same.
                let decision = question.decide(&mut tables);
                assert_eq!(decision.rule, decision.matched.first().copied());
                let explained = whole.explain(&question, true);
                assert_eq!(explained.matched.len(), decision.matched.len());
            }
        }
        Err(failure) => {
            assert!(!failure.problems.is_empty());
            for problem in &failure.problems {
                let span = problem.span.clone().unwrap_or_default();
                assert!(span.start <= span.end && span.end <= text.len(), "{problem:?}");
            }
            assert!(!failure.to_string().is_empty());
        }
    }
    // Cases are read by the same means.
    drop(cases::read(source));
});
