//! Where a vendor's client keeps its login, and what may be done with it there.
//!
//! Owns the description only: names of files and variables, the form of the content, the members a refresh changes,
//! the refresh modes the vendor's own rules leave. `paths` turns places into paths, `credential` opens them.

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::field;
use crate::model::RefreshMode;
use crate::policy::time::Stamp;

/// One vendor's credential store.
#[derive(Debug)]
pub struct Store {
    /// The known places, the likeliest first.
    pub places: &'static [Place],
    /// Variables that may hold the key itself, in the order they are tried.
    pub variables: &'static [&'static str],
    /// What the file holds.
    pub form: Form,
    /// The members a refresh changes; `None` for a file that quotad never writes.
    pub layout: Option<&'static Layout>,
    /// A file beside the login, or in the home for the login of the usual place, that names the account.
    pub account_file: Option<&'static str>,
    /// A file beside the login that the vendor's client locks to store what it was given. Held by somebody for long, it
    /// makes the client drop that, and the login with it.
    pub write_lock: Option<&'static str>,
    /// How a file that the vendor's client writes may be refreshed, besides `never`.
    pub vendors_modes: &'static [RefreshMode],
    /// What another way would lead to: a clause, as a config complaint says it.
    pub because: &'static str,
}

impl Store {
    /// The store of a vendor of keys: text, or a member of a JSON file. There is nothing to refresh in it.
    pub const fn of_keys(places: &'static [Place], variables: &'static [&'static str]) -> Self {
        let because = "a key has nothing to refresh";
        Self {
            places,
            variables,
            form: Form::Text,
            layout: None,
            account_file: None,
            write_lock: None,
            vendors_modes: &[],
            because,
        }
    }

    /// Whether a login can be found in it without being told where it lies.
    pub fn is_known(&self) -> bool {
        !self.places.is_empty() || !self.variables.is_empty()
    }
}

/// One place a login may lie: `<root>/<dir>/<file>`.
#[derive(Debug)]
pub struct Place {
    /// Variables that stand in for `<root>/<dir>`; the first that is set decides, and an empty one means the default.
    pub moved_by: &'static [&'static str],
    /// Where it begins.
    pub root: Root,
    /// The directory below, `/` between levels; may be empty.
    pub dir: &'static str,
    /// The file in it; may have directories of its own, which stay when the place is moved.
    pub file: &'static str,
    /// Whether the login in it is not the one of the places before it: another client's, or another region's.
    pub apart: bool,
}

/// Where a place begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// `$HOME`.
    Home,
    /// `$XDG_CONFIG_HOME`, else `~/.config`.
    Config,
    /// `$XDG_DATA_HOME`, else `~/.local/share`.
    Data,
}

/// What a credential file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A JSON object; anything else is damage.
    Json,
    /// JSON, or text such as a bare key.
    Text,
    /// An SQLite database in which these keys of the table `ItemTable` make up the object.
    ItemTable(&'static [&'static str]),
}

