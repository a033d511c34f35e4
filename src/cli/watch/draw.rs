//! The picture: the scene, the time and the size in, cells out.
//!
//! Pure. Owns the arrangement: a line about the daemon, the accounts with the selected one in view, the last events, a
//! line of keys. Everything is cut by columns, so that it holds with wide characters and down to a phone's width.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::scene::{Link, Scene};
use crate::cli::page::{Page, Tone, columns, cut, fit, plain, wrap};
use crate::cli::status::{as_of, filled, level, needs_person, percentage, said, state_tone, tone_of_state};
use crate::control::reply::Event;
use crate::control::wire::{Account, Status, Window};
use crate::policy::status::AccountState;

/// From this width on a window has room for a sparkline and a sentence.
const WIDE: usize = 72;
const KEYS: [(&str, &str); 5] =
    [("q", "quit"), ("↑↓", "select"), ("p", "poll"), ("?", "help"), ("Esc", "back, or quit")];

/// Draws it all.
pub(super) fn draw(frame: &mut Frame<'_>, scene: &Scene, page: &Page) {
    let area = frame.area();
    let brush = Brush { page, width: area.width.into() };
    let events = match area.height {
        20.. => 5,
        10.. => 2,
        _ => 0,
    };
    let body = area.height.saturating_sub(2 + events);
    let mut at = area.y;
    let mut put = |lines: Vec<Line<'static>>, height: u16| {
        frame.render_widget(Paragraph::new(lines), Rect { y: at, height, ..area }.intersection(area));
        at += height;
    };
    put(vec![brush.header(scene)], 1);
    put(brush.body(scene, body.into()), body);
    put(brush.events(scene, events.into()), events);
    put(vec![brush.footer(scene)], 1);
}

/// How this frame is drawn.
struct Brush<'a> {
    page: &'a Page,
    width: usize,
}

