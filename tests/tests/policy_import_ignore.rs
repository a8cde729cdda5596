//! `.codexignore` against git: the rules that guard makes of a file deny what git ignores by it.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use guard::policy::import::{Anchor, codexignore};
use guard::policy::{Compiled, Object, Places, compile};
use guard_common::words::{Action, Op, Scope};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use support::place::Scratch;

const REPO: &str = "/home/u/re{po}*";

fn compiled(text: &[u8], anchor: Anchor<'_>) -> Compiled {
    let shown = String::from_utf8_lossy(text);
    let imported = codexignore(text, anchor).unwrap_or_else(|refusal| panic!("{refusal}\n{shown}"));
    let policy = imported.text(false);
    compile("imported", &policy).unwrap_or_else(|failure| panic!("{failure}\n{shown}\n{policy}"))
}

/// Which of these paths in the repository may be opened neither to read nor to write.
fn denied(policy: &Compiled, paths: &[String]) -> Vec<bool> {
    let mut tables = policy.tables();
    let places = Places { repo: Some(REPO.as_bytes()), home: None };
    let mut decide = |op, path: &str| {
        let path = format!("{REPO}/{path}");
        tables.decide(op, Scope::Tool, &Object::Path(path.as_bytes()), &places, 0).action == Action::Deny
    };
    paths
        .iter()
        .map(|path| {
            let read = decide(Op::Read, path);
            assert_eq!(read, decide(Op::Write, path), "{path}");
            read
        })
        .collect()
}

/// What git says of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Ignored,
    ReIncluded,
}

/// A repository with a folder for each file of patterns: what holds in the repository of one holds in each folder.
struct Git(Scratch);

impl Git {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let done = Command::new("git").args(["init", "--quiet"]).arg(scratch.path()).status().expect("git runs");
        assert!(done.success());
        Self(scratch)
    }

    /// Asks git about the paths of each file: names of files that need not be there, or of folders.
    fn ask(&self, files: &[(Vec<u8>, Vec<String>)], folders: bool) -> Vec<Vec<Said>> {
        let mut question = Vec::new();
        for (number, (patterns, paths)) in files.iter().enumerate() {
            let kind = if folders { "folders" } else { "files" };
            self.0.write(format!("{kind}/{number}/.gitignore"), patterns);
            for path in paths {
                let path = format!("{kind}/{number}/{path}");
                if folders {
                    fs::create_dir_all(self.0.join(&path)).expect("a folder");
                }
                question.extend_from_slice(path.as_bytes());
                question.push(0);
            }
        }
        let mut git = Command::new("git")
            .args(["-c", "core.excludesFile=", "check-ignore", "--no-index", "-v", "-n", "-z", "--stdin"])
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("git runs");
        let mut stdin = git.stdin.take().expect("a pipe");
        let writer = std::thread::spawn(move || stdin.write_all(&question));
        let output = git.wait_with_output().expect("git ends");
        writer.join().expect("no panic").expect("git reads all");
        let mut fields = output.stdout.split(|&byte| byte == 0);
        let mut next = || {
            let answer = [(); 4].map(|()| fields.next().expect("four fields"));
            match answer[2].first() {
                None => Said::Nothing,
                Some(b'!') => Said::ReIncluded,
                Some(_) => Said::Ignored,
            }
        };
        files.iter().map(|(_, paths)| paths.iter().map(|_| next()).collect()).collect()
    }
}

/// The folders above a path.
fn folders(path: &str) -> Vec<String> {
    path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect()
}

/// How guard and git differed.
#[derive(Debug, Default)]
struct Tally {
    paths: usize,
    ignored: usize,
    too_much: usize,
}

