//! Puts new tokens into a JSON credential file and leaves every other byte as it was.
//!
//! The file belongs to the vendor's CLI and holds more than the login (MCP tokens, plugin secrets, keys that do not
//! exist yet), so it is not decoded and encoded again: the values that change are cut out of the text and replaced.
//! Which they are, the provider's [`Layout`] says. What cannot be parsed is never edited, and an edit that does not
//! read back exactly as meant is refused.

use std::ops::Range;

use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde_json::{Map, Value, json};

use crate::policy::time::Stamp;
use crate::provider::store::{Layout, Unit};

/// What a refresh changes; `None` leaves the field as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewTokens<'a> {
    /// The access token.
    pub access: Option<&'a SecretString>,
    /// The refresh token.
    pub refresh: Option<&'a SecretString>,
    /// When the access token expires.
    pub expires_at: Option<Stamp>,
    /// When the login itself ends.
    pub login_ends_at: Option<Stamp>,
    /// What the token may do.
    pub scopes: Option<&'a [String]>,
    /// When the exchange took place.
    pub refreshed_at: Option<Stamp>,
}

impl NewTokens<'_> {
    /// The members of the login's object, in the vendor's spelling.
    fn of_login(&self, layout: &Layout) -> Fields {
        let secret = |token: Option<&SecretString>| token.map(|token| json!(token.expose_secret()));
        let fields = [
            (Some(layout.access), secret(self.access)),
            (Some(layout.refresh), secret(self.refresh)),
            dated(layout.expires, self.expires_at),
            dated(layout.login_ends, self.login_ends_at),
            (layout.scopes, self.scopes.map(|scopes| json!(scopes))),
        ];
        fields.into_iter().filter_map(|(key, value)| Some((key?, value?))).collect()
    }

    /// The members of the file's own object.
    fn of_file(&self, layout: &Layout) -> Fields {
        let (key, value) = dated(layout.refreshed_at, self.refreshed_at);
        key.zip(value).into_iter().collect()
    }
}

type Fields = Vec<(&'static str, Value)>;

fn dated(member: Option<(&'static str, Unit)>, at: Option<Stamp>) -> (Option<&'static str>, Option<Value>) {
    let value = member.zip(at).map(|((_, unit), at)| match unit {
        Unit::Millis => json!(at.as_millisecond()),
        Unit::Seconds => json!(at.as_second()),
        Unit::Rfc3339 => json!(at.to_string()),
    });
    (member.map(|(key, _)| key), value)
}

/// Why a credential file was not edited. Quotes nothing of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Not JSON.
    #[error("the credential file was not edited: it is not JSON (line {line}, column {column})")]
    NotJson {
        /// Where parsing stopped.
        line: usize,
        /// Where parsing stopped.
        column: usize,
    },
    /// JSON, but no login to edit.
    #[error("the credential file was not edited: it holds no login in the vendor's layout")]
    NoLogin,
    /// The edited text did not read back as meant.
    #[error("the credential file was not edited: the edit did not read back as meant; please report its layout")]
    Unfaithful,
}

/// The file's bytes with `new` in the login, every byte outside the changed values kept.
///
/// A field the login lacks is appended to it in the layout of its last member. Of duplicate keys the last is edited,
/// which is the one every reader takes.
///
/// # Errors
/// See [`EditError`]. The caller then writes nothing.
pub fn edit(raw: &[u8], layout: &Layout, new: &NewTokens<'_>) -> Result<SecretSlice<u8>, EditError> {
    let edited = set(raw, layout.object, new.of_login(layout))?;
    set(edited.expose_secret(), &[], new.of_file(layout))
}

/// `raw` with `fields` in the object at the end of the way `path`.
fn set(raw: &[u8], path: &[&str], fields: Fields) -> Result<SecretSlice<u8>, EditError> {
    let parse = |text: &[u8]| serde_json::from_slice::<Value>(text);
    let mut meant = parse(raw).map_err(|broken| EditError::NotJson { line: broken.line(), column: broken.column() })?;
    let object = descend(&mut meant, path).ok_or(EditError::NoLogin)?;
    let mut place = skip_space(raw, 0);
    for key in path {
        place = find(raw, &members(raw, place), key).ok_or(EditError::NoLogin)?.value.start;
    }
    let present = members(raw, place);
    let last = present.last().ok_or(EditError::NoLogin)?;

    let mut cuts: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
    for (key, value) in fields {
        if object.get(key) == Some(&value) {
            continue;
        }
        cuts.push(if let Some(member) = find(raw, &present, key) {
            (member.value.clone(), render(&value, &raw[member.value.clone()]))
        } else {
            let lead = [b",", &raw[last.lead.clone()], b"\"", key.as_bytes(), b"\""].concat();
            let text = [&lead, &raw[last.key.end..last.value.start], &render(&value, b"")].concat();
            (last.value.end..last.value.end, text)
        });
        object.insert(key.to_owned(), value);
    }

    // From the back, so that the ranges in front stay true; the sort is stable, so appended fields keep their order.
    cuts.sort_by_key(|(range, _)| (range.start, range.end));
    let mut text = raw.to_vec();
    for (range, replacement) in cuts.into_iter().rev() {
        text.splice(range, replacement);
    }
    let text = SecretSlice::from(text);
    match parse(text.expose_secret()) {
        Ok(read_back) if read_back == meant => Ok(text),
        _ => Err(EditError::Unfaithful),
    }
}

fn descend<'v>(root: &'v mut Value, path: &[&str]) -> Option<&'v mut Map<String, Value>> {
    path.iter().try_fold(root, |value, key| value.get_mut(*key))?.as_object_mut()
}

