//! The exchange of a refresh token, as OAuth 2.0 has it and the vendors speak it: the request, and its success.
//!
//! No scope is ever asked for: some clients got `invalid_scope` for sending any (credentials.md, section 2).
//!
//! By the time this answer arrives the posted refresh token is spent, so whatever can be saved is saved: members are
//! collected one by one up to the first damage, and a refresh token that arrived whole is kept even when nothing
//! else did. A damaged answer without one is no grant: its end may have held the successor, and "none was sent"
//! would mean that the posted token is still good.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::{Map, Value};

use super::{Endpoints, Grant, Method, Reply, Request, SecretPlace, TokenEncoding, field};
use crate::model::Refusal;

/// The lease of an access token whose answer does not say.
const DEFAULT_LEASE: Duration = Duration::from_hours(1);

/// The POST that exchanges a refresh token.
pub(super) fn request(endpoints: &Endpoints) -> Request {
    let content_type = match endpoints.token_encoding {
        TokenEncoding::Json => "application/json",
        TokenEncoding::Form => "application/x-www-form-urlencoded",
    };
    Request {
        method: Method::Post,
        url: endpoints.token_url.clone(),
        headers: vec![
            ("accept", "application/json".to_owned()),
            ("content-type", content_type.to_owned()),
            ("user-agent", endpoints.user_agent.clone()),
        ],
        body: None,
        secret: SecretPlace::Field {
            name: "refresh_token",
            others: vec![("grant_type", "refresh_token".to_owned()), ("client_id", endpoints.client_id.clone())],
            encoding: endpoints.token_encoding,
        },
    }
}

/// What a success of the token endpoint grants.
pub(super) fn read(reply: &Reply) -> Result<Grant, Refusal> {
    let (mut members, whole) = arrived(&reply.body);
    let access = token(&mut members, "access_token");
    let refresh = token(&mut members, "refresh_token");
    if !whole {
        // The last number may have been cut short, so none is believed.
        members.clear();
        if refresh.is_none() {
            return Err(Refusal::Unknown("a success whose answer was damaged"));
        }
    }
    if access.is_none() && refresh.is_none() {
        return Err(Refusal::Unknown("a success whose answer held no token"));
    }
    let seconds = |name| members.get(name).and_then(field::seconds);
    Ok(Grant {
        access: access.map(SecretString::from),
        refresh: refresh.map(SecretString::from),
        lease: seconds("expires_in").unwrap_or(DEFAULT_LEASE),
        login_lasts: seconds("refresh_token_expires_in"),
        scopes: members.get("scope").and_then(scopes),
    })
}

/// A token, taken out of the answer; an empty one counts as absent.
fn token(members: &mut Map<String, Value>, name: &str) -> Option<String> {
    match members.remove(name)? {
        Value::String(token) if !token.is_empty() => Some(token),
        _ => None,
    }
}

/// Words of a string, or strings of an array; an empty list says nothing.
fn scopes(value: &Value) -> Option<Vec<String>> {
    let scopes: Vec<String> = match value {
        Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => return None,
    };
    (!scopes.is_empty()).then_some(scopes)
}

/// The members of a JSON object that arrived whole, and whether that was all of it.
fn arrived(body: &[u8]) -> (Map<String, Value>, bool) {
    let mut members = Map::new();
    let mut json = serde_json::Deserializer::from_slice(body);
    let whole = json.deserialize_map(Collect(&mut members)).and_then(|()| json.end()).is_ok();
    (members, whole)
}

struct Collect<'a>(&'a mut Map<String, Value>);

