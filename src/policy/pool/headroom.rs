//! What is left to use: the binding window of a reading, for anything or for one model.
//!
//! A window whose reset has passed says nothing about now: it is left out, and where nothing else is known the headroom
//! is unknown.

use crate::model::{Reading, Window, WindowStatus};
use crate::policy::time::Stamp;

/// What a plan is spent by beyond itself, which limits it only where there is nothing else.
const BESIDES: [&str; 4] = ["extra_spend", "on_demand", "credits", "balance"];
/// A window without a number by which a vendor says that nothing is let through.
pub const BLOCKED: &str = "blocked";

/// What the windows leave.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Headroom {
    /// So many points of percent are left in the window that is nearest its end.
    Left(f64),
    /// Nothing until the reset, where that is known.
    Exhausted {
        /// What a person calls the window.
        label: String,
        until: Option<Stamp>,
    },
    /// Nothing is known of now.
    Unknown,
}

/// What is left for `model`, or for what is bound to no model.
pub(super) fn headroom(reading: Option<&Reading>, model: Option<&str>, now: Stamp) -> Headroom {
    match binding(reading, model, now) {
        Some((window, left)) if left <= 0.0 => {
            Headroom::Exhausted { label: window.label.clone(), until: window.resets_at }
        }
        Some((_, left)) => Headroom::Left(left),
        None => Headroom::Unknown,
    }
}

/// The window that binds `model`, or what is bound to no model, with the points of percent left in it; a plan that has
/// windows of models alone is as good as its best one. `None` where nothing is known of now.
pub fn binding<'a>(reading: Option<&'a Reading>, model: Option<&str>, now: Stamp) -> Option<(&'a Window, f64)> {
    let all: Vec<&'a Window> = reading.into_iter().flat_map(Reading::every_window).map(|(_, window)| window).collect();
    let counts = |window: &&&'a Window| {
        window.status != WindowStatus::NotInPlan && window.resets_at.is_none_or(|at| at > now) && !is_part(window)
    };
    let (general, of_models): (Vec<&'a Window>, Vec<&'a Window>) =
        all.iter().filter(counts).copied().partition(|window| window.model.is_none());
    let (besides, plan): (Vec<&'a Window>, Vec<&'a Window>) =
        general.into_iter().partition(|window| BESIDES.contains(&window.id.as_str()));
    let of_model =
        of_models.iter().filter(|w| model.is_some_and(|model| w.model.as_deref().is_some_and(|own| names(own, model))));
    let mut binding: Vec<&'a Window> = plan.into_iter().chain(of_model.copied()).collect();
    if binding.iter().all(|window| is_untold(window)) && model.is_none() {
        binding.extend(of_models.iter().max_by(|one, other| left(one).total_cmp(&left(other))));
    }
    if binding.iter().all(|window| is_untold(window)) {
        binding.extend(besides);
    }
    let told = || binding.iter().copied().filter(|window| !is_untold(window)).map(|window| (window, left(window)));
    // Of several windows that are used up the last reset counts.
    let spent = told().filter(|(_, left)| *left <= 0.0);
    spent
        .max_by_key(|(window, _)| (window.resets_at.is_none(), window.resets_at))
        .or_else(|| told().min_by(|(_, one), (_, other)| one.total_cmp(other)))
}

/// Points of percent that are left. An untouched window is whole, whatever it does not say.
fn left(window: &Window) -> f64 {
    match (window.used_percent, window.status) {
        _ if window.id == BLOCKED => 0.0,
        (Some(used), _) => (100.0 - used).clamp(0.0, 100.0),
        (None, _) => 100.0,
    }
}

/// Whether it says nothing of how much is left.
fn is_untold(window: &Window) -> bool {
    window.used_percent.is_none() && window.status == WindowStatus::Active && window.id != BLOCKED
}

/// A part of the product, such as code review, or what a vendor has begun to call a part of a window: it limits nothing
/// else.
fn is_part(window: &Window) -> bool {
    let of_a_window = ["five_hour_", "seven_day_"].iter().any(|whole| window.id.starts_with(whole));
    window.model.is_none() && (window.id.contains(':') || of_a_window)
}

/// Whether a model's own name means the model that is asked for: every word of it stands there, so that `Opus` is
/// `claude-opus-4-5` and `opus`, and `GPT-5.3-Codex-Spark` is `gpt-5.3-codex-spark` alone, not `gpt-5.3-codex`.
pub(super) fn names(own: &str, asked: &str) -> bool {
    let (own, asked) = (words(own), words(asked));
    !own.is_empty() && own.iter().all(|word| asked.contains(word))
}

