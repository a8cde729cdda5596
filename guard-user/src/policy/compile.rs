//! From an understood policy to the blocks that the kernel gets.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use guard_common::table::{
    ANCHORS, Automaton, Block, FAMILIES, FAMILY_ARGV, FAMILY_NET, FAMILY_PATH, FAMILY_ROWS, FIRES_EXCEPT, FIRES_TO,
    Firing, LEADS_ANYWHERE, MAX_AUTOMATA, MAX_CLASSES, MAX_FIRINGS, MAX_LISTS, MAX_RULES, Meta, NEED_ARGV,
    NEED_NETWORK_STDIN, NEED_OBJECT, NO_OWN_RULE, NO_SEPARATOR, NO_WORD, VERSION,
};
use guard_common::tree::NO_AGENT;
use guard_common::words::{Action, Mode, Op, Scope};

use super::addresses;
use super::ahead::{Leads, Weight};
use super::argv;
use super::failure::{Finding, Problem};
use super::family::{self, Built, Excess, Family};
use super::net::{Net, Target};
use super::pattern::Pattern;
use super::protected::Protected;
use super::rule::{Kind, Policy, Rule};

/// The pseudo rule that stands for control groups, where it has to be called something.
const SCOPE: &str = "scope";

/// A policy, ready for the kernel.
pub struct Compiled {
    /// The blocks by number, block 0 the [`Meta`] block; only those in use.
    pub blocks: Vec<Box<Block>>,
    /// The rules by their number in the tables, the pseudo rules of agents and of control groups last.
    pub rules: Vec<RuleInfo>,
    /// The agents by their number in the tables.
    pub agents: Vec<AgentInfo>,
    /// The control groups whose processes are all guarded, as the policy names them.
    pub groups: Vec<String>,
    /// The phases of sessions, in order; empty where they have none.
    pub phases: Vec<String>,
    /// Whether each session's repository may forbid more by its `.codexignore`.
    pub import_codexignore: bool,
    /// Whether verdicts are carried out.
    pub mode: Mode,
    /// Remarks on what was accepted.
    pub warnings: Vec<Finding>,
    /// How large the automata became.
    pub sizes: Vec<Size>,
    /// How long compiling took.
    pub took: Duration,
    /// Which files it means when it denies.
    pub(super) protected: Protected,
}

/// What events and people are told of a rule.
#[derive(Clone, Debug)]
pub struct RuleInfo {
    /// Its name; of a pseudo rule, the agent's.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// Why, in the policy's own words.
    pub reason: Option<String>,
    /// The line its name stands on, counted from 1.
    pub line: u32,
    /// It only stands for an agent's executables.
    pub agent: bool,
}

/// What is told of an agent.
#[derive(Clone, Debug)]
pub struct AgentInfo {
    /// Its name.
    pub name: String,
}

/// How large an automaton is.
#[derive(Clone, Debug)]
pub struct Size {
    /// `path`, `argv` or `net`.
    pub family: &'static str,
    /// What its patterns look like.
    pub looks: &'static str,
    /// States in use.
    pub states: usize,
    /// Cells in use of the block's [`guard_common::table::CELLS`].
    pub cells: usize,
}

