//! One log line per transition, with the fields of the contract; and the one line of `systemctl status`.
//!
//! `info` for transitions, `warn` only when a person should look. Nothing here can hold a secret: the fields are
//! states, times and quotad's own phrases.

use std::cell::LazyCell;
use std::fmt::Write as _;

use crate::clock;
use crate::model::{AccountName, ProviderId};
use crate::policy::account::{Event, GateName};
use crate::policy::status::{AccountState, AccountView, GateView};
use crate::policy::time::Stamp;
use crate::state::history::Change;

/// The status line names so many accounts that are not well; `quotad status` shows all.
const MOST_NAMED: usize = 8;

/// Writes the line for `event`, seen through the account's view right after it.
pub(super) fn log(view: &AccountView, event: &Event) {
    let account = view.name.as_str();
    let provider = view.provider.as_str();
    match event {
        Event::StateChanged { from, to } => state_changed(view, *from, *to),
        Event::GateCooling(gate) => {
            let (shown, until) = (gate_of(view, *gate), until(gate_of(view, *gate)));
            let status = view.exchanges.last().and_then(|exchange| exchange.status);
            tracing::info!(
                event = "gate-cooling",
                account,
                provider,
                gate = gate.as_str(),
                until,
                status,
                failures = shown.failures,
                rung = shown.rung,
                "{account}: the {} gate cools until {until}",
                gate.as_str()
            );
        }
        Event::GateCleared(gate) => {
            tracing::info!(
                event = "gate-cleared",
                account,
                provider,
                gate = gate.as_str(),
                "{account}: the {} gate is clear",
                gate.as_str()
            );
        }
        Event::CredentialsChanged => {
            tracing::info!(event = "credentials-changed", account, provider, "{account}: its credential file changed");
        }
        Event::RefreshSent => tracing::info!(event = "refresh-sent", account, provider, "{account}: refreshing"),
        Event::RefreshDone => {
            tracing::info!(event = "refresh-done", account, provider, "{account}: a new token is in place");
        }
        Event::RefreshFailed(reason) => {
            tracing::info!(event = "refresh-failed", account, provider, reason, "{account}: not refreshed: {reason}");
        }
        Event::LostRace => {
            tracing::info!(event = "lost-race", account, provider, "{account}: somebody else refreshed first");
        }
        Event::AccountDead => {
            let (reason, action) = (view.reason.as_str(), view.action.as_str());
            tracing::warn!(event = "account-dead", account, provider, reason, "{account}: {reason}; {action}");
        }
        Event::LoginEnding { days } => {
            let (until, action) =
                (view.credentials.login_ends_at.map(second).unwrap_or_default(), view.action.as_str());
            tracing::warn!(
                event = "login-ending",
                account,
                provider,
                until,
                days,
                action,
                "{account}: this login ends on {until}, within {days} {}; {action}",
                if *days == 1 { "day" } else { "days" }
            );
        }
        Event::Warning(reason) => {
            tracing::warn!(event = "warning", account, provider, reason, "{account}: {reason}");
        }
    }
}

/// A window started over.
pub(super) fn window_reset(account: &AccountName, provider: ProviderId, change: &Change) {
    let (account, provider) = (account.as_str(), provider.as_str());
    let Change { window, label, before, after } = change;
    let is_early = before.resets_at.is_none_or(|due| after.at < due);
    let used = before.used_percent.unwrap_or_default();
    let early = if is_early { ", before its time" } else { "" };
    let until = after.resets_at.map(second).unwrap_or_default();
    tracing::info!(
        event = "window-reset",
        account,
        provider,
        window,
        early = is_early,
        used_percent = used,
        until,
        "{account}: {label} started over{early}; {used}% had been used"
    );
}

/// Who is not well and until when, and why the changed config is not in force. In local time: a person reads it.
pub(super) fn status_line<'a>(views: impl Iterator<Item = &'a AccountView>, refused: Option<&str>) -> String {
    let (ok, odd): (Vec<_>, Vec<_>) = views.partition(|view| view.state == AccountState::Ok);
    let mut line = match ok.len() + odd.len() {
        0 => "no account to watch".to_owned(),
        all => format!("{} of {all} accounts ok", ok.len()),
    };
    // It is asked for after every event, and the zone is a file.
    let zone = LazyCell::new(clock::zone);
    for view in odd.iter().take(MOST_NAMED) {
        let until = view.until.map(|until| until.to_zoned(zone.clone()).strftime(" until %a %H:%M").to_string());
        let _ = write!(line, "; {} {}{}", view.name, view.state.as_str(), until.unwrap_or_default());
    }
    if let Some(more @ 1..) = odd.len().checked_sub(MOST_NAMED) {
        let _ = write!(line, "; {more} more are not");
    }
    if let Some(complaint) = refused.and_then(|complaint| complaint.lines().next()) {
        let _ = write!(line, "; the new config is refused: {complaint}");
    }
    line
}

fn state_changed(view: &AccountView, from: AccountState, to: AccountState) {
    let account = view.name.as_str();
    let (provider, reason, action) = (view.provider.as_str(), view.reason.as_str(), view.action.as_str());
    let (from, until) = (from.as_str(), view.until.map(second).unwrap_or_default());
    // These need a person; the rest comes back by itself.
    let needs_someone = matches!(
        to,
        AccountState::Dead | AccountState::SignedOut | AccountState::NoPermission | AccountState::AuthPaused
    );
    let to = to.as_str();
    if needs_someone {
        tracing::warn!(
            event = "state-changed",
            account,
            provider,
            from,
            to,
            until,
            reason,
            action,
            "{account} is {to}: {reason}; {action}"
        );
    } else {
        tracing::info!(
            event = "state-changed",
            account,
            provider,
            from,
            to,
            until,
            reason,
            action,
            "{account} is {to}: {reason}"
        );
    }
}

fn gate_of(view: &AccountView, gate: GateName) -> &GateView {
    match gate {
        GateName::Usage => &view.usage_gate,
        GateName::Token => &view.token_gate,
        GateName::Auth => &view.auth_gate,
    }
}

fn until(gate: &GateView) -> String {
    gate.until.map(second).unwrap_or_default()
}

/// RFC 3339 in whole seconds.
fn second(at: Stamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::sample;

    #[test]
    fn the_status_line_names_who_is_not_well_until_when_and_a_refused_config() {
        let limited = sample::throttled();
        let well = AccountView { state: AccountState::Ok, until: None, ..limited.clone() };
        assert_eq!(status_line([].iter(), None), "no account to watch");
        assert_eq!(status_line([well.clone()].iter(), None), "1 of 1 accounts ok");
        let line = status_line([limited, well].iter(), Some("c.toml:2:1: bad\n 2 | x"));
        let named =
            line.strip_prefix("1 of 2 accounts ok; personal throttled until ").unwrap_or_else(|| panic!("{line}"));
        assert!(named.ends_with("; the new config is refused: c.toml:2:1: bad"), "{line}");
        let crowd = vec![AccountView { until: None, ..sample::throttled() }; 10];
        let line = status_line(crowd.iter(), None);
        assert!(line.ends_with("; personal throttled; 2 more are not"), "{line}");
    }
}
