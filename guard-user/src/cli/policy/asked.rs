//! The question that options on the command line ask.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::{env, fs};

use clap::Args;
use guard_common::words::{Op, Scope};

use super::{one_of, op, scope};
use crate::policy::question::words;
use crate::policy::{Question, Thing, Whole, reached};
use crate::session::repo;

#[derive(Args)]
pub struct Asked {
    /// What is attempted: exec, read, write, connect, send or outlive
    #[arg(long, value_name = "OPERATION", value_parser = op)]
    op: Op,
    /// The file, or the program that is executed; of one that is on this machine the true path is taken
    #[arg(long)]
    path: Option<PathBuf>,
    /// The command line of an exec, in one word, split as a shell would
    #[arg(long, value_name = "LINE", conflicts_with = "command")]
    argv: Option<String>,
    /// Where the program's standard input comes from: `network`, a pipe that brings data from there
    #[arg(long, value_name = "WHERE", value_parser = ["network"])]
    stdin: Option<String>,
    /// The address and port, or unix:PATH
    #[arg(long, value_name = "ADDR")]
    to: Option<String>,
    /// On whose behalf: tool, for commands that the model asked for, or harness
    #[arg(long, default_value = Scope::Tool.word(), value_parser = scope)]
    scope: Scope,
    /// The executable of the process that attempts it, for rules with `by`
    #[arg(long)]
    exe: Option<PathBuf>,
    /// The phase that the session is in; without it, the first
    #[arg(long, value_name = "NAME")]
    phase: Option<String>,
    /// The session's repository; without it, the git repository here, or this folder
    #[arg(long)]
    repo: Option<String>,
    /// The user's home; without it, yours
    #[arg(long)]
    home: Option<String>,
    /// The command line of an exec
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Asked {
    /// The question to `policy`, and what there is to know about how it was understood; or what is wrong with it.
    pub fn question(&self, policy: &Whole) -> Result<(Question, Vec<String>), String> {
        let mut notes = Vec::new();
        let thing = self.thing(&mut notes)?;
        let exe = self.exe.as_deref().map(|exe| true_path(exe, &mut notes)).transpose()?;
        let phase = policy.phase(self.phase.as_deref()).ok_or_else(|| {
            let known: Vec<&str> = policy.compiled.phases.iter().map(String::as_str).collect();
            format!("--phase: expected {}, for the policy has no other phases", one_of(&known))
        })?;
        let here = || repo::top_level(&env::current_dir().unwrap_or_default()).display().to_string();
        let repo = self.repo.clone().unwrap_or_else(here);
        let home = self.home.clone().or_else(|| env::var("HOME").ok());
        let place = |place: String| place.trim_end_matches('/').to_owned();
        let question = Question {
            op: self.op,
            thing,
            scope: self.scope,
            repo: Some(place(repo)),
            home: home.map(place),
            exe,
            phase,
            network_stdin: self.stdin.is_some(),
        };
        Ok((question, notes))
    }

    fn thing(&self, notes: &mut Vec<String>) -> Result<Thing, String> {
        let argv = match &self.argv {
            Some(line) => Some(words(line)?),
            None if self.command.is_empty() => None,
            None => Some(self.command.clone()),
        };
        let op = self.op;
        let wanted = match op {
            Op::Exec => vec!["--path", "--argv", "--stdin"],
            Op::Connect | Op::Send | Op::Bind => vec!["--to"],
            Op::Outlive => vec![],
            _ => vec!["--path"],
        };
        let given = [
            ("--path", self.path.is_some()),
            ("--argv", argv.is_some()),
            ("--stdin", self.stdin.is_some()),
            ("--to", self.to.is_some()),
        ];
        if let Some((needless, _)) = given.iter().find(|(option, given)| *given && !wanted.contains(option)) {
            return Err(format!("{needless} means nothing to --op {}", op.word()));
        }
        match (op, &self.path, argv, &self.to) {
            (Op::Exec, None, None, _) => Err("--op exec needs a command line, or --path".to_owned()),
            (Op::Exec, path, argv, _) => {
                let program = path
                    .clone()
                    .or_else(|| found(argv.as_ref()?.first()?))
                    .ok_or_else(|| "the program is not on this machine: say with --path where it is".to_owned())?;
                let program = true_path(&program, notes)?;
                let argv = argv.unwrap_or_else(|| vec![program.clone()]);
                Ok(Thing::Command(program, argv))
            }
            (Op::Connect | Op::Send | Op::Bind, _, _, Some(to)) => {
                let thing = Thing::from_to(to)?;
                if !thing.fits(op) {
                    return Err(
                        "--op bind is about internet addresses; a unix socket at a path is --op create".to_owned()
                    );
                }
                if let Thing::Address(address) = thing
                    && op != Op::Bind
                    && reached(address.ip()) != address.ip()
                {
                    notes.push(format!("who connects to {} reaches {}", address.ip(), reached(address.ip())));
                }
                Ok(thing)
            }
            (Op::Outlive, ..) => Ok(Thing::Itself),
            (_, Some(path), ..) => true_path(path, notes).map(Thing::File),
            _ => Err(format!("--op {} needs {}", op.word(), one_of(&wanted))),
        }
    }
}

/// Where a shell would find the program.
fn found(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(name.into());
    }
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The true path of `path`: what is there on this machine decides, and what is not there is taken as it is written.
fn true_path(path: &Path, notes: &mut Vec<String>) -> Result<String, String> {
    let whole = env::current_dir().map_err(|error| format!("there is no current folder: {error}"))?.join(path);
    let there = whole.ancestors().find_map(|above| Some((fs::canonicalize(above).ok()?, above)));
    let (mut truth, above) = there.unwrap_or_else(|| (PathBuf::from("/"), Path::new("/")));
    for component in whole.strip_prefix(above).unwrap_or(&whole).components() {
        match component {
            Component::Normal(name) => truth.push(name),
            Component::ParentDir => drop(truth.pop()),
            _ => {}
        }
    }
    if truth.as_os_str() != path.as_os_str() {
        notes.push(format!("the true path of {} is {}", path.display(), truth.display()));
    }
    let text = |path: &OsStr| String::from_utf8(path.as_bytes().to_vec()).ok();
    text(truth.as_os_str()).ok_or_else(|| format!("{} is not UTF-8", truth.display()))
}
