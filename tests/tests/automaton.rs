//! The automata against what others make of the same patterns: globset for globs and command lines, plain
//! arithmetic for addresses. Several rules share the tables, so that their segments and chains interact.

use std::cell::Cell;
use std::fmt::Write as _;
use std::net::IpAddr;

use globset::{GlobBuilder, GlobMatcher};
use guard::policy::{Compiled, Object, Places, compile};
use guard_common::table::{Automaton, CELLS, FAMILY_NET, FIRES_RULE_AT_END, NEED_OBJECT, NODE_ROOT};
use guard_common::walk::MAX_TEXT;
use guard_common::words::{Op, Scope};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const REPO: &str = "/a/b";
const HOME: &str = "/c";
const PLACES: Places<'static> = Places { repo: Some(REPO.as_bytes()), home: Some(HOME.as_bytes()) };

/// A pattern as its components, from which its text for either side is made.
#[derive(Clone, Debug)]
struct Made {
    /// `/`, `{repo}/` or `{home}/`; for command lines nothing.
    anchor: &'static str,
    /// `**` or one component each.
    parts: Vec<String>,
}

impl Made {
    fn text(&self, separator: &str) -> String {
        let anchor = if self.anchor == "/" && self.parts[0] == "**" { "" } else { self.anchor };
        format!("{anchor}{}", self.parts.join(separator))
    }

    /// Globset's pattern for the same. A class there would match a slash unless it is told not to.
    fn globs(&self, deep_tail_may_be_empty: bool) -> Vec<GlobMatcher> {
        let anchor = match self.anchor {
            "{repo}/" => "/a/b/",
            "{home}/" => "/c/",
            _ => "/",
        };
        let text = format!("{anchor}{}", self.parts.join("/")).replace("[!", "[!/");
        let mut texts = vec![text.clone()];
        if deep_tail_may_be_empty && let Some(head) = text.strip_suffix("/**").filter(|head| !head.is_empty()) {
            texts.push(head.to_owned());
        }
        let glob = |text: &String| GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build();
        texts.iter().map(|text| glob(text).expect("valid for globset").compile_matcher()).collect()
    }
}

/// One component: letters and wildcards, so few that matches are frequent.
fn component() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => prop_oneof![Just("a"), Just("b"), Just("c")],
        3 => Just("*"),
        1 => prop_oneof![Just("?"), Just("[ab]"), Just("[!a]"), Just("[b-c]"), Just("{a,bc}"), Just("{b,?c,[!c]}"), Just("\\b")],
    ];
    vec(piece, 1..=3).prop_map(|pieces| {
        let mut text = String::new();
        for piece in pieces {
            if piece != "*" || !text.ends_with('*') {
                text += piece;
            }
        }
        text
    })
}

fn made(anchors: &'static [&'static str]) -> impl Strategy<Value = Made> {
    let part = prop_oneof![1 => Just("**".to_owned()), 3 => component()];
    (prop::sample::select(anchors), vec(part, 1..=4)).prop_map(|(anchor, mut parts)| {
        parts.dedup_by(|next, before| next == "**" && before == "**");
        Made { anchor, parts }
    })
}

/// Positive patterns and exceptions of a rule.
type MadeRule = (Vec<Made>, Vec<Made>);

fn rules(anchors: &'static [&'static str]) -> impl Strategy<Value = Vec<MadeRule>> {
    vec((vec(made(anchors), 1..=3), vec(made(anchors), 0..=1)), 1..=8)
}

fn quoted(patterns: impl Iterator<Item = String>) -> String {
    patterns.fold(String::new(), |all, text| all + "'" + &text + "', ")
}

/// A policy of these rules. None is ever out of reach, for each excepts something; `never` matches nothing.
fn policy(rules: &[MadeRule], op: &str, key: &str, separator: &str, never: &str) -> Compiled {
    let mut text = "version = 1\n".to_owned();
    for (number, (patterns, excepts)) in rules.iter().enumerate() {
        let patterns = quoted(patterns.iter().map(|made| made.text(separator)));
        let excepts = quoted(excepts.iter().map(|made| made.text(separator)));
        writeln!(
            text,
            "[[rule]]\nname = \"r{number}\"\non = [\"{op}\"]\n{key} = [{patterns}]\nexcept = ['{never}', {excepts}]\naction = \"log\""
        )
        .expect("strings take everything");
    }
    compile("made", &text).unwrap_or_else(|failure| panic!("{failure}\n{text}"))
}

