//! What a login holds, and the file the vendor's CLI keeps it in.

use serde_json::{Value, json};

use crate::policy::time::Stamp;

/// What a login holds. Obviously fake: `sk-ant-oat01-FAKE-A3-…`, where `A3` says that it is the third access token
/// this world issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The access token.
    pub access: String,
    /// The refresh token.
    pub refresh: String,
    /// When the access token expires.
    pub expires_at: Stamp,
}

/// The text of a `.credentials.json` as Claude Code writes it (providers.md 1.1), with the login of an MCP server and a
/// key nobody knows, both of which every rewrite must keep. `edit` changes it before it is rendered.
pub fn credential_file_json(tokens: &Tokens, edit: impl FnOnce(&mut Value)) -> String {
    let mut file = json!({
        "claudeAiOauth": {
            "accessToken": tokens.access,
            "refreshToken": tokens.refresh,
            "expiresAt": tokens.expires_at.as_millisecond(),
            "scopes": ["user:inference", "user:profile", "user:sessions:claude_code", "user:mcp_servers",
                       "user:file_upload"],
            "subscriptionType": "max",
            "rateLimitTier": "default_claude_max_20x",
        },
        "mcpOAuth": {
            "some-server|0123456789abcdef": {
                "serverName": "some-server",
                "serverUrl": "https://mcp.example.test/sse",
                "clientId": "abc",
                "accessToken": "opaque",
                "expiresAt": 1_789_400_000_000_i64,
                "scope": "",
            },
        },
        "someFutureKey": true,
    });
    edit(&mut file);
    format!("{file:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_the_tokens_and_what_must_survive_them() {
        let expires_at = Stamp::from_millisecond(1_789_400_000_123).unwrap();
        let tokens = Tokens { access: "a".to_owned(), refresh: "r".to_owned(), expires_at };
        let text = credential_file_json(&tokens, |file| file["claudeAiOauth"]["refreshTokenExpiresAt"] = json!(9));
        assert!(text.starts_with("{\n  \"claudeAiOauth\": {\n    \"accessToken\": \"a\",\n"), "{text}");
        let file: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(file["claudeAiOauth"]["expiresAt"], 1_789_400_000_123_i64);
        assert_eq!(file["claudeAiOauth"]["refreshTokenExpiresAt"], 9);
        assert_eq!(file["mcpOAuth"]["some-server|0123456789abcdef"]["accessToken"], "opaque");
        assert_eq!(file["someFutureKey"], true);
    }
}
