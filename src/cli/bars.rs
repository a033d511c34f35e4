//! `quotad status --format`: one short line for a status bar.
//!
//! Owns what fits into a bar and how each bar wants it written. The tightest account leads; whoever must act is always
//! named. A bar gets a whole document also where no daemon answers, and whatever the outside world wrote is escaped, so
//! that it can neither break the markup nor add to it. Never asks anybody: one document in, one line out.

use clap::ValueEnum;
use serde::Serialize;

use super::page::{Page, Tone, plain};
use super::status::{as_of, heading, level, needs_login, needs_person, percentage, said, state_tone};
use super::{Exit, Failure, print};
use crate::control::client::ClientError;
use crate::control::wire::{Account, Status, Window};
use crate::policy::status::AccountState;

/// Who reads the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// JSON for a custom module of Waybar: text, tooltip and class are Pango markup
    Waybar,
    /// For `#()` in tmux's status-left or status-right
    Tmux,
    /// Plain text: Polybar, i3blocks, starship, a shell prompt
    Line,
}

/// Prints what the daemon says, or that it does not; the exit code is that of `status`.
pub(super) fn show(answer: Result<Status, ClientError>, format: Format) -> Result<Exit, Failure> {
    let (bar, exit) = match answer {
        Ok(status) => {
            let page = Page::here().uncoloured();
            (Bar::of(&status, &page), Exit::of_all(&status.accounts))
        }
        Err(error) => {
            let bar = Bar::without(&error);
            (bar, Failure::from(error).exit)
        }
    };
    print(&(bar.write(format) + "\n"))?;
    Ok(exit)
}

/// What a bar shows.
#[derive(Debug, PartialEq)]
struct Bar {
    /// Words, each in its tone; a space goes in between.
    text: Vec<(Tone, String)>,
    /// One word for the whole: the state of the account that leads.
    alt: String,
    /// More of them, for a style sheet.
    class: Vec<String>,
    tooltip: String,
    /// How much is used of the window that binds.
    percentage: Option<u8>,
}

/// As Waybar reads it.
#[derive(Serialize)]
struct Waybar<'a> {
    text: String,
    alt: &'a str,
    tooltip: String,
    class: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    percentage: Option<u8>,
}

impl Bar {
    /// Every account, the tightest first.
    fn of(status: &Status, page: &Page) -> Self {
        let notice = status.daemon.notice.as_deref();
        let Some(leader) = leader(&status.accounts) else {
            let said = notice.unwrap_or("no accounts: log in with a vendor's CLI, or name accounts in the config");
            return Self::saying("no accounts", "no-accounts", said);
        };
        let mut text = Vec::new();
        if status.accounts.len() > 1 {
            text.push((Tone::Strong, leader.name.clone()));
        }
        text.extend(figures(leader, page));
        let others = status.accounts.iter().filter(|account| !std::ptr::eq(*account, leader));
        let calling = others.clone().filter(|account| needs_person(account));
        text.extend(calling.map(|account| (Tone::Bad, format!("! {}: {}", account.name, call(account)))));
        if notice.is_some() {
            text.push((Tone::Bad, "! quotad".to_owned()));
        }
        let mut class = vec![leader.state.clone(), level_word(leader).to_owned()];
        if leader.stale {
            class.push("stale".to_owned());
        }
        if notice.is_some() || status.accounts.iter().any(needs_person) {
            class.push("needs-person".to_owned());
        }
        let blocks = std::iter::once(leader).chain(others).map(|account| block(account, page));
        let tooltip: Vec<String> = notice.map(plain).into_iter().chain(blocks).collect();
        let percentage = used(leader).map(|used| used.round() as u8);
        Self { text, alt: leader.state.clone(), class, tooltip: tooltip.join("\n\n"), percentage }
    }

    /// There is nothing to show but why.
    fn without(error: &ClientError) -> Self {
        let (text, word) = match error {
            ClientError::NoDaemon(_) => ("no daemon", "no-daemon"),
            ClientError::Refused(problem) if problem.status == 404 => ("no such account", "no-account"),
            _ => ("no answer", "no-answer"),
        };
        Self::saying(text, word, &error.to_string())
    }

    fn saying(text: &str, word: &str, said: &str) -> Self {
        Self {
            text: vec![(Tone::Bad, format!("quotad: {text}"))],
            alt: word.to_owned(),
            class: vec![word.to_owned()],
            tooltip: plain(said),
            percentage: None,
        }
    }