impl Brush<'_> {
    /// `quotad 1.0.0  2 of 3 accounts                      13:15:00`.
    fn header(&self, scene: &Scene) -> Line<'static> {
        let clock = self.page.exact(self.page.now());
        let accounts = scene.status.as_ref().map_or(0, |status| status.accounts.len());
        let version = scene.status.as_ref().map(|status| format!(" {}", plain(&status.daemon.version)));
        let count = match accounts {
            0 | 1 => String::new(),
            n => format!("  {} of {n}", scene.selected() + 1),
        };
        let (tone, link) = match &scene.link {
            Link::Asking => (Tone::Faint, "  asking".to_owned()),
            Link::Up => (Tone::Plain, String::new()),
            Link::Down { since, .. } => (Tone::Bad, format!("  no daemon since {}", self.page.clock(*since))),
        };
        let room = self.width.saturating_sub(columns(&clock) + 1);
        let name = cut(&format!("quotad{}{count}", version.unwrap_or_default()), room);
        let link = fit(&link, room.saturating_sub(columns(&name)));
        Line::from(vec![self.ink(Tone::Strong, name), self.ink(tone, link), self.ink(Tone::Faint, format!(" {clock}"))])
    }

    /// The accounts, moved so that the selected one is seen; or why there are none; or the help.
    fn body(&self, scene: &Scene, height: usize) -> Vec<Line<'static>> {
        if scene.help {
            return help().iter().flat_map(|line| self.prose(0, Tone::Plain, line)).take(height).collect();
        }
        let mut lines = Vec::new();
        if let Link::Down { why, .. } = &scene.link {
            lines.extend(self.prose(0, Tone::Bad, why));
            let what = if scene.status.is_some() { "below is what it said last; " } else { "" };
            lines.extend(self.prose(0, Tone::Plain, &format!("{what}this goes on as soon as it answers")));
            lines.push(Line::default());
            if scene.status.is_some() {
                // Where there is little room it goes to what is known.
                lines.truncate((height / 3).max(1));
            }
        }
        let Some(status) = &scene.status else { return lines };
        lines.extend(status.daemon.notice.iter().flat_map(|notice| self.prose(0, Tone::Bad, notice)));
        if status.accounts.is_empty() {
            let said = "no accounts: log in with a vendor's CLI, or name accounts in the config";
            lines.extend(self.prose(0, Tone::Plain, said));
        }
        lines.truncate(height);
        let height = height - lines.len();
        lines.extend(self.accounts(status, scene, height));
        lines
    }

    fn accounts(&self, status: &Status, scene: &Scene, height: usize) -> Vec<Line<'static>> {
        let labels = status.accounts.iter().flat_map(|account| &account.windows).map(|window| &window.label);
        let longest = labels.map(|label| columns(&plain(label))).max().unwrap_or_default();
        let mut lines = Vec::new();
        let (mut start, mut end) = (0, 0);
        for (place, account) in status.accounts.iter().enumerate() {
            if place > 0 {
                lines.push(Line::default());
            }
            let is_selected = place == scene.selected();
            if is_selected {
                start = lines.len();
            }
            lines.extend(self.account(account, longest, scene, is_selected && status.accounts.len() > 1));
            if is_selected {
                end = lines.len();
            }
        }
        // As far up as it goes while the end of the selected one is seen; its beginning, where it is higher than all.
        let top = end.saturating_sub(height).min(start);
        lines.into_iter().skip(top).take(height).collect()
    }

    fn account(&self, account: &Account, longest: usize, scene: &Scene, is_marked: bool) -> Vec<Line<'static>> {
        let plan = account.plan.as_deref().map(|plan| format!(" {}", plain(plan))).unwrap_or_default();
        let moment = match account.until {
            Some(until) => format!(" until {}", self.page.due(until)),
            None => format!(" since {}", self.page.clock(account.since)),
        };
        let mark = if is_marked { "> " } else { "  " };
        let mut lines = vec![self.line(vec![
            (Tone::Strong, format!("{mark}{}", plain(&account.name))),
            (Tone::Plain, format!("  {}{plan}  ", plain(&account.provider))),
            (state_tone(account), plain(&account.state)),
            (Tone::Plain, moment),
        ])];
        for window in &account.windows {
            lines.extend(self.window(account, window, longest, scene));
        }
        let next = account.next_poll_at.filter(|next| Some(*next) != account.until);
        let next = next.map(|at| format!("; next poll {}", self.page.ahead(at))).unwrap_or_default();
        let tone = if account.stale { Tone::Warn } else { Tone::Faint };
        lines.push(self.line(vec![(tone, format!("    as of {}{next}", as_of(account, self.page)))]));
        if account.known_state() != Some(AccountState::Ok) {
            lines.extend(self.prose(4, Tone::Plain, &account.reason));
        }
        if account.action != "nothing to do" {
            let tone = if needs_person(account) { Tone::Bad } else { Tone::Plain };
            lines.extend(self.prose(4, tone, &account.action));
        }
        lines
    }

    /// `    5-hour  ████░░░░  41.5%  ▁▂▃▅  resets in 2 h 13 min (15:28)`; what else there is to say stands below.
    fn window(&self, account: &Account, window: &Window, longest: usize, scene: &Scene) -> Vec<Line<'static>> {
        const PERCENT: usize = 6;
        const SPARK: usize = 8;
        let is_wide = self.width >= WIDE;
        let label = fit(&plain(&window.label), longest.clamp(6, if is_wide { 16 } else { 12 }));
        // By the clock here: between two looks at the daemon a reset may pass.
        let has_passed = window.reset_passed || window.resets_at.is_some_and(|at| at <= self.page.now());
        let used = window.used_percent.filter(|_| !has_passed);
        let percent = used.map_or_else(|| "?".to_owned(), percentage);
        let window = Window { reset_passed: has_passed, ..window.clone() };
        let mut said = said(&window, self.page);
        let (indent, cells, tail) = if is_wide {
            let spark = fit(&scene.seen.spark(&account.name, &window.id, SPARK), SPARK);
            let first = if said.is_empty() { String::new() } else { said.remove(0) };
            ("    ", 10, format!("  {spark}  {first}"))
        } else {
            let countdown = window.resets_at.and_then(|at| self.page.countdown(at)).unwrap_or_default();
            // The countdown has said it already.
            said.retain(|said| !said.starts_with("resets "));
            let tail = format!(" {countdown}");
            ("  ", self.width.saturating_sub(2 + columns(&label) + 2 + PERCENT + 7).clamp(3, 20), tail)
        };
        let full = filled(used, cells);
        let mut lines = vec![self.line(vec![
            (Tone::Plain, format!("{indent}{label} ")),
            (level(used.unwrap_or_default()), "█".repeat(full)),
            (Tone::Faint, "░".repeat(cells - full)),
            (Tone::Plain, format!(" {percent:>PERCENT$}")),
            (if has_passed { Tone::Warn } else { Tone::Plain }, tail),
        ])];
        if !said.is_empty() {
            let indent = indent.len() + columns(&label) + 1;
            let tone = if has_passed { Tone::Warn } else { Tone::Faint };
            lines.extend(self.prose(indent, tone, &said.join(", ")));
        }
        lines
    }

    /// The last events, the newest at the bottom.
    fn events(&self, scene: &Scene, height: usize) -> Vec<Line<'static>> {
        if height == 0 {
            return Vec::new();
        }
        let title = "─ last events ";
        let rest = self.width.saturating_sub(columns(title));
        let mut lines = vec![self.line(vec![(Tone::Faint, title.to_owned() + &"─".repeat(rest))])];
        let skipped = scene.events.len().saturating_sub(height - 1);
        lines.extend(scene.events.iter().skip(skipped).map(|event| self.event(event)));
        if scene.events.is_empty() {
            lines.push(self.line(vec![(Tone::Faint, "  none since this began".to_owned())]));
        }
        lines
    }

    fn event(&self, event: &Event) -> Line<'static> {
        let at = if self.width >= WIDE { self.page.exact(event.at) } else { self.page.clock(event.at) };
        self.line(vec![
            (Tone::Faint, format!("  {at}  ")),
            (Tone::Strong, plain(&event.account)),
            (Tone::Plain, format!("  {} → ", plain(&event.from))),
            (tone_of_state(&event.to), plain(&event.to)),
            (Tone::Plain, format!(": {}", plain(&event.reason))),
        ])
    }

    /// What came of the last key, or the keys.
    fn footer(&self, scene: &Scene) -> Line<'static> {
        if let Some((said, at)) = &scene.said {
            let at = at.map(|at| format!(": {}", self.page.due(at))).unwrap_or_default();
            return self.line(vec![(Tone::Strong, plain(said) + &at)]);
        }
        let key = |(key, does): &(&str, &str)| [(Tone::Strong, (*key).to_owned()), (Tone::Faint, format!(" {does}  "))];
        self.line(KEYS.iter().take(4).flat_map(key).collect())
    }

    /// Wrapped text, every line behind the indent.
    fn prose(&self, indent: usize, tone: Tone, text: &str) -> Vec<Line<'static>> {
        let lines = wrap(&plain(text), self.width.saturating_sub(indent));
        lines.into_iter().map(|line| self.line(vec![(tone, format!("{}{line}", " ".repeat(indent)))])).collect()
    }

    /// One line of the width of the screen at most.
    fn line(&self, words: Vec<(Tone, String)>) -> Line<'static> {
        let mut room = self.width;
        let mut spans = Vec::new();
        for (tone, word) in words {
            let kept = cut(&word, room);
            room -= columns(&kept);
            let is_cut = kept != word;
            spans.push(self.ink(tone, kept));
            if is_cut {
                break;
            }
        }
        Line::from(spans)
    }

    fn ink(&self, tone: Tone, text: String) -> Span<'static> {
        let colour = |colour| if self.page.is_coloured() { Style::new().fg(colour) } else { Style::new() };
        let style = match tone {
            Tone::Plain => Style::new(),
            Tone::Strong => Style::new().add_modifier(Modifier::BOLD),
            Tone::Faint => Style::new().add_modifier(Modifier::DIM),
            Tone::Good => colour(Color::Green),
            Tone::Warn => colour(Color::Yellow),
            Tone::Bad => colour(Color::Red).add_modifier(Modifier::BOLD),
        };
        Span::styled(text, style)
    }
}

