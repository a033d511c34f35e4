//! An alert in words, for people; and as a document, for programs.

use jiff::tz::TimeZone;
use jiff::{RoundMode, SignedDuration, TimestampRound, Unit};
use serde_json::{Value, json};

use crate::clock;
use crate::policy::alert::{Alert, AlertWindow, Kind, Trouble};
use crate::policy::time::Stamp;

/// The version of the document.
const SCHEMA: u32 = 1;

/// What a person reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// One line: who and what.
    pub(super) title: String,
    /// A sentence or two: why, until when, what to do.
    pub(super) text: String,
}

impl Message {
    /// With its times in this zone.
    pub(super) fn of(alert: &Alert, zone: &TimeZone) -> Self {
        let account = &alert.account;
        let clock = |at: Stamp| {
            let is_near = at.duration_since(alert.at).abs() < SignedDuration::from_hours(20);
            // Resets stand a hair before the minute.
            let at = at.round(Unit::Minute).unwrap_or(at);
            at.to_zoned(zone.clone()).strftime(if is_near { "%H:%M" } else { "%a %-d %b %H:%M" }).to_string()
        };
        let starts_over = |window: &AlertWindow| match window.resets_at {
            Some(at) => format!("; starts over {}", clock(at)),
            None => String::new(),
        };
        let (title, mut text) = match (alert.kind, &alert.window) {
            (Kind::Threshold(threshold), Some(window)) => (
                format!("{account}: {} window {:.0}% used", window.label, window.used_percent),
                format!("over {threshold}%{}", starts_over(window)),
            ),
            (_, Some(window)) => (
                format!("{account}: {} window has started over", window.label),
                format!("{:.0}% used{}", window.used_percent, starts_over(window)),
            ),
            (kind, None) => (format!("{account}: {}", said(kind)), alert.reason.clone()),
        };
        match (alert.kind, alert.until) {
            (Kind::LoginEnding(_), Some(at)) => text = format!("it ends {}", clock(at)),
            (Kind::Trouble(_), Some(at)) => text = format!("{text}; the next try is {}", clock(at)),
            _ => {}
        }
        if matches!(alert.kind, Kind::Trouble(_) | Kind::LoginEnding(_)) {
            text = format!("{text}. {}", capital(&alert.action));
        }
        Self { title, text: capital(&text) + "." }
    }
}

fn said(kind: Kind) -> String {
    match kind {
        Kind::LoginEnding(1) => "the login ends within a day".to_owned(),
        Kind::LoginEnding(days) => format!("the login ends within {days} days"),
        Kind::Trouble(Trouble::Dead) => "the login was refused for good".to_owned(),
        Kind::Trouble(Trouble::SignedOut) => "signed out".to_owned(),
        Kind::Trouble(Trouble::NoPermission) => "no permission to read what is left".to_owned(),
        Kind::Trouble(Trouble::AuthPaused) => "the login keeps being refused".to_owned(),
        Kind::Trouble(Trouble::Throttled) => "kept waiting for hours".to_owned(),
        Kind::Recovered => "well again".to_owned(),
        Kind::Threshold(_) | Kind::Reset | Kind::Test => "a test alert".to_owned(),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// What a program reads. Every field is always there; times are whole seconds in UTC, a time to come rounded up.
pub fn document(alert: &Alert) -> Value {
    let message = Message::of(alert, &clock::zone());
    let (threshold, days) = match alert.kind {
        Kind::Threshold(threshold) => (Some(threshold), None),
        Kind::LoginEnding(days) => (None, Some(days)),
        _ => (None, None),
    };
    let window = alert.window.as_ref().map(|window| {
        json!({
            "id": window.id,
            "label": window.label,
            "used_percent": window.used_percent,
            "resets_at": window.resets_at.map(|at| second(at, RoundMode::Ceil)),
        })
    });
    json!({
        "schema": SCHEMA,
        "kind": alert.kind.as_str(),
        "severity": alert.kind.severity().as_str(),
        "account": alert.account,
        "provider": alert.provider,
        "at": second(alert.at, RoundMode::Floor),
        "title": message.title,
        "text": message.text,
        "threshold": threshold,
        "days": days,
        "window": window,
        "reason": alert.reason,
        "until": alert.until.map(|at| second(at, RoundMode::Ceil)),
        "action": alert.action,
    })
}

fn second(at: Stamp, mode: RoundMode) -> Stamp {
    at.round(TimestampRound::new().smallest(Unit::Second).mode(mode)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn said(alert: &Alert) -> String {
        let Message { title, text } = Message::of(alert, &TimeZone::UTC);
        format!("{title} | {text}")
    }

    #[test]
    fn an_alert_reads_like_this() {
        let mut ending = sample::trouble(Kind::LoginEnding(3));
        ending.until = Some("2026-11-28T09:00:00Z".parse().unwrap());
        ending.action = "log in again before 2026-11-28 09:00 UTC: claude /login".to_owned();
        let started_over = Alert { kind: Kind::Reset, ..sample::threshold() };
        let well = Alert {
            until: None,
            reason: "the last request was answered".to_owned(),
            ..sample::trouble(Kind::Recovered)
        };
        for (alert, reads) in [
            (sample::threshold(), "personal: 5-hour window 96% used | Over 95%; starts over 14:00."),
            (started_over, "personal: 5-hour window has started over | 96% used; starts over 14:00."),
            (
                sample::trouble(Kind::Trouble(Trouble::Throttled)),
                "personal: kept waiting for hours | The usage endpoint answered 429; the next try is 12:20. Nothing to do.",
            ),
            (
                ending,
                "personal: the login ends within 3 days | It ends Sat 28 Nov 09:00. \
                 Log in again before 2026-11-28 09:00 UTC: claude /login.",
            ),
            (well, "personal: well again | The last request was answered."),
        ] {
            assert_eq!(said(&alert), reads);
        }
    }

    #[test]
    fn the_document_has_every_field_whatever_it_is_about() {
        let threshold = document(&sample::threshold());
        assert_eq!(
            (&threshold["kind"], &threshold["threshold"], &threshold["days"]),
            (&json!("threshold"), &json!(95), &Value::Null)
        );
        assert_eq!(threshold["window"]["resets_at"], "2026-11-25T14:00:00Z");
        assert_eq!(threshold["at"], "2026-11-25T12:15:00Z");
        let dead = document(&sample::trouble(Kind::Trouble(Trouble::Dead)));
        assert_eq!((&dead["severity"], &dead["window"]), (&json!("urgent"), &Value::Null));
        let keys = |document: &Value| document.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&threshold), keys(&dead));
    }
}
