//! Lenient readers of single JSON fields: what a vendor may write for a number, a time, a name or an amount.
//!
//! Every reader answers `None` for what it cannot read and never panics, whatever the value: the caller then drops
//! that field and keeps the rest. The forms accepted are those seen in the wild (`reference/providers.md`, A.1).

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::model::Amount;
/// The JSON value that these bytes are; `None` for anything else. By way of text, because `serde_json` brings that
/// reader ready-made: in a debug build it is ten times as fast as one made here, and the simulation reads millions.
pub fn json(bytes: &[u8]) -> Option<Value> {
    str::from_utf8(bytes).ok()?.parse().ok()
}

/// A finite number: JSON integer, JSON float, or a decimal string, exponent form included (`"0E-10"`).
pub fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// A point in time: RFC 3339 with up to nine fraction digits, a date or a date and time without an offset (UTC),
/// epoch seconds or epoch milliseconds, also as a string. Zero, negative and empty mean "not known".
pub fn timestamp(value: &Value) -> Option<Timestamp> {
    if let Some(epoch) = number(value) {
        return from_epoch(epoch);
    }
    let text = value.as_str()?.trim();
    text.parse().ok().or_else(|| text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp()))
}

/// Below 10¹⁰ a number means seconds (until the year 2286), above it milliseconds (since April 1970).
fn from_epoch(epoch: f64) -> Option<Timestamp> {
    let millis = if epoch < 1e10 { epoch * 1e3 } else { epoch };
    (millis > 0.0).then(|| Timestamp::from_millisecond(millis.round() as i64).ok())?
}

/// Percent used, where a vendor tells the percent left: 61.47 left are 38.53 used, without a float's noise.
pub fn used_of_left(left: &Value) -> Option<f64> {
    Decimal::read(&Value::from(100))?.checked_sub(Decimal::read(left)?)?.to_string().parse().ok()
}

/// A length of time in seconds, fractions kept: more than nothing, at most a hundred years.
pub fn seconds(value: &Value) -> Option<Duration> {
    const CENTURY: Duration = Duration::from_hours(100 * 365 * 24);
    let length = Duration::try_from_secs_f64(number(value)?).ok()?;
    (!length.is_zero() && length <= CENTURY).then_some(length)
}

/// The elements of an array; of anything else none.
pub fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A name fit for a label or a key: trimmed, without control characters, at most 64 characters, not empty.
///
/// Names end in terminals and log lines, and a vendor's text must not be able to move the cursor there.
pub fn name(value: &Value) -> Option<String> {
    printable(value.as_str()?)
}

/// The rule of [`name`] for text that is no JSON value, such as an object's key.
pub fn printable(text: &str) -> Option<String> {
    let name: String = text.trim().chars().filter(|c| !c.is_control()).take(64).collect();
    (!name.is_empty()).then_some(name)
}

/// A name as part of an id: in lower case, with a hyphen for all that is neither letter nor digit.
pub fn slug(name: &str) -> String {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.join("-")
}

/// An exact decimal number, for money: `units` / 10^`places`. Never passes through a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    units: i128,
    places: u32,
}

impl Decimal {
    /// An amount in minor units (cents) of a currency with `exponent` decimal places: 5003 and 2 are 50.03.
    ///
    /// `minor` may be an integer, a float (`1240.0`) or a decimal string; `exponent` must be a whole number from 0
    /// to 18, because no currency has another and a guess would be wrong by powers of ten.
    pub fn from_minor(minor: &Value, exponent: &Value) -> Option<Self> {
        let exponent = number(exponent).filter(|e| e.fract() == 0.0 && (0.0..=18.0).contains(e))?;
        match minor {
            Value::Number(number) => Self::parse(&number.to_string(), exponent as i32),
            Value::String(text) => Self::parse(text.trim(), exponent as i32),
            _ => None,
        }
    }

