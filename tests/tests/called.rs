//! What calls have done, judged once they have succeeded: names however they were given.

use std::fs;
use std::os::unix::fs::symlink;

use support::guard::Guarded;
use support::kernel::require_kernel;
use support::stage::{FINE, Stage, text};

/// Ways to remove `kept/N`, where N is the place in this list; `$stage` is the folder of it all.
const REMOVALS: &[&str] = &[
    "rm kept/0",
    "rm ./kept/.././kept//1",
    "rm $stage/kept/2",
    "cd kept/sub && rm ../3",
    "cd / && rm ${stage#/}/kept/4",
    "cd kept/sub/deep && rm ../../../kept/sub/./../5",
    "rm -r --one-file-system kept/6",
    "perl -e 'unlink \"kept/7\"'",
    "perl -e 'chroot \".\"; chdir \"/kept/sub\"; unlink \"../../../../kept/8\"'",
    "./attempt unlink --compat kept/9",
    "find kept -name 10 -delete",
    "cd /proc/self/cwd/kept && rm 11",
    "mv kept/12 12",
    "perl -e 'rename \"kept/13\", \"13\"'",
];

const RULE: &str =
    "[[rule]]\nname = \"kept\"\non = [\"delete\", \"rename\"]\npath = [\"{}/kept/**\"]\naction = \"deny\"\n";

#[test]
fn names_however_they_were_given() {
    require_kernel();
    let stage = Stage::new("called");
    for number in 0..REMOVALS.len() {
        stage.scratch().write(format!("kept/{number}"), FINE);
    }
    fs::remove_file(stage.path().join("kept/6")).expect("a file");
    stage.scratch().write("kept/6/inside", FINE);
    fs::create_dir_all(stage.path().join("kept/sub/deep")).expect("folders");
    let long = ["long"; 3].map(|name| name.repeat(60)).join("/");
    stage.scratch().write(format!("kept/{long}/file"), FINE);
    let lines: Vec<String> = REMOVALS
        .iter()
        .map(|way| format!("({way}); echo $?"))
        .chain([format!("(rm kept/{long}/file); echo $?")])
        .collect();
    let guard = stage.guard(&RULE.replace("{}", &stage.path().display().to_string())).flag("--without-hooks");
    let script = format!("stage=$PWD; {}", lines.join("; "));
    let Guarded { done, events } = guard.run(&stage.script(&script));

    let codes: Vec<String> = done.out().lines().map(str::to_owned).collect();
    assert_eq!(codes, vec!["137"; lines.len()], "{}\n{events}", done.err());
    let told: Vec<&str> = events.denials().map(|event| text(event, "/path")).collect();
    let expected: Vec<String> = (0..REMOVALS.len())
        .map(|number| if number == 6 { "6/inside".to_owned() } else { number.to_string() })
        .chain([format!("{long}/file")])
        .map(|name| stage.path().join("kept").join(name).display().to_string())
        .collect();
    assert_eq!(told, expected, "{events}");
    assert!(events.denials().all(|event| event["verdict"]["backend"] == "signal"), "{events}");
}

/// What the denied names are not, and what a name does not show: it is as the documentation says.
#[test]
fn other_names_are_left_alone() {
    require_kernel();
    let stage = Stage::new("called");
    for name in ["kept/a", "kept/sub/b", "open/c", "open/d", "e"] {
        stage.scratch().write(name, FINE);
    }
    symlink("kept", stage.path().join("link")).expect("a link");
    let guard = stage.guard(&RULE.replace("{}", &stage.path().display().to_string())).flag("--without-hooks");
    let script = "rm open/c && rm kept/../open/d && (cd kept && rm ../e) && ! rm kept/none 2>/dev/null && rm link/a && echo through";
    let Guarded { done, events } = guard.run(&stage.script(script));
    assert_eq!((done.code(), done.out().as_str()), (0, "through\n"), "{}\n{events}", done.err());
    assert_eq!(events.denials().count(), 0, "{events}");
    let removed: Vec<&str> = events.op("delete").map(|event| text(event, "/path")).collect();
    let expected = ["open/c", "open/d", "e", "link/a"].map(|name| stage.path().join(name).display().to_string());
    assert_eq!(removed, expected, "{events}");
}

/// Nobody pays for what nobody asked for.
#[test]
fn it_can_be_left_out() {
    require_kernel();
    let stage = Stage::new("called");
    stage.scratch().write("kept/a", FINE);
    let rule = RULE.replace("{}", &stage.path().display().to_string());
    let guard = || stage.guard(&rule).flag("--without-hooks").flag("--without-calls");
    let Guarded { done, .. } = guard().run(&stage.script("true"));
    assert_eq!(done.code(), 125, "{}", done.err());
    assert!(
        ["`delete`", "`rename`", "`kept`", "--degrade"].iter().all(|part| done.err().contains(part)),
        "{}",
        done.err()
    );
    let Guarded { done, events } = guard().flag("--degrade").run(&stage.script("rm kept/a"));
    assert_eq!((done.code(), events.denials().count()), (0, 0), "{}\n{events}", done.err());
    assert_eq!(events.op("delete").count(), 0, "{events}");
}