impl Compiled {
    /// The meta block.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        Meta::of(&self.blocks[0])
    }

    /// Gives the policy its number.
    pub fn set_generation(&mut self, generation: u32) {
        Meta::of_mut(&mut self.blocks[0]).generation = generation;
    }

    /// Sets whether verdicts are carried out, whatever the policy's text says.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        Meta::of_mut(&mut self.blocks[0]).mode = mode as u32;
    }

    /// Whether a rule or default can refuse something on the network.
    #[must_use]
    pub fn needs_net(&self) -> bool {
        [Op::Connect, Op::Send, Op::Bind].into_iter().any(|op| self.can_refuse(op))
    }

    /// Whether a rule is about `op`, or a default does anything but let it pass.
    #[must_use]
    pub fn is_about(&self, op: Op) -> bool {
        let meta = self.meta();
        Scope::ALL.iter().any(|&scope| {
            meta.applies[op as usize][scope as usize].iter().any(|rules| *rules != 0)
                || meta.default[op as usize][scope as usize] != Action::Allow as u8
        })
    }

    /// The rules that deny `op`.
    pub fn denials_of(&self, op: Op) -> impl Iterator<Item = &RuleInfo> {
        let meta = self.meta();
        let denies = move |number: usize| {
            let (word, bit) = (number / 64, 1 << (number % 64));
            Scope::ALL
                .iter()
                .any(|&scope| meta.applies[op as usize][scope as usize][word] & meta.denies[word] & bit != 0)
        };
        self.rules.iter().enumerate().filter(move |(number, _)| denies(*number)).map(|(_, rule)| rule)
    }

    /// Whether a rule or default can refuse `op`.
    #[must_use]
    pub fn can_refuse(&self, op: Op) -> bool {
        let meta = self.meta();
        Scope::ALL.iter().any(|&scope| {
            let rules = &meta.applies[op as usize][scope as usize];
            rules.iter().zip(&meta.denies).any(|(applies, denies)| applies & denies != 0)
        }) || self.refuses_by_default(op)
    }

    /// Where files may lie whose reading or writing rules deny by absolute paths: folders, or the files themselves.
    #[must_use]
    pub fn protected_places(&self) -> &[PathBuf] {
        &self.protected.places
    }

    /// Whether `op` is refused where no rule matches.
    #[must_use]
    pub fn refuses_by_default(&self, op: Op) -> bool {
        let meta = self.meta();
        Scope::ALL.iter().any(|&scope| meta.default[op as usize][scope as usize] >= Action::Deny as u8)
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A block is two million bytes; their number says enough.
        f.debug_struct("Compiled")
            .field("blocks", &self.blocks.len())
            .field("rules", &self.rules)
            .field("agents", &self.agents)
            .field("mode", &self.mode)
            .field("sizes", &self.sizes)
            .finish_non_exhaustive()
    }
}

const NAMES: [&str; FAMILIES] = ["path", "argv", "net"];

/// Compiles `policy`, whose rules stand on `lines`.
pub fn compile(
    policy: &Policy,
    lines: &[u32],
    agent_lines: &[u32],
    since: Instant,
) -> Result<Compiled, Vec<Problem>> {
    let numbers = Numbers::of(policy)?;
    let families = build_families(policy, &numbers).map_err(|excess| vec![too_large(policy, &excess)])?;
    let mode = policy.mode.unwrap_or(Mode::Enforce);
    let mut writer = Writer { blocks: vec![zeroed()], lists: HashMap::new(), firings: 0, sizes: Vec::new() };
    for (number, family) in families.iter().enumerate() {
        writer.family(number, family).map_err(|what| vec![Problem::whole(format!("{TOO_LARGE}: {what}"))])?;
    }
    writer.share_empty(&families);
    writer
        .leading(&families[FAMILY_PATH].leading)
        .map_err(|what| vec![Problem::whole(format!("{TOO_LARGE}: {what}"))])?;
    let mut blocks = writer.blocks;
    let meta = Meta::of_mut(&mut blocks[0]);
    meta.version = VERSION;
    meta.mode = mode as u32;
    meta.rules = numbers.total as u32;
    meta.words = numbers.total.div_ceil(64) as u32;
    meta.family[FAMILY_PATH].separator = u32::from(b'/');
    meta.family[FAMILY_ARGV].separator = 0;
    meta.family[FAMILY_NET].separator = NO_SEPARATOR;
    fill_rules(meta, policy);
    fill_weights(meta, policy, &families[FAMILY_PATH]);
    fill_who(meta, policy, &numbers);
    let mut rules: Vec<RuleInfo> = policy.rules.iter().zip(lines).map(|(rule, &line)| info(rule, line)).collect();
    rules.extend(policy.agents.iter().zip(agent_lines).map(|(agent, &line)| {
        let name = agent.name.clone();
        RuleInfo { name, action: Action::Allow, reason: None, line, agent: true }
    }));
    if !policy.groups.is_empty() {
        let name = SCOPE.to_owned();
        rules.push(RuleInfo { name, action: Action::Allow, reason: None, line: 0, agent: true });
    }
    let own = rules.iter().position(RuleInfo::is_about_own_maps);
    let meta = Meta::of_mut(&mut blocks[0]);
    meta.own_rule = own.map_or(NO_OWN_RULE, |rule| rule as u32);
    meta.own_rules = rules.iter().take_while(|rule| rule.is_own()).count() as u32;
    let agents = policy.agents.iter().map(|agent| AgentInfo { name: agent.name.clone() }).collect();
    let took = since.elapsed();
    let phases = policy.phases.iter().map(|phase| phase.name.clone()).collect();
    Ok(Compiled {
        blocks,
        rules,
        agents,
        groups: policy.group_texts.clone(),
        phases,
        import_codexignore: policy.import_codexignore,
        mode,
        warnings: Vec::new(),
        sizes: writer.sizes,
        took,
        protected: Protected::of(policy),
    })
}

