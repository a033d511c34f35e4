//! The Claude CLI's credential file: where it lies and what it says (providers.md 1.1, credentials.md 1A).

use serde_json::Value;

use crate::model::RefreshMode;
use crate::provider::store::{Form, Layout, Place, Root, Store, Stored, StoredLogin, Unit, moment, scopes, text};

/// The object that holds the login, among MCP tokens and keys that do not exist yet.
const LOGIN: &str = "claudeAiOauth";

pub(super) static STORE: Store = Store {
    places: &[Place {
        moved_by: &["CLAUDE_SECURESTORAGE_CONFIG_DIR", "CLAUDE_CONFIG_DIR"],
        root: Root::Home,
        dir: ".claude",
        file: ".credentials.json",
        apart: false,
    }],
    variables: &[],
    form: Form::Json,
    layout: Some(&Layout {
        object: &[LOGIN],
        access: "accessToken",
        refresh: "refreshToken",
        expires: Some(("expiresAt", Unit::Millis)),
        login_ends: Some(("refreshTokenExpiresAt", Unit::Millis)),
        scopes: Some("scopes"),
        refreshed_at: None,
    }),
    account_file: Some(".claude.json"),
    write_lock: None,
    vendors_modes: &[RefreshMode::WhenIdle, RefreshMode::Command],
    because: "the Claude CLI would find its refresh token spent, and you would be logged out",
};

/// What the file says. The account's uuid stands elsewhere, in `.claude.json`.
pub(super) fn read(content: Value) -> Result<Stored, &'static str> {
    let Value::Object(mut file) = content else { return Err("is JSON, but not an object; log in again") };
    let mut login = match file.remove(LOGIN) {
        Some(Value::Object(login)) => login,
        None | Some(Value::Null) => return Ok(Stored::NoLogin),
        Some(_) => return Err("holds something else where the login should be; log in again"),
    };
    let Some(tokens) = StoredLogin::take(&mut login, "accessToken", "refreshToken")? else {
        return Ok(Stored::SignedOut);
    };
    Ok(Stored::Login(StoredLogin {
        expires_at: moment(&login, "expiresAt"),
        login_ends_at: moment(&login, "refreshTokenExpiresAt"),
        scopes: scopes(login.get("scopes")),
        plan: plan(text(&login, "subscriptionType"), text(&login, "rateLimitTier")),
        ..tokens
    }))
}

/// `max` with tier `default_claude_max_20x` is `max_20x`; a tier without a factor adds nothing to the subscription.
fn plan(subscription: Option<&str>, tier: Option<&str>) -> Option<String> {
    let is_factor = |part: &&str| part.strip_suffix('x').is_some_and(|n| n.parse::<u32>().is_ok());
    let factor = tier.and_then(|tier| tier.rsplit('_').find(is_factor));
    match (subscription, factor) {
        (Some(subscription), Some(factor)) => Some(format!("{subscription}_{factor}")),
        (Some(subscription), None) => Some(subscription.to_owned()),
        (None, _) => {
            let tier = tier?.trim_start_matches("default_").trim_start_matches("claude_");
            (tier != "ai").then(|| tier.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_joins_subscription_and_factor() {
        for (subscription, tier, wanted) in [
            (Some("max"), Some("default_claude_max_20x"), Some("max_20x")),
            (Some("team"), Some("default_claude_max_5x"), Some("team_5x")),
            (Some("pro"), Some("default_claude_ai"), Some("pro")),
            (Some("pro"), None, Some("pro")),
            (None, Some("default_claude_max_5x"), Some("max_5x")),
            (None, Some("claude_pro"), Some("pro")),
            (None, Some("default_claude_ai"), None),
            (None, None, None),
        ] {
            assert_eq!(plan(subscription, tier).as_deref(), wanted);
        }
    }
}
