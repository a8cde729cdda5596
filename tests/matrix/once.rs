//! `guard run`: a tree of its own, beside the daemon's; without security hooks, so that each kernel is seen to contain what it
//! could prevent, and to be asked by fanotify about files that guard has marked.

use std::fs;
use std::time::{Duration, Instant};

use support::guard::Guard;
use support::marks::marked;
use support::run::Job;
use support::stage::{FINE, text};

use crate::Check;
use crate::ground::{Ground, LOADING};
use crate::rights::victim;

pub const CHECKS: &[Check] = &[("run: a command is guarded, and its end is returned", run)];

fn run(ground: &Ground) {
    let [disk, _] = &ground.places;
    let file = disk.join("own");
    fs::write(&file, "own\n").expect("written");
    let rules = format!(
        "version = 1\n[[rule]]\nname = \"own\"\non = [\"read\", \"write\"]\npath = [\"{}\"]\naction = \"deny\"\n\
         [[rule]]\nname = \"program\"\non = [\"exec\"]\npath = [\"{}\"]\naction = \"deny\"\n\
         [[rule]]\nname = \"stays\"\non = [\"delete\"]\npath = [\"{}\"]\naction = \"deny\"\n\
         [[rule]]\nname = \"others\"\non = [\"signal\"]\npath = [\"{}\"]\naction = \"deny\"\n",
        file.display(),
        disk.join("tools/forbidden").display(),
        disk.join("stays").display(),
        disk.join("victim").display(),
    );
    fs::write(disk.join("stays"), "").expect("written");
    let victim = victim(disk);
    let script = ": > started; while ! test -e go; do sleep 0.1; done
        ./attempt read own; echo $?; ./attempt truncate own; ./tools/forbidden read allowed/fine
        ./attempt unlink ./stays; ./attempt kill $0; ./attempt read allowed/fine; exit 7";
    let job = Job::new("/bin/bash", disk).args(["-c", script, &victim.pid().to_string()]).limit(LOADING);
    let guard = Guard::new(ground.scratch(), &rules).fanotify().flag("--without-hooks");
    let running = guard.job(&job).start();
    let deadline = Instant::now() + LOADING;
    while !disk.join("started").exists() {
        assert!(Instant::now() < deadline, "it never started: {}", running.stderr());
        std::thread::sleep(Duration::from_millis(100));
    }
    marked(running.pid(), &file);
    // Some of its programs no daemon of a kernel with hooks has.
    crate::verifier::tell(running.pid());
    fs::write(disk.join("go"), "").expect("written");
    let (done, events) = (running.wait(), guard.events());
    assert_eq!((done.code(), done.out()), (7, format!("1\n{FINE}")), "{}\n{events}", done.err());
    assert_eq!(fs::read_to_string(&file).expect("a file"), "own\n", "{events}");
    let told: Vec<_> =
        events.denials().map(|event| ["/verdict/rule", "/verdict/backend"].map(|at| text(event, at))).collect();
    assert_eq!(
        told,
        [["own", "fanotify"], ["own", "fanotify"], ["program", "signal"], ["stays", "signal"], ["others", "signal"]],
        "{events}"
    );
    assert!(events.denials().all(|event| event["verdict"]["enforced"] == true), "{events}");
    events.none_lost();
}
