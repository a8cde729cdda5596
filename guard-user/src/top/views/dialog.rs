//! What lies over a view: the keys, a question, a rule.

use ratatui::layout::Rect;
use ratatui::style::Style;

use super::Canvas;
use crate::top::app::Dialog;
use crate::top::keys::BINDINGS;
use crate::top::look::Tone;
use crate::top::text::{clean, width, wrap};

pub fn paint(canvas: &mut Canvas<'_>, area: Rect, dialog: &Dialog) {
    let (title, lines, from, foot) = match dialog {
        Dialog::Help(from) => {
            let room = usize::from(area.width).saturating_sub(4).min(92);
            ("Keys", keys(room), *from, "Down: more  any other key: back")
        }
        Dialog::Ask(question, _) => {
            let question = clean(question, canvas.look.ascii);
            ("Are you sure?", wrap(&question, usize::from(area.width) - 6), 0, "y: yes  any other key: no")
        }
        Dialog::Rule(rule) => {
            let room = usize::from(area.width) - 6;
            let lines = rule.lines().flat_map(|line| wrap(&clean(line, canvas.look.ascii), room)).collect();
            ("A rule, in the clipboard too where the terminal allows it (OSC 52)", lines, 0, "any key: back")
        }
    };
    let inner = lines.iter().map(|line| width(line)).chain([width(title), width(foot)]).max().unwrap_or(0) as u16;
    let wide = (inner + 4).min(area.width);
    let high = (lines.len() as u16 + 4).min(area.height);
    let place = Rect { x: (area.width - wide) / 2, y: (area.height - high) / 2, width: wide, height: high };
    for y in place.y..place.y + place.height {
        for x in place.x..place.x + place.width {
            canvas.buffer[(x, y)].set_symbol(" ").set_style(Style::reset());
        }
    }
    let rule = canvas.look.rule().repeat(usize::from(wide));
    canvas.put(place.x, place.y, wide, &rule, Tone::Plain);
    canvas.put(place.x, place.y + high - 1, wide, &rule, Tone::Plain);
    let room = wide.saturating_sub(4);
    canvas.put(place.x + 2, place.y + 1, room, title, Tone::Title);
    let body = usize::from(high.saturating_sub(4));
    let from = from.min(lines.len().saturating_sub(body));
    for (y, line) in (place.y + 2..).zip(lines.iter().skip(from).take(body)) {
        canvas.put(place.x + 2, y, room, line, Tone::Plain);
    }
    canvas.put(place.x + 2, place.y + high - 2, room, foot, Tone::Dim);
}

/// The keys and what they do.
fn keys(room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for binding in BINDINGS {
        for (at, line) in wrap(binding.what, room.saturating_sub(11)).into_iter().enumerate() {
            let keys = if at == 0 { binding.keys } else { "" };
            lines.push(format!("{keys:<11}{line}"));
        }
    }
    lines
}
