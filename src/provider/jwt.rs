//! The claims of a JSON Web Token, read without verifying: quotad trusts the file it found, not the signature.
//!
//! Some vendors store no expiry and no account beside a token; it stands inside (RFC 7519). Nothing of a token but
//! its claims leaves this file.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::field;
use crate::policy::time::Stamp;

/// The claims of `token`; empty when it is no JWT.
pub fn claims(token: &str) -> Map<String, Value> {
    let payload = token.split('.').nth(1).unwrap_or_default().trim_end_matches('=');
    let claims = URL_SAFE_NO_PAD.decode(payload).ok().and_then(|json| serde_json::from_slice(&json).ok());
    match claims {
        Some(Value::Object(claims)) => claims,
        _ => Map::new(),
    }
}

/// When a token with these claims expires; `None` when they do not say.
pub fn expiry(claims: &Map<String, Value>) -> Option<Stamp> {
    claims.get("exp").and_then(field::timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_with_and_without_padding_and_from_nothing_else() {
        let token = |payload: &str| format!("e30.{payload}.sig");
        for payload in ["eyJleHAiOjE3ODk4MDAwMDB9", "eyJleHAiOjE3ODk4MDAwMDAgfQ=="] {
            assert_eq!(expiry(&claims(&token(payload))).unwrap().as_second(), 1_789_800_000, "{payload}");
        }
        for token in ["", "opaque", "a.b.c", "a..c", "e30.W10.sig"] {
            assert!(claims(token).is_empty(), "{token}");
        }
    }
}
