//! A window's past by the hour, the day or the week, whichever fits on a screen.

use std::collections::BTreeMap;

use jiff::civil::Weekday;
use jiff::{ToSpan as _, Zoned};

use crate::cli::page::{Page, Tone, plain};
use crate::cli::status::percentage;
use crate::control::history::{History, Sample, Window};
use crate::policy::time::Stamp;

/// So many rows at most, of hours and of days.
const HOURS: i64 = 25;
const DAYS: i64 = 32;

/// Head of the last column.
const RESETS: &str = "started over";

/// Length of a row's time.
#[derive(Clone, Copy)]
enum Step {
    Hour,
    Day,
    Week,
}

impl Step {
    fn of(history: &History) -> Self {
        match history.until.duration_since(history.since).as_hours() {
            ..=HOURS => Self::Hour,
            hours if hours <= DAYS * 24 => Self::Day,
            _ => Self::Week,
        }
    }

    /// The beginning of the hour, day or week in which `at` lies.
    fn begin(self, at: &Zoned) -> Option<Zoned> {
        match self {
            Self::Hour => {
                at.round(jiff::ZonedRound::new().smallest(jiff::Unit::Hour).mode(jiff::RoundMode::Trunc)).ok()
            }
            Self::Day => at.start_of_day().ok(),
            Self::Week => {
                let days = at.weekday().since(Weekday::Monday);
                at.checked_sub(i64::from(days).days()).and_then(|monday| monday.start_of_day()).ok()
            }
        }
    }

    fn name(self, begin: &Zoned) -> String {
        let format = match self {
            Self::Hour => "%a %H:%M",
            Self::Day => "%a %-d %b",
            Self::Week => "from %-d %b",
        };
        begin.strftime(format).to_string()
    }
}

/// What happened in one hour, day or week.
#[derive(Default)]
struct Row {
    name: String,
    lowest: Option<f64>,
    highest: Option<f64>,
    used: f64,
    amount: String,
    resets: Vec<(Stamp, bool)>,
}

/// A row for each hour, day or week in which a number changed or the window started over.
pub(super) fn render(window: &Window, history: &History, page: &Page) -> String {
    let rows = rows(window, history, page);
    if rows.is_empty() {
        return page.fact(8, "", Tone::Plain, "nothing changed");
    }
    let has_percent = rows.iter().any(|row| row.highest.is_some());
    let has_amount = rows.iter().any(|row| !row.amount.is_empty());
    let mut cells = vec![vec![String::new()]];
    cells[0].extend(has_percent.then(|| ["level".to_owned(), "used".to_owned()]).into_iter().flatten());
    cells[0].extend(has_amount.then(|| window.unit.as_deref().map(plain).unwrap_or_default()));
    let has_resets = rows.iter().any(|row| !row.resets.is_empty());
    cells[0].extend(has_resets.then(|| RESETS.to_owned()));
    for row in &rows {
        let mut line = vec![row.name.clone()];
        if has_percent {
            line.extend([row.level(), if row.used > 0.0 { format!("+{}", tenths(row.used)) } else { String::new() }]);
        }
        line.extend(has_amount.then(|| row.amount.clone()));
        line.extend(has_resets.then(|| row.resets(Step::of(history), page)));
        cells.push(line);
    }
    laid_out(&cells, page)
}

impl Row {
    /// Takes a sample in; what stood before it tells how much was used.
    fn take(&mut self, sample: &Sample, stood: Option<f64>) {
        let level = sample.used_percent;
        self.lowest = self.lowest.into_iter().chain(level).reduce(f64::min);
        self.highest = self.highest.into_iter().chain(level).reduce(f64::max);
        self.used += level.zip(stood).map_or(0.0, |(level, stood)| (level - stood).max(0.0));
        self.amount = match (&sample.used, &sample.limit, &sample.remaining) {
            (Some(used), Some(limit), _) => format!("{} of {}", plain(used), plain(limit)),
            (Some(used), None, _) => format!("{} used", plain(used)),
            (None, _, Some(left)) => format!("{} left", plain(left)),
            (None, _, None) => std::mem::take(&mut self.amount),
        };
    }

    fn level(&self) -> String {
        match (self.lowest, self.highest) {
            (Some(low), Some(high)) if low < high => format!("{}–{}", tenths(low), percentage(high)),
            (_, Some(high)) => percentage(high),
            _ => String::new(),
        }
    }

    /// When it started over, or how often where that is more than fits.
    fn resets(&self, step: Step, page: &Page) -> String {
        const MOST: usize = 4;
        let early = self.resets.iter().filter(|(_, is_early)| *is_early).count();
        if self.resets.len() > MOST {
            let early = if early > 0 { format!(", {early} early") } else { String::new() };
            return format!("{} times{early}", self.resets.len());
        }
        let format = if matches!(step, Step::Week) { "%a %H:%M" } else { "%H:%M" };
        let resets = self.resets.iter().map(|(at, is_early)| {
            let early = if *is_early { " early" } else { "" };
            page.local(*at).strftime(format).to_string() + early
        });
        resets.collect::<Vec<_>>().join(", ")
    }
}

fn tenths(points: f64) -> String {
    ((points * 10.0).round() / 10.0).to_string()
}

fn rows(window: &Window, history: &History, page: &Page) -> Vec<Row> {
    let step = Step::of(history);
    let mut rows: BTreeMap<Stamp, Row> = BTreeMap::new();
    let mut add = |at: Stamp, what: &dyn Fn(&mut Row)| {
        if let Some(begin) = step.begin(&page.local(at)).filter(|_| at >= history.since) {
            let row = || Row { name: step.name(&begin), ..Row::default() };
            what(rows.entry(begin.timestamp()).or_insert_with(row));
        }
    };
    for (index, sample) in window.samples.iter().enumerate() {
        let earlier = index.checked_sub(1).and_then(|earlier| window.samples[earlier].used_percent);
        let stood = if sample.reset { Some(0.0) } else { earlier };
        add(sample.at, &|row| row.take(sample, stood));
    }
    for (index, at) in resets(&window.samples) {
        add(at, &|row| row.resets.push((at, at == window.samples[index].at)));
    }
    rows.into_values().collect()
}

/// Which samples are the first of a new period, and when it began: at its time, or, where it was before that, when it was
/// seen.
pub(super) fn resets(samples: &[Sample]) -> Vec<(usize, Stamp)> {
    let reset = |(index, sample): (usize, &Sample)| {
        let due = samples[index.checked_sub(1)?].resets_at.filter(|due| *due <= sample.at);
        sample.reset.then(|| (index, due.unwrap_or(sample.at)))
    };
    samples.iter().enumerate().filter_map(reset).collect()
}

/// Columns as wide as they must be; the head is faint, text begins at the left, numbers end at the right.
fn laid_out(cells: &[Vec<String>], page: &Page) -> String {
    let columns = cells[0].len();
    let wide = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(wide).collect();
    let mut text = String::new();
    for (index, row) in cells.iter().enumerate() {
        let padded = row.iter().enumerate().map(|(column, cell)| match column {
            0 => format!("{cell:<0$}", widths[0]),
            last if cells[0][last] == RESETS => cell.clone(),
            _ => format!("{cell:>0$}", widths[column]),
        });
        let line = format!("  {}", padded.collect::<Vec<_>>().join("  "));
        text += &page.paint(if index == 0 { Tone::Faint } else { Tone::Plain }, line.trim_end());
        text += "\n";
    }
    text
}