/// The members of a JSON credential file that a refresh changes.
#[derive(Debug)]
pub struct Layout {
    /// The way to the object that holds them; empty for the file's own object.
    pub object: &'static [&'static str],
    /// The access token.
    pub access: &'static str,
    /// The refresh token.
    pub refresh: &'static str,
    /// When the access token expires.
    pub expires: Option<(&'static str, Unit)>,
    /// When the login itself ends.
    pub login_ends: Option<(&'static str, Unit)>,
    /// What the token may do, as a list.
    pub scopes: Option<&'static str>,
    /// The moment of the refresh, as a member of the file's own object.
    pub refreshed_at: Option<(&'static str, Unit)>,
}

/// How a file writes a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Whole milliseconds since 1970.
    Millis,
    /// Whole seconds since 1970.
    Seconds,
    /// RFC 3339, UTC.
    Rfc3339,
}

/// What a stored credential came to.
#[derive(Debug)]
pub enum Stored {
    /// A login, or a key.
    Login(StoredLogin),
    /// The vendor's client emptied it: its own verdict "signed out".
    SignedOut,
    /// It holds other things, but no login that can be asked with; a sentence for the person where there is more to say.
    NoLogin,
}

/// A login as it is stored, with its secrets. Facts that the store does not give are `None`.
#[derive(Debug)]
pub struct StoredLogin {
    /// Asks for usage.
    pub access: SecretString,
    /// Buys the next access token.
    pub refresh: Option<SecretString>,
    /// When the access token expires.
    pub expires_at: Option<Stamp>,
    /// When the login itself ends.
    pub login_ends_at: Option<Stamp>,
    /// What the token may do.
    pub scopes: Option<Vec<String>>,
    /// The plan.
    pub plan: Option<String>,
    /// The account, as the vendor tells accounts apart. Never shown; gates and history belong to it.
    pub identity: Option<String>,
    /// What a request must name besides the token: the `ChatGPT` workspace, the GitHub host, the Cursor user.
    pub tenant: Option<String>,
}

impl StoredLogin {
    /// A bare key or token: nothing is known of it but itself.
    pub fn key(key: SecretString) -> Self {
        Self {
            access: key,
            refresh: None,
            expires_at: None,
            login_ends_at: None,
            scopes: None,
            plan: None,
            identity: None,
            tenant: None,
        }
    }

    /// Takes the tokens of a login out of an object; `None` when its client emptied them. Nothing else of it is read.
    ///
    /// # Errors
    /// The clause for an access token that cannot be one, or that is missing beside a refresh token.
    pub fn take(object: &mut Map<String, Value>, access: &str, refresh: &str) -> Result<Option<Self>, &'static str> {
        let refresh = take_token(object, refresh);
        let Some(access) = take_token(object, access)? else {
            return match refresh {
                Ok(None) => Ok(None),
                _ => Err("holds a refresh token but no access token; log in again"),
            };
        };
        // A refresh token that cannot be one costs the refresh, not the polls.
        let refresh = refresh.unwrap_or_default().map(Into::into);
        Ok(Some(Self { refresh, ..Self::key(access.into()) }))
    }
}

/// What tools call a key in a JSON file of their own.
pub const KEY_MEMBERS: &[&str] = &["apiKey", "api_key", "key", "token"];

/// A store that holds one API key: text, or the first of `members` in a JSON object. An empty one is no key.
///
/// # Errors
/// The clause for a key that cannot be one.
pub fn read_key(content: Value, members: &[&str]) -> Result<Stored, &'static str> {
    let key = match content {
        Value::String(text) => Value::String(text.trim().to_owned()),
        Value::Object(mut object) => members.iter().find_map(|name| object.remove(*name)).unwrap_or(Value::Null),
        _ => Value::Null,
    };
    Ok(token(key)?.map_or(Stored::NoLogin, |key| Stored::Login(StoredLogin::key(key.into()))))
}

/// Takes a token out of an object; absent, null and empty are none.
///
/// # Errors
/// The clause for what cannot be a token.
pub fn take_token(object: &mut Map<String, Value>, name: &str) -> Result<Option<String>, &'static str> {
    token(object.remove(name).unwrap_or(Value::Null))
}

fn token(value: Value) -> Result<Option<String>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::String(token) if token.is_empty() => Ok(None),
        Value::String(token) if token.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(token)),
        _ => Err("holds a token that cannot be one; log in again"),
    }
}

/// The text of a member, trimmed; empty counts as absent.
pub fn text<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v str> {
    object.get(name)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

/// A point in time, in whatever unit ([`field::timestamp`]).
pub fn moment(object: &Map<String, Value>, name: &str) -> Option<Stamp> {
    object.get(name).and_then(field::timestamp)
}

/// Scopes as a list or as words; an empty list says nothing.
pub fn scopes(value: Option<&Value>) -> Option<Vec<String>> {
    let scopes: Vec<_> = match value? {
        Value::Array(scopes) => scopes.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::String(scopes) => scopes.split_whitespace().map(str::to_owned).collect(),
        _ => return None,
    };
    (!scopes.is_empty()).then_some(scopes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_is_text_or_a_named_member_and_an_empty_one_is_none() {
        let read = |content| match read_key(content, &["apiKey", "key"]) {
            Ok(Stored::Login(_)) => "key",
            Ok(Stored::SignedOut | Stored::NoLogin) => "none",
            Err(_) => "damage",
        };
        for (content, expected) in [
            (json!("FAKE-KEY\n"), "key"),
            (json!({"key": "FAKE-KEY"}), "key"),
            (json!({"apiKey": "FAKE-KEY", "key": 7}), "key"),
            (json!("  "), "none"),
            (json!({"other": "FAKE-KEY"}), "none"),
            (json!(["FAKE-KEY"]), "none"),
            (json!({"key": 7}), "damage"),
            (json!("two words"), "damage"),
        ] {
            assert_eq!(read(content.clone()), expected, "{content}");
        }
    }
}
