//! Months of hostile weather, in virtual time.

mod host;

use host::*;
use quotad::demo::vendor::{Delivery, World, credential_file_json};
use quotad::provider::Reply;
use quotad::provider::exchange::Broken;
use std::path::PathBuf;
use std::time::Duration;

struct Calm {
    world: World,
    n: u64,
    settled: u64,
}
impl Surroundings for Calm {
    fn exchange(&mut self, sent: &Sent<'_>, machine: &mut Machine) -> (Result<Reply, Broken>, Duration) {
        self.n += 1;
        let d = self.world.serve(&sent.request, machine.true_stamp());
        match d {
            Delivery::Whole(r) => (Ok(r), Duration::from_millis(200)),
            _ => (Err(Broken::Connect), Duration::from_millis(20)),
        }
    }
    fn saw(&mut self, _: usize, saw: Saw<'_>, m: &Machine) {
        if let Saw::Settled(a) = saw {
            self.settled += 1;
            if std::env::var_os("VIEW").is_some() {
                std::hint::black_box(a.view(m.now()));
            }
        }
    }
}
fn rules() -> quotad::policy::account::Rules {
    use quotad::policy::{account::Rules, auth::AuthRules, gate::GateRules, ladder::Ladder, refresh::RefreshRules};
    let m = |n: u64| Duration::from_secs(60 * n);
    let ladder = Ladder::new(vec![m(5), m(10), m(20)], m(360));
    Rules {
        name: quotad::model::AccountName::parse("p").unwrap(),
        provider: quotad::model::ProviderId::Claude,
        credentials: "/home/u/x/.credentials.json".into(),
        origin: "https://api.example.test".into(),
        interval: m(10),
        floor: m(5),
        jitter: 0.1,
        retries: 10,
        retry_base: Duration::from_millis(500),
        retry_max: Duration::from_secs(32),
        overloaded_fallback: 3,
        has_other_source: false,
        usage_scope: Some("user:profile"),
        login_command: "claude /login".into(),
        gates: GateRules { ladder: ladder.clone(), max_retry_after: m(1440), jitter: 0.1 },
        auth: AuthRules { after: 3, ladder, jitter: 0.1 },
        refresh: RefreshRules {
            mode: quotad::model::RefreshMode::Always,
            owner: quotad::model::CredentialOwner::Quotad,
            read_only: false,
            retries: 2,
            retry_base: Duration::from_millis(500),
            before_expiry: m(15),
            idle_grace: m(10),
        },
    }
}
#[test]
fn speed() {
    let mut host = Host::new(1, vec![rules()]);
    let mut calm = Calm { world: World::new(1), n: 0, settled: 0 };
    let t = calm.world.login("u", Duration::from_secs(8 * 3600), host.machine.true_stamp());
    host.machine
        .write(&PathBuf::from("/home/u/x/.credentials.json"), Some(credential_file_json(&t, |_| {}).into_bytes()));
    host.start(&mut calm);
    let began = std::time::Instant::now();
    host.run_until(20 * DAY, &mut calm);
    eprintln!("{} requests, {} settled, {:?} per day", calm.n, calm.settled, began.elapsed() / 20);
}
