//! A window's past on one line: how high it stood in each stretch of time, and below it where it started over.

use crate::cli::page::{Page, Tone};
use crate::control::history::{History, Sample, Window};
use crate::policy::time::Stamp;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The line, the marks below it, and from when to when; nothing for a window without percentages.
pub(super) fn render(window: &Window, history: &History, page: &Page) -> String {
    if window.samples.iter().all(|sample| sample.used_percent.is_none()) {
        return String::new();
    }
    let cells = page.width - 4;
    let (levels, resets) = (levels(window, history, cells), resets(window, history, cells));
    let marks: String = resets.iter().map(|is_reset| if *is_reset { '^' } else { ' ' }).collect();
    let (from, to) = (page.clock(history.since), page.clock(history.until));
    let middle = cells.saturating_sub(from.chars().count() + to.chars().count());
    let legend = if resets.contains(&true) { "^ started over" } else { "" };
    let axis = format!("{from}{legend:^middle$}{to}");
    let faint = |text: &str| page.paint(Tone::Faint, text);
    let lines =
        [Some(line(&levels, page)), resets.contains(&true).then(|| faint(marks.trim_end())), Some(faint(&axis))];
    lines.into_iter().flatten().fold(String::new(), |text, line| text + "  " + &line + "\n")
}

/// The moment at which a cell begins.
fn begins(history: &History, cell: usize, cells: usize) -> Stamp {
    let length = history.until.duration_since(history.since);
    let ahead = length.mul_f64(cell as f64 / cells as f64);
    history.since.checked_add(ahead).unwrap_or(history.until)
}

/// The highest level within each cell. What stands goes on until the reset or the last time the window was read.
fn levels(window: &Window, history: &History, cells: usize) -> Vec<Option<f64>> {
    let mut samples = window.samples.iter().peekable();
    let mut standing: Option<&Sample> = None;
    let mut level_of = |cell: usize| {
        let (begin, end) = (begins(history, cell, cells), begins(history, cell + 1, cells));
        let is_known = |sample: &&Sample| begin <= window.read_at && sample.resets_at.is_none_or(|at| begin < at);
        let mut highest = standing.filter(is_known).and_then(|sample| sample.used_percent);
        let is_last = cell + 1 == cells;
        while let Some(sample) = samples.next_if(|sample| sample.at < end || is_last) {
            standing = Some(sample);
            if sample.at >= begin {
                highest = highest.into_iter().chain(sample.used_percent).reduce(f64::max);
            } else {
                highest = standing.filter(is_known).and_then(|sample| sample.used_percent);
            }
        }
        highest
    };
    (0..cells).map(&mut level_of).collect()
}

/// In which cells the window started over.
fn resets(window: &Window, history: &History, cells: usize) -> Vec<bool> {
    let mut marks = vec![false; cells];
    let length = history.until.duration_since(history.since).as_secs_f64();
    for (_, at) in super::table::resets(&window.samples) {
        let ahead = at.duration_since(history.since).as_secs_f64();
        if (0.0..=length).contains(&ahead) && length > 0.0 {
            marks[((ahead / length * cells as f64) as usize).min(cells - 1)] = true;
        }
    }
    marks
}

/// The cells as blocks, coloured like the bars of `status`.
fn line(levels: &[Option<f64>], page: &Page) -> String {
    let tone = |level: Option<f64>| match level {
        Some(..70.0) => Tone::Good,
        Some(70.0..90.0) => Tone::Warn,
        Some(_) => Tone::Bad,
        None => Tone::Plain,
    };
    let block = |level: &Option<f64>| level.map_or(' ', |level| BLOCKS[((level / 12.5).max(0.0) as usize).min(7)]);
    let runs = levels.chunk_by(|one, other| tone(*one) == tone(*other));
    let text: String = runs.map(|run| page.paint(tone(run[0]), &run.iter().map(block).collect::<String>())).collect();
    text.trim_end().to_owned()
}