/// Compares guard with git. guard may deny more only below two folders that are both re-included.
fn compare(git: &Git, files: &[(Vec<u8>, Vec<String>)], tally: &mut Tally) {
    let mut too_much = Vec::new();
    for ((patterns, paths), said) in files.iter().zip(git.ask(files, false)) {
        let denied = denied(&compiled(patterns, Anchor::Repo), paths);
        for ((path, said), denied) in paths.iter().zip(said).zip(denied) {
            let shown = String::from_utf8_lossy(patterns);
            tally.paths += 1;
            tally.ignored += usize::from(said == Said::Ignored);
            assert!(denied || said != Said::Ignored, "git ignores {path:?}, guard allows it\n{shown}");
            if denied && said != Said::Ignored {
                tally.too_much += 1;
                too_much.push((patterns.clone(), [folders(path), vec![path.clone()]].concat()));
            }
        }
    }
    let above: Vec<(Vec<u8>, Vec<String>)> =
        too_much.iter().map(|(patterns, paths)| (patterns.clone(), paths[..paths.len() - 1].to_vec())).collect();
    for ((patterns, paths), said) in too_much.iter().zip(git.ask(&above, true)) {
        let re_included = said.iter().filter(|&&said| said == Said::ReIncluded).count();
        let rules = codexignore(patterns, Anchor::Repo).expect("as before").text(true);
        let shown = String::from_utf8_lossy(patterns);
        assert!(re_included >= 2, "git does not ignore {:?}, guard denies it\n{shown}\n{rules}", paths.last());
    }
}

/// A name in a path: few, so that patterns often match.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("a"), 4 => Just("b"), 2 => Just("ab"), 2 => Just("a.b"), 1 => Just(".a"), 1 => Just("bb"),
        1 => Just("[a]"), 1 => Just("#a"), 1 => Just("!a"), 1 => Just("a b"), 1 => Just("{a,b}"), 1 => Just("é"),
        1 => Just("B"), 1 => Just("1"),
    ]
    .prop_map(str::to_owned)
}

/// One component of a pattern.
fn component() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => Just("a"), 6 => Just("b"), 4 => Just("*"), 2 => Just("?"), 2 => Just("[ab]"), 1 => Just("[!a]"),
        1 => Just("[^b]"), 1 => Just("[[:alpha:]]"), 1 => Just("[a-c]"), 1 => Just("\\a"), 1 => Just("."),
        1 => Just("[[:upper:]1]"), 1 => Just("{a,b}"), 1 => Just("\\*"), 1 => Just("[]a]"), 1 => Just("é"),
    ];
    prop_oneof![
        8 => vec(piece, 1..=3).prop_map(|pieces| pieces.concat()),
        4 => name(),
        3 => Just("**".to_owned()),
        3 => Just("*".to_owned()),
    ]
}

/// A line of a file.
fn line() -> impl Strategy<Value = String> {
    let body = (prop::bool::weighted(0.3), vec(component(), 1..=3), prop::bool::weighted(0.25)).prop_map(
        |(rooted, parts, folder)| {
            format!("{}{}{}", if rooted { "/" } else { "" }, parts.join("/"), if folder { "/" } else { "" })
        },
    );
    let odd = prop_oneof![
        Just("#a"),
        Just("\\#a"),
        Just("\\!a"),
        Just("a "),
        Just("a\\ b"),
        Just("a["),
        Just("a\\"),
        Just("a//b"),
        Just("!"),
        Just("/"),
        Just(""),
        Just("a\t"),
        Just("[z-a]"),
        Just("a/[[:nope:]]"),
        Just("a/../b"),
        Just("a/b**/a"),
    ];
    let pattern =
        (prop::bool::weighted(0.4), body).prop_map(|(negated, body)| if negated { format!("!{body}") } else { body });
    prop_oneof![12 => pattern, 1 => odd.prop_map(str::to_owned)]
}

