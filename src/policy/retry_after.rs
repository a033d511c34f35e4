//! `Retry-After`: header text in, a wait or "no advice" out.
//!
//! Seconds, or any of the three HTTP dates (RFC 9110, 10.2.3). Zero, a past date, an absent or unreadable header are
//! no advice: Anthropic sends `0` for "budget exhausted" (claude-code#30930), and obeying it literally is how the
//! existing tools hammer. Clamping to `max-retry-after` is the gate's.

use std::time::{Duration, SystemTime};

use super::time::Stamp;

/// The wait a server asks for. A date is measured against the response's own `Date` where it has one, so that a
/// wrong clock on this machine neither shortens nor lengthens it; else against `received`.
pub fn parse(header: Option<&str>, date: Option<&str>, received: Stamp) -> Option<Duration> {
    let text = header?.trim();
    let wait = if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else if let Some(seconds) = fraction(text) {
        seconds
    } else {
        let until = httpdate::parse_http_date(text).ok()?;
        let from = date
            .and_then(|date| httpdate::parse_http_date(date.trim()).ok())
            .unwrap_or_else(|| SystemTime::from(received));
        until.duration_since(from).ok()?
    };
    (!wait.is_zero()).then_some(wait)
}

/// `7.5`: not in the RFC, but sent by some; rounded up to whole milliseconds by the clock's own rule.
fn fraction(text: &str) -> Option<Duration> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text.bytes().any(|b| b.is_ascii_digit());
    if !plain {
        return None;
    }
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DATE: &str = "Sun, 22 Nov 2026 12:00:00 GMT";

    fn parsed(header: &str) -> Option<u64> {
        let hours_off = "2026-11-22T17:00:00Z".parse().unwrap();
        parse(Some(header), Some(DATE), hours_off).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_every_form_of_http_date_are_read() {
        for (header, seconds) in [
            ("990", 990),
            (" 7 ", 7),
            ("7.5", 7),
            ("Sun, 22 Nov 2026 12:16:30 GMT", 990),
            ("Sunday, 22-Nov-26 12:16:30 GMT", 990),
            ("Sun Nov 22 12:16:30 2026", 990),
            ("99999999999999999999999", u64::MAX),
        ] {
            assert_eq!(parsed(header), Some(seconds), "{header}");
        }
    }

    #[test]
    fn zero_past_absent_and_unreadable_are_no_advice() {
        for header in
            ["0", "0.0", "", " ", "-5", "soon", "1e9", "NaN", "inf", "Sun, 22 Nov 2026 11:59:59 GMT", DATE, "٣"]
        {
            assert_eq!(parsed(header), None, "{header:?}");
        }
        assert_eq!(parse(None, Some(DATE), Stamp::UNIX_EPOCH), None);
    }

    #[test]
    fn a_date_without_a_date_header_is_measured_against_the_time_of_arrival() {
        let received = "2026-11-22T12:10:00Z".parse().unwrap();
        let wait = parse(Some("Sun, 22 Nov 2026 12:16:30 GMT"), None, received);
        assert_eq!(wait, Some(Duration::from_secs(390)));
        assert_eq!(parse(Some("Sun, 22 Nov 2026 12:16:30 GMT"), Some("never"), received), wait);
    }

    proptest! {
        #[test]
        fn whole_seconds_are_taken_at_their_word_and_a_date_against_the_servers_own_whatever_the_clock_here_shows(
            seconds in 1..4_000_000_000_u64,
            server in 0..10_000_000_000_u64,
            here in 0..10_000_000_000_i64,
            space in " {0,3}",
        ) {
            let received = Stamp::from_second(here).unwrap();
            let wait = Some(Duration::from_secs(seconds));
            prop_assert_eq!(parse(Some(&format!("{space}{seconds}{space}")), None, received), wait);
            let date = |at| httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(at));
            prop_assert_eq!(parse(Some(&date(server + seconds)), Some(&date(server)), received), wait);
            prop_assert_eq!(parse(Some(&date(server)), Some(&date(server + seconds)), received), None, "it has passed");
        }

        #[test]
        fn no_header_makes_it_panic_or_advise_to_wait_for_nothing(header in "\\PC{0,40}|[-0-9.eE]{0,30}", date in "\\PC{0,40}") {
            prop_assert_ne!(parse(Some(&header), Some(&date), Stamp::MAX), Some(Duration::ZERO));
        }
    }
}
