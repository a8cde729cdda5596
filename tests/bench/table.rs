//! Numbers and their presentation.

use crate::Round;

/// The middle one.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

/// The one below which a quarter lies.
pub fn quartile(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 4).copied().unwrap_or(f64::NAN)
}

/// The rounds at one place.
#[derive(Default)]
pub struct Series(Vec<(Round, u64, u64)>);

impl Series {
    /// One more round, with the events it lost and how often it was taken again.
    pub fn push(&mut self, round: (Round, u64, u64)) {
        self.0.push(round);
    }

    /// Events lost in all of them.
    pub fn lost(&self) -> u64 {
        self.0.iter().map(|(_, lost, _)| lost).sum()
    }

    /// How many were taken again.
    pub fn disturbed(&self) -> u64 {
        self.0.iter().map(|(_, _, disturbed)| disturbed).sum()
    }
}

/// What was measured, against what it should be.
pub struct Row {
    /// What it is.
    pub what: String,
    value: f64,
    range: Option<(f64, f64)>,
    absolute: Option<(f64, f64)>,
    unit: &'static str,
    at_most: Option<f64>,
    at_least: Option<f64>,
}

impl Row {
    /// What `after` takes of `before`, round by round.
    pub fn ratio(what: &str, before: &Series, after: &Series, of: impl Fn(&Round) -> f64) -> Self {
        let pick = |series: &Series| series.0.iter().map(|(round, ..)| of(round)).collect::<Vec<_>>();
        Self::of_ratios(what, pick(before), pick(after))
    }

    /// What `after` takes of `before`, nanoseconds round by round.
    pub fn of_ratios(what: &str, mut before: Vec<f64>, mut after: Vec<f64>) -> Self {
        let mut ratios: Vec<f64> = before.iter().zip(&after).map(|(before, after)| after / before).collect();
        let value = median(&mut ratios);
        let range = ratios.first().copied().zip(ratios.last().copied());
        let absolute = Some((median(&mut before), median(&mut after)));
        Self { range, absolute, ..Self::value(what, value, "x") }
    }

    /// A number by itself.
    pub fn value(what: &str, value: f64, unit: &'static str) -> Self {
        Self { what: what.to_owned(), value, range: None, absolute: None, unit, at_most: None, at_least: None }
    }

    /// It should not be more.
    pub fn at_most(self, target: f64) -> Self {
        Self { at_most: Some(target), ..self }
    }

    /// It should not be less.
    pub fn at_least(self, target: f64) -> Self {
        Self { at_least: Some(target), ..self }
    }

    /// Whether it is as it should be; nothing where nobody said how that is.
    pub fn met(&self) -> Option<bool> {
        let most = self.at_most.map(|target| self.value <= target);
        let least = self.at_least.map(|target| self.value >= target);
        most.or(least)
    }
}

/// A number in as many digits as matter.
fn digits(value: f64, unit: &str) -> String {
    match unit {
        "x" => format!("{value:.2}x"),
        "1/s" => format!("{value:.0} a second"),
        "%" => format!("{value:.2} %"),
        "" => format!("{value:.0}"),
        "MiB" => format!("{value:.0} MiB"),
        _ => format!("{value:.3} {unit}"),
    }
}

fn nanoseconds(value: f64) -> String {
    match value {
        ..10_000.0 => format!("{value:.0} ns"),
        ..1e9 => format!("{:.1} µs", value / 1e3),
        _ => format!("{:.2} s", value / 1e9),
    }
}

/// Prints all rows as a table.
pub fn print(rows: &[Row]) {
    println!("{:<40} {:>10} {:>10}  {:<26} {:<20} met", "what", "without", "with", "measured", "target");
    for row in rows {
        let (before, after) =
            row.absolute.map_or_else(Default::default, |(before, after)| (nanoseconds(before), nanoseconds(after)));
        let range = row.range.map(|(low, high)| format!(" ({low:.2} to {high:.2})")).unwrap_or_default();
        let measured = digits(row.value, row.unit) + &range;
        let target = match (row.at_most, row.at_least) {
            (Some(target), _) => format!("at most {}", digits(target, row.unit)),
            (_, Some(target)) => format!("at least {}", digits(target, row.unit)),
            _ => String::new(),
        };
        let met = row.met().map_or("", |met| if met { "yes" } else { "NO" });
        println!("{:<40} {before:>10} {after:>10}  {measured:<26} {target:<20} {met}", row.what);
    }
}