fn files(runner: &mut TestRunner, count: usize) -> Vec<(Vec<u8>, Vec<String>)> {
    let ends = prop_oneof![4 => Just("\n"), 1 => Just("\r\n")];
    let patterns = (vec(line(), 1..=6), ends, prop::bool::weighted(0.1)).prop_map(|(lines, end, bom)| {
        let lines: String = lines.into_iter().map(|line| line + end).collect();
        [if bom { &b"\xef\xbb\xbf"[..] } else { b"" }, lines.as_bytes()].concat()
    });
    let paths = vec(vec(name(), 1..=5).prop_map(|names| names.join("/")), 24);
    let file = (patterns, paths);
    (0..count).map(|_| file.new_tree(runner).expect("a file").current()).collect()
}

#[test]
fn whatever_git_ignores_is_denied_and_hardly_anything_else() {
    let mut runner = TestRunner::new(Config { rng_seed: RngSeed::Fixed(1), ..Config::default() });
    let git = Git::new("ignore-random");
    let mut tally = Tally::default();
    for _ in 0..5 {
        compare(&git, &files(&mut runner, 500), &mut tally);
    }
    assert!(tally.ignored > tally.paths / 5 && tally.ignored < tally.paths * 4 / 5, "{tally:?}");
    assert!(tally.too_much < tally.paths / 100, "{tally:?}");
}

/// Files as people write them, and paths that tell them apart.
const USUAL: [(&str, &str); 12] = [
    ("# secrets\n.env\n.env.*\n!.env.example\n", ".env .env.local .env.example a/.env.example a/.env b/.env.d/x"),
    ("*\n!*/\n!*.rs\n", "a.rs a/b.rs a/b/c.rs a.txt a/b.txt a/b/c.txt a"),
    ("/*\n!/src\n/src/*\n!/src/lib\n", "src/main.rs src/lib/x.rs src/lib/y/z.rs lib/x a src/a/lib/x"),
    ("*\n!src/\n!src/**\n", "src/a src/a/b src/a/src/f lib/src/f lib/a a src/src/src/a"),
    (
        "node_modules/\n!vendor/node_modules/\n",
        "node_modules/a vendor/node_modules/a vendor/node_modules/a/node_modules/b a/vendor/node_modules/c node_modules",
    ),
    (".*\n!.github/\n!.gitignore\n", ".env .github/ci.yml .github/.x/y .gitignore a/.github/b .x/.github/y .x/y"),
    ("build/\n!src/build/\n", "build/a src/build/a src/build/build/a src/a/build/b src/build"),
    ("logs/**\n!logs/keep/\n!logs/keep/**\n", "logs/a logs/keep/a logs/keep/a/b logs/b/keep/a logs/keep/a/keep/c"),
    (
        "**/build/**\n!**/build/keep/\n!**/build/keep/**\n",
        "build/a build/keep/a build/keep/a/b x/build/keep/c x/build/b/c",
    ),
    (
        "secrets\n!docs/secrets\n",
        "secrets secrets/a docs/secrets docs/secrets/a docs/secrets/secrets/a x/docs/secrets/a",
    ),
    ("*.log\n!keep.log\n", "a.log keep.log a.log/keep.log/f keep.log/f keep.log/a.log a.log/f x/keep.log/y"),
    (
        "/a/b/c/d/e/f/g/h/i/j/k/l/m/*\n!/a/b/c/d/e/f/g/h/i/j/k/l/m/n\n",
        "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o a/b/c/d/e/f/g/h/i/j/k/l/m/p",
    ),
];

#[test]
fn files_as_people_write_them_mean_exactly_what_git_makes_of_them() {
    let paths = |text: &str| text.split(' ').map(str::to_owned).collect();
    let files: Vec<_> = USUAL.iter().map(|(patterns, text)| (patterns.as_bytes().to_vec(), paths(text))).collect();
    let mut tally = Tally::default();
    compare(&Git::new("ignore-usual"), &files, &mut tally);
    assert_eq!(tally.too_much, 0, "{tally:?}");
}

