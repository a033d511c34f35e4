//! What the user asked for: the config file, found, read, checked whole, and turned into values the rooms use.
//!
//! Three steps: `raw` is the file as written, `check` finds everything that is wrong with it at once, [`Config`]
//! is what is used. A file is applied whole or not at all. Looks at the file only, never at the machine: whether a
//! credential file exists or is a symlink is seen when it is opened. No secret belongs here, and none is ever shown.

mod accounts;
mod alerts;
mod check;
mod complaint;
mod custom;
mod raw;
pub mod reference;
mod value;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use self::alerts::{Alerts, Webhook, WebhookFormat};
pub use self::complaint::Complaints;
use crate::model::{AccountName, CredentialOwner, ProviderId, RefreshMode, Whereabouts};
use crate::paths::Paths;
use crate::policy::ladder::Ladder;
use crate::provider::{self, Endpoints, is_loopback};

/// The commented sample, which sets nothing but the defaults.
pub const SAMPLE: &str = include_str!("../../config/quotad.toml");

/// A config file is a page or two. Anything longer is another file, and is not read to its end.
const LONGEST: u64 = 1024 * 1024;

/// Everything that can be set, with every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// When and how the usage endpoint is asked.
    pub poll: Poll,
    /// What a 429 leads to.
    pub rate_limit_pause: RateLimitPause,
    /// What refused tokens lead to.
    pub auth_pause: AuthPause,
    /// How tokens are refreshed.
    pub refresh: Refresh,
    /// What clients are told to use.
    pub pool: Pool,
    /// What is kept of the past.
    pub history: History,
    /// What is worth an alert, and where it goes.
    pub alerts: Alerts,
    /// How the network is reached.
    pub network: Network,
    /// Where metrics are served besides the Unix socket.
    pub http: Http,
    /// What is logged.
    pub log: Log,
    /// Whose quota is watched.
    pub accounts: Accounts,
}

/// `[poll]`
#[derive(Debug, Clone, PartialEq)]
pub struct Poll {
    /// Between two polls of one account, before any floor; above zero.
    pub interval: Duration,
    /// The share by which a wait may be lengthened, 0 to 1.
    pub jitter: f64,
    /// For one whole request.
    pub request_deadline: Duration,
    /// Further tries of one poll after transient failures.
    pub retries: u32,
    /// The first wait between them.
    pub retry_base: Duration,
    /// The longest wait between them.
    pub retry_max: Duration,
    /// So many 529s in a row before the account's next source answers; at least 1.
    pub overloaded_fallback: u32,
}

/// `[rate-limit-pause]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimitPause {
    /// The rungs, for the usage and the token endpoint each.
    pub ladder: Ladder,
    /// The longest wait a server is granted; at least an hour.
    pub max_retry_after: Duration,
}

/// `[auth-pause]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthPause {
    /// So many failures in a row close the gate; at least 1.
    pub after: u32,
    /// The rungs.
    pub ladder: Ladder,
}

/// `[refresh]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// Further tries after one that never reached the server.
    pub retries: u32,
    /// The first wait between them; each further one is twice as long.
    pub retry_base: Duration,
    /// For one whole token request.
    pub request_deadline: Duration,
    /// How long an expired token must have lain untouched before `when-idle` acts.
    pub idle_grace: Duration,
    /// How long before expiry `always` acts.
    pub before_expiry: Duration,
}

/// `[pool]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Whether `select` gives access tokens to callers that ask for them.
    pub hand_out_tokens: bool,
    /// So many reports of overload in a row close a model; at least 1.
    pub overloaded_after: u32,
    /// For so long after the last of them.
    pub quiet: Duration,
    /// Models, each list in the order in which one takes the place of the one before it.
    pub fallback: Vec<Vec<String>>,
}

/// `[history]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// How long readings are kept.
    pub retention: Duration,
}

/// `[network]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The proxy's URL; `None` leaves it to the environment. Loopback never uses one.
    pub proxy: Option<String>,
    /// Certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Http {
    /// The address of this machine to listen on; `None` for none.
    pub listen: Option<SocketAddr>,
    /// The file of the token that a scraper must show; there is one wherever the address is not loopback.
    pub token_file: Option<PathBuf>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The least important level that is logged.
    pub level: tracing::Level,
}

/// Which accounts there are.
#[derive(Debug, Clone, PartialEq)]
pub enum Accounts {
    /// No `[accounts]` table: whatever lies in the known credential paths, see [`Account::discovered`].
    Discovered,
    /// Exactly these, be it none.
    Listed(BTreeMap<AccountName, Arc<Account>>),
}

/// One login to watch.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// What the user calls it.
    pub name: AccountName,
    /// Whose plan it is.
    pub provider: ProviderId,
    /// Where its credential lies; a file is absolute.
    pub credentials: Whereabouts,
    /// Who writes it.
    pub owner: CredentialOwner,
    /// When quotad may see to a new access token.
    pub refresh: RefreshMode,
    /// Program and arguments for [`RefreshMode::Command`]; empty where none is set.
    pub command: Vec<String>,
    /// Between two polls, already raised to the provider's floor.
    pub interval: Duration,
    /// Where readings come from, in the order they are tried; not empty, none twice.
    pub sources: Vec<SourceKind>,
    /// How much a point of its plan is worth beside one of another plan of the same vendor; above zero.
    pub weight: f64,
    /// Where requests go, and as whom.
    pub endpoints: Arc<Endpoints>,
}

