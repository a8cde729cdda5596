//! The loop: paints what there is ten times a second, and does what keys ask for.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossterm::event::{self, Event, KeyEventKind};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::app::{App, Effect};
use super::look::Look;
use super::model::Model;
use super::own::Own;
use super::sources::{Shared, Source};
use super::terminal::{self, Screen};
use super::views;

/// From one frame to the next, at least.
const FRAME: Duration = Duration::from_millis(100);
/// How long more keys are waited for once there was one. Without any patience crossterm does not even look.
const READ: Duration = Duration::from_millis(5);
/// Part of the time that painting may take: slower frames come less often.
const SHARE: u32 = 12;
/// How often `top` looks at what it takes itself.
const LOOK: Duration = Duration::from_secs(1);
/// Slowest and fastest that a record is played by keys.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.0625..=1024.0;

/// Shows `shared` until the person has seen enough, or a signal ends it.
///
/// # Errors
/// If the terminal is none, or the source fails.
pub fn run(shared: &Arc<Shared>, source: &mut dyn Source, mut app: App, look: Look) -> anyhow::Result<()> {
    terminal::check()?;
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP, SIGINT, SIGQUIT] {
        signal_hook::flag::register(signal, Arc::clone(&ended)).context("signals can't be waited for")?;
    }
    let mut screen = Screen::take()?;
    let over = Arc::new(AtomicBool::new(false));
    let watching = watch_over(Arc::clone(&ended), Arc::clone(&over));
    let result = frames(&mut screen, shared, source, &mut app, look, &ended);
    drop(screen);
    over.store(true, Ordering::Relaxed);
    // It looks every now and then; nobody is to wait for that.
    drop(watching);
    result
}

/// Ends the process where a signal has asked for it and nothing came of that: reading keys of a terminal that goes away
/// at that very moment may never end.
fn watch_over(ended: Arc<AtomicBool>, over: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut asked = 0;
        while !over.load(Ordering::Relaxed) {
            std::thread::sleep(FRAME);
            asked += u32::from(ended.load(Ordering::Relaxed));
            if asked > 20 {
                terminal::give_back();
                std::process::exit(1);
            }
        }
    })
}

/// What there is to be read.
enum Keys {
    None,
    Some,
    /// The terminal is gone.
    Gone,
}

/// Waits until there is a key, or it is time to paint.
fn wait_for_keys(due: Instant) -> anyhow::Result<Keys> {
    let left = due.saturating_duration_since(Instant::now());
    let stdin = std::io::stdin();
    let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(left.as_millis() as u64 + 1).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(0) | Err(Errno::EINTR) => return Ok(Keys::None),
        result => result.context("no keys can be read")?,
    };
    let gone = PollFlags::POLLHUP.union(PollFlags::POLLERR).union(PollFlags::POLLNVAL);
    let found = fds[0].revents().unwrap_or(PollFlags::empty());
    Ok(if found.intersects(gone) { Keys::Gone } else { Keys::Some })
}

fn frames(
    screen: &mut Screen,
    shared: &Arc<Shared>,
    source: &mut dyn Source,
    app: &mut App,
    look: Look,
    ended: &AtomicBool,
) -> anyhow::Result<()> {
    let mut frozen: Option<Box<Model>> = None;
    let mut own = Own::default();
    let mut looked: Option<Instant> = None;
    let mut due = Instant::now();
    let (mut frames, mut painting) = (0u32, Duration::ZERO);
    while !ended.load(Ordering::Relaxed) && !Screen::panicked() {
        if let Some(failure) = source.failure() {
            return Err(failure);
        }
        if looked.is_none_or(|at| at.elapsed() >= LOOK) {
            if let Some(at) = looked.replace(Instant::now()).filter(|_| frames > 0) {
                let each = painting.as_secs_f64() * 1e3 / f64::from(frames);
                app.around.frames = Some((f64::from(frames) / at.elapsed().as_secs_f64(), each));
            }
            (frames, painting) = (0, Duration::ZERO);
            own.look();
            (app.around.own_cpu, app.around.own_memory) = (own.cpu, own.memory);
        }
        if let Some(said) = shared.take_said() {
            app.message = Some(said);
        }
        let began = Instant::now();
        if began >= due {
            app.around.source = source.name();
            app.around.state = shared.state();
            app.abilities = source.abilities();
            let drawn = if let Some(model) = &frozen {
                screen.terminal.draw(|frame| views::draw(frame, model, app, look)).map(drop)
            } else {
                let model = shared.model();
                screen.terminal.draw(|frame| views::draw(frame, &model, app, look)).map(drop)
            };
            drawn.context("the terminal can't be painted on")?;
            frames += 1;
            painting += began.elapsed();
            due = began + FRAME.max(began.elapsed() * SHARE);
        }
        match wait_for_keys(due)? {
            Keys::None => continue,
            Keys::Gone => return Ok(()),
            Keys::Some => {}
        }
        // All that were read at once, or they would wait for the next.
        while event::poll(READ).context("no keys can be read")? {
            // What a key does is seen at once.
            due = Instant::now();
            let effect = match event::read().context("no keys can be read")? {
                Event::Key(key) if key.kind != KeyEventKind::Release => match &frozen {
                    Some(model) => app.key(key, model),
                    None => app.key(key, &shared.model()),
                },
                _ => None,
            };
            match effect {
                None => {}
                Some(Effect::Quit) => return Ok(()),
                Some(Effect::Copy(text)) => screen.copy(&text).context("the terminal is gone")?,
                Some(Effect::Do(act)) => source.act(&act),
                Some(Effect::Pause(paused)) => {
                    shared.pause(paused);
                    frozen = paused.then(|| Box::new(shared.model().clone()));
                }
                Some(Effect::Speed(factor)) => {
                    let speed = (shared.speed() * factor).clamp(*SPEEDS.start(), *SPEEDS.end());
                    shared.set_speed(speed);
                    app.message = Some(format!("Played {speed} times as fast as it was."));
                }
                Some(Effect::Redraw) => screen.terminal.clear().context("the terminal can't be painted on")?,
                Some(Effect::Suspend) => screen.suspend()?,
            }
        }
    }
    Ok(())
}