fn help() -> Vec<String> {
    let keys = KEYS.iter().map(|(key, does)| format!("{key}: {does}"));
    let more = [
        "",
        "g, G: the first and the last account; j, k: as the arrows; Ctrl-C: quit",
        "poll asks as soon as floors and gates allow: there is no force",
        "? beside a bar: not known; a sparkline is what was seen since this began",
    ];
    keys.chain(more.map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::cli::snapshot::compare;
    use crate::cli::watch::keys::Key;
    use crate::cli::watch::scene::News;
    use crate::control::wire::sample;
    use crate::model;
    use crate::policy::status::AccountView;
    use crate::supervisor::handle::{Snapshot, Transition};

    /// The picture as text, and every cell's look where `coloured`.
    fn picture(scene: &Scene, (width, height): (u16, u16), page: &Page) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, scene, page)).unwrap();
        let buffer = terminal.backend().buffer();
        let mut text = String::new();
        for y in 0..height {
            let mut line = String::new();
            let mut x = 0;
            while x < width {
                let symbol = buffer[(x, y)].symbol();
                line += symbol;
                x += columns(symbol).max(1) as u16;
            }
            assert_eq!(columns(&line), usize::from(width), "{line}");
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    fn views() -> Vec<AccountView> {
        let mut personal = sample::throttled();
        let windows = &mut Arc::make_mut(personal.reading.as_mut().unwrap()).windows;
        windows.push(model::Window {
            id: "seven_day".to_owned(),
            label: "週間の枠 🚀 (全モデル)".to_owned(),
            used_percent: Some(93.0),
            resets_at: Some(sample::at("2026-11-28T23:00:00Z")),
            used: Some(sample::euros("50.10").into()),
            limit: Some(sample::euros("50.00").into()),
            ..sample::window()
        });
        windows.push(model::Window {
            id: "opus".to_owned(),
            label: "weekly (Opus)".to_owned(),
            status: model::WindowStatus::NotStarted,
            used_percent: Some(0.0),
            resets_at: None,
            ..sample::window()
        });
        let work = AccountView {
            name: sample::name("work"),
            plan: Some("équipe プラン".to_owned()),
            state: AccountState::Dead,
            reason: "the token endpoint refused the refresh token: invalid_grant".to_owned(),
            until: None,
            next_poll_at: None,
            reading: None,
            action: "log in again: run `CLAUDE_CONFIG_DIR=/home/u/.claude-work claude` and type /login there"
                .to_owned(),
            ..sample::throttled()
        };
        let spare = AccountView {
            name: sample::name("spare"),
            state: AccountState::Ok,
            reason: "the last request was answered".to_owned(),
            until: None,
            next_poll_at: Some(sample::at("2026-11-25T12:21:00Z")),
            ..sample::throttled()
        };
        vec![personal, spare, work]
    }

    fn status_of(views: Vec<AccountView>, now: &str) -> News {
        let snapshot = Snapshot { accounts: views.into_iter().map(Into::into).collect(), ..sample::snapshot() };
        News::Status(Box::new(Status::of(&snapshot, sample::at(now))))
    }

    /// Two accounts that need nobody, one that does, and what has happened.
    fn scene() -> Scene {
        let mut scene = Scene::default();
        for (minute, used) in [(10, 12.0), (20, 17.5), (30, 22.0), (50, 37.0)] {
            scene.seen.add("personal", "five_hour", sample::at(&format!("2026-11-25T11:{minute}:00Z")), used);
        }
        scene.take(status_of(views(), "2026-11-25T12:15:00Z"), sample::now());
        for (at, account, from, to, reason) in [
            (
                "2026-11-25T12:03:30Z",
                "personal",
                AccountState::Ok,
                AccountState::Throttled,
                "the usage endpoint answered 429 (Retry-After 990 s)",
            ),
            (
                "2026-11-25T12:04:00Z",
                "work",
                AccountState::Ok,
                AccountState::Dead,
                "the token endpoint refused the refresh token: invalid_grant",
            ),
        ] {
            let transition = Transition {
                at: sample::at(at),
                account: sample::name(account),
                from,
                to,
                reason: reason.to_owned(),
                until: None,
                action: "nothing to do".to_owned(),
            };
            scene.take(News::Event(Box::new(Event::of(&transition))), sample::now());
        }
        scene
    }

    #[test]
    fn at_eighty_columns_everything_is_there_and_aligned() {
        compare("watch-80x24", &picture(&scene(), (80, 24), &Page::for_tests()));
    }

    #[test]
    fn at_forty_columns_and_ten_lines_the_selected_account_is_in_view() {
        let mut scene = scene();
        compare("watch-40x10", &picture(&scene, (40, 10), &Page::for_tests()));
        scene.press(Key::Last);
        compare("watch-40x10-last", &picture(&scene, (40, 10), &Page::for_tests()));
    }

    #[test]
    fn without_a_daemon_it_says_so_and_keeps_the_last_word() {
        let mut nothing = Scene::default();
        compare("watch-asking", &picture(&nothing, (80, 6), &Page::for_tests()));
        let why =
            "no daemon answers on /run/user/1000/quotad/quotad.sock: start it with `systemctl --user start quotad`";
        nothing.take(News::Lost(why.to_owned()), sample::now());
        compare("watch-no-daemon", &picture(&nothing, (80, 12), &Page::for_tests()));
        let mut scene = scene();
        scene.take(News::Lost(why.to_owned()), sample::now());
        compare("watch-lost", &picture(&scene, (80, 24), &Page::for_tests()));
        compare("watch-lost-40x10", &picture(&scene, (40, 10), &Page::for_tests()));
    }

    #[test]
    fn the_help_and_the_answer_to_a_poll_take_their_places() {
        let mut scene = scene();
        scene.press(Key::Help);
        scene.take(
            News::Said(
                "personal: the usage endpoint asked to be left alone".to_owned(),
                Some(sample::at("2026-11-25T12:20:00Z")),
            ),
            sample::now(),
        );
        compare("watch-help", &picture(&scene, (80, 24), &Page::for_tests()));
    }

    #[test]
    fn a_reset_that_passes_between_two_looks_is_seen() {
        let page = Page::for_tests().at(sample::at("2026-11-25T15:00:00Z"));
        let text = picture(&scene(), (80, 24), &page);
        assert!(text.contains("?            reset at 15:28, not read since"), "{text}");
        let narrow = picture(&scene(), (40, 16), &page);
        assert!(narrow.contains("reset at 15:28, not read\n"), "{narrow}");
    }

    #[test]
    fn colour_comes_only_where_it_is_welcome_and_no_size_breaks_it() {
        let coloured = |page: &Page| {
            let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
            terminal.draw(|frame| draw(frame, &scene(), page)).unwrap();
            terminal.backend().buffer().content().iter().filter(|cell| cell.fg != Color::Reset).count()
        };
        assert_eq!(coloured(&Page::for_tests()), 0);
        assert!(coloured(&Page::for_tests().coloured()) > 0);
        for width in [1, 2, 5, 13, 39, 71, 72, 200] {
            for height in [1, 2, 3, 9, 11, 19, 20, 60] {
                picture(&scene(), (width, height), &Page::for_tests());
            }
        }
    }
}
