//! The table in the documentation, made of what was found.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use crate::suite::Found;
use crate::way::{Column, Outcome, Way};

const BEGIN: &str = "<!-- evasion: made by `cargo xtask evasion --write` -->\n";
const END: &str = "<!-- evasion: end -->\n";
/// How a cell begins that nothing was found for.
const NOT_TRIED: &str = "not tried here";

/// The table: in the column of this run what was found, in the others what is expected there.
pub fn render(found: &[(&Way, Found)], ran: Column) -> String {
    let mut text = String::new();
    let ways: Vec<&Way> = found.iter().map(|(way, _)| *way).collect();
    let _infallible = write!(text, "{}", sums(&ways));
    let heads: Vec<&str> = Column::ALL.iter().map(|column| column.word()).collect();
    let _infallible = writeln!(text, "| way | what it tries | class | rule | {} |", heads.join(" | "));
    text += "| --- | --- | --- | --- | --- | --- | --- |\n";
    for (way, found) in found {
        let cells = Column::ALL.map(|column| match found {
            Found::NotTried(why) if column == ran => format!("{NOT_TRIED}: {why}"),
            Found::Ended(outcome) if column == ran && !way.ends.on(column).met_by(*outcome) => outcome.word().into(),
            _ => way.ends.on(column).word().to_owned(),
        });
        let Way { name, tries, class, rule, .. } = way;
        let _infallible = writeln!(text, "| {name} | {tries} | {} | {rule} | {} |", class.word(), cells.join(" | "));
    }
    text
}

/// How many ways end how.
fn sums(ways: &[&Way]) -> String {
    let mut text = format!("{} ways:\n\n| | ", ways.len());
    let kinds = [Outcome::Prevented, Outcome::Contained, Outcome::Raced, Outcome::Seen, Outcome::Open];
    text += &kinds.map(Outcome::word).join(" | ");
    text += " |\n| --- | --- | --- | --- | --- | --- |\n";
    for column in Column::ALL {
        let count = |kind| ways.iter().filter(|way| way.ends.on(column) == kind).count().to_string();
        let _infallible = writeln!(text, "| {} | {} |", column.word(), kinds.map(count).join(" | "));
    }
    text.push('\n');
    text
}

/// Puts the table into the page.
pub fn write(page: &Path, table: &str) -> io::Result<()> {
    let text = fs::read_to_string(page)?;
    let (before, _, after) = parts(&text)?;
    fs::write(page, format!("{before}{BEGIN}{table}{END}{after}"))
}

/// The first difference between the page's table and this one. What one machine could try and another could not is none.
pub fn difference(page: &Path, table: &str) -> io::Result<Option<String>> {
    let text = fs::read_to_string(page)?;
    let (_, old, _) = parts(&text)?;
    let lines = old.lines().zip(table.lines());
    let differs = lines.into_iter().find(|(old, new)| !same(old, new));
    Ok(match differs {
        Some((old, new)) => Some(format!("it has:  {old}\nfound:   {new}")),
        None if old.lines().count() != table.lines().count() => Some("it has another number of lines".to_owned()),
        None => None,
    })
}

fn same(old: &str, new: &str) -> bool {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split(" | ").collect(), new.split(" | ").collect());
    let not_tried = |cell: &str| cell.starts_with(NOT_TRIED);
    old.len() == new.len() && old.iter().zip(&new).all(|(old, new)| old == new || not_tried(old) || not_tried(new))
}

/// The page before its table, the table, and the page after it.
fn parts(text: &str) -> io::Result<(&str, &str, &str)> {
    let found = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (table, after) = rest.split_once(END)?;
        Some((before, table, after))
    });
    found.ok_or_else(|| io::Error::other("the page has no place for the table"))
}
