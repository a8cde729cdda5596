//! A table: which columns there is room for, and how wide they are.

use crate::top::look::Tone;
use crate::top::text::Keep;

/// A column of a view.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// What stands above it.
    pub title: &'static str,
    /// Its width, at least.
    pub width: u16,
    /// And at most.
    pub most: u16,
    /// Numbers stand at the right.
    pub right: bool,
    /// What of a text stays where there is no room.
    pub keep: Keep,
    /// Columns of a higher rank go first where there is no room.
    pub rank: u8,
    /// Lines can be sorted by it.
    pub sort: bool,
}

impl Column {
    /// One of text, whose lines can be sorted by it.
    #[must_use]
    pub const fn text(title: &'static str, width: u16, most: u16, rank: u8) -> Self {
        Self { title, width, most, right: false, keep: Keep::Start, rank, sort: true }
    }

    /// One of paths, whose ends tell more.
    #[must_use]
    pub const fn path(title: &'static str, width: u16, most: u16, rank: u8) -> Self {
        Self { keep: Keep::End, ..Self::text(title, width, most, rank) }
    }

    /// One of numbers.
    #[must_use]
    pub const fn number(title: &'static str, width: u16, rank: u8) -> Self {
        Self { right: true, ..Self::text(title, width, width, rank) }
    }

    /// The same, without an order by it.
    #[must_use]
    pub const fn unsorted(self) -> Self {
        Self { sort: false, ..self }
    }
}

/// What stands in a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// The text, harmless.
    pub text: String,
    /// How it looks.
    pub tone: Tone,
}

impl Cell {
    /// A text of some tone.
    #[must_use]
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }

    /// A text like any other.
    #[must_use]
    pub fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// The columns that there is room for: number, place and width of each.
#[must_use]
pub fn place(columns: &[Column], room: u16) -> Vec<(usize, u16, u16)> {
    let gap = if room >= 120 { 2 } else { 1 };
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by_key(|at| columns[*at].rank);
    let mut chosen: Vec<usize> = Vec::new();
    let mut taken = 0;
    for at in order {
        let takes = columns[at].width + if chosen.is_empty() { 0 } else { gap };
        if taken + takes > room && !chosen.is_empty() {
            // A narrower one of a higher rank would only confuse.
            break;
        }
        taken += takes;
        chosen.push(at);
    }
    chosen.sort_unstable();
    let mut widths: Vec<u16> = chosen.iter().map(|at| columns[*at].width.min(room)).collect();
    let mut spare = room.saturating_sub(taken);
    // Who can grow, grows by the same, until all have what they can use.
    while spare > 0 {
        let growing: Vec<usize> = (0..chosen.len()).filter(|at| widths[*at] < columns[chosen[*at]].most).collect();
        let Some(each) = u16::try_from(growing.len()).ok().filter(|count| *count > 0).map(|count| spare / count)
        else {
            break;
        };
        for at in growing {
            let more = each.max(1).min(columns[chosen[at]].most - widths[at]).min(spare);
            widths[at] += more;
            spare -= more;
        }
    }
    let mut left = 0;
    chosen
        .into_iter()
        .zip(widths)
        .map(|(at, width)| {
            let x = left;
            left += width + gap;
            (at, x, width)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_matter_less_go_first_and_the_others_grow() {
        let columns = [
            Column::text("A", 5, 5, 0),
            Column::text("B", 10, 40, 1),
            Column::number("C", 5, 2),
            Column::path("D", 10, 300, 1),
        ];
        assert_eq!(place(&columns, 27), [(0, 0, 5), (1, 6, 10), (3, 17, 10)]);
        assert_eq!(place(&columns, 40), [(0, 0, 5), (1, 6, 14), (2, 21, 5), (3, 27, 13)]);
        assert_eq!(place(&columns, 200), [(0, 0, 5), (1, 7, 40), (2, 49, 5), (3, 56, 144)]);
        assert_eq!(place(&columns, 3), [(0, 0, 3)]);
        assert_eq!(place(&columns, 0), [(0, 0, 0)]);
    }
}
