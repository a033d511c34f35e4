//! Which model to use while a vendor is overloaded, or a model's own window is used up.
//!
//! An overload is the vendor's, not an account's: every account of it meets the same one, and only another model fares
//! better. Three reports in a row close a model for a quiet time; after it the model is offered again, and one more
//! report is enough to close it anew until a success is reported.

use std::collections::BTreeMap;
use std::time::Duration;

use super::headroom::names;
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

/// So many different names of models are remembered at most: they come from outside.
const MOST: usize = 1000;

impl Overloads {
    /// A client met an overload. Returns whether that closed the model.
    pub(super) fn count(&mut self, provider: ProviderId, model: &str, after: u32, now: Moment) -> bool {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let key = (provider, model.to_lowercase());
        let overload = self.0.entry(key).or_insert(Overload { in_a_row: 0, last: now });
        overload.in_a_row = overload.in_a_row.saturating_add(1);
        overload.last = now;
        overload.in_a_row == after
    }

    /// A client was answered.
    pub(super) fn clear(&mut self, provider: ProviderId, model: &str) {
        self.0.remove(&(provider, model.to_lowercase()));
    }

    /// Until when the model is closed.
    pub(super) fn until(
        &self,
        provider: ProviderId,
        model: &str,
        after: u32,
        quiet: Duration,
        now: Moment,
    ) -> Option<Moment> {
        let overload = self.0.get(&(provider, model.to_lowercase()))?;
        let until = overload.last + quiet;
        (overload.in_a_row >= after && until > now).then_some(until)
    }
}

/// The models to try, the wanted one first: it, then what follows it in its list.
pub(super) fn in_order<'a>(wanted: &'a str, lists: &'a [Vec<String>]) -> Vec<&'a str> {
    for list in lists {
        if let Some(at) = list.iter().position(|model| names(model, wanted)) {
            return std::iter::once(wanted).chain(list[at + 1..].iter().map(String::as_str)).collect();
        }
    }
    vec![wanted]
}

/// The name under which overloads of a model are counted: that of its list, however a client spells it.
pub(super) fn listed<'a>(model: &'a str, lists: &'a [Vec<String>]) -> &'a str {
    lists.iter().flatten().find(|known| names(known, model)).map_or(model, String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_model_come_those_that_follow_it_in_its_list() {
        let lists = [["opus", "sonnet", "haiku"].map(str::to_owned).to_vec(), vec!["big".into(), "small".into()]];
        for (wanted, order) in [
            ("opus", &["opus", "sonnet", "haiku"][..]),
            ("claude-sonnet-4-5", &["claude-sonnet-4-5", "haiku"]),
            ("haiku", &["haiku"]),
            ("big", &["big", "small"]),
            ("other", &["other"]),
        ] {
            assert_eq!(in_order(wanted, &lists), order);
        }
        assert_eq!((listed("claude-opus-4-5", &lists), listed("other", &lists)), ("opus", "other"));
    }

    #[test]
    fn a_model_is_closed_by_so_many_in_a_row_for_a_quiet_time_and_by_one_more_after_it() {
        let (claude, quiet) = (ProviderId::new("claude"), Duration::from_mins(5));
        let minute = |n: u64| Moment::from_millis(60_000 * n);
        let mut overloads = Overloads::default();
        let closed = |overloads: &Overloads, at| overloads.until(claude, "Opus", 3, quiet, minute(at));
        assert_eq!([1, 2, 3].map(|_| overloads.count(claude, "opus", 3, minute(0))), [false, false, true]);
        assert_eq!(closed(&overloads, 4), Some(minute(5)));
        assert_eq!(overloads.until(ProviderId::new("codex"), "opus", 3, quiet, minute(4)), None);
        assert_eq!(closed(&overloads, 5), None);
        overloads.count(claude, "opus", 3, minute(6));
        assert_eq!(closed(&overloads, 7), Some(minute(11)), "one more closes it again");
        overloads.clear(claude, "OPUS");
        overloads.count(claude, "opus", 3, minute(8));
        assert_eq!(closed(&overloads, 8), None, "a success began the count anew");
    }

    #[test]
    fn made_up_names_take_no_memory() {
        let mut overloads = Overloads::default();
        for n in 0..5000 {
            overloads.count(ProviderId::new("claude"), &n.to_string(), 3, Moment::default());
        }
        assert!(overloads.0.len() <= MOST);
    }
}
