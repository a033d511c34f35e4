//! What is known, what is selected, and what a key changes.
//!
//! Owns no clock, no terminal and no connection: news and keys in, wishes out.

use std::collections::VecDeque;

use super::keys::Key;
use super::seen::Seen;
use crate::control::reply::Event;
use crate::control::wire::Status;
use crate::model::AccountName;
use crate::policy::time::Stamp;

/// Events kept.
const EVENTS: usize = 50;

/// What comes from the daemon.
#[derive(Debug)]
pub(super) enum News {
    /// How everything is.
    Status(Box<Status>),
    /// A state changed.
    Event(Box<Event>),
    /// The daemon does not answer, and why.
    Lost(String),
    /// What came of a command, and the moment it names.
    Said(String, Option<Stamp>),
}

/// What a key asks of the loop.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Quit,
    Poll(AccountName),
}

/// Whether the daemon answers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Link {
    /// Not known yet.
    #[default]
    Asking,
    Up,
    Down {
        since: Stamp,
        why: String,
    },
}

/// Everything that can be seen.
#[derive(Debug, Default)]
pub(super) struct Scene {
    pub(super) link: Link,
    /// The last word of the daemon.
    pub(super) status: Option<Box<Status>>,
    /// Oldest first.
    pub(super) events: VecDeque<Event>,
    pub(super) seen: Seen,
    /// The account that keys are about, by its name: accounts come and go.
    selected: Option<String>,
    pub(super) help: bool,
    /// What came of the last command; a key wipes it.
    pub(super) said: Option<(String, Option<Stamp>)>,
}

impl Scene {
    /// Takes news in.
    pub(super) fn take(&mut self, news: News, now: Stamp) {
        match news {
            News::Status(status) => {
                self.link = Link::Up;
                self.seen.take(&status);
                self.status = Some(status);
            }
            News::Event(event) => {
                self.events.push_back(*event);
                while self.events.len() > EVENTS {
                    self.events.pop_front();
                }
            }
            News::Lost(why) => {
                let since = if let Link::Down { since, .. } = self.link { since } else { now };
                self.link = Link::Down { since, why };
            }
            News::Said(said, at) => self.said = Some((said, at)),
        }
    }

    /// Takes a key in.
    pub(super) fn press(&mut self, key: Key) -> Option<Wish> {
        self.said = None;
        match key {
            Key::Escape if self.help => self.help = false,
            Key::Escape | Key::Quit => return Some(Wish::Quit),
            Key::Help => self.help = !self.help,
            Key::Up => self.select(self.selected().saturating_sub(1)),
            Key::Down => self.select(self.selected() + 1),
            Key::First => self.select(0),
            Key::Last => self.select(usize::MAX),
            Key::Poll => {
                let account = self.status.as_ref().and_then(|status| status.accounts.get(self.selected()));
                return account.and_then(|account| AccountName::parse(&account.name).ok()).map(Wish::Poll);
            }
        }
        None
    }

    /// The place of the selected account; the first where it has gone.
    pub(super) fn selected(&self) -> usize {
        let accounts = self.status.as_ref().map_or(&[][..], |status| &status.accounts);
        accounts.iter().position(|account| Some(&account.name) == self.selected.as_ref()).unwrap_or_default()
    }

    fn select(&mut self, place: usize) {
        let accounts = self.status.as_ref().map_or(&[][..], |status| &status.accounts);
        let account = accounts.get(place.min(accounts.len().saturating_sub(1)));
        self.selected = account.map(|account| account.name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::sample;
    use crate::policy::status::AccountView;
    use crate::supervisor::handle::Snapshot;

    fn status(names: &[&str]) -> News {
        let view = |name: &&str| AccountView { name: sample::name(name), ..sample::throttled() }.into();
        let snapshot = Snapshot { accounts: names.iter().map(view).collect(), ..sample::snapshot() };
        News::Status(Box::new(Status::of(&snapshot, sample::now())))
    }

    #[test]
    fn keys_select_within_the_accounts_and_the_selection_stays_with_its_account() {
        let mut scene = Scene::default();
        assert_eq!((scene.press(Key::Down), scene.press(Key::Poll), scene.selected()), (None, None, 0));
        scene.take(status(&["a", "b", "c"]), sample::now());
        for (key, selected) in [
            (Key::Up, 0),
            (Key::Down, 1),
            (Key::Down, 2),
            (Key::Down, 2),
            (Key::First, 0),
            (Key::Last, 2),
            (Key::Up, 1),
        ] {
            assert_eq!(scene.press(key), None);
            assert_eq!(scene.selected(), selected, "{key:?}");
        }
        assert_eq!(scene.press(Key::Poll), Some(Wish::Poll(sample::name("b"))));
        scene.take(status(&["0", "a", "b"]), sample::now());
        assert_eq!(scene.selected(), 2);
        scene.take(status(&["a", "c"]), sample::now());
        assert_eq!(scene.selected(), 0);
    }

    #[test]
    fn escape_closes_the_help_first_and_a_key_wipes_what_was_said() {
        let mut scene = Scene::default();
        scene.take(News::Said("so it is".to_owned(), None), sample::now());
        assert_eq!((scene.press(Key::Help), scene.help, scene.said.take()), (None, true, None));
        assert_eq!((scene.press(Key::Escape), scene.help), (None, false));
        assert_eq!(scene.press(Key::Escape), Some(Wish::Quit));
        assert_eq!(scene.press(Key::Quit), Some(Wish::Quit));
    }

    #[test]
    fn a_daemon_that_is_gone_is_gone_since_the_first_time_and_its_last_word_stays() {
        let mut scene = Scene::default();
        scene.take(status(&["a"]), sample::now());
        let later = sample::at("2026-11-25T12:16:00Z");
        scene.take(News::Lost("one".to_owned()), sample::now());
        scene.take(News::Lost("two".to_owned()), later);
        assert_eq!(scene.link, Link::Down { since: sample::now(), why: "two".to_owned() });
        assert!(scene.status.is_some());
        scene.take(status(&["a"]), later);
        assert_eq!(scene.link, Link::Up);
    }
}
