//! Every provider side by side: the real supervisor, one made-up login of each vendor, one embedded vendor for all.
//!
//! Owns the cast and nothing else: each login in the form its vendor's client keeps it, and the sample it is answered
//! with. What is shown comes from the supervisor, as in the story.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::stage::{derailed, setup};
use super::vendor::Vendor;
use super::{DemoError, Report, SPEED};
use crate::clock::Clock;
use crate::config;
use crate::paths::Paths;
use crate::policy::status::AccountState;
use crate::policy::time::Stamp;
use crate::service::Signals;
use crate::state::State;
use crate::supervisor::{Setup, Supervisor};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Everybody is asked within seconds.
const LIMIT: Duration = Duration::from_secs(30);
/// How long every token lives.
const LEASE: Duration = Duration::from_hours(8);

/// One account: its vendor, the file of its login, what lies in it, where it asks, and the samples it gets.
#[derive(Debug)]
pub struct Plan {
    /// The vendor's id.
    pub provider: &'static str,
    file: &'static str,
    login: &'static str,
    path: &'static str,
    scenario: &'static str,
    /// Each with its name, in the order a poll asks for them.
    pub samples: &'static [(&'static str, &'static str)],
}

/// A plan with its samples, which lie under `tests/data`.
macro_rules! plan {
    ($provider:literal, $file:literal, $login:expr, $path:literal, [$($sample:literal . $ending:literal),+]) => {
        Plan {
            provider: $provider,
            file: $file,
            login: $login,
            path: $path,
            scenario: plan!(@joined $($sample),+),
            samples: &[$((
                $sample,
                include_str!(concat!("../../tests/data/", $provider, "/", $sample, ".", $ending)),
            )),+],
        }
    };
    (@joined $first:literal) => { $first };
    (@joined $first:literal, $second:literal) => { concat!($first, "+", $second) };
}

const JWT_LOGIN: &str = r#"{"access_token": "{JWT}", "refresh_token": "", "expires_at": {S}}"#;
const KEY: &str = "FAKE-KEY-0123456789";

/// Who takes part: one account of every vendor.
pub const CAST: [Plan; 14] = [
    plan!(
        "claude", ".credentials.json",
        r#"{"claudeAiOauth": {"accessToken": "sk-ant-oat01-FAKE", "expiresAt": {MS}, "subscriptionType": "max"}}"#,
        "api/oauth/usage", ["v3_limits"."json"]
    ),
    plan!(
        "codex", "auth.json",
        r#"{"auth_mode": "chatgpt", "tokens": {"access_token": "{JWT}", "refresh_token": "rt_FAKE",
            "account_id": "FAKE"}}"#,
        "backend-api/wham/usage", ["p1_plus"."json"]
    ),
    plan!(
        "copilot", "apps.json", r#"{"github.com:Iv1.FAKE": {"user": "FAKE", "oauth_token": "gho_FAKE"}}"#,
        "copilot_internal/user", ["c1_paid"."json"]
    ),
    plan!(
        "gemini", "oauth_creds.json", r#"{"access_token": "ya29.FAKE", "expiry_date": {MS}}"#,
        "v1internal:retrieveUserQuota", ["load_standard"."json", "standard_ok"."json"]
    ),
    plan!("zai", "key", KEY, "api/monitor/usage/quota/limit", ["z2"."json"]),
    plan!("kimi", "kimi-code.json", JWT_LOGIN, "coding/v1/usages", ["k2"."json"]),
    plan!(
        "cursor", "state.vscdb", "", "aiserver.v1.DashboardService/GetCurrentPeriodUsage", ["pro"."json"]
    ),
    plan!("openrouter", "key", KEY, "api/v1/key", ["key"."json", "credits"."json"]),
    plan!("minimax", "key", KEY, "v1/api/openplatform/coding_plan/remains", ["percent"."json"]),
    plan!("synthetic", "key", KEY, "v2/quotas", ["subscription"."json"]),
    plan!(
        "grok", "auth.json", r#"{"https://auth.x.ai::FAKE": {"key": "{JWT}", "expires_at": "{ISO}"}}"#,
        "v1/billing", ["credits"."json"]
    ),
    plan!("deepseek", "key", KEY, "user/balance", ["two_currencies"."json"]),
    plan!("moonshot", "key", KEY, "v1/users/me/balance", ["balance"."json"]),
    plan!(
        "antigravity", "antigravity-oauth-token",
        r#"{"token": {"access_token": "ya29.FAKE", "expiry": "{ISO}"}, "auth_method": "consumer"}"#,
        "v1internal:retrieveUserQuotaSummary", ["load_pro"."json", "summary"."json"]
    ),
];