impl Account {
    /// The account of a credential file that was found rather than listed: nothing is ever written or refreshed.
    pub fn discovered(name: AccountName, provider: ProviderId, credentials: Whereabouts, poll: &Poll) -> Self {
        let endpoints = provider::of(provider).endpoints_for(&credentials);
        Self {
            name,
            provider,
            credentials,
            owner: CredentialOwner::Vendor,
            refresh: RefreshMode::Never,
            command: Vec::new(),
            interval: poll.interval.max(floor(provider, &endpoints)),
            sources: vec![SourceKind::Local, SourceKind::Api],
            weight: 1.0,
            endpoints: Arc::new(endpoints),
        }
    }
}

/// Two polls of a login are never closer than this; at a loopback URL they may be.
fn floor(provider: ProviderId, endpoints: &Endpoints) -> Duration {
    if is_loopback(&endpoints.usage_url) { Duration::ZERO } else { provider::of(provider).floor() }
}

/// A kind of place readings come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Files and hand-overs of the vendor's CLI: no request.
    Local,
    /// The vendor's usage endpoint.
    Api,
}

/// A config and what came with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What to use.
    pub config: Config,
    /// What the user should know, though nothing is wrong: sentences, such as that an interval was raised.
    pub notes: Vec<String>,
    /// The file it came from; `None` where there is none and the defaults apply.
    pub file: Option<PathBuf>,
}

impl Default for Config {
    /// What applies without a config file.
    fn default() -> Self {
        check::defaults()
    }
}

/// Reads the file at `explicit` or, without one, the user's own, which may be absent: then the defaults apply.
///
/// # Errors
/// Everything that is wrong with the file, or why it cannot be read.
pub fn load(explicit: Option<&Path>, paths: &Paths) -> Result<Loaded, Complaints> {
    let file = explicit.unwrap_or(&paths.config_file);
    // A dangling symlink is not an absent file: whoever made it meant something.
    let absent = file.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    if absent && explicit.is_none() {
        let mut loaded = parse("", file, paths)?;
        loaded.file = None;
        return Ok(loaded);
    }
    parse(&read(file)?, file, paths)
}

/// Checks `text`, the content of `file`. Looks at nothing else.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, file: &Path, paths: &Paths) -> Result<Loaded, Complaints> {
    let (config, notes) = check::document(text, paths).map_err(|list| Complaints::new(file, list))?;
    Ok(Loaded { config, notes, file: Some(file.to_owned()) })
}

