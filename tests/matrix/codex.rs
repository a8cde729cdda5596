//! The real Codex CLI, where the kernel asks guard as a security module: what `tests/codex_*.rs` do on this machine.

use std::time::Duration;

use support::codex::{Desk, Mode};
use support::guard::Guard;
use support::model::Model;
use support::session;

use crate::Check;
use crate::ground::Ground;

pub const CHECKS: &[Check] = &[
    ("codex: without its own sandbox, a denied file stays out of the model", |ground| codex(ground, Mode::Bypass)),
    ("codex: and in its sandbox", |ground| codex(ground, Mode::Sandboxed)),
];

/// The kernel it runs on: it is a large program, and in an emulated machine a slow one.
const KERNEL: (u32, u32) = (6, 12);
/// How long a session may take there, the loading of guard's programs included.
const LIMIT: Duration = Duration::from_mins(5);

fn codex(ground: &Ground, mode: Mode) {
    if ground.kernel.version() != KERNEL {
        return;
    }
    let model = Model::start(8765, session::script(), &[]).expect("a model");
    let desk = Desk::new("codex", &model);
    let guard = Guard::new(desk.scratch(), &session::policy(&desk));
    let guarded = guard.run(&desk.exec(&desk.native(), mode, "do it").limit(LIMIT));
    assert_eq!(guarded.done.code(), 0, "{}", guarded.done.err());
    assert!(guarded.done.out().contains("All done."), "{}", guarded.done.out());
    session::check(&desk, &model, &guarded);
    let denial = guarded.events.rule("secrets").next().expect("it was denied");
    assert_eq!(denial["verdict"]["backend"], "lsm", "{denial}");
}