/// Has every vendor asked once, and tells how each account stands then. With `signals`, a stop signal ends it early
/// and cleanly. Needs a running runtime.
///
/// # Errors
/// [`DemoError`]: above all when an account has no numbers in good time.
pub async fn show_all(signals: Option<Signals>) -> Result<Report, DemoError> {
    let home = tempfile::Builder::new().prefix("quotad-demo-").tempdir().map_err(setup)?;
    let clock = Clock::compressed(SPEED);
    let vendor = Vendor::start(clock.clone()).map_err(setup)?;
    let mut text = String::new();
    for plan in &CAST {
        let provider = plan.provider;
        vendor.with(|world| plan.samples.iter().for_each(|(sample, body)| world.shelf.put(provider, sample, body)));
        text += &plan.account(provider, plan.scenario, home.path(), &vendor).map_err(setup)?;
    }
    let config_file = home.path().join("config.toml");
    fs::write(&config_file, text).map_err(setup)?;
    let paths = Paths::in_home(home.path());
    let loaded = config::load(Some(&config_file), &paths).map_err(setup)?;
    let state = State::open(&paths.state_dir).map_err(setup)?;
    let all = Setup {
        loaded,
        config_file: Some(config_file),
        paths,
        state,
        clock: clock.clone(),
        logging: None,
        read_only: false,
    };
    let (supervisor, handle) = Supervisor::start(all).map_err(setup)?;
    let stop = CancellationToken::new();
    let mut snapshots = handle.watch();
    let looking_on = async {
        let done = async {
            while handle.snapshot().accounts.iter().any(|view| view.state == AccountState::Starting) {
                if snapshots.changed().await.is_err() {
                    return Err(DemoError::Interrupted);
                }
            }
            Ok(())
        };
        let done = tokio::time::timeout(LIMIT, done).await.unwrap_or_else(|_| Err(derailed("a vendor was not asked")));
        let report = Report { snapshot: handle.snapshot(), now: clock.now().stamp, tallies: Vec::new() };
        stop.cancel();
        done.map(|()| report)
    };
    let (report, ()) = tokio::join!(looking_on, supervisor.run(signals, stop.cancelled()));
    report
}

impl Plan {
    /// Logs an account of this name in and returns its table for the config: it is answered with this scenario of
    /// the vendor's shelf, and its login lies in `<home>/<name>`.
    ///
    /// # Errors
    /// Where the login cannot be written.
    pub fn account(&self, name: &str, scenario: &str, home: &Path, vendor: &Vendor) -> Result<String, Error> {
        let Self { provider, file, path, .. } = self;
        self.log_in(&home.join(name), name, vendor.now() + LEASE)?;
        let url = vendor.plan_url(provider, scenario, path);
        Ok(format!(
            "[accounts.{name}]\nprovider = \"{provider}\"\ncredentials = \"~/{name}/{file}\"\nusage-url = \"{url}\"\n"
        ))
    }

    /// Puts a login of this user's where the vendor's client would, good until `expiry`.
    fn log_in(&self, dir: &Path, user: &str, expiry: Stamp) -> Result<(), Error> {
        fs::create_dir(dir)?;
        let path = dir.join(self.file);
        if self.login.is_empty() {
            let database = Connection::open(&path)?;
            database.execute_batch("CREATE TABLE ItemTable (key TEXT UNIQUE ON CONFLICT REPLACE, value BLOB)")?;
            database.execute("INSERT INTO ItemTable VALUES ('cursorAuth/accessToken', ?1)", [jwt(user, expiry)])?;
        } else {
            let login = self
                .login
                .replace("FAKE", &format!("FAKE-{user}"))
                .replace("{JWT}", &jwt(user, expiry))
                .replace("{MS}", &expiry.as_millisecond().to_string())
                .replace("{S}", &expiry.as_second().to_string())
                .replace("{ISO}", &expiry.to_string());
            fs::write(&path, login)?;
        }
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?)
    }
}

/// A token of nobody that says when it expires.
fn jwt(user: &str, expiry: Stamp) -> String {
    let claims = serde_json::json!({"exp": expiry.as_second(), "sub": format!("auth0|user_01FAKE-{user}")});
    format!("e30.{}.FAKE", URL_SAFE_NO_PAD.encode(claims.to_string()))
}
