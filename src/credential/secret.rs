//! Tokens, and the keyed hash that names them.
//!
//! Nothing here can be printed: `Debug` of every type is redacted, and none has a `Display`. One can be serialized:
//! [`HandedOut`], which exists for that.

use std::fmt;
use std::process::Command;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use crate::model::Fingerprint;

/// The tokens of a login.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// Asks for usage.
    pub access: SecretString,
    /// Buys the next access token, usually once; `None` for a login that has none (setup-token).
    pub refresh: Option<SecretString>,
    /// What a request must name besides the token: see [`crate::provider::store::StoredLogin::tenant`]. No secret.
    pub tenant: Option<String>,
}

/// The key under which tokens are hashed. Kept in `state.db`, so that a token keeps its name across restarts and a
/// fingerprint in a log or a bug report cannot be checked against a guessed token.
///
/// Shared: prepared for use it is more than a kilobyte.
#[derive(Clone)]
pub struct FingerprintKey(Arc<hmac::Key>);

impl FingerprintKey {
    /// Takes the key's 32 random bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// Names a token: the first 16 bytes of its HMAC-SHA256.
    pub fn fingerprint(&self, token: &SecretString) -> Fingerprint {
        let tag = hmac::sign(&self.0, token.expose_secret().as_bytes());
        let mut name = [0; 16];
        name.copy_from_slice(&tag.as_ref()[..16]);
        Fingerprint::new(name)
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey(redacted)")
    }
}

/// Whether an `Authorization` header shows this token; in a time that tells nothing of how much of it was right.
pub fn is_shown(token: &SecretString, authorization: Option<&str>) -> bool {
    let shown =
        authorization.and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    shown.is_some_and(|(_, shown)| {
        verify_slices_are_equal(shown.trim().as_bytes(), token.expose_secret().as_bytes()).is_ok()
    })
}

/// An access token on its way to a client of the same user that asked for it: the only one that is ever written into an
/// answer, and read from one. Never a refresh token.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub struct HandedOut(SecretString);

impl From<String> for HandedOut {
    fn from(access: String) -> Self {
        Self(access.into())
    }
}

impl HandedOut {
    /// Lets this token out.
    pub fn new(access: SecretString) -> Self {
        Self(access)
    }

    /// Gives it to a program, in a variable of its environment.
    pub fn give(&self, to: &mut Command, variable: &str) {
        to.env(variable, self.0.expose_secret());
    }
}

impl Serialize for HandedOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

impl fmt::Debug for HandedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandedOut(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_the_truncated_hmac_and_depends_on_the_key() {
        // RFC 4231 has no 32-byte key; this value is from Python's hmac module.
        let name = |key: u8, token: &str| FingerprintKey::new(&[key; 32]).fingerprint(&token.into()).to_hex();
        assert_eq!(name(7, "sk-ant-oat01-FAKE"), "6f14d5ba15cf3309f1836ec0db1a08c9");
        assert_eq!(name(7, "a"), name(7, "a"));
        assert_ne!(name(7, "a"), name(7, "b"));
        assert_ne!(name(7, "a"), name(8, "a"));
    }

    #[test]
    fn a_token_is_shown_by_a_bearer_header_that_holds_it_and_nothing_else() {
        let token = "tk_FAKE".into();
        for (header, is_it) in [
            (Some("Bearer tk_FAKE"), true),
            (Some("bearer  tk_FAKE"), true),
            (Some("Bearer tk_FAK"), false),
            (Some("Bearer tk_FAKE2"), false),
            (Some("Basic tk_FAKE"), false),
            (Some("tk_FAKE"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(is_shown(&token, header), is_it, "{header:?}");
        }
    }

    #[test]
    fn nothing_here_prints_a_secret() {
        let tokens =
            Tokens { access: "sk-ant-oat01-FAKE".into(), refresh: Some("sk-ant-ort01-FAKE".into()), tenant: None };
        let printed = format!("{tokens:?} {:?}", FingerprintKey::new(&[0x41; 32]));
        let printed = format!("{printed} {:?}", HandedOut::new("sk-ant-oat01-FAKE".into()));
        assert!(!printed.contains("FAKE") && !printed.contains("41") && !printed.contains("AAAA"), "{printed}");
    }
}