    fn write(&self, format: Format) -> String {
        let join = |write: fn(Tone, &str) -> String| {
            let words: Vec<String> = self.text.iter().map(|(tone, word)| write(*tone, &plain(word))).collect();
            words.join(" ")
        };
        match format {
            Format::Line => join(|_, word| inert(word)),
            Format::Tmux => join(tmux),
            Format::Waybar => {
                let document = Waybar {
                    text: join(|_, word| pango(word)),
                    alt: &self.alt,
                    tooltip: pango(&self.tooltip),
                    class: &self.class,
                    percentage: self.percentage,
                };
                // Strings and a number: there is nothing that could not be written.
                serde_json::to_string(&document).unwrap_or_default()
            }
        }
    }
}

/// The account with the least left; those whose numbers are unknown come behind, and behind them those that need a
/// login, which are named anyway.
fn leader(accounts: &[Account]) -> Option<&Account> {
    let rank = |account: &Account| (needs_login(account), account.headroom_percent.is_none());
    let left = |account: &Account| account.headroom_percent.unwrap_or_default();
    accounts.iter().min_by(|one, other| rank(one).cmp(&rank(other)).then(left(one).total_cmp(&left(other))))
}

/// What one account comes to: `42% 2h13m throttled`.
fn figures(account: &Account, page: &Page) -> Vec<(Tone, String)> {
    if needs_login(account) {
        return vec![(Tone::Bad, call(account).to_owned())];
    }
    let mut words = Vec::new();
    if let Some(used) = used(account) {
        words.push((level(used), format!("{used:.0}%")));
        let countdown = binding(account).and_then(|window| page.countdown(window.resets_at?));
        words.extend(countdown.map(|countdown| (Tone::Plain, countdown)));
    }
    let reset = account.windows.iter().filter(|window| window.reset_passed).filter_map(|window| window.resets_at).max();
    match (reset, account.read_at) {
        (Some(at), _) => words.push((Tone::Warn, format!("reset at {}, not read since", page.clock(at)))),
        (None, None) => words.push((Tone::Warn, "not read yet".to_owned())),
        (None, Some(at)) if account.stale => words.push((Tone::Warn, format!("as of {}", page.ago(at)))),
        (None, Some(_)) if words.is_empty() => words.push((Tone::Plain, "?".to_owned())),
        (None, Some(_)) => {}
    }
    if account.known_state() != Some(AccountState::Ok) {
        words.push((state_tone(account), account.state.clone()));
    }
    if needs_person(account) {
        words.push((Tone::Bad, format!("! {}", call(account))));
    }
    words
}

/// What a person must do, in two words.
fn call(account: &Account) -> &'static str {
    match account.known_state() {
        Some(AccountState::NoPermission) => "no permission",
        _ if account.action.contains("log in") => "log in",
        _ => "see status",
    }
}

fn binding(account: &Account) -> Option<&Window> {
    let id = account.binding_window.as_deref()?;
    account.windows.iter().find(|window| window.id == id)
}

/// How much is used of the window that binds; a window that lets something through is not full, however little it is.
fn used(account: &Account) -> Option<f64> {
    let left = account.headroom_percent?.clamp(0.0, 100.0);
    Some(if left > 0.0 { (100.0 - left).min(99.0) } else { 100.0 })
}

fn level_word(account: &Account) -> &'static str {
    match used(account).filter(|_| !needs_login(account)).map(level) {
        Some(Tone::Bad) => "critical",
        Some(Tone::Warn) => "warning",
        Some(_) => "normal",
        None => "unknown",
    }
}

/// All that is known of one account, a line each.
fn block(account: &Account, page: &Page) -> String {
    let window = |window: &Window| {
        let percent = window.used_percent.map_or_else(|| "?".to_owned(), percentage);
        let said = said(window, page);
        let said = if said.is_empty() { String::new() } else { format!(": {}", said.join(", ")) };
        format!("{} {percent}{said}", plain(&window.label))
    };
    let mut lines = vec![heading(account, page).trim_end().to_owned()];
    lines.extend(account.windows.iter().map(window));
    lines.push(format!("as of {}", as_of(account, page)));
    if account.known_state() != Some(AccountState::Ok) {
        lines.push(plain(&account.reason));
        lines.extend(account.until.map(|until| format!("until {}", page.due(until))));
    }
    if account.action != "nothing to do" {
        lines.push(plain(&account.action));
    }
    lines.join("\n")
}

