//! Opens that were refused before they happened, by [`Prevention`]: told as if a record had brought them.

use std::sync::Arc;

use guard_common::tree::Id;

use super::Watch;
use crate::kernel::{Kernel, Settings};
use crate::policy::Compiled;
use crate::prevent::{self, MapFiles, Prevention};

/// The name of refusals that there was no room for.
pub(super) const LOSS: &str = "not-told";

/// Begins to prevent, where that is wanted, possible, and no security hook does.
pub(super) fn start(settings: &Settings, kernel: &mut Kernel, policy: &Arc<Compiled>) -> Option<Prevention> {
    if !settings.fanotify || kernel.asked_about_files() {
        return None;
    }
    let started = prevent::check().map_err(anyhow::Error::from).and_then(|()| {
        let maps = kernel.take_judged_by().ok_or_else(|| anyhow::anyhow!("the maps were given away before"))?;
        Prevention::start(MapFiles(maps), Arc::clone(policy))
    });
    match started {
        Ok(prevention) => {
            kernel.asked_by_fanotify();
            Some(prevention)
        }
        Err(error) => {
            tracing::warn!(
                "guard is not asked before files are opened (fanotify), and what is denied is contained: {error:#}"
            );
            None
        }
    }
}

/// Waits until something was refused.
pub(super) async fn refused(prevention: Option<&Prevention>) {
    match prevention {
        Some(prevention) => prevention.refused().await,
        None => std::future::pending().await,
    }
}

impl Watch<'_> {
    /// A session has begun in these places.
    pub(super) fn prevent_for(&self, tree: Id, repo: &[u8], home: &[u8]) {
        if let Some(prevention) = &self.prevention {
            prevention.begin(tree, repo, home);
        }
    }

    /// A session is over, and nothing is left of it.
    pub(super) fn prevent_no_more(&self, tree: Id) {
        if let Some(prevention) = &self.prevention {
            prevention.end(tree);
        }
    }

    /// Another policy is in force.
    pub(super) fn prevent_by_this(&self) {
        if let Some(prevention) = &self.prevention {
            prevention.change(Arc::clone(&self.policy));
        }
    }

    /// Ends it, before this guard does: what was refused at the last moment is told by who refused it.
    pub fn stop_preventing(&mut self) {
        if let Some(prevention) = &mut self.prevention {
            prevention.stop();
        }
        self.take_refused();
    }

    /// A session's mode has changed.
    pub(super) fn prevent_where_enforced(&self) {
        if let Some(prevention) = &self.prevention {
            prevention.some_enforce(self.kernel.some_enforce());
        }
    }

    /// Tells what was refused.
    pub(super) fn take_refused(&mut self) {
        while let Some(record) = self.prevention.as_ref().and_then(Prevention::take) {
            // The exec of who attempted it has been told before.
            self.drain_verdicts();
            self.handle(&record);
        }
    }
}
