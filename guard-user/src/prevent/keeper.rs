//! The thread that keeps the marks: finds what is to be marked when a session begins, marks what appears, and takes all of it
//! away with the last session.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd as _, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use guard_common::tree::Id;
use guard_common::words::{Mode, Op};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;

use super::answer::Shared;
use super::armed::{Armed, MapFiles};
use super::arrivals::{Arrival, Arrivals, is_for_this};
use super::condition::Condition;
use super::names::{File, Names, file_of, hold, leads_to};
use super::scan::{Scan, View};
use crate::policy::{Compiled, Tables};

/// Files that are marked at most.
const MOST_MARKS: usize = 65_536;
/// How long it looks for files before it listens again.
const SLICE: Duration = Duration::from_millis(5);
/// A look that takes longer than this has others go first, every other moment.
const SHORT: Duration = Duration::from_millis(200);
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Where a filesystem can't tell what appears, it is looked at again so often.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What the thread is told.
#[derive(Debug)]
pub enum Command {
    /// A session has begun, with its repository and home.
    Begin(Id, Vec<u8>, Vec<u8>),
    /// A session is over.
    End(Id),
    /// Another policy is in force.
    Changed,
    /// It is to end.
    Stop,
}

/// The thread.
pub struct Keeper {
    pub(super) commands: Receiver<Command>,
    pub(super) wake: Arc<EventFd>,
    pub(super) tell: RawFd,
    pub(super) maps: MapFiles,
    pub(super) shared: Arc<Shared>,
    pub(super) condition: Arc<Condition>,
}

/// What it has at work while there are sessions.
#[derive(Default)]
struct Work {
    sessions: HashMap<Id, Arc<View>>,
    armed: Option<Armed>,
    arrivals: Option<Arrivals>,
    scans: VecDeque<Scan>,
    /// Places whose filesystems can't tell what appears.
    untold: Vec<PathBuf>,
    looked: Option<Instant>,
    tidied: Option<Instant>,
    failed: Option<Instant>,
    given_up: usize,
}

/// What became of the commands.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    AnotherPolicy,
    Stop,
}

impl Keeper {
    /// Works until it is told to end.
    pub fn run(self) {
        lower_priority();
        let mut work = Work::default();
        loop {
            let policy = self.shared.policy();
            let mut tables = policy.tables();
            if work.armed.is_some() {
                work.forget_others(&self.shared.names, &mut tables);
                work.begin_anew(&policy);
            }
            if !self.by(&policy, &mut tables, &mut work) {
                return;
            }
        }
    }

    /// Works by one policy; false if it is to end.
    fn by(&self, policy: &Compiled, tables: &mut Tables<'_>, work: &mut Work) -> bool {
        loop {
            self.wait(work);
            match self.obey(policy, tables, work) {
                Next::GoOn => {}
                Next::AnotherPolicy => return true,
                Next::Stop => return false,
            }
            self.see_to_arms(policy, work);
            let Some(armed) = work.armed.take() else { continue };
            let marker = Marker { armed: &armed, names: &self.shared.names };
            if let Some(arrivals) = &mut work.arrivals {
                let views: Vec<_> = views(&work.sessions);
                for arrival in arrivals.take() {
                    match arrival {
                        Arrival::File(path) => {
                            if is_protected(&path, &views, policy, tables) {
                                marker.mark(&path);
                            }
                        }
                        Arrival::Folder(path) => {
                            let inside = |view: &&Arc<View>| in_view(&path, view, policy);
                            work.scans.extend(views.iter().filter(inside).filter_map(|view| Scan::of(&path, view)));
                        }
                        Arrival::Lost => work.looked = None,
                    }
                }
            }
            work.look(&marker, tables);
            work.tidy(&self.shared.names);
            work.armed = Some(armed);
            self.condition.note(self.shared.names.len(), work.given_up, work.scans.is_empty());
        }
    }