/// How rules and what stands beside them are numbered: the rules from 0, then the agents and the control groups, and at the beginning of a
/// word each the classes of executables and the phases' markers.
struct Numbers<'a> {
    /// Each different `by`.
    classes: Vec<&'a [Pattern]>,
    /// Number of the first class.
    first_class: usize,
    /// Number of the first phase's marker.
    first_marker: usize,
    /// Numbers that are taken.
    total: usize,
}

impl<'a> Numbers<'a> {
    fn of(policy: &'a Policy) -> Result<Self, Vec<Problem>> {
        let mut classes: Vec<&[Pattern]> = Vec::new();
        for by in policy.rules.iter().filter_map(|rule| rule.by.as_deref()) {
            if !classes.contains(&by) {
                classes.push(by);
            }
        }
        if classes.len() > MAX_CLASSES {
            let message = format!("the rules have {} different `by`", classes.len());
            return Err(vec![Problem::whole(message).label(format!("at most {MAX_CLASSES}"))]);
        }
        let plain = group_number(policy) + usize::from(!policy.groups.is_empty());
        let word = |used: bool| if used { 64 } else { 0 };
        let first_class = plain.next_multiple_of(64);
        let first_marker = first_class + word(!classes.is_empty());
        let total = if classes.is_empty() && policy.phases.is_empty() {
            plain
        } else {
            first_marker + word(!policy.phases.is_empty())
        };
        if total > MAX_RULES || policy.agents.len() > usize::from(NO_AGENT) {
            let message = format!("the policy has {} rules and {} agents", policy.rules.len(), policy.agents.len());
            let most = format!(
                "at most {} together with this policy's classes and phases, {NO_AGENT} agents",
                MAX_RULES - (total - plain)
            );
            return Err(vec![Problem::whole(message).label(most)]);
        }
        Ok(Self { classes, first_class, first_marker, total })
    }

    /// The number of a rule's class.
    fn class_of(&self, rule: &Rule) -> Option<usize> {
        let by = rule.by.as_deref()?;
        self.classes.iter().position(|class| *class == by)
    }
}

/// Number of the pseudo rule for control groups, where there are any.
fn group_number(policy: &Policy) -> usize {
    policy.rules.len() + policy.agents.len()
}

fn info(rule: &Rule, line: u32) -> RuleInfo {
    RuleInfo { name: rule.name.clone(), action: rule.action, reason: rule.reason.clone(), line, agent: false }
}

/// A block of zeros, made where it will lie: it is too large for the stack.
fn zeroed() -> Box<Block> {
    // SAFETY: a block is bytes, for which zero is a value.
    unsafe { Box::<Block>::new_zeroed().assume_init() }
}