/// A value as text; a list is laid out as the list it replaces was.
fn render(value: &Value, old: &[u8]) -> Vec<u8> {
    let space = |from: usize| &old[from..skip_space(old, from)];
    match value.as_array() {
        Some(items) if old.starts_with(b"[") => {
            let (before, after_last) = (space(1), &old[old[..old.len() - 1].trim_ascii_end().len()..old.len() - 1]);
            let first_end = skip_value(old, 1 + before.len());
            let between = match old.get(skip_space(old, first_end)) {
                Some(b',') => space(skip_space(old, first_end) + 1),
                _ => before,
            };
            let items: Vec<_> = items.iter().map(|item| item.to_string().into_bytes()).collect();
            [b"[", before, &items.join(&[b",", between].concat()[..]), after_last, b"]"].concat()
        }
        _ => value.to_string().into_bytes(),
    }
}

/// Where the parts of one object member stand in the text.
struct Member {
    /// The white space in front of the key.
    lead: Range<usize>,
    /// The key with its quotes.
    key: Range<usize>,
    value: Range<usize>,
}

fn find<'m>(json: &[u8], members: &'m [Member], key: &str) -> Option<&'m Member> {
    let named = |m: &&Member| serde_json::from_slice::<String>(&json[m.key.clone()]).is_ok_and(|name| name == key);
    members.iter().rev().find(named)
}

/// The members of the object that opens at `open`. Only for text that parsed: nothing here looks for errors.
fn members(json: &[u8], open: usize) -> Vec<Member> {
    let mut found = Vec::new();
    let mut at = open + 1;
    loop {
        let key = skip_space(json, at);
        if json.get(key) != Some(&b'"') {
            return found;
        }
        let key_end = skip_value(json, key);
        let value = skip_space(json, skip_space(json, key_end) + 1);
        let end = skip_value(json, value);
        found.push(Member { lead: at..key, key: key..key_end, value: value..end });
        at = skip_space(json, end) + 1;
        if json.get(at - 1) != Some(&b',') {
            return found;
        }
    }
}

