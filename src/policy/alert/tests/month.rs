//! A month of two windows whose server's clock moves, whose resets jitter and come early, and a daemon that is
//! restarted, killed, renamed and asleep; held to what really happened.

use super::*;

/// A xorshift generator: the same seed is the same month.
struct Chance(u64);

impl Chance {
    fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.roll()
    }

    fn happens(&mut self, share: f64) -> bool {
        self.roll() < share
    }
}

/// A window as it really is. Times in minutes.
struct Truth {
    id: &'static str,
    length: f64,
    /// Runs on by itself, or waits for the first use.
    waits_for_use: bool,
    period: u32,
    used: f64,
    resets: Option<f64>,
}

impl Truth {
    fn over(&mut self, resets: Option<f64>) {
        (self.period, self.used, self.resets) = (self.period + 1, 0.0, resets);
    }

    fn pass(&mut self, at: f64, use_of_it: f64) {
        while let Some(reset) = self.resets.filter(|reset| *reset <= at) {
            self.over((!self.waits_for_use).then_some(reset + self.length));
        }
        if use_of_it > 0.0 {
            self.resets = self.resets.or(Some(at + self.length));
            self.used = (self.used + use_of_it).min(100.0);
        }
    }
}

/// What one who knows the periods tells of a window, under the same rules of doubt.
#[derive(Default)]
struct Witness {
    period: Option<u32>,
    used: f64,
    resets: Option<Stamp>,
    told: Option<u8>,
    sees_change: bool,
    sees_jump: bool,
}

impl Witness {
    fn see(&mut self, period: u32, used: f64, resets: Option<Stamp>, at: Stamp) -> Vec<Kind> {
        let mut told = Vec::new();
        if self.period.is_some_and(|known| known != period) {
            let has_passed = self.resets.is_some_and(|reset| reset <= at + minutes(1));
            if !has_passed && !std::mem::replace(&mut self.sees_change, true) {
                return told;
            }
            told.extend(self.told.take().map(|_| Kind::Reset));
            self.used = if has_passed { 0.0 } else { used };
            self.sees_jump = false;
        } else if self.period.is_none() {
            self.used = used;
        }
        (self.period, self.sees_change) = (Some(period), false);
        let jumps = used - self.used > 50.0;
        if jumps && !std::mem::replace(&mut self.sees_jump, true) {
            return told;
        }
        (self.used, self.resets, self.sees_jump) = (used, resets.or(self.resets), false);
        let reached = [80, 95].into_iter().filter(|threshold| used >= f64::from(*threshold)).max();
        if reached > self.told {
            self.told = reached;
            told.extend(reached.map(Kind::Threshold));
        }
        told
    }
}

/// What happened in a month, for the figures.
#[derive(Debug, Default)]
struct Tally {
    readings: u32,
    resets: u32,
    early: u32,
    glitches: u32,
    restarts: u32,
    kills: u32,
    steps: u32,
    told: u32,
}

const MONTH: f64 = 30.0 * 24.0 * 60.0;

fn at(minute: f64) -> Stamp {
    Stamp::from_millisecond(1_800_000_000_000 + (minute * 60_000.0) as i64).unwrap()
}

/// The number of a reading, and what it led to of which window.
type Told = (u32, String, Kind);