/// The same rules for globset: patterns and exceptions.
struct Expected(Vec<[Vec<GlobMatcher>; 2]>);

impl Expected {
    fn new(rules: &[MadeRule], tails: bool) -> Self {
        let globs = |all: &[Made]| all.iter().flat_map(|made| made.globs(tails)).collect();
        Self(rules.iter().map(|(patterns, excepts)| [globs(patterns), globs(excepts)]).collect())
    }

    /// The rules that match `text`.
    fn of(&self, text: &str) -> Vec<u16> {
        let any = |globs: &[GlobMatcher]| globs.iter().any(|glob| glob.is_match(text));
        let rules = (0..).zip(&self.0);
        rules.filter(|(_, [patterns, excepts])| any(patterns) && !any(excepts)).map(|(number, _)| number).collect()
    }
}

/// Texts that are tried on each policy: many, for to compile it takes longer than they do.
const TEXTS: usize = 150;

fn names(depth: usize) -> impl Strategy<Value = Vec<Vec<String>>> {
    vec(vec("[abc]{1,3}", 1..=depth), TEXTS)
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

/// Counts what was compared, so that a test in which hardly anything matches cannot pass.
#[derive(Default)]
struct Tally {
    pairs: Cell<usize>,
    matches: Cell<usize>,
}

impl Tally {
    fn add(&self, pairs: usize, matches: usize) {
        self.pairs.set(self.pairs.get() + pairs);
        self.matches.set(self.matches.get() + matches);
    }

    fn assert_worth(&self, least: usize) {
        let (pairs, matches) = (self.pairs.get(), self.matches.get());
        println!("{matches} of {pairs} pairs of a rule and a text matched");
        assert!(pairs >= least, "only {pairs} pairs were compared");
        assert!(matches * 10 > pairs && matches * 10 < pairs * 9, "{matches} of {pairs} pairs matched");
    }
}

#[test]
fn globs_match_what_globset_matches() {
    let tally = Tally::default();
    let cases = (rules(&["/", "/", "{repo}/", "{home}/"]), names(6));
    let outcome = runner(300).run(&cases, |(rules, paths)| {
        let policy = policy(&rules, "read", "path", "/", "/never/such");
        let mut tables = policy.tables();
        let globset = Expected::new(&rules, false);
        for names in paths {
            let path = format!("/{}", names.join("/"));
            let decision = tables.decide(Op::Read, Scope::Tool, &Object::Path(path.as_bytes()), &PLACES, 0);
            let expected = globset.of(&path);
            tally.add(rules.len(), expected.len());
            prop_assert_eq!(decision.matched, expected, "{}", path);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    tally.assert_worth(100_000);
}

#[test]
fn command_lines_match_as_globs_over_words() {
    let tally = Tally::default();
    // A `*` at the end is any rest for a command line only, so it is no common ground.
    let comparable = |rules: &Vec<MadeRule>| {
        rules.iter().flat_map(|(patterns, excepts)| patterns.iter().chain(excepts)).all(|made| {
            made.parts.last().is_some_and(|last| last == "**" || !last.trim_end_matches('}').ends_with('*'))
        })
    };
    let cases = (rules(&[""]).prop_filter("a `*` at the end", comparable), names(5));
    let outcome = runner(400).run(&cases, |(rules, lines)| {
        let policy = policy(&rules, "exec", "argv", " ", "never such");
        let mut tables = policy.tables();
        let globset = Expected::new(&rules, true);
        for words in lines {
            let path = format!("/bin/{}", words[0]);
            let argv: String = words.iter().flat_map(|word| [word.as_str(), "\0"]).collect();
            let object = Object::Command { path: path.as_bytes(), argv: argv.as_bytes() };
            let decision = tables.decide(Op::Exec, Scope::Tool, &object, &PLACES, 0);
            let expected = globset.of(&format!("/{}", words.join("/")));
            tally.add(rules.len(), expected.len());
            prop_assert_eq!(decision.matched, expected, "{:?}", words);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    tally.assert_worth(100_000);
}

/// A block of addresses and a range of ports.
type MadeNet = (u32, u8, u16, u16);

fn net() -> impl Strategy<Value = MadeNet> {
    // Few distinct bits, so that blocks lie in each other.
    let address = prop::sample::select(vec![0x0a00_0000u32, 0x0a01_0000, 0x0a01_02f0, 0x0a01_02ff, 0x0aff_0000]);
    let port = || prop::sample::select(vec![0u16, 1, 80, 255, 256, 443, 8000, u16::MAX]);
    (address, prop::sample::select(vec![0u8, 8, 15, 16, 28, 31, 32]), port(), port())
        .prop_map(|(address, bits, one, two)| (address & mask(bits), bits, one.min(two), one.max(two)))
}

fn mask(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)
}

/// The rule that the programs take, who read the last state's list instead of walking with matches.
fn kernel_decides(policy: &Compiled, op: Op, text: [u8; 18]) -> Option<u16> {
    let meta = policy.meta();
    let family = &meta.family[FAMILY_NET];
    let (applies, needs) = (&meta.applies[op as usize][1], &meta.needs[op as usize][NEED_OBJECT]);
    let has = |set: &[u64], rule: u16| set[usize::from(rule) / 64] & 1 << (rule % 64) != 0;
    let base = (0..meta.rules as u16).find(|&rule| has(applies, rule) && !has(needs, rule));
    if family.automata == 0 {
        return base;
    }
    assert_eq!(family.automata, 1);
    let cells = &Automaton::of(&policy.blocks[family.block[0] as usize]).cells;
    let mut state = u32::from(family.start[0][0]);
    for byte in text {
        state = u32::from(cells[(state * family.stride + u32::from(family.class[usize::from(byte)])) as usize]);
    }
    let packed = meta.list[usize::from(cells[(state * family.stride) as usize])];
    let firings = &meta.firing[(packed >> 8) as usize..][..(packed & 0xff) as usize];
    assert!(firings.is_sorted_by_key(|firing| firing.rule));
    assert!(
        firings
            .iter()
            .all(|firing| { (firing.flags, firing.parent, firing.len) == (FIRES_RULE_AT_END, NODE_ROOT, 1) })
    );
    let listed = firings.iter().map(|firing| firing.rule).find(|&rule| has(applies, rule));
    listed.into_iter().chain(base).min()
}

#[test]
fn addresses_match_by_their_bits() {
    let tally = Tally::default();
    let text = |(address, bits, first, last): &MadeNet| {
        format!("{}/{bits}:{first}-{last}", std::net::Ipv4Addr::from(*address))
    };
    let rule = (vec(net(), 0..=3), vec(net(), 0..=2), prop::sample::select(vec!["connect", "send"]));
    let probes = vec((net(), any::<u32>(), any::<u16>()), 16);
    let outcome = runner(500).run(&(vec(rule, 1..=6), probes), |(rules, probes)| {
        let mut policy_text = "version = 1\n".to_owned();
        for (number, (nets, excepts, op)) in rules.iter().enumerate() {
            let to = if nets.is_empty() { String::new() } else { format!("to = [{}]", quoted(nets.iter().map(text))) };
            let excepts = quoted(excepts.iter().map(text));
            writeln!(policy_text, "[[rule]]\nname = \"r{number}\"\non = [\"{op}\"]\n{to}\nexcept = ['::1', {excepts}]\naction = \"deny\"")
                .expect("strings take everything");
        }
        let policy = compile("made", &policy_text).unwrap_or_else(|failure| panic!("{failure}"));
        let mut tables = policy.tables();
        for ((base, bits, first, last), noise, port_noise) in probes {
            // Half of the probes lie inside the block, on its edges where the noise says so.
            let address = if noise % 2 == 0 { base | noise & !mask(bits) } else { base ^ (noise & 0x1ff) };
            let port = [first, last, port_noise, last.wrapping_add(1)][usize::from(port_noise % 4)];
            let inside = |&(base, bits, first, last): &MadeNet| address & mask(bits) == base && (first..=last).contains(&port);
            let ip = IpAddr::from(address.to_be_bytes());
            for (op, word) in [(Op::Connect, "connect"), (Op::Send, "send")] {
                let expected: Vec<u16> = (0..).zip(&rules)
                    .filter(|(_, (nets, excepts, on))| *on == word && (nets.is_empty() || nets.iter().any(inside)) && !excepts.iter().any(inside))
                    .map(|(number, _)| number)
                    .collect();
                tally.add(rules.len(), expected.len());
                let decision = tables.decide(op, Scope::Tool, &Object::Address { ip, port }, &PLACES, 0);
                let mut bytes = [0; 18];
                bytes[10..12].fill(0xff);
                bytes[12..16].copy_from_slice(&address.to_be_bytes());
                bytes[16..].copy_from_slice(&port.to_be_bytes());
                prop_assert_eq!(kernel_decides(&policy, op, bytes), expected.first().copied());
                prop_assert_eq!(decision.matched, expected);
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    tally.assert_worth(20_000);
}

/// 1,000 rules as people write them, in four shapes.
fn thousand() -> String {
    let mut text = "version = 1\n".to_owned();
    for n in 0..1000 {
        let pattern = match n % 4 {
            0 => format!("**/d{n}/**"),
            1 => format!("**/*.x{n}"),
            2 => format!("/repo/a{n}/**/b{n}*.txt"),
            _ => format!("/opt/p{n}/*/conf"),
        };
        writeln!(text, "[[rule]]\nname = \"r{n}\"\non = [\"read\"]\npath = [\"{pattern}\"]\naction = \"deny\"")
            .expect("strings take everything");
    }
    text
}

#[test]
fn a_thousand_rules_fit() {
    let policy = compile("thousand", &thousand()).unwrap_or_else(|failure| panic!("{failure}"));
    let states: usize = policy.sizes.iter().map(|size| size.states).sum();
    println!("compiled in {:?}: {:#?}", policy.took, policy.sizes);
    assert!(states < 10_000, "{states} states: {:#?}", policy.sizes);
    assert!(policy.sizes.iter().all(|size| size.cells <= CELLS));
    assert!(policy.blocks.len() <= 5, "{} blocks", policy.blocks.len());
    let mut tables = policy.tables();
    let mut rules =
        |path: &str| tables.decide(Op::Read, Scope::Tool, &Object::Path(path.as_bytes()), &PLACES, 0).matched;
    for n in (0..1000).step_by(4) {
        assert_eq!(rules(&format!("/x/d{n}/y")), [n]);
        assert_eq!(rules(&format!("/x/y.x{}", n + 1)), [n + 1]);
        assert_eq!(rules(&format!("/repo/a{0}/u/v/b{0}-w.txt", n + 2)), [n + 2]);
        assert_eq!(rules(&format!("/repo/a{}/b{}-w.txt", n + 2, n + 6)), [0; 0]);
        assert_eq!(rules(&format!("/opt/p{}/z/conf", n + 3)), [n + 3]);
    }
    assert_eq!(rules("/repo/a2/d8/d996/b2.x.txt.x5"), [5, 8, 996]);
}

#[test]
fn a_text_of_the_greatest_length_is_walked_to_its_end() {
    let text = "version = 1\n[[rule]]\nname = \"r\"\non = [\"read\"]\npath = [\"/**/z/*y\"]\naction = \"deny\"";
    let policy = compile("long", text).unwrap_or_else(|failure| panic!("{failure}"));
    let mut path = "/a".repeat(MAX_TEXT / 2 - 2);
    path += "/z/y";
    assert_eq!(path.len(), MAX_TEXT);
    let decision = policy.tables().decide(Op::Read, Scope::Tool, &Object::Path(path.as_bytes()), &PLACES, 0);
    assert_eq!(decision.rule, Some(0));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let mut text = thousand();
    for (n, letter) in ('a'..='z').enumerate() {
        write!(
            text,
            "[[rule]]\nname = \"star-{n}\"\non = [\"read\"]\npath = [\"**/*{letter}*{letter}*\"]\naction = \"deny\"\n"
        )
        .expect("strings take everything");
    }
    let failure = compile("large", &text).expect_err("two to the 26th states").to_string();
    assert!(failure.starts_with("error: the policy is too large: "), "{failure}");
    assert!(failure.contains("`star-"), "{failure}");
}