#[test]
fn the_documented_corner_is_the_one_there_is() {
    let policy = compiled(b"*.log\n!keep.log\n", Anchor::Repo);
    let paths = ["keep.log/keep.log/f", "keep.log/x/f", "a.log/keep.log/f", "keep.log"].map(str::to_owned);
    assert_eq!(denied(&policy, &paths), [true, false, true, false]);
}

#[test]
fn a_folder_of_any_name_can_be_the_anchor() {
    let policy = compiled(b"/.env\nsrc/*.key\n", Anchor::Folder(REPO));
    let paths = [".env", "a/.env", "src/a.key", "src/a.pub", ".env/a"].map(str::to_owned);
    assert_eq!(denied(&policy, &paths), [true, false, true, false, true]);
    for bad in ["relative", "/ends/", ""] {
        let refusal = codexignore(b"a", Anchor::Folder(bad)).expect_err(bad);
        assert!(refusal.to_string().contains("absolute path"), "{refusal}");
    }
}

#[test]
fn names_that_are_no_utf_8_are_denied_with_their_like() {
    let policy = compiled(b"caf\xe9\n", Anchor::Repo);
    let mut tables = policy.tables();
    let places = Places { repo: Some(b"/r"), home: None };
    let mut action = |path: &[u8]| tables.decide(Op::Read, Scope::Tool, &Object::Path(path), &places, 0).action;
    assert_eq!(action(b"/r/caf\xe9"), Action::Deny);
    assert_eq!(action(b"/r/cafe"), Action::Deny);
    assert_eq!(action(b"/r/cafes"), Action::Allow);
    let imported = codexignore(b"*\n!caf\xe9\n", Anchor::Repo).expect("accepted");
    assert!(imported.text(true).contains("# line 2: `!caf\u{fffd}` matches nothing: it is not UTF-8"));
}

#[test]
fn what_anybody_may_have_written_is_bounded() {
    let refused = |text: &[u8]| codexignore(text, Anchor::Repo).expect_err("refused").to_string();
    assert!(refused(&vec![b'\n'; (1 << 20) + 1]).contains("larger than"));
    assert!(refused(&"a\n".repeat(2000).into_bytes()).starts_with("1001:1: there are more than 1000 patterns"));
    assert!(refused(&[b'a'; 2000]).starts_with("1:1: the pattern is longer"));
    assert!(refused("a/".repeat(200).as_bytes()).starts_with("1:1: the pattern has more than 100 components"));
    let stars = format!("{}\n!{}\n", "*a".repeat(400), "*b".repeat(400)).repeat(50);
    assert!(refused(stars.as_bytes()).contains("too many long patterns"));
    // What is accepted is done within a moment.
    for text in [
        "*a*b*c*d*e*f\n!*f*e*d*c*b*a\n".repeat(20),
        "**/a/**/b/**/c/**/d\n!**/d/**/c/**/b/**/a\n".repeat(20),
        "*\n!*a\n!b/**\n".repeat(100),
        (0..1000).map(|n| format!("f{n}*\n")).collect::<Vec<_>>().concat(),
    ] {
        let started = std::time::Instant::now();
        // Refusing is an answer too.
        let answer = codexignore(text.as_bytes(), Anchor::Repo).map(|imported| imported.drafts.len());
        assert!(started.elapsed().as_secs() < 5, "{answer:?} after {:?}", started.elapsed());
    }
}

proptest! {
    #![proptest_config(Config { cases: 300, ..Config::default() })]

    /// Bytes of all kinds bring about rules or a refusal, and the rules are ones that compile.
    #[test]
    fn any_bytes_are_answered(text in vec(prop_oneof![prop::sample::select(&b"ab*?[]!/\\\n-:^# {}.,"[..]), any::<u8>()], 0..80)) {
        if let Ok(imported) = codexignore(&text, Anchor::Repo) {
            let policy = imported.text(false);
            prop_assert!(compile("imported", &policy).is_ok(), "{policy}");
        }
    }
}