/// The alerts of a month and those that were due, each with the number of the reading.
fn month(seed: u64) -> (Vec<Told>, Vec<Told>, Tally) {
    let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut tally = Tally::default();
    let mut truths = [
        Truth { id: "five_hour", length: 300.0, waits_for_use: true, period: 0, used: 0.0, resets: None },
        Truth { id: "seven_day", length: 10_080.0, waits_for_use: false, period: 0, used: 0.0, resets: Some(3_000.0) },
    ];
    let mut witnesses = [Witness::default(), Witness::default()];
    let mut stored: BTreeMap<String, AlertRecord> = BTreeMap::new();
    let mut boot = 0;
    let mut alerts = Alerts::new(rules(), "0".to_owned(), Vec::new(), now(0));
    let (mut told, mut due) = (Vec::new(), Vec::new());
    let (mut clock, mut skew, mut busy, mut name) = (0.0, 0.0, 1.0, 0);
    // Readings since a window was reset early, surged or lied: one riddle at a time.
    let mut calm = 0;
    while clock < MONTH {
        let sleeps = chance.happens(0.01);
        let pass = if sleeps { chance.between(60.0, 600.0) } else { chance.between(10.0, 13.0) };
        clock += pass;
        if chance.happens(0.05) {
            busy = [0.0, 0.2, 1.0, 1.8][(chance.roll() * 4.0) as usize];
        }
        let use_of_it = if sleeps { 0.0 } else { busy * pass * chance.between(0.2, 1.0) };
        let periods = [truths[0].period, truths[1].period];
        truths[0].pass(clock, use_of_it);
        truths[1].pass(clock, use_of_it / 25.0);
        let natural = [truths[0].period, truths[1].period] != periods;
        tally.resets += u32::from(natural);
        calm = if natural { 0 } else { calm + 1 };
        if calm > 4 && chance.happens(0.004) {
            let which = usize::from(chance.happens(0.5));
            let truth = &mut truths[which];
            let moves = chance.happens(0.5) && truth.resets.is_some_and(|reset| reset < clock + truth.length - 60.0);
            truth.over(if moves { Some(clock + truth.length) } else { truth.resets });
            (calm, tally.early) = (0, tally.early + 1);
        }
        if calm > 4 && chance.happens(0.003) {
            let truth = &mut truths[0];
            if truth.used < 35.0 && truth.resets.is_some() {
                (truth.used, calm) = (truth.used + 60.0, 0);
            }
        }
        skew += chance.between(-0.2, 0.2);
        if chance.happens(0.01) {
            (skew, tally.steps) = (chance.between(-12.0, 12.0), tally.steps + 1);
        }

        tally.readings += 1;
        let glitch = (calm > 4 && chance.happens(0.01)).then(|| if chance.happens(0.5) { 0.0 } else { 99.0 });
        let shown: Vec<_> = truths
            .iter()
            .map(|truth| {
                let used = (truth.used + chance.between(-1.0, 1.0)).clamp(0.0, 100.0).round();
                // A lie that nobody could tell from the truth proves nothing.
                let lies = |lie: &f64| lie - used > 53.0 || used - lie > 30.0;
                let resets = truth.resets.map(|reset| at(reset + skew + chance.between(-0.4, 0.4)));
                let lie = glitch.filter(lies);
                (truth.id, lie.unwrap_or(used), resets, lie.is_some())
            })
            .collect();
        let lied = shown.iter().any(|(.., lies)| *lies);
        (calm, tally.glitches) = if lied { (0, tally.glitches + 1) } else { (calm, tally.glitches) };
        let mut looks = view(0, &shown.iter().map(|(id, used, resets, _)| (*id, *used, *resets)).collect::<Vec<_>>());
        Arc::make_mut(looks.reading.as_mut().unwrap()).read_at = at(clock);
        name += u32::from(chance.happens(0.01));
        looks.name = AccountName::parse(&format!("name-{name}")).unwrap();

        for ((truth, witness), (id, used, resets, lies)) in truths.iter().zip(&mut witnesses).zip(&shown) {
            if !lies && resets.is_none_or(|reset| reset > at(clock)) {
                let told = witness.see(truth.period, *used, *resets, at(clock));
                due.extend(told.into_iter().map(|kind| (tally.readings, (*id).to_owned(), kind)));
            }
        }
        // The same reading is looked at again and again, also after a restart, and when it is old.
        for look in 0..3 {
            let later = clock + [0.0, 0.1, 25.0][look];
            let now = Now { moment: Moment::from_millis((later * 60_000.0) as u64), stamp: at(later) };
            let uuid = clock > 5_000.0;
            let subject = Subject {
                login: if uuid { "uuid" } else { "login" }.to_owned(),
                unnamed: uuid.then(|| "login".to_owned()),
                ..subject(&looks)
            };
            let news = alerts.look(&subject, now);
            let killed = look == 0 && chance.happens(0.05);
            if killed {
                tally.kills += 1;
            } else {
                for (key, record) in alerts.take_unstored(now) {
                    match record {
                        Some(record) => stored.insert(key, record),
                        None => stored.remove(&key),
                    };
                }
                told.extend(news.into_iter().map(|alert| (tally.readings, alert.window.unwrap().id, alert.kind)));
            }
            if killed || chance.happens(0.05) {
                boot += u32::from(chance.happens(0.3));
                tally.restarts += 1;
                let json = serde_json::to_string(&stored).unwrap();
                let back: BTreeMap<String, AlertRecord> = serde_json::from_str(&json).unwrap();
                assert_eq!(back, stored);
                alerts = Alerts::new(rules(), boot.to_string(), back.into_iter().collect(), now);
            }
        }
    }
    tally.told = told.len() as u32;
    (told, due, tally)
}

#[test]
#[expect(clippy::print_stdout, reason = "`--nocapture` shows what happened in the months")]
fn in_a_month_of_jitter_early_resets_restarts_and_moving_clocks_every_edge_is_told_once() {
    let mut kinds: BTreeMap<Kind, u32> = BTreeMap::new();
    for seed in 1..=40 {
        let (told, due, tally) = month(seed);
        if seed <= 3 {
            println!("month {seed}: {tally:?}");
        }
        for window in ["five_hour", "seven_day"] {
            let of = |list: &[Told]| -> Vec<(u32, Kind)> {
                list.iter().filter(|(_, id, _)| id == window).map(|(at, _, kind)| (*at, *kind)).collect()
            };
            let (told, due) = (of(&told), of(&due));
            // A lie right before a true fall can stand in for its second reading.
            let differs = |(told, due): (&(u32, Kind), &(u32, Kind))| told.1 != due.1 || told.0.abs_diff(due.0) > 1;
            let first = told.iter().zip(&due).position(differs).unwrap_or(told.len().min(due.len()));
            let rest = |list: &[(u32, Kind)]| list.iter().skip(first).take(3).copied().collect::<Vec<_>>();
            assert!(
                first == told.len() && first == due.len(),
                "month {seed}, {window}: told {:?}, due {:?}",
                rest(&told),
                rest(&due)
            );
        }
        for (_, _, kind) in told {
            *kinds.entry(kind).or_default() += 1;
        }
    }
    println!("forty months: {kinds:?}");
    assert!(kinds.len() == 3 && kinds.values().all(|count| *count > 100), "{kinds:?}");
}
