//! A long session makes more pipes than guard has room to remember, and is not stopped for it.

use support::guard::Guarded;
use support::stage::Stage;

const RULES: &str = r#"
    [[rule]]
    name = "pipe-to-shell"
    on = ["exec"]
    path = ["**/{sh,bash,dash}"]
    stdin = "network"
    action = "deny"
"#;

#[test]
fn pipes_that_are_gone_are_forgotten() {
    let stage = Stage::new("pipes");
    // Each is remembered: a program stands between two pipes. There is room for 16,384.
    let script = "i=0; while [ $i -lt 6000 ]; do : | /bin/true | :; i=$((i+1)); done; sleep 21; \
                  while [ $i -lt 17000 ]; do : | /bin/true | :; i=$((i+1)); done; echo 'echo done' | sh";
    let Guarded { done, events } = stage.guard(RULES).run(&stage.script(script));
    assert_eq!(done.out(), "done\n", "{}", done.err());
    assert_eq!(events.op("lost").filter(|event| event["kind"] == "pipes-full").count(), 0, "{events}");
}