impl<'de> Visitor<'de> for Collect<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry()? {
            self.0.insert(name, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ROTATED: &str = include_str!("../../tests/data/claude/token_rotated.json");

    fn granted(body: impl Into<Vec<u8>>) -> Result<Grant, Refusal> {
        read(&Reply { status: 200, headers: Vec::new(), body: body.into() })
    }

    #[test]
    fn a_whole_answer_grants_everything_it_says() {
        let grant = granted(ROTATED).unwrap();
        assert!(grant.access.is_some() && grant.refresh.is_some());
        assert_eq!(grant.lease, Duration::from_hours(8));
        assert_eq!(grant.login_lasts, Some(Duration::from_hours(30 * 24)));
        let scopes = ["user:inference", "user:profile", "user:sessions:claude_code"];
        assert_eq!(grant.scopes, Some(scopes.map(str::to_owned).to_vec()));
        assert!(!format!("{grant:?}").contains("FAKE"), "no secret in debug output");
    }

    #[test]
    fn scopes_come_as_words_or_as_a_list() {
        for (scope, expected) in [
            (json!("a b"), Some(vec!["a".to_owned(), "b".to_owned()])),
            (json!(["a", 7, "b"]), Some(vec!["a".to_owned(), "b".to_owned()])),
            (json!([]), None),
            (json!(7), None),
        ] {
            let body = json!({"access_token": "sk-ant-oat01-FAKE", "scope": scope});
            assert_eq!(granted(body.to_string()).unwrap().scopes, expected, "{scope}");
        }
    }

    #[test]
    fn each_token_is_taken_from_its_own_member() {
        let (mut members, whole) = arrived(ROTATED.as_bytes());
        assert!(whole);
        assert_eq!(token(&mut members, "access_token").as_deref(), Some("sk-ant-oat01-FAKE-NEW"));
        assert_eq!(token(&mut members, "refresh_token").as_deref(), Some("sk-ant-ort01-FAKE-NEW"));
    }

    #[test]
    fn a_lease_that_is_absent_zero_or_unusable_is_an_hour_and_fractions_are_kept() {
        for (lease, expected) in [
            (json!(28800), Duration::from_hours(8)),
            (json!("28800"), Duration::from_hours(8)),
            (json!(0.25), Duration::from_millis(250)),
            (json!("1.5"), Duration::from_millis(1500)),
            (json!(0), DEFAULT_LEASE),
            (json!(-1), DEFAULT_LEASE),
            (json!(1e300), DEFAULT_LEASE),
            (json!("soon"), DEFAULT_LEASE),
            (json!(null), DEFAULT_LEASE),
            (json!([8]), DEFAULT_LEASE),
        ] {
            let body = json!({"access_token": "sk-ant-oat01-FAKE", "expires_in": lease});
            assert_eq!(granted(body.to_string()).unwrap().lease, expected, "{lease}");
        }
        assert_eq!(granted(r#"{"access_token": "sk-ant-oat01-FAKE"}"#).unwrap().lease, DEFAULT_LEASE);
    }

    #[test]
    fn an_absent_or_empty_refresh_token_is_none() {
        for refresh in [json!(null), json!(""), json!(7), json!(["x"])] {
            let body = json!({"access_token": "sk-ant-oat01-FAKE", "refresh_token": refresh, "scope": ""});
            let grant = granted(body.to_string()).unwrap();
            assert!(grant.access.is_some() && grant.refresh.is_none() && grant.scopes.is_none(), "{refresh}");
        }
    }

    #[test]
    fn a_success_without_any_token_has_an_unknown_outcome() {
        for body in ["", "{}", "null", "[]", "<html>", r#"{"access_token": ""}"#, r#"{"error": "invalid_grant"}"#] {
            assert!(matches!(granted(body), Err(Refusal::Unknown(_))), "{body}");
        }
    }

    #[test]
    fn of_a_damaged_answer_the_refresh_token_is_saved_as_soon_as_it_arrived_whole() {
        let complete = ROTATED.find("sk-ant-ort01-FAKE-NEW\"").unwrap() + "sk-ant-ort01-FAKE-NEW\"".len();
        for end in 0..ROTATED.trim_end().len() {
            match granted(&ROTATED[..end]) {
                Ok(grant) => {
                    assert!(end >= complete && grant.refresh.is_some(), "{end}");
                    assert_eq!(grant.lease, DEFAULT_LEASE, "{end}: a number may be cut short");
                }
                Err(refusal) => {
                    assert!(end < complete, "{end}");
                    assert_eq!(refusal, Refusal::Unknown("a success whose answer was damaged"));
                }
            }
        }
        let odd = granted(r#"{"refresh_token": "sk-ant-ort01-FAKE", "expires_in": 1e999}"#).unwrap();
        assert!(odd.access.is_none() && odd.refresh.is_some());
    }

    proptest! {
        #[test]
        fn wherever_an_answer_ends_a_token_is_taken_whole_or_not_at_all(
            access in "\\PC{1,30}",
            refresh in "\\PC{1,30}",
            lease in 1..100_000_u64,
            refresh_first: bool,
            cut in 0..200_usize,
        ) {
            let tokens = if refresh_first {
                json!({"refresh_token": refresh, "access_token": access, "expires_in": lease})
            } else {
                json!({"access_token": access, "expires_in": lease, "refresh_token": refresh})
            };
            let text = tokens.to_string();
            prop_assert_eq!(granted(text.clone()).unwrap().lease, Duration::from_secs(lease));
            let (mut members, whole) = arrived(&text.as_bytes()[..cut.min(text.len())]);
            prop_assert_eq!(whole, cut >= text.len());
            for (name, sent) in [("access_token", access), ("refresh_token", refresh)] {
                prop_assert!(token(&mut members, name).is_none_or(|token| token == sent), "{} was cut short", name);
            }
        }
    }
}