/// The words of a name, in lower case.
pub(super) fn words(name: &str) -> Vec<String> {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Source;

    fn at(minute: i64) -> Stamp {
        Stamp::from_second(1_800_000_000 + 60 * minute).unwrap()
    }

    /// `five_hour 41 60`: a window, its percentage and the minute of its reset; `weekly:opus/Opus 7 -` of a model.
    fn window(text: &str) -> Window {
        let mut words = text.split(' ');
        let (id, model) =
            words.next().map(|id| id.split_once('/').map_or((id, None), |(id, m)| (id, Some(m)))).unwrap();
        let number = |word: Option<&str>| word.filter(|word| *word != "-").map(|word| word.parse::<f64>().unwrap());
        let (used, reset) = (number(words.next()), number(words.next()));
        Window {
            model: model.map(str::to_owned),
            used_percent: used,
            resets_at: reset.map(|minute| at(minute as i64)),
            ..Window::named(id, id)
        }
    }

    fn said(windows: &[&str], model: Option<&str>) -> String {
        let windows = windows.iter().map(|text| window(text)).collect();
        let reading = Reading { windows, plan: None, read_at: at(0), source: Source::Api, earlier: None };
        match headroom(Some(&reading), model, at(0)) {
            Headroom::Left(left) => format!("{left}"),
            Headroom::Exhausted { label, until: Some(until) } => {
                format!("{label} until {}", until.duration_since(at(0)).as_mins())
            }
            Headroom::Exhausted { label, until: None } => format!("{label} for ever"),
            Headroom::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn the_window_nearest_its_end_binds_and_of_those_used_up_the_last_reset() {
        for (windows, model, expected) in [
            (&["five_hour 41 60", "seven_day 70 900"][..], None, "30"),
            (&["five_hour 100 60", "seven_day 70 900"], None, "five_hour until 60"),
            (&["five_hour 100 60", "seven_day 101 900"], None, "seven_day until 900"),
            (&["five_hour 100 60", "seven_day 100 -"], None, "seven_day for ever"),
            (&["five_hour 100 0", "seven_day 70 900"], None, "30"),
            (&["five_hour 100 -5"], None, "unknown"),
            (&["five_hour - 60"], None, "unknown"),
            (&["five_hour -3 60"], None, "100"),
            (&[], None, "unknown"),
            (&["five_hour 41 60", "weekly:opus/Opus 100 900"], None, "59"),
            (&["five_hour 41 60", "weekly:opus/Opus 100 900"], Some("claude-opus-4-5"), "weekly:opus until 900"),
            (&["five_hour 41 60", "weekly:opus/Opus 90 900"], Some("opus"), "10"),
            (&["five_hour 41 60", "weekly:opus/Opus 100 900"], Some("sonnet"), "59"),
            (&["pro/Pro 100 60", "flash/Flash 20 60"], None, "80"),
            (&["pro/Pro 100 60", "flash/Flash 100 60"], None, "flash until 60"),
            (&["pro/Pro 100 60", "flash/Flash 20 60"], Some("gemini-2.5-pro"), "pro until 60"),
            (&["five_hour 41 60", "seven_day:code-review 100 60"], None, "59"),
            (&["five_hour 41 60", "seven_day_oi 102 60"], None, "59"),
            (&["five_hour 41 60", "extra_spend 100 -"], None, "59"),
            (&["extra_spend 100 -"], None, "extra_spend for ever"),
            (&["five_hour 41 60", "blocked - -"], None, "blocked for ever"),
        ] {
            assert_eq!(said(windows, model), expected, "{windows:?} for {model:?}");
        }
    }

    #[test]
    fn an_untouched_window_is_whole_and_one_that_the_plan_lacks_is_none() {
        for (status, expected) in
            [(WindowStatus::NotStarted, Headroom::Left(100.0)), (WindowStatus::NotInPlan, Headroom::Unknown)]
        {
            let window = Window { status, ..window("five_hour - -") };
            let reading =
                Reading { windows: vec![window], plan: None, read_at: at(0), source: Source::Api, earlier: None };
            assert_eq!(headroom(Some(&reading), None, at(0)), expected);
        }
        assert_eq!(headroom(None, None, at(0)), Headroom::Unknown);
    }

    #[test]
    fn a_model_is_known_by_the_words_of_its_name() {
        for (own, asked, is_it) in [
            ("Opus", "opus", true),
            ("Opus", "claude-opus-4-5", true),
            ("claude-opus-4-5", "opus", false),
            ("GPT-5.3-Codex-Spark", "gpt-5.3-codex-spark", true),
            ("GPT-5.3-Codex-Spark", "gpt-5.3-codex", false),
            ("gpt-5-codex", "gpt-5-codex-mini", true),
            ("opus", "sonnet", false),
            ("Opus 4.5", "claude-opus-4-1", false),
            ("", "opus", false),
            ("o", "opus", false),
        ] {
            assert_eq!(names(own, asked), is_it, "{own} {asked}");
        }
    }
}