/// Pango's markup characters, as text.
fn pango(text: &str) -> String {
    let escaped = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '\'' => "&#39;".to_owned(),
        '"' => "&quot;".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// A word in tmux's colours. tmux reads the output of a command as a format, in which two signs stand for one.
fn tmux(tone: Tone, word: &str) -> String {
    let word = word.replace('#', "##");
    match tone {
        Tone::Good => format!("#[fg=green]{word}#[default]"),
        Tone::Warn => format!("#[fg=yellow]{word}#[default]"),
        Tone::Bad => format!("#[fg=red]{word}#[default]"),
        Tone::Strong | Tone::Plain | Tone::Faint => word,
    }
}

/// Without what Polybar would take for its formatting, which can hold commands.
fn inert(word: &str) -> String {
    word.replace("%{", "% {")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::control::reply::Problem;
    use crate::control::wire::sample;
    use crate::model;
    use crate::policy::status::AccountView;
    use crate::supervisor::handle::Snapshot;

    fn bar(views: &[AccountView], now: &str) -> Bar {
        let accounts = views.iter().cloned().map(Into::into).collect();
        let status = Status::of(&Snapshot { accounts, ..sample::snapshot() }, sample::at(now));
        Bar::of(&status, &Page::for_tests().at(sample::at(now)))
    }

    fn view(name: &str, state: AccountState, used: f64) -> AccountView {
        let mut view = AccountView { name: sample::name(name), state, ..sample::throttled() };
        Arc::make_mut(view.reading.as_mut().unwrap()).windows[0].used_percent = Some(used);
        view
    }

    fn line(views: &[AccountView], now: &str) -> String {
        bar(views, now).write(Format::Line)
    }

    const NOW: &str = "2026-11-25T12:15:00Z";

    #[test]
    fn one_account_is_a_figure_a_countdown_and_what_is_not_as_it_should_be() {
        use AccountState::{AuthPaused, NoPermission, Ok, SignedOut, Throttled};
        let unread = AccountView { reading: None, ..view("a", AccountState::Starting, 0.0) };
        let endless = {
            let mut view = view("a", Ok, 10.0);
            Arc::make_mut(view.reading.as_mut().unwrap()).windows[0].resets_at = None;
            view
        };
        let unnumbered = {
            let mut view = view("a", Ok, 10.0);
            Arc::make_mut(view.reading.as_mut().unwrap()).windows[0].used_percent = None;
            view
        };
        let ending = AccountView {
            action: "log in again within 3 d: run `claude` and type /login there".to_owned(),
            ..view("a", Ok, 41.5)
        };
        let calm =
            AccountView { action: "nothing yet; if it stays so, log in".to_owned(), ..view("a", AuthPaused, 5.0) };
        for (view, now, expected) in [
            (view("a", Ok, 41.5), NOW, "42% 2h13m"),
            (view("a", Throttled, 99.7), NOW, "99% 2h13m throttled"),
            (view("a", Ok, 100.0), NOW, "100% 2h13m"),
            (view("a", Ok, 0.2), NOW, "0% 2h13m"),
            (view("a", Ok, 41.5), "2026-11-25T12:40:00Z", "42% 1h48m as of 35 min ago"),
            (view("a", Throttled, 41.5), "2026-11-25T15:00:00Z", "reset at 15:28, not read since throttled"),
            (unread, NOW, "not read yet starting"),
            (endless, NOW, "10%"),
            (unnumbered, NOW, "?"),
            (ending, NOW, "42% 2h13m ! log in"),
            (calm, NOW, "5% 2h13m auth-paused"),
            (
                AccountView { action: "log in again: run `claude`".to_owned(), ..view("a", SignedOut, 5.0) },
                NOW,
                "log in",
            ),
            (view("a", NoPermission, 5.0), NOW, "no permission"),
        ] {
            assert_eq!(line(&[view], now), expected);
        }
    }

    #[test]
    fn of_several_the_tightest_leads_and_whoever_needs_a_person_is_named() {
        use AccountState::{Dead, Ok, Starting};
        let dead = AccountView { action: "log in again: run `claude`".to_owned(), ..view("late", Dead, 99.0) };
        let unread = AccountView { reading: None, ..view("new", Starting, 0.0) };
        let calm = [view("calm", Ok, 5.0), view("tight", Ok, 93.0)];
        assert_eq!(line(&calm, NOW), "tight 93% 2h13m");
        let all = [calm[0].clone(), dead.clone(), unread.clone(), calm[1].clone()];
        let bar = bar(&all, NOW);
        assert_eq!(bar.write(Format::Line), "tight 93% 2h13m ! late: log in");
        assert_eq!(bar.write(Format::Tmux), "tight #[fg=red]93%#[default] 2h13m #[fg=red]! late: log in#[default]");
        assert_eq!((bar.alt.as_str(), bar.class.join(" ").as_str()), ("ok", "ok critical needs-person"));
        assert_eq!(line(&[dead, unread], NOW), "new not read yet starting ! late: log in");
    }

    #[test]
    fn waybar_gets_a_document_with_everything() {
        let personal = view("personal", AccountState::Throttled, 41.5);
        let work = AccountView {
            name: sample::name("work"),
            plan: None,
            state: AccountState::Dead,
            reason: "the token endpoint refused the refresh token: invalid_grant".to_owned(),
            until: None,
            reading: None,
            action: "log in again: run `claude` and type /login there".to_owned(),
            ..sample::throttled()
        };
        let text = bar(&[personal, work], NOW).write(Format::Waybar);
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            document,
            serde_json::json!({
                "text": "personal 42% 2h13m throttled ! work: log in",
                "alt": "throttled",
                "tooltip": "\
personal  claude max_20x  throttled since 13:03
5-hour 41.5%: resets in 2 h 13 min (15:28)
as of 10 min ago, from api
the usage endpoint answered 429 (Retry-After 990 s)
until 13:20 (in 5 min)

work  claude  dead since 13:03
as of nothing read yet
the token endpoint refused the refresh token: invalid_grant
log in again: run `claude` and type /login there",
                "class": ["throttled", "normal", "needs-person"],
                "percentage": 42
            })
        );
    }

    #[test]
    fn what_the_outside_wrote_is_text_and_nothing_else() {
        let mut hostile = view("a", AccountState::Ok, 41.5);
        hostile.plan = Some("<b>&\"'\u{1b}[31m\u{202e}</b>".to_owned());
        Arc::make_mut(hostile.reading.as_mut().unwrap())
            .windows
            .push(model::Window::named("x", "#[fg=red]#(id)\n%{A1:id:}"));
        let status = Status::of(&Snapshot { accounts: vec![hostile.into()], ..sample::snapshot() }, sample::now());
        let mut status = status;
        status.accounts[0].state = "#(id) <i> %{A1:id:}".to_owned();
        let bar = Bar::of(&status, &Page::for_tests());
        assert_eq!(bar.write(Format::Line), "42% 2h13m #(id) <i> % {A1:id:}");
        assert_eq!(bar.write(Format::Tmux), "#[fg=green]42%#[default] 2h13m ##(id) <i> %{A1:id:}");
        let waybar: serde_json::Value = serde_json::from_str(&bar.write(Format::Waybar)).unwrap();
        assert_eq!(waybar["text"], "42% 2h13m #(id) &lt;i&gt; %{A1:id:}");
        let tooltip = waybar["tooltip"].as_str().unwrap();
        assert!(tooltip.contains("&lt;b&gt;&amp;&quot;&#39;[31m&lt;/b&gt;"), "{tooltip}");
        assert!(!tooltip.contains(['<', '>', '\u{1b}', '\u{202e}']), "{tooltip}");
        assert!(bar.write(Format::Waybar).lines().count() == 1 && bar.write(Format::Line).lines().count() == 1);
    }

    #[test]
    fn without_an_answer_there_is_a_whole_document_that_says_so() {
        let missing = ClientError::NoDaemon(PathBuf::from("/run/user/1000/quotad/quotad.sock"));
        let bar = Bar::without(&missing);
        assert_eq!(bar.write(Format::Line), "quotad: no daemon");
        assert_eq!(bar.write(Format::Tmux), "#[fg=red]quotad: no daemon#[default]");
        let waybar: serde_json::Value = serde_json::from_str(&bar.write(Format::Waybar)).unwrap();
        assert_eq!((&waybar["text"], &waybar["alt"]), (&"quotad: no daemon".into(), &"no-daemon".into()));
        assert!(waybar["tooltip"].as_str().unwrap().contains("systemctl --user start quotad"), "{waybar}");
        let unknown = ClientError::Refused(Problem::new(404, "Not Found", "there is no account \"x\""));
        assert_eq!(Bar::without(&unknown).write(Format::Line), "quotad: no such account");
        assert_eq!(Failure::from(unknown).exit, Exit::Unknown);
        let silent = ClientError::Silent(PathBuf::new());
        assert_eq!(Bar::without(&silent).class, ["no-answer"]);
    }

    #[test]
    fn a_daemon_without_accounts_and_one_with_a_notice_say_so() {
        assert_eq!(line(&[], NOW), "quotad: no accounts");
        let snapshot = Snapshot {
            accounts: vec![view("a", AccountState::Ok, 41.5).into()],
            notice: Some("state.db cannot be written (disk full)".to_owned()),
            ..sample::snapshot()
        };
        let bar = Bar::of(&Status::of(&snapshot, sample::now()), &Page::for_tests());
        assert_eq!(bar.write(Format::Line), "42% 2h13m ! quotad");
        assert_eq!(bar.class, ["ok", "normal", "needs-person"]);
        assert!(bar.tooltip.starts_with("state.db cannot be written (disk full)\n\na  claude"), "{}", bar.tooltip);
    }
}
