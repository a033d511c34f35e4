//! Which model to use while a vendor is overloaded, or a model's own window is used up.
//!
//! An overload is the vendor's, not an account's: every account of it meets the same one, and only another model fares
//! better. Three reports in a row close a model for a quiet time; after it the model is offered again, and one more
//! report is enough to close it anew until a success is reported.

use std::collections::BTreeMap;
use std::time::Duration;

use super::headroom::{names, words};
use crate::model::ProviderId;
use crate::policy::time::Moment;

/// Models that were reported to be overloaded.
#[derive(Debug, Default)]
pub(super) struct Overloads(BTreeMap<(ProviderId, String), Overload>);

#[derive(Debug, Clone, Copy)]
struct Overload {
    in_a_row: u32,
    last: Moment,
}

/// When a model is closed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closing {
    /// By so many in a row.
    pub(super) after: u32,
    /// For so long after the last of them.
    pub(super) quiet: Duration,
}

/// So many names of models are remembered at most, the latest: they come from outside.
const MOST: usize = 256;

impl Overloads {
    /// A client met an overload. Returns whether that closed the model.
    pub(super) fn count(&mut self, provider: ProviderId, model: &str, closing: Closing, now: Moment) -> bool {
        let was_closed = self.is_closed(provider, model, closing, now);
        let key = (provider, model.to_lowercase());
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            let oldest = self.0.iter().min_by_key(|(_, overload)| overload.last).map(|(key, _)| key.clone());
            oldest.map(|oldest| self.0.remove(&oldest));
        }
        let overload = self.0.entry(key).or_insert(Overload { in_a_row: 0, last: now });
        // What lies further back than the quiet time is no row any more, unless it once was enough.
        if overload.in_a_row < closing.after && now >= overload.last + closing.quiet {
            overload.in_a_row = 0;
        }
        overload.in_a_row = overload.in_a_row.saturating_add(1);
        overload.last = now;
        !was_closed && self.is_closed(provider, model, closing, now)
    }

    /// A client was answered.
    pub(super) fn clear(&mut self, provider: ProviderId, model: &str) {
        self.0.remove(&(provider, model.to_lowercase()));
    }

    /// Whether another model should be used.
    pub(super) fn is_closed(&self, provider: ProviderId, model: &str, closing: Closing, now: Moment) -> bool {
        let overload = self.0.get(&(provider, model.to_lowercase()));
        overload.is_some_and(|o| o.in_a_row >= closing.after && o.last + closing.quiet > now)
    }
}

/// The models to try, the wanted one first: it, then what follows it in its list.
pub(super) fn in_order<'a>(wanted: &'a str, lists: &'a [Vec<String>]) -> Vec<&'a str> {
    let after = place(wanted, lists).map(|(list, at)| &list[at + 1..]).unwrap_or_default();
    std::iter::once(wanted).chain(after.iter().map(String::as_str)).collect()
}

/// The name under which overloads of a model are counted: that of its list, however a client spells it.
pub(super) fn listed<'a>(model: &'a str, lists: &'a [Vec<String>]) -> &'a str {
    place(model, lists).map_or(model, |(list, at)| &list[at])
}

/// Where a model stands in the lists: of several that it can be, the one that says most of its name.
fn place<'a>(model: &str, lists: &'a [Vec<String>]) -> Option<(&'a Vec<String>, usize)> {
    let all = lists.iter().flat_map(|list| (0..list.len()).map(move |at| (list, at)));
    let known = all.filter(|(list, at)| names(&list[*at], model));
    // Of equals the first.
    known.rev().max_by_key(|(list, at)| words(&list[*at]).len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_model_come_those_that_follow_it_in_its_list() {
        let list = |models: &[&str]| models.iter().map(|model| (*model).to_owned()).collect::<Vec<_>>();
        let lists = [list(&["opus", "sonnet", "haiku"]), list(&["gpt-5-codex", "gpt-5-codex-mini"])];
        for (wanted, order) in [
            ("opus", &["opus", "sonnet", "haiku"][..]),
            ("claude-sonnet-4-5", &["claude-sonnet-4-5", "haiku"]),
            ("haiku", &["haiku"]),
            ("gpt-5-codex", &["gpt-5-codex", "gpt-5-codex-mini"]),
            ("gpt-5-codex-mini", &["gpt-5-codex-mini"]),
            ("other", &["other"]),
        ] {
            assert_eq!(in_order(wanted, &lists), order);
        }
        for (model, name) in [
            ("claude-opus-4-5", "opus"),
            ("GPT-5-Codex", "gpt-5-codex"),
            ("gpt-5-codex-mini", "gpt-5-codex-mini"),
            ("other", "other"),
        ] {
            assert_eq!(listed(model, &lists), name);
        }
    }

    const CLOSING: Closing = Closing { after: 3, quiet: Duration::from_mins(5) };

    fn minute(n: u64) -> Moment {
        Moment::from_millis(60_000 * n)
    }

    #[test]
    fn a_model_is_closed_by_so_many_in_a_row_for_a_quiet_time_and_by_one_more_after_it() {
        let claude = ProviderId::new("claude");
        let mut overloads = Overloads::default();
        let count = |overloads: &mut Overloads, at| overloads.count(claude, "opus", CLOSING, minute(at));
        let closed = |overloads: &Overloads, at| overloads.is_closed(claude, "Opus", CLOSING, minute(at));
        assert_eq!([0, 0, 0, 0].map(|at| count(&mut overloads, at)), [false, false, true, false]);
        assert!(closed(&overloads, 4) && !closed(&overloads, 5));
        assert!(!overloads.is_closed(ProviderId::new("codex"), "opus", CLOSING, minute(4)));
        assert!(count(&mut overloads, 6), "one more closes it again, and that is news");
        overloads.clear(claude, "OPUS");
        assert!(!count(&mut overloads, 8) && !closed(&overloads, 8), "a success began the count anew");
        assert!(!count(&mut overloads, 12));
        assert_eq!([20, 21].map(|at| count(&mut overloads, at)), [false, false], "what is long ago is no row");
    }

    #[test]
    fn made_up_names_take_no_memory_and_open_no_model() {
        let claude = ProviderId::new("claude");
        let mut overloads = Overloads::default();
        for n in 0..2000 {
            overloads.count(claude, &n.to_string(), CLOSING, minute(n / 1000));
            overloads.count(claude, "opus", CLOSING, minute(n / 1000));
        }
        assert!(overloads.0.len() <= MOST && overloads.is_closed(claude, "opus", CLOSING, minute(2)));
    }
}