/// The whole file as text.
fn read(file: &Path) -> Result<String, Complaints> {
    let refuse =
        |what: String| Complaints::about_file(file, what, "nothing in it applies", "quotad check --config FILE");
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|open| open.take(LONGEST + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Err(refuse(match error.kind() {
            io::ErrorKind::IsADirectory => "is a directory; name the file in it".to_owned(),
            _ => format!("cannot be read: {error}"),
        }));
    }
    if bytes.len() as u64 > LONGEST {
        return Err(refuse("is longer than 1 MiB, so it is hardly a config file".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        refuse(format!("is not UTF-8 text: line {line} holds a byte that is none; save it as UTF-8"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paths() -> Paths {
        Paths::in_home(Path::new("/home/ada"))
    }

    fn parsed(text: &str) -> Loaded {
        parse(text, Path::new("c.toml"), &paths()).unwrap_or_else(|complaints| panic!("{text}\n{complaints}"))
    }

    fn complaints(text: &str) -> String {
        parse(text, Path::new("c.toml"), &paths()).map_or_else(|complaints| complaints.to_string(), |_| String::new())
    }

    /// The place and the fault of each complaint, one a line.
    fn faults(text: &str) -> Vec<String> {
        complaints(text).lines().filter_map(|line| line.strip_prefix("c.toml:")).map(str::to_owned).collect()
    }

    fn personal(lines: &str) -> String {
        format!("[accounts.personal]\nprovider = \"claude\"\ncredentials = \"~/.claude/.credentials.json\"\n{lines}")
    }

    fn account(lines: &str) -> Account {
        let Accounts::Listed(accounts) = parsed(&personal(lines)).config.accounts else { panic!("not listed") };
        Arc::unwrap_or_clone(accounts.into_values().next().unwrap())
    }

    /// The sample with every setting that is commented out put in force.
    fn uncommented() -> String {
        let active = |line: &str| match line.strip_prefix('#') {
            Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting.to_owned(),
            _ => line.to_owned(),
        };
        SAMPLE.lines().map(active).collect::<Vec<_>>().join("\n")
    }

    const fn minutes(n: u64) -> Duration {
        Duration::from_secs(60 * n)
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let ladder = Ladder::new(vec![minutes(5), minutes(10), minutes(20)], minutes(6 * 60));
        let contract = Config {
            poll: Poll {
                interval: minutes(10),
                jitter: 0.1,
                request_deadline: Duration::from_secs(90),
                retries: 10,
                retry_base: Duration::from_millis(500),
                retry_max: Duration::from_secs(32),
                overloaded_fallback: 3,
            },
            rate_limit_pause: RateLimitPause { ladder: ladder.clone(), max_retry_after: minutes(24 * 60) },
            auth_pause: AuthPause { after: 3, ladder },
            refresh: Refresh {
                retries: 2,
                retry_base: Duration::from_millis(500),
                request_deadline: Duration::from_secs(15),
                idle_grace: minutes(10),
                before_expiry: minutes(15),
            },
            pool: Pool { hand_out_tokens: false, overloaded_after: 3, quiet: minutes(5), fallback: Vec::new() },
            history: History { retention: minutes(90 * 24 * 60) },
            alerts: Alerts {
                thresholds: vec![80, 95],
                throttled_for: minutes(3 * 60),
                desktop: false,
                exec: None,
                webhook: None,
            },
            network: Network { proxy: None, ca_file: None },
            http: Http { listen: None, token_file: None },
            log: Log { level: tracing::Level::INFO },
            accounts: Accounts::Discovered,
        };
        assert_eq!(Config::default(), contract);
        assert_eq!(parsed("").config, contract);
    }

    #[test]
    fn metrics_are_open_to_other_machines_only_behind_a_token() {
        for (address, token, is_fine) in [
            ("127.0.0.1:9779", "", true),
            ("[::1]:9779", "", true),
            ("0.0.0.0:9779", "", false),
            ("192.0.2.7:9779", "", false),
            ("192.0.2.7:9779", "token-file = \"~/t\"", true),
            ("127.0.0.1:0", "", false),
            ("localhost:9779", "", false),
        ] {
            let said = complaints(&format!("[http]\nlisten = \"{address}\"\n{token}\n"));
            assert_eq!(said.is_empty(), is_fine, "{address}: {said}");
        }
    }

    #[test]
    fn the_sample_sets_nothing_but_the_defaults() {
        let sample = parsed(SAMPLE);
        assert_eq!((sample.config, sample.notes), (Config::default(), vec![]));
    }

    #[test]
    fn the_sample_with_every_setting_in_force_names_every_key_and_the_providers_own_endpoints() {
        let Config { network, accounts: Accounts::Listed(accounts), .. } = parsed(&uncommented()).config else {
            panic!("the sample lists an account");
        };
        assert!(network.proxy.is_some() && network.ca_file == Some("/etc/ssl/corp.pem".into()));
        let sampled = &accounts[&AccountName::parse("personal").unwrap()];
        let own = provider::of(ProviderId::new("claude")).endpoints();
        let mut bare = account("");
        bare.command = sampled.command.clone();
        Arc::make_mut(&mut bare.endpoints).user_agent = sampled.endpoints.user_agent.clone();
        assert_eq!(**sampled, bare);
        assert_eq!((&sampled.endpoints.usage_url, &sampled.endpoints.token_url), (&own.usage_url, &own.token_url));
        assert_eq!(sampled.command, ["claude", "doctor"]);
    }

    #[test]
    fn the_minimal_file_lists_one_account_that_is_never_written() {
        let Loaded { config, notes, .. } = parsed(include_str!("../../config/minimal.toml"));
        let name = AccountName::parse("personal").unwrap();
        let file = Whereabouts::File(Path::new("/home/ada/.claude/.credentials.json").into());
        let account = Account::discovered(name.clone(), ProviderId::new("claude"), file, &Config::default().poll);
        assert_eq!((account.owner, account.refresh), (CredentialOwner::Vendor, RefreshMode::Never));
        assert_eq!(config.accounts, Accounts::Listed(BTreeMap::from([(name, Arc::new(account))])));
        assert!(notes.is_empty());
    }

    #[test]
    fn complaints_read_like_this() {
        let text = "\
[poll]
intervall = \"5m\"
jitter = 2
[rate-limit-pause]
cooldowns = [\"10m\", \"5m\", 7]
[accounts.personal]
provider = \"claude\"
credentials = \"~/.claude/.credentials.json\"
refresh = \"sometimes\"
";
        let want = r#"c.toml:2:1: poll.intervall: is not a known key; did you mean `interval`?
 2 | intervall = …
   | ^^^^^^^^^
   = consequence: the setting that was meant would silently not apply
   = example: interval = "10m"

c.toml:3:10: poll.jitter: must be from 0 to 1
 3 | jitter = 2
   |          ^
   = consequence: waits would be shortened, or more than doubled
   = example: jitter = 0.1

c.toml:5:21: rate-limit-pause.cooldowns: must never decrease: this is less than the 10m before it
 5 | cooldowns = ["10m", "5m", 7]
   |                     ^^^^
   = consequence: the longer a server refuses, the sooner it would be asked
   = example: cooldowns = ["5m", "10m", "20m"]

c.toml:5:27: rate-limit-pause.cooldowns: must be a duration in quotes, not an integer
 5 | cooldowns = ["10m", "5m", 7]
   |                           ^
   = consequence: quotad would have to guess the unit
   = example: cooldowns = ["5m", "10m", "20m"]

c.toml:9:11: accounts.personal.refresh: must be "never" or "when-idle" or "command" or "always"
 9 | refresh = "sometimes"
   |           ^^^^^^^^^^^
   = consequence: quotad would have to guess what was meant
   = example: refresh = "never"
"#;
        assert_eq!(complaints(text), want);
        assert_eq!(parse(text, Path::new("c.toml"), &paths()).unwrap_err().count(), 5);
    }

    #[test]
    fn a_syntax_error_is_one_complaint_with_its_place() {
        let want = "\
c.toml:2:12: is not TOML: string values must be quoted, expected literal string
 2 | interval = 5m
   |            ^^
   = consequence: nothing in the file can be read
   = example: interval = \"10m\"
";
        assert_eq!(complaints("[poll]\ninterval = 5m\njitter = 9\n"), want);
    }

    #[test]
    fn everything_wrong_with_a_file_is_said_at_once_in_file_order() {
        let text = "
colour = 1
log = 3
[poll]
interval = 5
retry_base = \"1s\"
retries = -1
[auth-pause]
after = 0
max-cooldown = \"1m\"
[accounts.One]
provider = \"clod\"
interval = \"soon\"
command = [\"a\", 1]
[accounts.two]
owner = \"quotad\"
credentials = \"~/.claude/.credentials.json\"
usage-url = \"http://example.com\"
";
        let places_and_keys: Vec<String> =
            faults(text).iter().map(|line| line.splitn(4, ':').take(3).collect::<Vec<_>>().join(":")).collect();
        let want = [
            "2:1: colour",
            "3:7: log",
            "5:12: poll.interval",
            "6:1: poll.retry_base",
            "7:11: poll.retries",
            "9:9: auth-pause.after",
            "10:16: auth-pause.max-cooldown",
            "11:11: accounts.One",
            "11:11: accounts.One.credentials",
            "12:12: accounts.One.provider",
            "13:12: accounts.One.interval",
            "14:17: accounts.One.command",
            "15:11: accounts.two.provider",
            "17:15: accounts.two.credentials",
            "18:13: accounts.two.usage-url",
        ];
        assert_eq!(places_and_keys, want);
    }

    #[test]
    fn every_range_is_kept() {
        let table = [
            ("[poll]\ninterval = '0s'", "longer than 0"),
            ("[poll]\ninterval = '-5m'", "longer than 0"),
            ("[poll]\ninterval = '5m ago'", "longer than 0"),
            ("[poll]\ninterval = '100us'", "longer than 0"),
            ("[poll]\ninterval = ''", "not a duration"),
            ("[poll]\ninterval = '5'", "not a duration"),
            ("[poll]\ninterval = '1 month'", "not a duration"),
            ("[poll]\ninterval = 1979-05-27", "not a date"),
            ("[poll]\njitter = 1.01", "from 0 to 1"),
            ("[poll]\njitter = -0.1", "from 0 to 1"),
            ("[poll]\njitter = nan", "from 0 to 1"),
            ("[poll]\njitter = inf", "from 0 to 1"),
            ("[poll]\njitter = '10%'", "not a string"),
            ("[poll]\nretries = 1.5", "not a float"),
            ("[poll]\nretries = -1", "at least 0"),
            ("[poll]\nretries = -99999999999999999999", "at least 0"),
            ("[poll]\noverloaded-fallback = 0", "at least 1"),
            ("[rate-limit-pause]\ncooldowns = []", "not be empty"),
            ("[rate-limit-pause]\ncooldowns = '5m'", "array of durations"),
            ("[rate-limit-pause]\ncooldowns = ['5m', '0s']", "longer than 0"),
            ("[rate-limit-pause]\ncooldowns = ['5m', '10m', '9m']", "less than the 10m before it"),
            (
                "[rate-limit-pause]\ncooldowns = ['12h']",
                "max-cooldown (6h) must be at least the last of cooldowns (12h)",
            ),
            ("[rate-limit-pause]\nmax-cooldown = '19m'", "max-cooldown (19m) must be at least"),
            ("[rate-limit-pause]\nmax-retry-after = '59m'", "at least 1h"),
            ("[auth-pause]\nafter = 0", "at least 1"),
            ("[alerts]\nthresholds = [0]", "from 1 to 100"),
            ("[alerts]\nthresholds = [101]", "from 1 to 100"),
            ("[alerts]\nthresholds = [80, '95']", "not a string"),
            ("[alerts]\nthresholds = 80", "array of percentages"),
            ("[alerts]\nthresholds = [80, 80]", "must rise"),
            ("[alerts]\nthrottled-for = '0s'", "longer than 0"),
            ("[alerts.desktop]\nenabled = 'yes'", "true or false"),
            ("[alerts.exec]", "alerts.exec.command: is missing"),
            ("[alerts.exec]\ncommand = 'notify'", "array of strings"),
            ("[alerts.webhook]\nformat = 'json'", "alerts.webhook.url: is missing"),
            ("[alerts.webhook]\nurl = 'http://a.example/'", "http on loopback"),
            ("[alerts.webhook]\nurl = 'https://tk_FAKE@a.example/'", "no user name or password"),
            ("[alerts.webhook]\nurl = 'https://a/'\ntoken-file = 'a'", "must be absolute"),
            ("[alerts.webhook]\nurl = 'https://a/'\ntoken = 'x'", "is not a known key; known here: url"),
            ("[log]\nlevel = 'loud'", r#"must be "error" or "warn""#),
            ("[network]\nproxy = 'proxy:3128'", "must begin with"),
            ("[network]\nproxy = 'http://ada:pw@proxy:3128'", "no user name or password"),
            ("[network]\nca-file = 'corp.pem'", "must be absolute"),
            ("[poll.interval]\n", "not a table"),
            ("[[poll]]\n", "must be a table, not an array"),
            ("[account.personal]", "did you mean `accounts`?"),
            ("accounts = 1", "must be a table, not an integer"),
            ("accounts.personal = 1", "must be a table, not an integer"),
        ];
        for (text, fault) in table {
            let faults = faults(text);
            assert!(faults.len() == 1 && faults[0].contains(fault), "{text}: {faults:?}");
        }
    }

    #[test]
    fn every_rule_of_an_account_is_kept() {
        let table = [
            ("owner = 'quotad'", "keeps its own login"),
            ("owner = 'me'", r#"must be "vendor" or "quotad""#),
            ("refresh = 'always'", "only for a grant of quotad's own"),
            ("command = []", "begin with the name of a program"),
            ("sources = []", "must not be empty"),
            ("sources = ['api', 'api']", "twice"),
            ("sources = ['web']", r#"must be "local" or "api""#),
            ("user-agent = ''", "printable ASCII"),
            ("user-agent = \"a\\r\\nb\"", "printable ASCII"),
            ("token-encoding = 'xml'", r#"must be "json" or "form""#),
            ("token = 'x'", "is not a known key; known here: provider, credentials"),
        ];
        for (lines, fault) in table {
            let faults = faults(&personal(lines));
            assert!(faults.len() == 1 && faults[0].contains(fault), "{lines}: {faults:?}");
        }
        let zai = "[accounts.zai]\nprovider = 'zai'\ncredentials = '~/zai.key'\nsources = ['local']";
        assert!(faults(zai)[0].contains("zai leaves no numbers of its own on this machine"), "{:?}", faults(zai));
        assert!(parsed(&personal("sources = ['local']")).notes.is_empty(), "Claude Code leaves some");
        let faults = faults(&personal("refresh = 'command'"));
        assert!(faults.iter().any(|fault| fault.contains("needs `command`")), "{faults:?}");
    }

    #[test]
    fn a_key_in_a_variable_has_no_owner_and_no_refresh() {
        let with = |lines: &str| format!("[accounts.a]\nprovider = 'zai'\ncredentials = 'env:ZHIPU_API_KEY'\n{lines}");
        let Accounts::Listed(accounts) = parsed(&with("owner = 'vendor'\nrefresh = 'never'")).config.accounts else {
            panic!("not listed");
        };
        let account = accounts.into_values().next().unwrap();
        assert_eq!(account.credentials, Whereabouts::Variable("ZHIPU_API_KEY".into()));
        assert!(account.endpoints.usage_url.starts_with("https://open.bigmodel.cn/"), "the host of the key's region");
        for (lines, places) in [
            ("owner = 'quotad'", &["4:9"][..]),
            ("refresh = 'when-idle'", &["4:11"]),
            ("refresh = 'always'\nowner = 'quotad'", &["4:11", "5:9"]),
        ] {
            let faults = faults(&with(lines));
            assert_eq!(faults.len(), places.len(), "{lines}: {faults:?}");
            let are_right = faults.iter().zip(places).all(|(fault, place)| {
                fault.starts_with(place) && fault.contains("is for the file of a login; a variable holds a key")
            });
            assert!(are_right, "{lines}: {faults:?}");
        }
        for name in ["env:", "env:A B", "env:$A"] {
            let faults = faults(&with("").replace("env:ZHIPU_API_KEY", name));
            assert!(faults.len() == 1 && faults[0].contains("must name a variable"), "{name}: {faults:?}");
        }
    }

    /// An account of a vendor that quotad does not know.
    fn new_vendor(lines: &str, window: &str) -> String {
        let must = "provider = 'custom'\ncredentials = 'env:K'\nusage-url = 'https://a.example/q'";
        format!("[accounts.a]\n{must}\n{lines}\n[accounts.a.windows.month]\n{window}\n")
    }

    #[test]
    fn a_custom_vendor_is_described_by_its_header_and_its_pointers() {
        let recipe = |text: &str| {
            let Accounts::Listed(accounts) = parsed(text).config.accounts else { panic!("not listed") };
            accounts.values().next().unwrap().endpoints.recipe.clone().expect("a recipe")
        };
        let plain = recipe(&new_vendor("", "percent = '/p'"));
        assert_eq!((plain.header.as_str(), plain.prefix.as_str()), ("authorization", "Bearer "));
        let month = &plain.windows[0];
        assert_eq!((month.id.as_str(), month.label.as_str(), month.unit.as_str()), ("month", "month", "units"));
        assert_eq!((month.percent.as_deref(), month.used.as_deref()), (Some("/p"), None));

        let more = "remaining = '/a~1b/0'\n[accounts.a.windows.'five_hour']\nused = '/u'\nlimit = '/l'\nresets = '/r'\n\
                    label = '5-hour'\nunit = 'EUR'";
        let full = recipe(&new_vendor("header = 'X-Api-Key'\nprefix = ''", more));
        assert_eq!((full.header.as_str(), full.prefix.as_str()), ("x-api-key", ""));
        let ids: Vec<_> = full.windows.iter().map(|part| (part.id.as_str(), part.unit.as_str())).collect();
        assert_eq!(ids, [("month", "units"), ("five_hour", "EUR")], "in file order");
    }

    #[test]
    fn every_rule_of_a_custom_vendor_is_kept() {
        let percent = "percent = '/p'";
        for (text, place_and_fault) in [
            (new_vendor("header = 'x api'", percent), "5:10: accounts.a.header: is not the name of a header"),
            (new_vendor("prefix = 7", percent), "5:10: accounts.a.prefix: must be a string"),
            (
                new_vendor("prefix = 'Bearer sk-FAKE-0123456789'", percent),
                "5:10: accounts.a.prefix: must be at most 16 characters",
            ),
            (
                new_vendor("windows = 7", "").replace("[accounts.a.windows.month]", ""),
                "5:11: accounts.a.windows: must be a table",
            ),
            (new_vendor("", ""), "6:21: accounts.a.windows.month: names none of `used`"),
            (new_vendor("", "limit = '/l'\nresets = '/r'"), "6:21: accounts.a.windows.month: names none of `used`"),
            (new_vendor("", "used = 'data/used'"), "7:8: accounts.a.windows.month.used: must be a JSON pointer, which"),
            (new_vendor("", "used = ''"), "7:8: accounts.a.windows.month.used: must be a JSON pointer, which"),
            (new_vendor("", "used = '/a~b'"), "7:8: accounts.a.windows.month.used: must write `~` as `~0`"),
            (new_vendor("", "used = 7"), "7:8: accounts.a.windows.month.used: must be a JSON pointer in quotes"),
            (
                new_vendor("", "used = '/u'\nper-cent = '/p'"),
                "8:1: accounts.a.windows.month.per-cent: is not a known key",
            ),
            (
                new_vendor("", percent).replace("windows.month", "windows.Month"),
                "6:21: accounts.a.windows.Month: a window's name",
            ),
            (
                new_vendor("", percent).replace("usage-url = 'https://a.example/q'\n", ""),
                "1:11: accounts.a.usage-url: is missing",
            ),
            (
                new_vendor("", percent).replace("usage-url = 'https:", "usage-url = 'http:"),
                "4:13: accounts.a.usage-url: must be https",
            ),
            (
                "[accounts.a]\nprovider = 'custom'\ncredentials = 'env:K'\nusage-url = 'https://a.example/q'"
                    .to_owned(),
                "1:11: accounts.a.windows: is missing",
            ),
            (personal("header = 'x'"), "4:10: accounts.personal.header: is only for provider = \"custom\""),
            (personal("prefix = ''"), "4:10: accounts.personal.prefix: is only for provider = \"custom\""),
        ] {
            let faults = faults(&text);
            assert!(faults.len() == 1 && faults[0].starts_with(place_and_fault), "{text}\n{faults:?}");
        }
        let of_another = faults(&personal("[accounts.personal.windows.a]\nlimit = '/l'"));
        assert!(of_another.len() == 2 && of_another[0].contains("only for provider"), "{of_another:?}");
        let secret = complaints(&new_vendor("prefix = 'Bearer sk-FAKE-0123456789'", percent));
        assert!(!secret.contains("FAKE"), "{secret}");
    }

    #[test]
    fn a_pasted_secret_is_never_shown() {
        let complaints =
            complaints(&personal("token = 'hunter2'\nclient-secret = 'FAKEfake'\nrefresh = 'sk-ant-ort01-FAKE'"));
        for secret in ["hunter2", "FAKE"] {
            assert!(!complaints.contains(secret), "{complaints}");
        }
    }

    #[test]
    fn a_url_is_https_or_http_on_loopback() {
        for url in ["https://a.example/x?y=1", "https://a.example:8443", "http://127.0.0.1:80/x", "http://[::1]:80/"] {
            assert_eq!(account(&format!("usage-url = '{url}'\ntoken-url = '{url}'")).endpoints.token_url, url);
        }
        for url in [
            "http://a.example/x",
            "http://127.0.0.1.example/",
            "http://127.0.0.1@a.example/",
            r"http://a.example\@127.0.0.1/",
            "https://",
            "https:///x",
            "https://a b",
            "https://:80/",
            "https://a:port/",
            "https://a:1:2/",
            "ftp://a",
            "",
        ] {
            assert_eq!(faults(&personal(&format!("token-url = '{url}'"))).len(), 1, "{url}");
        }
    }

    #[test]
    fn an_interval_below_the_floor_is_raised_with_a_note_except_on_loopback() {
        let low = parsed(&personal("interval = '1m'"));
        assert_eq!(low.notes, ["personal: interval 1m is below the floor of 5m for claude: raised"]);
        assert_eq!(account("interval = '1m'").interval, minutes(5));
        assert_eq!(account("interval = '7m'").interval, minutes(7));

        let local = "interval = '1s'\nusage-url = 'http://localhost:1/'";
        assert_eq!(account(local).interval, Duration::from_secs(1));
        assert!(parsed(&personal(local)).notes.is_empty());

        let discovered = parsed("[poll]\ninterval = '90s'");
        assert_eq!(discovered.notes, ["interval 1m 30s is below the floor of 5m for claude: raised"]);
        let fast = parsed("[poll]\ninterval = '30s'").notes;
        assert!(
            fast.len() == 2 && fast[0].starts_with("interval 30s is below the floor of 1m for codex, "),
            "{fast:?}"
        );
        let name = AccountName::parse("found").unwrap();
        let found = Account::discovered(
            name,
            ProviderId::new("claude"),
            Whereabouts::File(Path::new("/c").into()),
            &discovered.config.poll,
        );
        assert_eq!(found.interval, minutes(5));
    }

    #[test]
    fn an_account_takes_its_interval_from_poll_unless_it_has_its_own() {
        let interval = |lines| {
            let text = format!("[poll]\ninterval = '20m'\n{}", personal(lines));
            let Accounts::Listed(accounts) = parsed(&text).config.accounts else { panic!("not listed") };
            accounts.into_values().next().unwrap().interval
        };
        assert_eq!((interval(""), interval("interval = '30m'")), (minutes(20), minutes(30)));
    }

    #[test]
    fn a_grant_of_its_own_lies_apart_and_is_refreshed_always() {
        let text = "[accounts.own]\nprovider = 'claude'\nowner = 'quotad'\ncredentials = '~/grant/.credentials.json'\n";
        let Accounts::Listed(accounts) = parsed(text).config.accounts else { panic!("not listed") };
        let own = accounts.into_values().next().unwrap();
        assert_eq!((own.owner, own.refresh), (CredentialOwner::Quotad, RefreshMode::Always));
        assert_eq!(own.credentials, Whereabouts::File(Path::new("/home/ada/grant/.credentials.json").into()));

        let env = |name: &str| (name == "CLAUDE_CONFIG_DIR").then(|| "/home/ada/grant".into());
        let relocated = Paths { places: crate::paths::login_places(Path::new("/home/ada"), env), ..paths() };
        let refused = parse(text, Path::new("c.toml"), &relocated).unwrap_err().to_string();
        assert!(refused.contains("keeps its own login"), "{refused}");
    }

    #[test]
    fn one_file_under_two_accounts_is_refused_however_it_is_spelt() {
        for spelling in [
            "~/.claude/.credentials.json",
            "/home/ada/x/../.claude/./.credentials.json",
            "~//.claude/.credentials.json",
        ] {
            let text = personal(&format!("[accounts.a]\nprovider = 'claude'\ncredentials = '{spelling}'\n"));
            let faults = faults(&text);
            assert!(
                faults.len() == 1 && faults[0].starts_with("6:15") && faults[0].contains("`personal`"),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn an_accounts_table_lists_exactly_its_accounts_be_it_none() {
        assert_eq!(parsed("").config.accounts, Accounts::Discovered);
        let empty = parsed("[accounts]\n");
        assert_eq!(empty.config.accounts, Accounts::Listed(BTreeMap::new()));
        assert!(empty.notes[0].contains("no account is watched"));
    }

    #[test]
    fn durations_are_friendly() {
        for (text, millis) in [
            ("5m", 300_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("500ms", 500),
            ("0.5s", 500),
            ("2 weeks", 14 * 86_400_000),
            ("90 days", 90 * 86_400_000),
        ] {
            let retention = parsed(&format!("[history]\nretention = '{text}'")).config.history.retention;
            assert_eq!(retention, Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn only_the_users_own_file_may_be_absent() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::in_home(dir.path());
        let defaults = load(None, &paths).unwrap();
        assert_eq!((defaults.config, defaults.file), (Config::default(), None));
        assert!(
            load(Some(&dir.path().join("absent.toml")), &paths).unwrap_err().to_string().contains("cannot be read")
        );

        std::fs::create_dir_all(paths.config_file.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("/nowhere", &paths.config_file).unwrap();
        load(None, &paths).expect_err("a dangling symlink is not an absent file");
        std::fs::remove_file(&paths.config_file).unwrap();
        std::fs::write(&paths.config_file, "\u{feff}[poll]\r\ninterval = \"20m\"\r\n").unwrap();
        let loaded = load(None, &paths).unwrap();
        assert_eq!((loaded.config.poll.interval, loaded.file), (minutes(20), Some(paths.config_file)));
    }

    #[test]
    fn a_file_that_is_no_config_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::in_home(dir.path());
        let file = dir.path().join("c.toml");
        let refused = |path: &Path| load(Some(path), &paths).unwrap_err().to_string();
        assert!(refused(dir.path()).contains("is a directory; name the file in it"));
        std::fs::write(&file, b"[poll]\n# caf\xe9\n").unwrap();
        assert!(refused(&file).contains("is not UTF-8 text: line 2"));
        std::fs::write(&file, vec![b'#'; 10_000_000]).unwrap();
        assert!(refused(&file).contains("longer than 1 MiB"));
    }

    #[test]
    fn no_text_makes_the_reader_panic() {
        for whole in [SAMPLE.to_owned(), uncommented()] {
            for end in (0..=whole.len()).filter(|end| whole.is_char_boundary(*end)) {
                let _ =
                    parse(&whole[..end], Path::new("c.toml"), &paths()).map_err(|complaints| complaints.to_string());
            }
        }
        for text in
            ["a.".repeat(200_000) + "b = 1", "a = ".to_owned() + &"[".repeat(500_000), "\"\" = 1\n[\"\"]".into()]
        {
            assert!(!complaints(&text).is_empty());
        }
    }

    /// Table, key, and a value of the right kind and range.
    fn setting() -> impl Strategy<Value = (&'static str, &'static str, String)> {
        let length = |from: u64| {
            (from..10_000_000_000).prop_map(|ms| format!("\"{}\"", value::spoken(Duration::from_millis(ms))))
        };
        prop_oneof![
            length(1).prop_map(|value| ("poll", "interval", value)),
            length(1).prop_map(|value| ("poll", "request-deadline", value)),
            (0.0..=1.0).prop_map(|share: f64| ("poll", "jitter", format!("{share:?}"))),
            any::<u32>().prop_map(|count| ("poll", "retries", count.to_string())),
            length(3_600_000).prop_map(|value| ("rate-limit-pause", "max-retry-after", value)),
            length(1_200_000).prop_map(|value| ("rate-limit-pause", "max-cooldown", value)),
            (1..=u32::MAX).prop_map(|count| ("auth-pause", "after", count.to_string())),
            length(1).prop_map(|value| ("refresh", "idle-grace", value)),
            length(1).prop_map(|value| ("history", "retention", value)),
        ]
    }

    /// What a config makes of a setting, as a line would say it.
    fn said(config: &Config, key: &str) -> String {
        let length = |length| format!("\"{}\"", value::spoken(length));
        match key {
            "interval" => length(config.poll.interval),
            "request-deadline" => length(config.poll.request_deadline),
            "jitter" => format!("{:?}", config.poll.jitter),
            "retries" => config.poll.retries.to_string(),
            "max-retry-after" => length(config.rate_limit_pause.max_retry_after),
            "max-cooldown" => length(config.rate_limit_pause.ladder.cooldown(u32::MAX)),
            "after" => config.auth_pause.after.to_string(),
            "idle-grace" => length(config.refresh.idle_grace),
            "retention" => length(config.history.retention),
            other => panic!("{other}"),
        }
    }

    fn written(settings: &BTreeMap<(&str, &str), String>) -> String {
        let line = |((table, key), value): (&(&str, &str), &String)| format!("{table}.{key} = {value}\n");
        settings.iter().map(line).collect()
    }

    proptest! {
        #[test]
        fn what_is_accepted_says_the_same_when_it_is_written_again(settings in prop::collection::vec(setting(), 0..9)) {
            let settings: BTreeMap<_, _> = settings.into_iter().map(|(table, key, value)| ((table, key), value)).collect();
            let read = parsed(&written(&settings)).config;
            let again = settings.keys().map(|(table, key)| ((*table, *key), said(&read, key))).collect();
            prop_assert_eq!(&settings, &again);
            prop_assert_eq!(parsed(&written(&again)).config, read);
        }

        #[test]
        fn whatever_is_wrong_with_a_value_is_said_with_its_line_and_its_key(
            settings in prop::collection::vec(setting(), 1..9),
            which in any::<prop::sample::Index>(),
            wrong in prop::sample::select(vec!["-1", "true", "[]", "{}", "\"\"", "\"soon\"", "1979-05-27", "nan"]),
        ) {
            let mut settings: BTreeMap<_, _> = settings.into_iter().map(|(table, key, value)| ((table, key), value)).collect();
            let line = which.index(settings.len());
            let (table, key) = *settings.keys().nth(line).unwrap();
            settings.insert((table, key), wrong.to_owned());
            let faults = faults(&written(&settings));
            prop_assert_eq!(faults.len(), 1, "{:?}", &faults);
            let (place, what) = faults[0].split_once(' ').unwrap();
            prop_assert!(place.starts_with(&format!("{}:", line + 1)), "{}", faults[0]);
            prop_assert!(what.starts_with(&format!("{table}.{key}: ")), "{}", faults[0]);
        }

        #[test]
        fn no_lines_in_whatever_order_make_the_reader_panic(
            lines in prop::collection::vec(prop_oneof![
                prop::sample::select(uncommented().lines().map(str::to_owned).collect::<Vec<_>>()),
                "\\PC{0,20}",
            ], 0..30),
        ) {
            let _ = complaints(&lines.join("\n"));
        }
    }
}
