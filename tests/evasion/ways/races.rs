//! Threads against the moment between a look and a use.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;

use crate::place::Place;
use crate::way::Class::Read;
use crate::way::Outcome::{Prevented, Raced};
use crate::way::Part::{Code, Sh};
use crate::way::{Part, Way, way};

const fn raced(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    way(Read, "secrets", name, tries, attempt)
}

/// The ways.
pub const WAYS: &[Way] = &[
    raced("swapped-link", "a link that a second thread turns while it is opened", Code(swapped_link)),
    raced(
        "second-thread-read",
        "a second thread reads the descriptor before the open returns, 60 times",
        Sh("$attempt race --by read 60 denied/secret"),
    )
    .ends(Raced, Prevented),
    raced("second-thread-sendfile", "the same with sendfile", Sh("$attempt race --by sendfile 60 denied/secret"))
        .ends(Raced, Prevented),
    raced(
        "second-thread-send",
        "the same, sending the descriptor to another process",
        Sh("$attempt race --by send 60 denied/secret"),
    )
    .ends(Raced, Prevented),
    raced(
        "second-thread-swap",
        "the same, with another file in the descriptor's place by the time of the verdict",
        Sh("$attempt race --by swap 60 denied/secret"),
    )
    .ends(Raced, Prevented),
    raced("exec-while-main-ends", "a thread executes cat while the first thread ends", Code(exec_while_main_ends)),
    raced(
        "open-after-main-ended",
        "a thread opens when the first thread has long ended",
        Code(open_after_main_ended),
    ),
];

/// A thread opens and reads a link again and again, another makes it point to the one file and to the other.
fn swapped_link(_: &Place) -> io::Result<()> {
    const LONG: Duration = Duration::from_secs(2);
    let start = Instant::now();
    let over = AtomicBool::new(false);
    symlink("allowed/fine", "link")?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut target = "denied/secret";
            while !over.load(Ordering::Relaxed) {
                let turned = symlink(target, "next").and_then(|()| fs::rename("next", "link"));
                if turned.is_err() {
                    break;
                }
                target = if target == "denied/secret" { "allowed/fine" } else { "denied/secret" };
            }
        });
        let mut text = String::new();
        while start.elapsed() < LONG {
            text.clear();
            // Where opens are refused, some of these are.
            let read = File::open("link").and_then(|mut file| file.read_to_string(&mut text));
            if read.is_ok() && text.starts_with("word-") {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
        io::stdout().write_all(text.as_bytes())
    })
}

/// Starts a thread, and ends this one alone.
fn leave_to(thread: impl FnOnce() + Send + 'static) -> ! {
    thread::spawn(thread);
    // SAFETY: no pointers; only this thread ends.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("this thread has ended")
}

fn exec_while_main_ends(_: &Place) -> io::Result<()> {
    leave_to(|| {
        let words = [c"cat", c"denied/secret"];
        let Err(error) = nix::unistd::execvp(words[0], &words);
        eprintln!("{error}");
    })
}

fn open_after_main_ended(_: &Place) -> io::Result<()> {
    leave_to(|| {
        thread::sleep(Duration::from_millis(50));
        let mut text = String::new();
        let read = File::open("denied/secret").and_then(|mut file| file.read_to_string(&mut text));
        if let Err(error) = read.and_then(|_| io::stdout().write_all(text.as_bytes())) {
            eprintln!("{error}");
        }
        std::process::exit(0);
    })
}
