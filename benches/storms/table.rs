//! The figures as Markdown tables: what docs/policy.md carries.

use std::fmt::Write as _;

use super::season::{Score, Who};

/// In milliseconds.
const MINUTE: u64 = 60_000;

/// One keeper's figures over all seeds of a scenario: counts on average, blindness at its worst.
pub(crate) struct Row<'a>(pub(crate) &'a [Score]);

impl Row<'_> {
    fn mean(&self, figure: fn(&Score) -> u64) -> f64 {
        self.0.iter().map(|score| figure(score) as f64).sum::<f64>() / self.0.len() as f64
    }

    fn blind(&self) -> u64 {
        self.0.iter().map(|score| score.blind).max().unwrap_or_default()
    }
}

/// What a table shows of each keeper.
struct Figure {
    title: &'static str,
    cell: fn(&Row<'_>) -> String,
    /// What quotad and the oracle are compared by, where they are.
    measure: Option<fn(&Row<'_>) -> f64>,
}

const FIGURES: [Figure; 4] = [
    Figure {
        title: "Requests sent (answered with numbers)",
        cell: |row| format!("{:.0} ({:.0})", row.mean(|score| score.requests), row.mean(|score| score.successes)),
        measure: Some(|row| row.mean(|score| score.requests)),
    },
    Figure {
        title: "Longest blindness",
        cell: |row| format!("{}h{:02}", row.blind() / MINUTE / 60, row.blind() / MINUTE % 60),
        measure: Some(|row| row.blind() as f64),
    },
    Figure {
        title: "One-time tokens burnt",
        cell: |row| format!("{:.0}", row.mean(|score| score.burnt)),
        measure: None,
    },
    Figure {
        title: "Replays / logins lost",
        cell: |row| {
            let [replays, lost] = [row.mean(|score| score.replays), row.mean(|score| score.lost)];
            if replays + lost == 0.0 { "–".to_owned() } else { format!("{replays:.1} / {lost:.1}") }
        },
        measure: None,
    },
];

/// All tables; `rows` are scenarios with the figures of each of [`Who::ALL`].
pub(crate) fn tables(rows: &[(&str, Vec<Row<'_>>)]) -> String {
    FIGURES.iter().map(|figure| table(figure, rows)).collect::<Vec<_>>().join("\n")
}

fn table(figure: &Figure, rows: &[(&str, Vec<Row<'_>>)]) -> String {
    let mut lines = vec![head(figure)];
    for (name, keepers) in rows {
        let mut cells = vec![(*name).to_owned()];
        cells.extend(keepers.iter().map(figure.cell));
        if let (Some(measure), [quotad, oracle, ..]) = (figure.measure, keepers.as_slice()) {
            cells.insert(3, format!("{:.2}", measure(quotad) / measure(oracle)));
        }
        lines.push(cells);
    }
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    lines.insert(1, widths.iter().enumerate().map(|(n, width)| rule(n, *width)).collect());
    let mut text = String::new();
    for cells in &lines {
        for (n, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let _ = if n == 0 { write!(text, "| {cell:width$} ") } else { write!(text, "| {cell:>width$} ") };
        }
        text += "|\n";
    }
    text
}

fn head(figure: &Figure) -> Vec<String> {
    let mut cells = vec![figure.title.to_owned()];
    cells.extend(Who::ALL.map(|who| who.name().to_owned()));
    if figure.measure.is_some() {
        cells.insert(3, "quotad/oracle".to_owned());
    }
    cells
}

/// The line below the head: names to the left, figures to the right.
fn rule(column: usize, width: usize) -> String {
    if column == 0 { "-".repeat(width) } else { format!("{}:", "-".repeat(width - 1)) }
}