/// The first byte from `at` on that is not white space.
fn skip_space(json: &[u8], at: usize) -> usize {
    at + json[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// The end of the value that begins at `at`.
fn skip_value(json: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut end = at;
    while end < json.len() {
        match json[end] {
            b'"' => end = string_end(json, end),
            b'{' | b'[' => (depth, end) = (depth + 1, end + 1),
            b'}' | b']' if depth == 0 => return end,
            b'}' | b']' => (depth, end) = (depth - 1, end + 1),
            byte if depth == 0 && (byte == b',' || byte.is_ascii_whitespace()) => return end,
            _ => {
                end += 1;
                continue;
            }
        }
        if depth == 0 {
            return end;
        }
    }
    end
}

/// The end of the string whose opening quote stands at `at`.
fn string_end(json: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while end < json.len() && json[end] != b'"' {
        end += if json[end] == b'\\' { 2 } else { 1 };
    }
    (end + 1).min(json.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const LOGIN: &str = "claudeAiOauth";

    fn claude() -> &'static Layout {
        crate::provider::named("claude").unwrap().store().layout.unwrap()
    }

    fn at(millis: i64) -> Option<Stamp> {
        Stamp::from_millisecond(millis).ok()
    }

    fn edited(raw: &str, new: &NewTokens<'_>) -> String {
        String::from_utf8(edit(raw.as_bytes(), claude(), new).unwrap().expose_secret().to_vec()).unwrap()
    }

    /// The layouts of the module: `@` stands for values that change, so that what must come out can be written down.
    const LAYOUTS: [&str; 8] = [
        // Compact, as the CLI writes it.
        r#"{"claudeAiOauth":{"accessToken":@A,"refreshToken":@R,"expiresAt":@E,"scopes":["a"]},"mcpOAuth":{"x|1":{"accessToken":"mcp","expiresAt":1}}}"#,
        "{\n  \"claudeAiOauth\": {\n    \"accessToken\": @A,\n    \"refreshToken\": @R,\n    \"expiresAt\": @E\n  },\n  \"z\": 1.50e+3,\n  \"a\": -0\n}\n",
        "{\n    \"b\": [ ],\n    \"claudeAiOauth\": {\n        \"expiresAt\": @E,\n        \"refreshToken\": @R,\n        \"accessToken\": @A\n    }\n}",
        "{\n\t\"claudeAiOauth\":\t{\n\t\t\"accessToken\" : @A ,\n\t\t\"refreshToken\":@R,\"expiresAt\":  @E }\n\t}\n\n",
        "{\r\n  \"claudeAiOauth\": {\r\n    \"accessToken\": @A,\r\n    \"refreshToken\": @R,\r\n    \"expiresAt\": @E\r\n  }\r\n}\r\n",
        // Escapes, braces and quotes inside strings, non-ASCII text, big and odd numbers.
        r#" { "k\"}{\\" : "\u007b ü \ud83d\ude00 }\\" , "claude\u0041iOauth":{"n":12345678901234567890.10,"accessToken":@A,"refresh\u0054oken":@R,"expiresAt":@E,"future":{"accessToken":"other"}} } "#,
        // Duplicates: the last one counts.
        r#"{"claudeAiOauth":{"accessToken":"decoy"},"claudeAiOauth":{"accessToken":"decoy","accessToken":@A,"refreshToken":@R,"expiresAt":@E}}"#,
        r#"{"mcpOAuth":{"claudeAiOauth":{"accessToken":"decoy"}},"claudeAiOauth":{"accessToken":@A,"refreshToken":@R,"expiresAt":@E}}"#,
    ];

    fn filled(layout: &str, access: &str, refresh: &str, expires: &str) -> String {
        layout.replace("@A", access).replace("@R", refresh).replace("@E", expires)
    }

    #[test]
    fn only_the_changed_values_change_whatever_the_layout() {
        for layout in LAYOUTS {
            for (refresh, expires) in
                [("\"sk-ant-ort01-FAKE-1\"", "1789400000000"), ("\"\\/\\\"}\"", "1.7894e12"), ("null", "\"5\"")]
            {
                let new = NewTokens {
                    access: Some(&"sk-ant-oat01-FAKE-2\"\\".into()),
                    refresh: Some(&"sk-ant-ort01-FAKE-2".into()),
                    expires_at: at(1_800_000_000_000),
                    ..NewTokens::default()
                };
                assert_eq!(
                    edited(&filled(layout, "\"sk-ant-oat01-FAKE-1\"", refresh, expires), &new),
                    filled(layout, r#""sk-ant-oat01-FAKE-2\"\\""#, "\"sk-ant-ort01-FAKE-2\"", "1800000000000"),
                );
            }
        }
    }

    #[test]
    fn nothing_to_change_changes_nothing() {
        for layout in LAYOUTS {
            let raw = filled(layout, "\"a\\u0041\"", "\"r\"", "7");
            assert_eq!(edited(&raw, &NewTokens::default()), raw);
            let same = NewTokens { access: Some(&"aA".into()), expires_at: at(7), ..NewTokens::default() };
            assert_eq!(edited(&raw, &same), raw, "an equal value keeps its spelling");
        }
    }

    #[test]
    fn a_missing_field_is_appended_in_the_layout_of_its_neighbours() {
        let new = NewTokens { expires_at: at(5), login_ends_at: at(6), ..NewTokens::default() };
        for (raw, wanted) in [
            (
                r#"{"claudeAiOauth":{"accessToken":"a"}}"#,
                r#"{"claudeAiOauth":{"accessToken":"a","expiresAt":5,"refreshTokenExpiresAt":6}}"#,
            ),
            (
                "{\n\t\"claudeAiOauth\": {\n\t\t\"accessToken\": \"a\"\n\t}\n}\n",
                "{\n\t\"claudeAiOauth\": {\n\t\t\"accessToken\": \"a\",\n\t\t\"expiresAt\": 5,\n\t\t\"refreshTokenExpiresAt\": 6\n\t}\n}\n",
            ),
            (
                r#"{"claudeAiOauth":{"accessToken":"a","refreshTokenExpiresAt":1}}"#,
                r#"{"claudeAiOauth":{"accessToken":"a","refreshTokenExpiresAt":6,"expiresAt":5}}"#,
            ),
        ] {
            assert_eq!(edited(raw, &new), wanted);
        }
    }

    #[test]
    fn scopes_keep_the_layout_of_the_list_they_replace() {
        let scopes = ["a".to_owned(), "b".to_owned()];
        let new = NewTokens { scopes: Some(&scopes), ..NewTokens::default() };
        for (old, wanted) in [
            ("[ \"a\" , \"b\"]", "[ \"a\" , \"b\"]"),
            ("[]", r#"["a","b"]"#),
            (r#"["x"]"#, r#"["a","b"]"#),
            (r#"["x", "y", "z"]"#, r#"["a", "b"]"#),
            ("[\n      \"x\"\n    ]", "[\n      \"a\",\n      \"b\"\n    ]"),
            ("[\n\t\"x\",\n\t\"y\",\n\t\"z\"\n]", "[\n\t\"a\",\n\t\"b\"\n]"),
            ("null", r#"["a","b"]"#),
        ] {
            let file = |scopes: &str| format!(r#"{{"claudeAiOauth":{{"accessToken":"t","scopes":{scopes}}}}}"#);
            assert_eq!(edited(&file(old), &new), file(wanted), "{old}");
        }
    }

    #[test]
    fn what_is_no_login_is_refused_and_never_quoted() {
        let new = NewTokens { expires_at: at(5), ..NewTokens::default() };
        for raw in
            ["", "{", "{\"claudeAiOauth\":{\"accessToken\":\"sk-FAKE\"}", "{\"claudeAiOauth\":{}} x", "\u{feff}{}"]
        {
            let refused = edit(raw.as_bytes(), claude(), &new).unwrap_err();
            assert!(matches!(refused, EditError::NotJson { .. }), "{raw}: {refused}");
            assert!(!format!("{refused} {refused:?}").contains("FAKE"));
        }
        for raw in ["[]", "7", "{}", r#"{"claudeAiOauth":null}"#, r#"{"claudeAiOauth":{}}"#, r#"{"claudeAiOauth":[1]}"#]
        {
            assert_eq!(edit(raw.as_bytes(), claude(), &new).unwrap_err(), EditError::NoLogin, "{raw}");
        }
        assert!(edit(b"{\"claudeAiOauth\":{\"a\":\"\xff\"}}", claude(), &new).is_err(), "not UTF-8");
    }

    #[test]
    fn each_vendor_gets_its_own_spelling_and_its_own_clock() {
        const CODEX: Layout = Layout {
            object: &["tokens"],
            access: "access_token",
            refresh: "refresh_token",
            expires: None,
            login_ends: None,
            scopes: None,
            refreshed_at: Some(("last_refresh", Unit::Rfc3339)),
        };
        const KIMI: Layout = Layout { object: &[], expires: Some(("expires_at", Unit::Seconds)), ..CODEX };
        let new = NewTokens {
            access: Some(&"FAKE-2".into()),
            expires_at: at(1_800_000_000_000),
            refreshed_at: at(1_799_999_000_000),
            ..NewTokens::default()
        };
        for (layout, raw, wanted) in [
            (
                &CODEX,
                r#"{"auth_mode":"chatgpt","tokens":{"access_token":"FAKE-1"},"last_refresh":"x"}"#,
                r#"{"auth_mode":"chatgpt","tokens":{"access_token":"FAKE-2"},"last_refresh":"2027-01-15T07:43:20Z"}"#,
            ),
            (
                &Layout { refreshed_at: None, ..KIMI },
                r#"{"access_token": "FAKE-1", "expires_at": 1.5}"#,
                r#"{"access_token": "FAKE-2", "expires_at": 1800000000}"#,
            ),
        ] {
            let text = edit(raw.as_bytes(), layout, &new).unwrap();
            assert_eq!(str::from_utf8(text.expose_secret()).unwrap(), wanted);
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_neighbour_survives_byte_for_byte(before in any_json(), within in any_json(), after in any_json(), token in ".*", pretty: bool) {
            let file = |token: &str| {
                let file = json!({"b": before, LOGIN: {"w": within, "accessToken": token, "x": within}, "a": after});
                if pretty { serde_json::to_string_pretty(&file).unwrap() } else { file.to_string() }
            };
            let new = NewTokens { access: Some(&token.as_str().into()), ..NewTokens::default() };
            prop_assert_eq!(edited(&file("old"), &new), file(&token));
        }
    }
}