/// Puts every pattern into its family.
fn build_families(policy: &Policy, numbers: &Numbers<'_>) -> Result<[Family; FAMILIES], Excess> {
    let mut paths = family::Builder::new(b'/');
    let mut words = family::Builder::new(0);
    let mut net = addresses::Builder::default();
    for (number, rule) in policy.rules.iter().enumerate() {
        let number = number as u16;
        rule.path.iter().flatten().for_each(|pattern| paths.add(pattern, number, 0));
        rule.argv.iter().flatten().for_each(|pattern| words.add(pattern, number, 0));
        let except = if rule.except_kind == Kind::Argv { &mut words } else { &mut paths };
        rule.except.iter().for_each(|pattern| except.add(pattern, number, FIRES_EXCEPT));
        for (targets, is_except, flags) in [
            (rule.to.as_deref().unwrap_or_default(), false, FIRES_TO),
            (&rule.except_to[..], true, FIRES_TO | FIRES_EXCEPT),
        ] {
            for target in targets {
                if matches!(target, Target::Net(_) | Target::Everything) {
                    net.add(target.net(), number, is_except);
                }
                if let Some(pattern) = target.unix() {
                    paths.add(&pattern, number, flags);
                }
            }
        }
    }
    for (number, agent) in policy.agents.iter().enumerate() {
        let number = (policy.rules.len() + number) as u16;
        agent.exe.iter().for_each(|pattern| paths.add(pattern, number, 0));
    }
    policy.groups.iter().for_each(|pattern| paths.add(pattern, group_number(policy) as u16, 0));
    for (class, by) in numbers.classes.iter().enumerate() {
        by.iter().for_each(|pattern| paths.add(pattern, (numbers.first_class + class) as u16, 0));
    }
    for (number, phase) in policy.phases.iter().enumerate().skip(1) {
        let number = (numbers.first_marker + number) as u16;
        words.add(&argv::command(&["guard", "phase", &phase.name]), number, 0);
        phase.marker.iter().for_each(|pattern| words.add(pattern, number, 0));
    }
    Ok([paths.build(&weights(policy))?, words.build(&[])?, net.build()?])
}

/// What each rule is to things that are moved.
fn weights(policy: &Policy) -> Vec<Weight> {
    let mut kinds = Vec::new();
    let mut weights = Vec::new();
    for (number, rule) in policy.rules.iter().enumerate() {
        let decides_before =
            |later: &Rule| later.action >= Action::Deny && later.ops.iter().any(|op| rule.ops.contains(op));
        if rule.action < Action::Deny && !policy.rules[number..].iter().any(decides_before) {
            weights.push(None);
            continue;
        }
        // One that excepts something stands for no other: where it is excepted, the others are not.
        let own = rule.has_except().then_some(number);
        let kind = (&rule.ops, rule.scope, &rule.by, rule.phases, rule.network_stdin, rule.action, &rule.argv, own);
        let known = kinds.iter().position(|known| *known == kind).unwrap_or(kinds.len());
        if known == kinds.len() {
            kinds.push(kind);
        }
        weights.push(Some(known));
    }
    weights
}

impl Target {
    /// The addresses that it names.
    fn net(&self) -> Net {
        match self {
            Self::Net(net) => *net,
            Self::Everything | Self::Unix(_) => Net::everything(),
        }
    }

    /// The sockets that it names.
    fn unix(&self) -> Option<Pattern> {
        match self {
            Self::Everything => Some(Pattern::everything()),
            Self::Unix(pattern) => Some(pattern.clone()),
            Self::Net(_) => None,
        }
    }
}

const TOO_LARGE: &str = "the policy is too large";
/// Rules that are named where a policy is too large.
const NAMED: usize = 5;

fn too_large(policy: &Policy, excess: &Excess) -> Problem {
    let rules: Vec<&Rule> = excess.rules.iter().filter_map(|&rule| policy.rules.get(usize::from(rule))).collect();
    let message = format!("{TOO_LARGE}: {}", excess.what);
    let Some(worst) = rules.first() else { return Problem::whole(message).help(excess.help) };
    let mut names: Vec<String> = rules.iter().take(NAMED).map(|rule| format!("`{}`", rule.name)).collect();
    if rules.len() > NAMED {
        names.push(format!("and {} more", rules.len() - NAMED));
    }
    Problem::at(worst.span.clone(), message)
        .label("by this rule among others")
        .note(format!("the rules that bring it about, the heaviest first: {}", names.join(", ")))
        .help(excess.help)
}

/// Fills blocks.
struct Writer {
    blocks: Vec<Box<Block>>,
    lists: HashMap<Vec<Firing>, u16>,
    firings: usize,
    sizes: Vec<Size>,
}

