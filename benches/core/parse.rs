//! Reading the answers of one poll, one row a vendor: the whole answer of a usual plan, from bytes to windows. A poll
//! of two requests is read as the daemon reads it, after each answer.

use std::fmt;

use divan::Bencher;
use divan::counter::BytesCount;
use quotad::model::UsageOutcome;
use quotad::policy::time::Stamp;
use quotad::provider::{ALL, Endpoints, Next, Poll, Provider, Reply};

use crate::listed;

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("../../tests/data/", $name, ".json"))
    };
}

/// By the vendor's name, in the order of the registry: the bodies of one poll.
const SAMPLES: [(&str, &[&str]); ALL.len()] = [
    ("claude", &[sample!("claude/v3_limits")]),
    ("codex", &[sample!("codex/p1_plus")]),
    ("copilot", &[sample!("copilot/c1_paid")]),
    ("gemini", &[sample!("gemini/load_standard"), sample!("gemini/standard_ok")]),
    ("zai", &[sample!("zai/z1")]),
    ("kimi", &[sample!("kimi/k1")]),
    ("cursor", &[sample!("cursor/pro")]),
    ("openrouter", &[sample!("openrouter/key"), sample!("openrouter/credits")]),
    ("minimax", &[sample!("minimax/percent")]),
    ("synthetic", &[sample!("synthetic/rolling")]),
    ("grok", &[sample!("grok/credits")]),
    ("deepseek", &[sample!("deepseek/two_currencies")]),
    ("moonshot", &[sample!("moonshot/balance")]),
    ("antigravity", &[sample!("antigravity/load_pro"), sample!("antigravity/summary")]),
    ("custom", &[sample!("custom/quota")]),
];

/// As docs/providers.md shows it.
const CUSTOM: &str = r#"
[accounts.newvendor]
provider = "custom"
credentials = "env:NEWVENDOR_KEY"
usage-url = "https://api.newvendor.example/v1/quota"
header = "x-api-key"
prefix = ""
[accounts.newvendor.windows.month]
label = "monthly"
used = "/data/used"
limit = "/data/limit"
resets = "/data/reset_at"
unit = "requests"
"#;

/// One poll, all of its answers in.
struct Answers {
    provider: &'static dyn Provider,
    endpoints: Endpoints,
    replies: Vec<Reply>,
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.provider.id().fmt(f)
    }
}

impl Answers {
    fn of(provider: &'static dyn Provider, bodies: &[&str]) -> Self {
        let endpoints = match provider.id().as_str() {
            "custom" => Endpoints::clone(&listed(CUSTOM).0.endpoints),
            _ => provider.endpoints(),
        };
        let reply = |body: &&str| Reply { status: 200, headers: Vec::new(), body: body.as_bytes().to_vec() };
        let answers = Self { provider, endpoints, replies: bodies.iter().map(reply).collect() };
        let UsageOutcome::Answered { windows, .. } = answers.read() else { panic!("{answers}: not an answer") };
        let tells = windows.iter().any(|window| window.used_percent.is_some() || window.remaining.is_some());
        assert!(tells, "{answers}: no window with a number");
        answers
    }

    fn read(&self) -> UsageOutcome {
        let received = Stamp::UNIX_EPOCH;
        for count in 1..=self.replies.len() {
            let replies = &self.replies[..count];
            let poll = Poll { endpoints: &self.endpoints, tenant: None, replies, received };
            if let Next::Over(outcome) = self.provider.converse(&poll) {
                assert_eq!(count, self.replies.len(), "{self}: over before the last answer");
                return outcome;
            }
        }
        panic!("{self}: a further request is wanted")
    }
}

fn every_provider() -> impl Iterator<Item = Answers> {
    ALL.into_iter().zip(SAMPLES).map(|(provider, (name, bodies))| {
        assert_eq!(provider.id().as_str(), name, "every vendor of the registry has its sample");
        Answers::of(provider, bodies)
    })
}

/// What Claude's sample comes to.
pub(crate) fn claude() -> UsageOutcome {
    Answers::of(ALL[0], SAMPLES[0].1).read()
}

#[divan::bench(args = every_provider(), sample_size = 20)]
fn one_poll(bencher: Bencher<'_, '_>, answers: &Answers) {
    let bytes: usize = answers.replies.iter().map(|reply| reply.body.len()).sum();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| divan::black_box(answers).read());
}
