//! What keys do in `guard top`.

use std::fs;
use std::path::Path;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use guard::top::app::{Abilities, Act, App, Dialog, Effect, Row, View};
use guard::top::model::Model;
use guard::top::seen::Seen;
use guard::top::views;

struct Person {
    app: App,
    model: Model,
}

impl Person {
    /// Looks at the record of tests/top/.
    fn new(view: View) -> Self {
        let mut model = Model::new(|_| None);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("top/record.jsonl");
        for line in fs::read_to_string(path).expect("the record").lines() {
            model.apply(&Seen::parse(line).expect("an event"));
        }
        let mut app = App::new(view, Abilities { kill: Ok(()), mode: Err("nobody may".to_owned()), speed: true });
        app.settle(&model);
        Self { app, model }
    }

    fn press(&mut self, code: KeyCode) -> Option<Effect> {
        self.app.list_mut().page = 10;
        let effect = self.app.key(KeyEvent::new(code, KeyModifiers::NONE), &self.model);
        self.app.settle(&self.model);
        effect
    }

    fn type_in(&mut self, text: &str) -> Option<Effect> {
        text.chars().filter_map(|c| self.press(KeyCode::Char(c))).last()
    }

    fn rows(&mut self) -> Vec<Row> {
        views::page(&self.model, &mut self.app).rows
    }

    fn message(&self) -> &str {
        self.app.message.as_deref().unwrap_or_default()
    }
}

#[test]
fn each_view_has_its_key_and_the_way_back_is_remembered() {
    let mut person = Person::new(View::Sessions);
    for (key, view) in ['1', '2', '3', '4', '5'].into_iter().zip(View::ALL) {
        person.type_in(&key.to_string());
        assert_eq!(person.app.view, view);
    }
    person.press(KeyCode::Esc);
    assert_eq!(person.app.view, View::Objects);
    person.press(KeyCode::Tab);
    assert_eq!(person.app.view, View::Cost);
    person.press(KeyCode::Tab);
    assert_eq!(person.app.view, View::Sessions);
    person.press(KeyCode::BackTab);
    assert_eq!(person.app.view, View::Cost);
}

#[test]
fn what_is_selected_stays_selected_when_lines_move() {
    let mut person = Person::new(View::Sessions);
    person.press(KeyCode::Down);
    let selected = person.app.list().selected;
    assert_eq!(person.app.list().index, 1);
    person.type_in("r");
    assert_eq!(person.app.list().selected, selected);
    person.press(KeyCode::End);
    assert_eq!(person.app.list().index, 2);
    person.press(KeyCode::Down);
    assert_eq!(person.app.list().index, 2);
    person.press(KeyCode::PageUp);
    assert_eq!(person.app.list().index, 0);
}

#[test]
fn lines_are_sorted_by_any_column_both_ways() {
    let mut person = Person::new(View::Sessions);
    let columns = views::columns(View::Sessions);
    for _ in columns {
        person.type_in(">");
        let forth = person.rows();
        assert_eq!(forth.len(), 3);
        person.type_in("r");
        assert_eq!(person.rows().len(), 3);
        person.type_in("r");
        assert_eq!(person.rows(), forth);
    }
    while columns[person.app.list().sort].title != "AGE" {
        person.type_in("<");
    }
    let ages: Vec<u64> = person
        .rows()
        .into_iter()
        .map(|row| match row {
            Row::Session(tree) => person.model.sessions[&tree].age(person.model.now),
            _ => unreachable!("sessions"),
        })
        .collect();
    assert!(ages.is_sorted_by(|a, b| a >= b), "{ages:?}");
}

#[test]
fn typing_filters_and_escape_shows_all_again() {
    let mut person = Person::new(View::Verdicts);
    assert_eq!(person.rows().len(), 8);
    // `q` is a letter while a filter is typed.
    assert_eq!(person.type_in("/PIPE-TO"), None);
    assert_eq!(person.rows().len(), 1);
    person.press(KeyCode::Backspace);
    person.press(KeyCode::Enter);
    assert!(!person.app.typing);
    assert_eq!(person.app.list().filter, "PIPE-T");
    person.press(KeyCode::Esc);
    assert_eq!(person.rows().len(), 8);
    person.type_in("/!deny");
    assert_eq!(person.rows().len(), 3, "kill and two logs: `would deny` is a deny");
    person.press(KeyCode::Esc);
    assert_eq!((person.rows().len(), person.app.typing), (8, false));
}

#[test]
fn from_a_verdict_to_its_process_and_back() {
    let mut person = Person::new(View::Verdicts);
    person.type_in("g");
    assert!(!person.app.follow);
    person.press(KeyCode::Enter);
    assert_eq!(person.app.view, View::Tree);
    match person.app.list().selected {
        Some(Row::Process(pid)) => assert_eq!(pid.pid, 2011),
        other => panic!("{other:?}"),
    }
    person.press(KeyCode::Esc);
    assert_eq!(person.app.view, View::Verdicts);
    person.type_in("G");
    assert!(person.app.follow);
}