impl Writer {
    /// Writes the automata of a family and what they share.
    fn family(&mut self, number: usize, family: &Family) -> Result<(), String> {
        if family.automata.is_empty() {
            return Ok(());
        }
        // With 256 classes the last would not fit a byte. That takes addresses, for no text of UTF-8 has all
        // bytes; there a list stands only where the text ends and nothing follows, so the list's cell may
        // serve as that of class 0 everywhere else.
        let first = usize::from(family.classes.count < 256);
        let stride = family.classes.count + first;
        let mut block = [0; MAX_AUTOMATA];
        let mut begin = [[0; MAX_AUTOMATA]; ANCHORS];
        let mut leads = [0; MAX_AUTOMATA];
        for (index, built) in family.automata.iter().enumerate() {
            block[index] = self.automaton(built, family.classes.count, first)?;
            if !built.leads.is_empty() {
                leads[index] = (built.lists.len() * stride) as u32;
                self.leads(block[index], leads[index] as usize, &built.leads)?;
            }
            for (anchor, row) in begin.iter_mut().enumerate() {
                let starts = &built.dfa.starts;
                row[index] = if starts.len() == 1 { starts[0] } else { starts[anchor] };
            }
            let states = built.lists.len();
            self.sizes.push(Size { family: NAMES[number], looks: built.looks, states, cells: states * stride });
        }
        for index in family.automata.len()..MAX_AUTOMATA {
            block[index] = block[0];
        }
        let entry = &mut Meta::of_mut(&mut self.blocks[0]).family[number];
        entry.automata = family.automata.len() as u32;
        entry.stride = stride as u32;
        entry.anchors = family.anchors;
        entry.block = block;
        entry.leads = leads;
        entry.start = begin;
        for (class, &zero_based) in entry.class.iter_mut().zip(&family.classes.of) {
            *class = zero_based + first as u8;
        }
        Ok(())
    }

    fn automaton(&mut self, built: &Built, classes: usize, first: usize) -> Result<u32, String> {
        let lists = built.lists.iter().map(|list| self.list(list)).collect::<Result<Vec<u16>, String>>()?;
        let mut block = zeroed();
        let cells = &mut Automaton::of_mut(&mut block).cells;
        let stride = classes + first;
        for (state, (next, list)) in built.dfa.next.chunks(classes).zip(lists).enumerate() {
            let row = &mut cells[state * stride..(state + 1) * stride];
            row[first..].copy_from_slice(next);
            if list != 0 {
                row[0] = list;
            }
        }
        self.blocks.push(block);
        Ok(self.blocks.len() as u32 - 1)
    }

    /// The number of a list, 0 for the empty one.
    fn list(&mut self, firings: &[Firing]) -> Result<u16, String> {
        if firings.is_empty() {
            return Ok(0);
        }
        if let Some(&number) = self.lists.get(firings) {
            return Ok(number);
        }
        let number = self.lists.len() + 1;
        if number >= MAX_LISTS || self.firings + firings.len() > MAX_FIRINGS {
            return Err(format!("its patterns end together in more than {MAX_LISTS} ways"));
        }
        let meta = Meta::of_mut(&mut self.blocks[0]);
        meta.list[number] = (self.firings as u32) << 8 | firings.len() as u32;
        meta.firing[self.firings..self.firings + firings.len()].copy_from_slice(firings);
        self.firings += firings.len();
        self.lists.insert(firings.to_vec(), number as u16);
        Ok(number as u16)
    }

    /// Writes what each state of an automaton leads to behind its rows, from cell `first` on.
    fn leads(&mut self, block: u32, first: usize, leads: &[Leads]) -> Result<(), String> {
        let lists = leads.iter().map(|leads| self.lead(leads)).collect::<Result<Vec<u16>, String>>()?;
        let cells = &mut Automaton::of_mut(&mut self.blocks[block as usize]).cells;
        cells[first..first + lists.len()].copy_from_slice(&lists);
        Ok(())
    }

    /// Writes what nodes lead to.
    fn leading(&mut self, leading: &[(u16, Leads)]) -> Result<(), String> {
        for (number, (node, leads)) in leading.iter().enumerate() {
            let list = self.lead(leads)?;
            Meta::of_mut(&mut self.blocks[0]).leading[number] = u32::from(*node) << 16 | u32::from(list);
        }
        Meta::of_mut(&mut self.blocks[0]).leading_nodes = leading.len() as u32;
        Ok(())
    }

    /// The number of the list of what a place leads to.
    fn lead(&mut self, leads: &Leads) -> Result<u16, String> {
        match leads {
            Leads::To(firings) => self.list(firings),
            Leads::Anywhere => Ok(LEADS_ANYWHERE),
        }
    }

