//! Trees that begin because of a control group.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use guard_common::event::Head;
use guard_common::tree::KnownClasses;
use procfs::process::Process;

use super::{Inheritance, Watch};
use crate::record::redact;
use crate::session::Image;

impl Watch<'_> {
    /// A process was moved into a group that is guarded, and runs the program at `path` in the folder `cwd`.
    pub(super) fn moved(&mut self, head: &Head, path: &[u8], cwd: &[u8]) {
        self.enrolled(head, cwd);
        if let Some(tree) = self.trees.get_mut(&head.tree) {
            tree.agents.insert(head.tgid);
            tree.calls.push(head.call);
        }
        // The image is numbered as the programs did, and the words are those of now: after an exec, another record says more.
        let running = Process::new(head.tgid as i32).ok();
        let argv = running.and_then(|running| running.cmdline().ok()).unwrap_or_default();
        let exe = OsStr::from_bytes(path).to_owned();
        let cwd = String::from_utf8_lossy(cwd).into_owned();
        self.processes.executed(
            head.tgid,
            head.start,
            head.start,
            Image { id: head.tree, exe, argv: redact::argv(argv), cwd },
        );
        let policy = std::sync::Arc::clone(&self.policy);
        let Some(classes) = self.kernel.classes_of(&mut policy.tables(), path, head.tree) else { return };
        let known = KnownClasses { classes, generation: self.generation, ..KnownClasses::default() };
        let place = self.kernel.active_place();
        // Without its classes, rules that deny take it as theirs.
        if self.kernel.reclass(head.tree, place, known).is_err() {
            self.garbled += 1;
        }
    }

    /// Guards the groups that the policy names now, and who is in them.
    pub(super) fn guard_groups(&mut self) {
        if let Err(error) = self.seed(&Inheritance::default()) {
            tracing::error!("not all that `[scope]` names is guarded: {error:#}");
        }
    }
}
