//! Changes of the policy's file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Instant, sleep_until};

/// How long after a change the file is read: whoever writes it is done then.
const QUIET: Duration = Duration::from_millis(200);

/// Waits for changes of one file.
pub struct Changes {
    path: PathBuf,
    read: Vec<u8>,
    changed: Receiver<()>,
    /// When something was last noticed that was not looked at yet.
    noticed: Option<Instant>,
    // Dropping it ends the watch.
    _watcher: RecommendedWatcher,
}

impl Changes {
    /// Watches the file at `path`, which was just read.
    ///
    /// Its folder is watched, for editors write a new file and rename it to the old one's name, and mounted
    /// configuration is a symbolic link that is replaced.
    ///
    /// # Errors
    /// If the folder can't be watched.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let (tell, changed) = channel(1);
        let mut watcher = notify::recommended_watcher(move |_| {
            // One that waits already stands for this one too.
            let _full = tell.try_send(());
        })
        .context("changes of files can't be watched")?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        watcher
            .watch(folder, RecursiveMode::NonRecursive)
            .with_context(|| format!("changes in {} can't be watched", folder.display()))?;
        Ok(Self { path: path.to_owned(), read: bytes(path), changed, noticed: None, _watcher: watcher })
    }

    /// Waits until the file says something else than when it was last read. Safe to drop at any moment: what was noticed
    /// by then is remembered.
    pub async fn next(&mut self) {
        loop {
            let noticed = match self.noticed {
                Some(noticed) => noticed,
                None => self.notice().await,
            };
            // Not longer than that: other files in the folder may change all the time.
            sleep_until(noticed + QUIET).await;
            self.noticed = None;
            if self.read_anew() {
                return;
            }
        }
    }

    async fn notice(&mut self) -> Instant {
        if self.changed.recv().await.is_none() {
            // Nobody watches any more: there will be no change.
            std::future::pending::<()>().await;
        }
        *self.noticed.insert(Instant::now())
    }

    /// The file is read for another reason; whether it says something else than before.
    pub fn read_anew(&mut self) -> bool {
        let now = bytes(&self.path);
        let changed = now != self.read;
        self.read = now;
        changed
    }
}

/// What the file says; nothing where it can't be read.
fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_default()
}