    /// Lets families without patterns share a block: a walk in state 0 reads only the dead row's zeros.
    fn share_empty(&mut self, families: &[Family]) {
        if self.blocks.len() == 1 {
            self.blocks.push(zeroed());
        }
        for number in 0..FAMILY_ROWS {
            if families.get(number).is_none_or(|family| family.automata.is_empty()) {
                let entry = &mut Meta::of_mut(&mut self.blocks[0]).family[number];
                entry.stride = 1;
                entry.block = [1; MAX_AUTOMATA];
            }
        }
    }
}

/// What each rule applies to, needs and does.
fn fill_rules(meta: &mut Meta, policy: &Policy) {
    for (op, action) in &policy.defaults {
        meta.default[*op as usize] = [*action as u8; 2];
    }
    for (number, rule) in policy.rules.iter().enumerate() {
        let (word, bit) = (number / 64, 1 << (number % 64));
        meta.action[number] = rule.action as u8;
        if rule.action >= Action::Deny {
            meta.denies[word] |= bit;
        }
        if rule.to.iter().flatten().any(|target| !matches!(target, Target::Unix(_))) {
            meta.net[word] |= bit;
        }
        for &op in &rule.ops {
            for &scope in Scope::ALL {
                if rule.in_scope(scope) {
                    meta.applies[op as usize][scope as usize][word] |= bit;
                }
            }
            let object = Kind::Path.applies(op) && rule.path.is_some() || Kind::To.applies(op) && rule.to.is_some();
            let argv = Kind::Argv.applies(op) && rule.argv.is_some();
            let stdin = op == Op::Exec && rule.network_stdin;
            for (need, is_needed) in [(NEED_OBJECT, object), (NEED_ARGV, argv), (NEED_NETWORK_STDIN, stdin)] {
                if is_needed {
                    meta.needs[op as usize][need][word] |= bit;
                }
            }
        }
    }
    // An agent's executable begins as the agent itself; who is guarded because of its control group is a tool.
    let agents = (0..policy.agents.len()).map(|agent| (policy.rules.len() + agent, agent as u8, Scope::Harness));
    let groups = (!policy.groups.is_empty()).then(|| (group_number(policy), NO_AGENT, Scope::Tool));
    for (number, agent, scope) in agents.chain(groups) {
        let (word, bit) = (number / 64, 1 << (number % 64));
        meta.action[number] = agent;
        meta.applies[Op::Enrol as usize][scope as usize][word] |= bit;
        meta.needs[Op::Enrol as usize][NEED_OBJECT][word] |= bit;
    }
}

/// Which rules matter to what is moved, and which of them wherever it lies.
fn fill_weights(meta: &mut Meta, policy: &Policy, paths: &Family) {
    for (number, weight) in weights(policy).iter().enumerate() {
        meta.weighs[number / 64] |= u64::from(weight.is_some()) << (number % 64);
    }
    for firing in &paths.anywhere {
        let rule = usize::from(firing.rule);
        let set = if firing.flags & FIRES_EXCEPT == 0 { &mut meta.anywhere } else { &mut meta.anywhere_except };
        set[rule / 64] |= 1 << (rule % 64);
    }
}

/// Which rules are about whom: the classes of executables that they ask for, and the phases in which they hold.
fn fill_who(meta: &mut Meta, policy: &Policy, numbers: &Numbers<'_>) {
    meta.phases = policy.phases.len().max(1) as u32;
    let word = |used: bool, first: usize| if used { (first / 64) as u32 } else { NO_WORD };
    meta.class_word = word(!numbers.classes.is_empty(), numbers.first_class);
    meta.marker_word = word(!policy.phases.is_empty(), numbers.first_marker);
    meta.follows_pipes = u32::from(policy.rules.iter().any(|rule| rule.network_stdin));
    for rules in &mut meta.phase {
        rules.fill(u64::MAX);
    }
    for (number, rule) in policy.rules.iter().enumerate() {
        let (word, bit) = (number / 64, 1 << (number % 64));
        if let Some(class) = numbers.class_of(rule) {
            meta.by[word] |= bit;
            meta.class[class][word] |= bit;
        }
        if let Some(phases) = rule.phases {
            for (phase, rules) in meta.phase.iter_mut().enumerate() {
                if phases & 1 << phase == 0 {
                    rules[word] &= !bit;
                }
            }
        }
    }
}
