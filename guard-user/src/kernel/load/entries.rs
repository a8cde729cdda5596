//! What is said to the programs of processes and trees, and what they say of them: the entries of their maps.

use anyhow::{Context as _, anyhow};
use guard_common::tree::{COUNTERS, Home, Id, MAX_ANCHOR, Member, PipeKey, Places};
use guard_common::words::Mode;

use super::{BPF_NOEXIST, Kernel};

impl Kernel {
    /// Enters a process; its children follow by themselves.
    ///
    /// # Errors
    /// If the map is full.
    pub fn enter(&mut self, pid: u32, member: Member) -> anyhow::Result<()> {
        self.members
            .insert(pid, member, 0)
            .with_context(|| format!("process {pid} could not be entered into the tree"))
    }

    /// Enters a process unless the programs have done so already.
    ///
    /// # Errors
    /// If the map is full.
    pub fn enter_new(&mut self, pid: u32, member: Member) -> anyhow::Result<()> {
        match self.members.insert(pid, member, BPF_NOEXIST) {
            Ok(()) => Ok(()),
            Err(_) if self.member(pid).is_some() => Ok(()),
            Err(error) => Err(anyhow!(error).context(format!("process {pid} could not be entered into the tree"))),
        }
    }

    /// Takes a process out again.
    pub fn leave(&mut self, pid: u32) {
        // It may have ended by itself in the meantime.
        drop(self.members.remove(&pid));
    }

    /// The member entry of a process.
    #[must_use]
    pub fn member(&self, pid: u32) -> Option<Member> {
        self.members.get(&pid, 0).ok()
    }

    /// All guarded processes.
    pub fn members(&self) -> impl Iterator<Item = (u32, Member)> {
        self.members.iter().filter_map(Result::ok)
    }

    /// Says where a tree's repository and home are. The mounts that it began with have to be known by then. Paths that are too
    /// long to anchor patterns are left out.
    ///
    /// # Errors
    /// If the map is full.
    pub fn set_places(&mut self, tree: Id, repo: &[u8], home: &[u8]) -> anyhow::Result<()> {
        let mut places =
            Places { repo_len: 0, home_len: 0, settled: 1, _pad: 0, repo: [0; MAX_ANCHOR], home: [0; MAX_ANCHOR] };
        places.repo_len = copy_path(&mut places.repo, repo);
        places.home_len = copy_path(&mut places.home, home);
        self.places.insert(tree, places, 0).context("the tree's places could not be stored")
    }

    /// Where a tree's repository and home are.
    #[must_use]
    pub fn places(&self, tree: Id) -> Option<Places> {
        self.places.get(&tree, 0).ok()
    }

    /// Forgets what belonged to a tree that has ended.
    pub fn forget_tree(&mut self, tree: Id, calls: impl IntoIterator<Item = Id>) {
        // Each may be gone or never have been there.
        drop(self.places.remove(&tree));
        drop(self.phases.remove(&tree));
        drop(self.modes.remove(&tree));
        drop(self.sent.remove(&tree));
        let connections: Vec<u64> = self
            .connections
            .iter()
            .filter_map(Result::ok)
            .filter(|(_, of)| of.tree == tree)
            .map(|(at, _)| at)
            .collect();
        for connection in connections {
            drop(self.connections.remove(&connection));
        }
        for call in calls {
            drop(self.ended_calls.remove(&call));
        }
        for pipe in self.pipes().into_iter().filter(|pipe| pipe.tree == tree) {
            self.forget_pipe(pipe);
        }
    }

    /// The phase that a tree is in, counted from 0.
    #[must_use]
    pub fn phase(&self, tree: Id) -> u32 {
        self.phases.get(&tree, 0).unwrap_or(0)
    }

    /// Has a tree go into a phase.
    ///
    /// # Errors
    /// If the map is full.
    pub fn set_phase(&mut self, tree: Id, phase: u32) -> anyhow::Result<()> {
        self.phases.insert(tree, phase, 0).context("the session's phase could not be stored")
    }

    /// Bytes that a tree's connections have sent.
    #[must_use]
    pub fn sent(&self, tree: Id) -> u64 {
        self.sent.get(&tree, 0).unwrap_or(0)
    }

    /// The mode that a tree has of its own, if it has one.
    #[must_use]
    pub fn mode(&self, tree: Id) -> Option<Mode> {
        self.modes.get(&tree, 0).ok().and_then(|mode| Mode::from_number(u8::try_from(mode).ok()?))
    }

    /// Whether some tree enforces, whatever the policy's mode is.
    #[must_use]
    pub fn some_enforce(&self) -> bool {
        self.modes.iter().filter_map(Result::ok).any(|(_, mode)| mode == Mode::Enforce as u32)
    }

    /// Gives a tree a mode of its own, or takes it away: from the next verdict on, of whichever of its processes.
    ///
    /// # Errors
    /// If the map is full.
    pub fn set_mode(&mut self, tree: Id, mode: Option<Mode>) -> anyhow::Result<()> {
        if let Some(mode) = mode {
            return self.modes.insert(tree, mode as u32, 0).context("the session's mode could not be stored");
        }
        // It may have had none.
        drop(self.modes.remove(&tree));
        Ok(())
    }

    /// Marks a call as ended: whatever of it forks, executes, opens or connects next is killed.
    ///
    /// # Errors
    /// If the map is full.
    pub fn end_call(&mut self, call: Id) -> anyhow::Result<()> {
        self.ended_calls.insert(call, 1, 0).context("the call could not be marked as ended")
    }

    /// The pipes that something is known of.
    #[must_use]
    pub fn pipes(&self) -> Vec<PipeKey> {
        self.pipes.keys().filter_map(Result::ok).collect()
    }

    /// Forgets a pipe.
    pub fn forget_pipe(&mut self, pipe: PipeKey) {
        // Its session may have ended in the meantime.
        drop(self.pipes.remove(&pipe));
    }

    /// The counters by name, summed over the CPUs.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        COUNTERS
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let values = self.counters.get(&(index as u32), 0).ok();
                (*name, values.map_or(0, |values| values.iter().sum()))
            })
            .collect()
    }

    /// Tells the programs where users live.
    pub(super) fn set_homes(&mut self) -> anyhow::Result<()> {
        for (uid, path) in crate::session::users::homes() {
            let mut home = Home { len: 0, path: [0; MAX_ANCHOR] };
            home.len = copy_path(&mut home.path, &path);
            self.homes.insert(uid, home, 0).context("the users' homes could not be stored")?;
        }
        Ok(())
    }
}

/// Copies a path without the `/` at its end; its length, or 0 if it does not fit or is the root.
fn copy_path(to: &mut [u8; MAX_ANCHOR], path: &[u8]) -> u32 {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    if path.len() >= MAX_ANCHOR {
        return 0;
    }
    to[..path.len()].copy_from_slice(path);
    path.len() as u32
}