#[test]
fn verdicts_are_followed_until_somebody_looks_back() {
    let mut person = Person::new(View::Verdicts);
    assert_eq!(person.app.list().index, 7);
    let line = r#"{"time":"2026-11-20T10:00:30Z","op":"read","path":"/x","tree":"000006504a1c2001","process":{"pid":2001,"start":1000001},"verdict":{"action":"log","rule":"odd","enforced":false}}"#;
    person.model.apply(&Seen::parse(line).expect("an event"));
    person.app.settle(&person.model);
    assert_eq!(person.app.list().index, 8);
    person.press(KeyCode::Up);
    person.model.apply(&Seen::parse(line).expect("an event"));
    person.app.settle(&person.model);
    assert_eq!(person.app.list().index, 7);
}

#[test]
fn a_process_unfolds_and_folds() {
    let mut person = Person::new(View::Verdicts);
    person.type_in("g");
    person.press(KeyCode::Enter);
    person.type_in("/unittest");
    person.press(KeyCode::Enter);
    let python = |rows: &[Row]| rows.iter().position(|row| matches!(row, Row::Process(pid) if pid.pid == 2012));
    let rows = person.rows();
    let at = python(&rows).expect("python is shown");
    person.app.list_mut().selected = Some(rows[at]);
    let folded = rows.len();
    person.press(KeyCode::Enter);
    assert_eq!(person.rows().len(), folded + 10, "3 of 14 objects were shown, and a line for the rest");
    person.press(KeyCode::Enter);
    assert_eq!(person.rows().len(), folded);
}

#[test]
fn what_has_ended_can_be_hidden() {
    let mut person = Person::new(View::Sessions);
    person.type_in("e");
    assert_eq!(person.rows().len(), 2);
    person.type_in("2");
    assert!(!person.rows().is_empty());
    let rows = person.rows();
    let tree = person.app.session.expect("a session");
    for row in &rows {
        if let Row::Process(pid) = row {
            let process = person.model.process(tree, *pid).expect("a process");
            let below = rows.iter().any(|row| matches!(row, Row::Process(child) if child.start > pid.start));
            assert!(process.ended.is_none() || below);
        }
    }
}

#[test]
fn killing_asks_first() {
    let mut person = Person::new(View::Verdicts);
    person.type_in("g");
    assert_eq!(person.type_in("x"), None);
    assert!(matches!(&person.app.dialog, Some(Dialog::Ask(text, _)) if text.contains("call_0")));
    assert_eq!(person.type_in("n"), None);
    assert_eq!(person.message(), "Nothing was done.");
    person.type_in("x");
    let tree = 0x0650_4a1c_2001;
    assert_eq!(person.type_in("y"), Some(Effect::Do(Act::KillCall { tree, call: "call_0".to_owned() })));
    person.type_in("X");
    assert_eq!(person.type_in("y"), Some(Effect::Do(Act::KillSession { tree })));
    person.type_in("1");
    person.type_in("x");
    assert!(person.message().contains("Select a call first"), "{}", person.message());
    person.app.abilities = Abilities::default();
    person.type_in("X");
    assert!(person.message().starts_with("Not available: "), "{}", person.message());
    assert_eq!(person.app.dialog, None);
}

#[test]
fn switching_a_sessions_mode_asks_first() {
    let mut person = Person::new(View::Sessions);
    assert_eq!(person.type_in("m"), None);
    assert_eq!(person.message(), "Not available: nobody may");
    person.app.abilities.mode = Ok(());
    person.press(KeyCode::Down);
    let Some(Row::Session(tree)) = person.app.list().selected else { panic!("a session") };
    for (enforce, audit) in [(Some(true), true), (Some(false), false), (None, true)] {
        person.model.sessions.get_mut(&tree).expect("a session").enforce = enforce;
        person.type_in("m");
        let to = if audit { "to audit?" } else { "to enforce?" };
        assert!(matches!(&person.app.dialog, Some(Dialog::Ask(text, _)) if text.contains(to)), "{enforce:?}");
        assert_eq!(person.type_in("n"), None);
        assert_eq!(person.message(), "Nothing was done.");
        person.type_in("m");
        assert_eq!(person.type_in("y"), Some(Effect::Do(Act::Switch { tree, audit })));
    }
    person.model.sessions.get_mut(&tree).expect("a session").ended = Some(1);
    assert_eq!(person.type_in("m"), None);
    assert_eq!((person.message(), &person.app.dialog), ("Not available: the session has ended.", &None));
}