    /// `text` / 10^`shift`, if it is a decimal number that fits.
    fn parse(text: &str, shift: i32) -> Option<Self> {
        let (mantissa, power) = match text.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, power.parse().ok()?),
            None => (text, 0_i32),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        let units = format!("{whole}{fraction}").parse().ok()?;
        let places = if units == 0 {
            shift
        } else {
            shift.checked_add_unsigned(fraction.len().try_into().ok()?)?.checked_sub(power)?
        };
        let scale = 10_i128.checked_pow(places.unsigned_abs())?;
        match u32::try_from(places) {
            Ok(places) => Some(Self { units, places }),
            Err(_) => Some(Self { units: units.checked_mul(scale)?, places: 0 }),
        }
    }

    /// A decimal number as it stands: an integer, a float in its shortest spelling, or text such as `"14.500"`.
    pub fn read(value: &Value) -> Option<Self> {
        Self::from_minor(value, &Value::from(0))
    }

    /// So many dollars: a number, or text such as `"$24.00"`.
    pub fn dollars(value: &Value) -> Option<Self> {
        let bare = value.as_str().and_then(|text| text.trim().strip_prefix('$'));
        bare.map_or_else(|| Self::read(value), |text| Self::parse(text, 0))
    }

    /// Whether this is more than nothing.
    pub fn is_positive(self) -> bool {
        self.units > 0
    }

    /// This much of `unit`.
    pub fn of(self, unit: &str) -> Box<Amount> {
        Box::new(Amount { amount: self.to_string(), unit: unit.to_owned() })
    }

    /// `self` − `other`, unless it does not fit.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        let places = self.places.max(other.places);
        let (left, right) = (self.widened(places - self.places)?, other.widened(places - other.places)?);
        Some(Self { units: left.units.checked_sub(right.units)?, places })
    }

    /// Whether this is more than `other`.
    pub fn is_more_than(self, other: Self) -> bool {
        self.checked_sub(other).is_some_and(|rest| rest.units > 0)
    }

    /// The same number without zeros at its end, but with at least `places` decimal places: 2.00 for 2.00000000.
    pub fn trimmed(self, places: u32) -> Self {
        let mut trimmed = self;
        while trimmed.places > places && trimmed.units % 10 == 0 {
            trimmed = Self { units: trimmed.units / 10, places: trimmed.places - 1 };
        }
        trimmed
    }

    /// How many percent of `whole` this is; `None` unless `whole` is more than nothing.
    pub fn percent_of(self, whole: Self) -> Option<f64> {
        let places = self.places.max(whole.places);
        let (part, whole) = (self.widened(places - self.places)?, whole.widened(places - whole.places)?);
        (whole.units > 0).then_some(part.units.checked_mul(100)? as f64 / whole.units as f64)
    }

    /// The same number with `more` decimal places.
    fn widened(self, more: u32) -> Option<Self> {
        let units = self.units.checked_mul(10_i128.checked_pow(more)?)?;
        Some(Self { units, places: self.places.checked_add(more)? })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.units < 0 { "-" } else { "" };
        let (units, one) = (self.units.unsigned_abs(), 10_u128.pow(self.places));
        write!(f, "{sign}{}", units / one)?;
        match self.places as usize {
            0 => Ok(()),
            width => write!(f, ".{:0width$}", units % one),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_read_from_integers_floats_and_decimal_strings_only() {
        for (value, expected) in [
            (json!(41), Some(41.0)),
            (json!(-3.5), Some(-3.5)),
            (json!(1e300), Some(1e300)),
            (json!(" 24.8 "), Some(24.8)),
            (json!("0E-10"), Some(0.0)),
            (json!("NaN"), None),
            (json!("inf"), None),
            (json!("1e999"), None),
            (json!(""), None),
            (json!("12 %"), None),
            (json!(null), None),
            (json!(true), None),
            (json!([1]), None),
            (json!({"n": 1}), None),
        ] {
            assert_eq!(number(&value), expected, "{value}");
        }
    }

    #[test]
    fn a_time_is_read_in_every_form_a_vendor_has_used() {
        for (value, expected) in [
            (json!("2026-02-10T16:00:00Z"), "2026-02-10T16:00:00Z"),
            (json!("2026-02-10T16:00:00+00:00"), "2026-02-10T16:00:00Z"),
            (json!("2026-02-10T16:00:00.1+01:00"), "2026-02-10T15:00:00.1Z"),
            (json!("2026-02-10T16:00:00.123456+00:00"), "2026-02-10T16:00:00.123456Z"),
            (json!("2026-02-10T16:00:00.123456789Z"), "2026-02-10T16:00:00.123456789Z"),
            (json!("2026-02-10T16:00:00"), "2026-02-10T16:00:00Z"),
            (json!("2026-02-10"), "2026-02-10T00:00:00Z"),
            (json!(1_789_400_000), "2026-09-14T15:33:20Z"),
            (json!(1_789_400_000.5), "2026-09-14T15:33:20.5Z"),
            (json!(1_789_400_000_123_i64), "2026-09-14T15:33:20.123Z"),
            (json!("1789400000"), "2026-09-14T15:33:20Z"),
            (json!("1789400000123"), "2026-09-14T15:33:20.123Z"),
        ] {
            assert_eq!(timestamp(&value), Some(expected.parse().unwrap()), "{value}");
        }
    }

    #[test]
    fn a_time_that_is_empty_zero_or_nonsense_is_not_known() {
        for value in [
            json!(null),
            json!(""),
            json!(" "),
            json!(0),
            json!("0"),
            json!(0.0),
            json!(-1),
            json!(1e300),
            json!(-1e300),
            json!(true),
            json!("soon"),
            json!("2026-02-30T00:00:00Z"),
            json!("2026-02-10T16:00:00.1234567890Z"),
            json!([]),
            json!({}),
        ] {
            assert_eq!(timestamp(&value), None, "{value}");
        }
    }

    #[test]
    fn a_length_of_time_is_positive_and_shorter_than_a_century() {
        assert_eq!(seconds(&json!(28800)), Some(Duration::from_hours(8)));
        assert_eq!(seconds(&json!("0.25")), Some(Duration::from_millis(250)));
        for value in [json!(0), json!(-5), json!(1e-300), json!(4e9), json!(1e300), json!("x"), json!(null)] {
            assert_eq!(seconds(&value), None, "{value}");
        }
    }

    #[test]
    fn a_name_cannot_move_the_cursor_or_fill_the_screen() {
        assert_eq!(name(&json!(" Fable\u{1b}[2J\n")), Some("Fable[2J".to_owned()));
        assert_eq!(name(&json!("x".repeat(1000))).map(|name| name.len()), Some(64));
        for value in [json!(""), json!(" \n "), json!(7), json!(null)] {
            assert_eq!(name(&value), None, "{value}");
        }
    }

    #[test]
    fn minor_units_become_exact_decimal_text() {
        for (minor, exponent, expected) in [
            (json!(5003), json!(2), Some("50.03")),
            (json!(0), json!(2), Some("0.00")),
            (json!(7), json!(2), Some("0.07")),
            (json!(-3), json!(2), Some("-0.03")),
            (json!(412_350), json!(0), Some("412350")),
            (json!(1240.0), json!(2), Some("12.40")),
            (json!(1240.5), json!(2), Some("12.405")),
            (json!("5003"), json!("2"), Some("50.03")),
            (json!("0E-10"), json!(2), Some("0.00")),
            (json!("15e3"), json!(2.0), Some("150")),
            (json!(u64::MAX), json!(3), Some("18446744073709551.615")),
            (json!(1), json!(400), None),
            (json!(1), json!(-1), None),
            (json!(1), json!(1.5), None),
            (json!(1), json!(null), None),
            (json!(1e300), json!(2), None),
            (json!("1e-2147483648"), json!(2), None),
            (json!("1e2147483647"), json!(2), None),
            (json!("1.-5"), json!(2), None),
            (json!("."), json!(2), None),
            (json!("NaN"), json!(2), None),
            (json!(true), json!(2), None),
        ] {
            let read = Decimal::from_minor(&minor, &exponent).map(|amount| amount.to_string());
            assert_eq!(read.as_deref(), expected, "{minor} {exponent}");
        }
    }

    #[test]
    fn amounts_of_different_precision_are_subtracted_exactly() {
        let amount = |minor, exponent| Decimal::from_minor(&json!(minor), &json!(exponent)).unwrap();
        assert_eq!(amount(5000, 2).checked_sub(amount(5003, 2)).unwrap().to_string(), "-0.03");
        assert_eq!(amount(1, 0).checked_sub(amount(1, 3)).unwrap().to_string(), "0.999");
        assert!(amount(1, 0).is_more_than(amount(999, 3)) && !amount(1, 0).is_more_than(amount(100, 2)));
    }

    #[test]
    fn trimming_takes_zeros_behind_the_wanted_places_and_nothing_else() {
        for (units, exponent, expected) in
            [(200_000_000, 8, "2.00"), (5_050_500, 6, "5.0505"), (0, 8, "0.00"), (7, 0, "7")]
        {
            let amount = Decimal::from_minor(&json!(units), &json!(exponent)).unwrap();
            assert_eq!(amount.trimmed(2).to_string(), expected);
        }
    }

    #[test]
    fn shares_are_rounded_once() {
        for (left, used) in [
            (json!(61.47), Some(38.53)),
            (json!("87.76"), Some(12.24)),
            (json!(-0.7), Some(100.7)),
            (json!(100), Some(0.0)),
            (json!(1e300), None),
            (json!(null), None),
        ] {
            assert_eq!(used_of_left(&left), used, "{left}");
        }
        for (part, whole, percent) in [
            (json!("184.4"), json!(300), Some(184.4 / 3.0)),
            (json!(6120), json!(15000), Some(40.8)),
            (json!(0), json!(1), Some(0.0)),
            (json!(-3), json!(200), Some(-1.5)),
            (json!(3), json!(0), None),
            (json!(3), json!(-1), None),
        ] {
            let read = |value| Decimal::read(value).unwrap();
            assert_eq!(read(&part).percent_of(read(&whole)), percent, "{part} of {whole}");
        }
    }

    #[test]
    fn dollars_are_read_with_and_without_their_sign() {
        for (value, expected) in [
            (json!("$21.84"), Some("21.84")),
            (json!(" $0.50 "), Some("0.5")),
            (json!("$-3"), Some("-3")),
            (json!("21.84"), Some("21.84")),
            (json!(12.5), Some("12.5")),
            (json!("€21.84"), None),
            (json!("$"), None),
            (json!("$$1"), None),
            (json!(null), None),
        ] {
            assert_eq!(Decimal::dollars(&value).map(|amount| amount.to_string()).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn a_percentage_is_rounded_once_and_there_is_none_of_nothing() {
        let read = |value| Decimal::read(&value).unwrap();
        for (part, whole, expected) in [
            (json!(9455), json!(10000), Some(94.55)),
            (json!(12.5), json!(135), Some(12.5 * 100.0 / 135.0)),
            (json!("-0.5"), json!("0.25"), Some(-200.0)),
            (json!(5), json!(0), None),
            (json!(5), json!(-1), None),
        ] {
            assert_eq!(read(part.clone()).percent_of(read(whole.clone())), expected, "{part} of {whole}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in "\\PC{0,40}|[-+0-9.eE]{0,40}", exponent in any::<i64>()) {
            let value = json!(text);
            let _ = (number(&value), timestamp(&value), seconds(&value), name(&value), used_of_left(&value));
            if let Some(amount) = Decimal::from_minor(&value, &json!(exponent.rem_euclid(19))) {
                let _ = (amount.to_string(), amount.checked_sub(amount), amount.percent_of(amount));
            }
        }
    }
}