    /// Waits until there is something to do.
    fn wait(&self, work: &Work) {
        let mut all = vec![PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        all.extend(work.arrivals.iter().map(|arrivals| PollFd::new(arrivals.as_fd(), PollFlags::POLLIN)));
        let patience = match (work.scans.front(), &work.armed) {
            (Some(scan), _) if scan.spent() > SHORT => PollTimeout::from(SLICE.as_millis() as u16),
            (Some(_), _) => PollTimeout::ZERO,
            (None, Some(_)) => PollTimeout::from(500u16),
            (None, None) if !work.sessions.is_empty() => PollTimeout::from(AGAIN.as_millis() as u16),
            (None, None) => PollTimeout::NONE,
        };
        // Interrupted, it looks again.
        let _interrupted = poll(&mut all, patience);
        let _empty = self.wake.read();
    }

    /// Does what it is told.
    fn obey(&self, policy: &Compiled, tables: &mut Tables<'_>, work: &mut Work) -> Next {
        let mut next = Next::GoOn;
        // All of them: it is woken up once for what there is.
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Begin(tree, repo, home) => {
                    let new = View { repo, home };
                    let known = work.sessions.values().find(|view| ***view == new).cloned();
                    let is_new = known.is_none();
                    let view = known.unwrap_or_else(|| Arc::new(new));
                    work.sessions.insert(tree, Arc::clone(&view));
                    if is_new && work.armed.is_some() {
                        work.begin(&view, policy);
                    }
                }
                Command::End(tree) => {
                    let Some(view) = work.sessions.remove(&tree) else { continue };
                    if work.sessions.values().any(|other| *other == view) {
                        continue;
                    }
                    work.scans.retain(|scan| *scan.view() != view);
                    if !work.sessions.is_empty() {
                        work.forget_others(&self.shared.names, tables);
                    }
                }
                Command::Changed => next = Next::AnotherPolicy,
                Command::Stop => {
                    self.disarm(work);
                    return Next::Stop;
                }
            }
        }
        next
    }

    /// Is asked where there are sessions and something to be refused, and not where there are none.
    fn see_to_arms(&self, policy: &Compiled, work: &mut Work) {
        let wanted = !work.sessions.is_empty() && self.wants(policy);
        if let Some(why) = work.armed.as_mut().and_then(Armed::failed) {
            tracing::warn!("{why}: protected files are marked anew; until then what is denied is contained");
            self.condition.lapsed();
            self.disarm(work);
            work.failed = Some(Instant::now());
        }
        if !wanted && work.armed.is_some() {
            self.disarm(work);
        }
        if !wanted || work.armed.is_some() || work.failed.is_some_and(|failed| failed.elapsed() < AGAIN) {
            return;
        }
        match Armed::start(&self.shared, self.tell, self.maps.numbers()) {
            Ok(armed) => {
                self.condition.arm(armed.behind());
                work.armed = Some(armed);
                work.failed = None;
                work.begin_anew(policy);
            }
            Err(error) => {
                if self.condition.fail(&format!("{error:#}")) {
                    tracing::warn!("protected files are not marked, and what is denied is contained: {error:#}");
                }
                work.failed = Some(Instant::now());
            }
        }
    }

    /// Whether a policy refuses anything here.
    fn wants(&self, policy: &Compiled) -> bool {
        let enforces = policy.mode == Mode::Enforce || self.shared.some_enforce.load(Ordering::Relaxed);
        enforces && (policy.can_refuse(Op::Read) || policy.can_refuse(Op::Write))
    }

    fn disarm(&self, work: &mut Work) {
        work.armed = None;
        work.arrivals = None;
        work.scans.clear();
        work.untold.clear();
        for (file, _) in self.shared.names.all() {
            self.shared.names.remove(file);
        }
        self.condition.disarm();
    }
}

impl Work {
    /// Looks for everything again.
    fn begin_anew(&mut self, policy: &Compiled) {
        self.scans.clear();
        self.untold.clear();
        self.given_up = 0;
        self.arrivals =
            Arrivals::new().map_err(|error| tracing::warn!("files that appear are not marked: {error}")).ok();
        for view in views(&self.sessions) {
            self.begin(&view, policy);
        }
    }

    /// Looks for what is protected for one view: in its repository, at absolute places, and in its home.
    fn begin(&mut self, view: &Arc<View>, policy: &Compiled) {
        self.looked = Some(Instant::now());
        let mut places: Vec<PathBuf> = vec![view.repo().to_owned()];
        places.extend(policy.protected_places().iter().cloned());
        places.push(view.home().to_owned());
        for place in places {
            self.look_at(&place, view);
        }
    }