/// The record tells when somebody has switched it.
#[test]
fn a_switched_mode_is_seen_in_a_record() {
    let mut person = Person::new(View::Sessions);
    let tree = 0x0650_4a1c_2001;
    for (mode, enforce) in [("audit", false), ("enforce", true)] {
        let line = format!(
            r#"{{"time":"2026-11-20T10:00:31Z","op":"control","kind":"mode","mode":"{mode}","tree":"{tree:016x}","process":{{"pid":9,"start":8}}}}"#
        );
        person.model.apply(&Seen::parse(&line).expect("an event"));
        assert_eq!(person.model.sessions[&tree].enforce, Some(enforce));
        assert!(
            !person.model.sessions[&tree].processes.keys().any(|pid| pid.pid == 9),
            "who switched is no part of it"
        );
    }
}

/// Numbers come to the same as the events that they are of.
#[test]
fn what_was_counted_is_as_good_as_told() {
    let head = r#""time":"2026-11-20T10:00:31Z","tree":"000006504a1c2001","process":{"pid":2001,"start":1000001,"exe":"/usr/bin/codex"}"#;
    let allow = r#""verdict":{"action":"allow","enforced":false}"#;
    let (mut told, mut counted) = (Person::new(View::Sessions), Person::new(View::Sessions));
    for what in [
        r#""op":"read","path":"/a""#,
        r#""op":"read","path":"/a""#,
        r#""op":"write","path":"/b""#,
        r#""op":"connect","addr":"10.0.0.1","port":80"#,
    ] {
        told.model.apply(&Seen::parse(&format!("{{{head},{what},{allow}}}")).expect("an event"));
    }
    let counts = r#""op":"counted","count":4,"counts":[{"op":"read","count":2,"path":"/a"},{"op":"write","count":1,"path":"/b"},{"op":"connect","count":1,"addr":"10.0.0.1","port":80}]"#;
    counted.model.apply(&Seen::parse(&format!("{{{head},{counts}}}")).expect("an event"));
    let known = |person: &Person| {
        let model = &person.model;
        let mut objects: Vec<_> =
            model.objects.iter().map(|(_, one)| (one.name.to_string(), one.kind, one.uses)).collect();
        objects.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
        let session = &model.sessions[&0x0650_4a1c_2001];
        let rates = [&model.rate, &model.opens, &model.connects, &session.opens, &session.connects];
        let rates = rates.map(|meter| meter.rate(model.now, 0));
        let processes = &session.processes;
        let touches = |touch: &guard::top::model::Touch| (touch.name.to_string(), touch.words());
        let mut touched: Vec<_> =
            processes.values().flat_map(|process| process.touches.iter().map(touches)).collect();
        touched.sort();
        (model.events, model.garbage, rates, objects, processes.len(), touched)
    };
    assert_eq!(known(&told), known(&counted));
}

#[test]
fn rules_are_shown_and_copied() {
    let mut person = Person::new(View::Verdicts);
    person.type_in("g");
    let Some(Effect::Copy(rule)) = person.type_in("a") else { panic!("a rule") };
    assert!(rule.contains("path = [\"{repo}/.env\"]") && rule.contains("action = \"allow\""), "{rule}");
    assert_eq!(person.app.dialog, Some(Dialog::Rule(rule)));
    // Any key takes it away, and does nothing else.
    assert_eq!(person.type_in("q"), None);
    assert_eq!(person.app.dialog, None);
    for view in ['2', '4'] {
        person.type_in(&view.to_string());
        person.press(KeyCode::Down);
        assert!(matches!(person.type_in("d"), Some(Effect::Copy(_))), "{view} {}", person.message());
        person.press(KeyCode::Esc);
    }
    person.type_in("1");
    person.type_in("d");
    assert!(person.message().starts_with("No rule: "), "{}", person.message());
}

#[test]
fn every_rule_that_can_be_copied_is_one() {
    for view in [View::Verdicts, View::Objects] {
        let mut person = Person::new(view);
        let rows = person.rows();
        let mut rules = 0;
        for row in rows {
            for key in ["a", "d"] {
                person.app.follow = false;
                person.app.list_mut().selected = Some(row);
                if let Some(Effect::Copy(rule)) = person.type_in(key) {
                    let policy = format!("version = 1\n{rule}");
                    guard::policy::compile("test", &policy).unwrap_or_else(|failure| panic!("{failure}\n{rule}"));
                    rules += 1;
                }
                person.press(KeyCode::Esc);
            }
        }
        assert!(rules > 10, "{rules}");
    }
}

#[test]
fn pause_speed_and_quit_are_for_the_loop() {
    let mut person = Person::new(View::Sessions);
    assert_eq!(person.type_in(" "), Some(Effect::Pause(true)));
    assert_eq!(person.type_in("p"), Some(Effect::Pause(false)));
    assert_eq!(person.type_in("+"), Some(Effect::Speed(2.0)));
    assert_eq!(person.type_in("-"), Some(Effect::Speed(0.5)));
    assert_eq!(person.type_in("q"), Some(Effect::Quit));
    person.app.abilities.speed = false;
    assert_eq!(person.type_in("+"), None);
    assert!(person.message().starts_with("Not available: "));
    person.type_in("/");
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(person.app.key(interrupt, &person.model), Some(Effect::Quit), "also while a filter is typed");
}
