//! What a window is called by its length: a window is known by how long it lasts, never by its place in an answer,
//! and is called the same whoever the vendor is.

use super::field;
use crate::model::Window;

pub(super) const HOUR: u64 = 60;
pub(super) const DAY: u64 = 24 * HOUR;
pub(super) const WEEK: u64 = 7 * DAY;
/// Of thirty days, as vendors count it.
pub(super) const MONTH: u64 = 30 * DAY;

/// A window of so many minutes, limited to `scope` (a model, a tool) where there is one: `five_hour`, "5-hour";
/// `weekly:fable`, "weekly (Fable)".
pub(super) fn window(minutes: u64, scope: Option<&str>) -> Window {
    let counted = |count: u64, unit: &str| (format!("{count}_{unit}"), format!("{count}-{unit}"));
    let (id, word) = match minutes {
        HOUR => ("hour".to_owned(), "hourly".to_owned()),
        300 => ("five_hour".to_owned(), "5-hour".to_owned()),
        DAY => ("day".to_owned(), "daily".to_owned()),
        WEEK if scope.is_some() => ("weekly".to_owned(), "weekly".to_owned()),
        WEEK => ("seven_day".to_owned(), "weekly".to_owned()),
        40_320..=44_640 => ("month".to_owned(), "monthly".to_owned()),
        _ if minutes.is_multiple_of(DAY) => counted(minutes / DAY, "day"),
        _ if minutes.is_multiple_of(HOUR) => counted(minutes / HOUR, "hour"),
        _ => counted(minutes, "minute"),
    };
    match scope {
        Some(scope) => Window::named(format!("{id}:{}", field::slug(scope)), format!("{word} ({scope})")),
        None => Window::named(id, word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_called_by_its_length() {
        for (minutes, scope, id, label) in [
            (300, None, "five_hour", "5-hour"),
            (WEEK, None, "seven_day", "weekly"),
            (WEEK, Some("Fable 2"), "weekly:fable-2", "weekly (Fable 2)"),
            (MONTH, None, "month", "monthly"),
            (MONTH + DAY, Some("tools"), "month:tools", "monthly (tools)"),
            (DAY, None, "day", "daily"),
            (60, Some("search"), "hour:search", "hourly (search)"),
            (180, None, "3_hour", "3-hour"),
            (2 * DAY, None, "2_day", "2-day"),
            (90, None, "90_minute", "90-minute"),
        ] {
            let window = window(minutes, scope);
            assert_eq!((window.id.as_str(), window.label.as_str()), (id, label), "{minutes}");
        }
    }
}
