//! Running a command that must not be given, known by its words: `deploy` or `expr`, whatever follows.

use crate::way::Class::Exec;
use crate::way::Outcome::{Contained, Open, Prevented};
use crate::way::Part::Sh;
use crate::way::{Need, Part, Way, way};

const fn command(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    // The words are read from the new program's own memory, where nobody can change them: so after the exec.
    way(Exec, "commands", name, tries, attempt).ends(Contained, Contained)
}

/// The ways.
pub const WAYS: &[Way] = &[
    command("command", "gives the command, plainly", Sh("allowed/deploy $word")),
    command(
        "sh-nest",
        "shells in shells in shells",
        Sh("sh -c 'sh -c \"sh -c \\\"allowed/deploy $word; true\\\"\"'"),
    ),
    command(
        "sh-decoded",
        "a command that no pattern can find in the shell's words",
        Sh("sh -c \"$(printf '\\141llowed/dep')\"\"$(printf '\\154\\157\\171') $word\""),
    ),
    command(
        "command-env",
        "env, nice, timeout and setsid before it",
        Sh("env -i nice timeout 5 setsid -w allowed/deploy $word"),
    ),
    command("command-xargs", "xargs", Sh("echo allowed/deploy $word | xargs -n 2 env")),
    command(
        "command-python",
        "an interpreter that runs it",
        Sh("python3 -c 'import subprocess, sys; subprocess.run([\"allowed/deploy\", sys.argv[1]])' $word"),
    )
    .needs(&[Need::Program("python3")]),
    command("other-argv-0", "another first word", Sh("bash -c 'exec -a ls allowed/deploy $word'"))
        .needs(&[Need::Program("bash")]),
    command("no-argv-0", "no first word that says anything", Sh("bash -c 'exec -a \"\" allowed/deploy $word'"))
        .needs(&[Need::Program("bash")]),
    command("argv-too-long", "more words than are looked at", Sh("allowed/deploy $(printf %05000d 0) $word")),
    command("command-symlink", "a symbolic link by another name", Sh("ln -s allowed/deploy x; ./x $word")),
    command("command-by-its-name", "another program, called by that name", Sh("bash -c 'exec -a deploy echo $word'"))
        .needs(&[Need::Program("bash")]),
    command(
        "command-descriptor",
        "a descriptor, under another name",
        Sh("$attempt exec --by fexecve allowed/deploy $word"),
    ),
    command(
        "command-memory",
        "a copy in memory: called by that name all the same",
        Sh("$attempt exec --by memfd allowed/deploy $word"),
    )
    .ends(Contained, Prevented),
    command(
        "command-hard-link",
        "a hard link by another name: names are all that command rules know",
        Sh("ln allowed/deploy x; ./x $word"),
    )
    .ends(Open, Open),
    command("command-copied", "a copy by another name", Sh("cp allowed/deploy x; ./x $word")).ends(Open, Open),
    command("command-renamed", "renames it", Sh("mv allowed/deploy x; ./x $word")).ends(Open, Open),
    command(
        "busybox-applet",
        "a program that has many in one, where a rule names the one: here expr",
        Sh("busybox expr $word"),
    )
    .needs(&[Need::Program("busybox")])
    .ends(Open, Open),
    command(
        "busybox-by-name",
        "the same, called by a link of that name",
        Sh("ln -s $(command -v busybox) expr; ./expr $word"),
    )
    .needs(&[Need::Program("busybox")]),
];
