//! What each view of `guard top` looks like, at two sizes, with colours and without: held against text files in tests/top/.
//! `GUARD_BLESS=1` writes them anew; look at what changed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use guard::control::types;
use guard::top::app::{Abilities, App, Surroundings, View};
use guard::top::look::Look;
use guard::top::model::Model;
use guard::top::seen::Seen;
use guard::top::snapshot;
use guard::top::views;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Style;

const SIZES: [(u16, u16); 2] = [(80, 24), (300, 40)];
const COLOUR: Look = Look { colour: true, ascii: false };
const PLAIN: Look = Look { colour: false, ascii: false };

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("top")
}

/// What is known once the record has been played.
fn model() -> Model {
    let names =
        |uid: u32| [(0, "root"), (1000, "ana")].iter().find(|(id, _)| *id == uid).map(|(_, name)| (*name).into());
    let mut model = Model::new(names);
    let record = fs::read_to_string(folder().join("record.jsonl")).expect("the record");
    for line in record.lines() {
        model.apply(&Seen::parse(line).expect("an event"));
    }
    model
}

fn app(view: View) -> App {
    let mut app = App::new(view, Abilities::default());
    app.around = Surroundings {
        source: "replay record.jsonl x1".to_owned(),
        state: None,
        own_cpu: Some(0.021),
        own_memory: Some(12 << 20),
        frames: Some((10.0, 0.8)),
    };
    app
}

fn press(app: &mut App, model: &Model, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '↓' => KeyCode::Down,
            '↑' => KeyCode::Up,
            key => KeyCode::Char(key),
        };
        app.key(KeyEvent::new(code, KeyModifiers::NONE), model);
    }
}

/// The screen as text, and where there are colours or the like, which from where to where.
fn painted(model: &Model, app: &mut App, look: Look, (width, height): (u16, u16)) -> String {
    let mut text = snapshot::screen(model, app, look, (width, height));
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| views::draw(frame, model, app, look)).expect("painted");
    let buffer = terminal.backend().buffer();
    text.push_str("--- styles: line, from column to column\n");
    for y in 0..height {
        let mut x = 0;
        while x < width {
            let style = buffer[(x, y)].style();
            let end = (x..width).find(|at| buffer[(*at, y)].style() != style).unwrap_or(width);
            let blank = (x..end).all(|at| buffer[(at, y)].symbol() == " ");
            if let Some(words) =
                words(style).filter(|words| !blank || words.contains("on ") || words.contains("REVERSED"))
            {
                writeln!(text, "{y:>3} {x:>3}-{:<3} {words}", end - 1).expect("strings take everything");
            }
            x = end;
        }
    }
    text
}

/// A style in words; none where it is nothing special.
fn words(style: Style) -> Option<String> {
    use ratatui::style::Color;
    let mut words = Vec::new();
    if let Some(colour) = style.fg.filter(|colour| *colour != Color::Reset) {
        words.push(colour.to_string());
    }
    if let Some(colour) = style.bg.filter(|colour| *colour != Color::Reset) {
        words.push(format!("on {colour}"));
    }
    if !style.add_modifier.is_empty() {
        words.push(format!("{:?}", style.add_modifier));
    }
    (!words.is_empty()).then(|| words.join(" "))
}