    /// Has a place looked at, and watched from before on.
    fn look_at(&mut self, place: &Path, view: &Arc<View>) {
        // A file by itself is looked for in its folder, in which others may take its place.
        let folder = if place.is_dir() { place } else { place.parent().unwrap_or(place) };
        if !folder.is_dir() || !is_for_this(folder) {
            return;
        }
        let told = self.arrivals.as_mut().is_some_and(|arrivals| match arrivals.watch(folder) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!("{} does not tell what appears, and is looked at again: {error}", folder.display());
                false
            }
        });
        if !told && !self.untold.iter().any(|known| known == folder) {
            self.untold.push(folder.to_owned());
        }
        let scan = if folder == place { Scan::of(place, view) } else { Scan::of_one(folder, place, view) };
        self.scans.extend(scan);
    }

    /// Looks on for a moment.
    fn look(&mut self, marker: &Marker<'_>, tables: &mut Tables<'_>) {
        let due = match self.looked {
            None => true,
            Some(looked) => !self.untold.is_empty() && looked.elapsed() > LOOK_AGAIN,
        };
        if due && self.scans.is_empty() {
            let everywhere = self.looked.replace(Instant::now()).is_none();
            for view in views(&self.sessions) {
                let untold = self.untold.iter().map(PathBuf::as_path);
                let places = [view.repo(), view.home()].into_iter().filter(|_| everywhere);
                self.scans.extend(untold.chain(places).filter_map(|place| Scan::of(place, &view)));
            }
        }
        let Some(scan) = self.scans.front_mut() else { return };
        if !scan.go_on(SLICE, tables, &mut |path| marker.mark(path)) {
            let given_up = scan.given_up();
            if given_up > 0 {
                tracing::warn!(
                    "{given_up} folders were not looked into for protected files: there is too much; there what is denied is contained"
                );
                self.given_up += given_up;
            }
            self.scans.pop_front();
        }
    }

    /// Forgets names of files that are gone, where there is no room for more: their marks have gone with them.
    fn tidy(&mut self, names: &Names) {
        if names.len() < MOST_MARKS || self.tidied.is_some_and(|tidied| tidied.elapsed() < LOOK_AGAIN) {
            return;
        }
        for (file, paths) in names.all() {
            if !paths.iter().any(|path| leads_to(path, file)) {
                names.remove(file);
            }
        }
        self.tidied = Some(Instant::now());
        if names.len() < MOST_MARKS {
            // Some may not have been marked meanwhile.
            self.looked = None;
        } else {
            tracing::warn!(
                "{MOST_MARKS} files are marked, as many as can be: of others, what is denied is contained"
            );
        }
    }

    /// Takes the marks from files that are protected for nobody any more.
    fn forget_others(&mut self, names: &Names, tables: &mut Tables<'_>) {
        let Some(armed) = &self.armed else { return };
        let views = views(&self.sessions);
        for (file, paths) in names.all() {
            let mut protects = |path: &[u8]| views.iter().any(|view| tables.protects(path, &view.places()));
            if paths.iter().any(|path| protects(path)) {
                continue;
            }
            // One that is called otherwise by now keeps its mark, and whoever opens it is let pass.
            if let Some(held) = paths.iter().filter(|path| leads_to(path, file)).find_map(|path| hold(path)) {
                drop(armed.group().forget(held.as_fd()));
            }
            names.remove(file);
        }
    }
}

/// Marks files.
struct Marker<'a> {
    armed: &'a Armed,
    names: &'a Names,
}

impl Marker<'_> {
    /// Marks the file that is called `path`, if it is a regular one.
    fn mark(&self, path: &Path) {
        let path = path.as_os_str().as_bytes();
        let Some(held) = hold(path) else { return };
        let Some(metadata) = held.metadata().ok().filter(std::fs::Metadata::is_file) else { return };
        if self.names.len() >= MOST_MARKS {
            return;
        }
        let file: File = file_of(&metadata);
        // First its name, so that who is asked about it knows that.
        self.names.add(file, path);
        if self.armed.group().ask_about(held.as_fd()).is_err() {
            self.names.remove(file);
        }
    }
}

/// The different views of sessions.
fn views(sessions: &HashMap<Id, Arc<View>>) -> Vec<Arc<View>> {
    let mut views: Vec<Arc<View>> = Vec::new();
    for view in sessions.values() {
        if !views.contains(view) {
            views.push(Arc::clone(view));
        }
    }
    views
}

/// Whether `path` lies where files are looked for.
fn in_view(path: &Path, view: &View, policy: &Compiled) -> bool {
    let places = policy.protected_places().iter().map(PathBuf::as_path).chain([view.repo(), view.home()]);
    places.filter(|place| place.has_root()).any(|place| path.starts_with(place))
}

fn is_protected(path: &Path, views: &[Arc<View>], policy: &Compiled, tables: &mut Tables<'_>) -> bool {
    views
        .iter()
        .any(|view| in_view(path, view, policy) && tables.protects(path.as_os_str().as_bytes(), &view.places()))
}

/// Has others go first, for the processor and for disks.
fn lower_priority() {
    /// `IOPRIO_CLASS_BE` and its last level (`include/uapi/linux/ioprio.h`).
    const LAST: libc::c_int = 2 << 13 | 7;
    // SAFETY: no pointers; 0 is the calling thread. Where this may not be changed, it stays as it is.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 5);
        libc::syscall(libc::SYS_ioprio_set, 1, 0, LAST);
    }
}