fn holds(name: &str, found: &str) {
    let path = folder().join(format!("{name}.txt"));
    if std::env::var_os("GUARD_BLESS").is_some() {
        fs::write(&path, found).expect("it can be written");
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(found == expected, "{} is not what is painted now:\n{found}", path.display());
}

/// At both sizes, with colours and without.
fn looks(name: &str, model: &Model, app: &App) {
    for (width, height) in SIZES {
        for (look, kind) in [(PLAIN, "plain"), (COLOUR, "colour")] {
            let found = painted(model, &mut app.clone(), look, (width, height));
            if !look.colour {
                assert!(
                    !["Red", "Yellow", "Cyan", "DarkGray"].iter().any(|colour| found.contains(colour)),
                    "{found}"
                );
            }
            holds(&format!("{name}-{width}x{height}-{kind}"), &found);
        }
    }
}

#[test]
fn sessions() {
    looks("sessions", &model(), &app(View::Sessions));
}

#[test]
fn tree() {
    let model = model();
    let mut app = app(View::Sessions);
    // The second is the one with most in it.
    press(&mut app, &model, "↓\n");
    assert_eq!(app.view, View::Tree);
    looks("tree", &model, &app);
}

#[test]
fn verdicts() {
    looks("verdicts", &model(), &app(View::Verdicts));
}

#[test]
fn objects() {
    looks("files", &model(), &app(View::Objects));
}

#[test]
fn cost_without_and_with_a_daemon() {
    let mut model = model();
    looks("cost-replay", &model, &app(View::Cost));
    let second = 1_000_000_000;
    for turn in 0..2 {
        model.hear_status(status(turn), model.now + second);
    }
    looks("cost-daemon", &model, &app(View::Cost));
}

/// What a daemon says of itself, at first and a second later.
fn status(turn: u64) -> types::Status {
    let program = |name: &str, time: u64, runs: u64| types::Program {
        name: name.to_owned(),
        run_time_ns: Some(time * (turn + 1)),
        run_count: Some(runs * (turn + 1)),
    };
    let ring = |name: &str, size: u64, used: u64, peak: u64| types::Ring { name: name.to_owned(), size, used, peak };
    types::Status {
        build: types::Build { version: "0.1.0".to_owned(), kernel: "6.12.9".to_owned() },
        pid: 812,
        started: "2026-11-20T09:00:00.000000000Z".to_owned(),
        mode: "enforce".to_owned(),
        policy: types::PolicyInForce {
            origin: "/etc/guard/policy.toml".to_owned(),
            generation: 3,
            rules: 27,
            ..types::PolicyInForce::default()
        },
        backends: vec!["fanotify".to_owned(), "cgroup".to_owned(), "signal".to_owned()],
        stands: true,
        gap: Some(types::Gap {
            since: Some("2026-11-20T08:59:58.100000000Z".to_owned()),
            until: "2026-11-20T09:00:00.200000000Z".to_owned(),
        }),
        machine: Some(types::Machine {
            sessions: 2,
            processes: 6,
            max_processes: 65_536,
            lost: [("bulk-ring-full".to_owned(), 1_300)].into(),
            rings: vec![ring("verdicts", 1 << 20, 4_096, 90_000), ring("bulk", 16 << 20, 1 << 20, 16 << 20)],
            programs: vec![program("sched_process_fork", 2_400_000, 3_000), program("sys_exit", 21_000_000, 500_000)],
            daemon: types::Usage { cpu_seconds: 10.0 + 0.004 * turn as f64, memory_bytes: 18 << 20 },
            clients: types::Clients { connections: 1, streams: 1, ..types::Clients::default() },
            store_lag_seconds: Some(0.012),
            marks: Some(guard::prevent::Marks {
                files: 41,
                searched: true,
                backstop: Some(813),
                lapses: 1,
                ..guard::prevent::Marks::default()
            }),
            ..types::Machine::default()
        }),
        ..types::Status::default()
    }
}

#[test]
fn keys_questions_and_rules_lie_over_the_view() {
    let model = model();
    let mut help = app(View::Sessions);
    press(&mut help, &model, "?");
    looks("keys", &model, &help);
    let mut rule = app(View::Verdicts);
    press(&mut rule, &model, "ga");
    looks("rule", &model, &rule);
    let mut question = app(View::Sessions);
    question.abilities.kill = Ok(());
    press(&mut question, &model, "X");
    looks("question", &model, &question);
}

#[test]
fn ascii_is_enough() {
    let model = model();
    let mut app = app(View::Sessions);
    press(&mut app, &model, "↓\n");
    let found = painted(&model, &mut app, Look { colour: false, ascii: true }, (80, 24));
    assert!(found.is_ascii(), "{found}");
    holds("tree-80x24-ascii", &found);
}

#[test]
fn every_size_can_be_painted_and_nothing_hostile_is() {
    let model = model();
    for view in View::ALL {
        for (width, height) in [(1, 1), (39, 9), (40, 10), (41, 11), (79, 20), (100, 12), (300, 100)] {
            for keys in ["", "?", "a", "/nothing"] {
                let mut app = app(view);
                press(&mut app, &model, keys);
                let found = painted(&model, &mut app, COLOUR, (width, height));
                assert!(!found.chars().any(|c| c != '\n' && guard::top::text::hostile(c)), "{found:?}");
            }
        }
    }
}

/// docs/top.md shows what is painted, and every key; the README shows the tree.
#[test]
fn the_pages_show_what_is_painted() {
    let read = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the page");
    let page = read("../docs/top.md");
    let tree = fs::read_to_string(folder().join("tree-80x24-plain.txt")).expect("the tree");
    let tree = tree.split("--- styles").next().unwrap_or_default().trim_end_matches('\n');
    assert!(read("../README.md").contains(tree), "the README does not show the tree as it is:\n{tree}");
    let screens: Vec<&str> =
        page.split("```text\n").skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default()).collect();
    for name in ["sessions", "tree", "verdicts", "files", "cost-daemon", "rule"] {
        let path = folder().join(format!("{name}-80x24-plain.txt"));
        let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let expected = expected.split("--- styles").next().unwrap_or_default().trim_end_matches('\n');
        assert!(screens.contains(&expected), "docs/top.md does not show {name} as it is:\n{expected}");
    }
    for binding in guard::top::keys::BINDINGS {
        let keys: Vec<String> = binding.keys.split(' ').map(|key| format!("`{key}`")).collect();
        let row = format!("| {} | {} |", keys.join(" "), binding.what);
        assert!(page.contains(&row), "docs/top.md has no row {row}");
    }
}
