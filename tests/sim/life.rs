//! One run of a seed: the forecast comes true, event by event, and everyone's habits with it.

use std::collections::BTreeSet;

use quotad::model::{CredentialOwner, RefreshMode};
use quotad::policy::account::Command;

use crate::forecast::Forecast;
use crate::host::{DAY, HOUR, Host, MINUTE, Random, SECOND, Time};
use crate::invariants::{Broken, Promise, Stakes};
use crate::sky::{Later, Sky};
use crate::weather::Happening;

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Life {
    /// The first broken promise.
    pub broken: Option<Broken>,
    /// How often each promise was at stake.
    pub stakes: Stakes,
    /// Account-days that were lived.
    pub days: f64,
    /// Requests that left.
    pub requests: u64,
    /// A digest of everything that left and was shown.
    pub digest: u64,
    /// What happened; empty unless asked for.
    pub told: Vec<(Time, String)>,
}

/// Lives `seed`, drawn for `days` days, up to `until`, without the masked events; `telling` keeps the story.
pub(crate) fn live(seed: u64, days: u64, until: Time, masked: &BTreeSet<usize>, telling: bool) -> Life {
    play(seed, &Forecast::draw(seed, days), until, masked, telling)
}

/// The same for a forecast of any making.
pub(crate) fn play(seed: u64, forecast: &Forecast, until: Time, masked: &BTreeSet<usize>, telling: bool) -> Life {
    let mut host = Host::new(seed, forecast.rules.clone());
    let mut sky = Sky::new(seed, forecast, &mut host.machine);
    sky.told = telling.then(Vec::new);
    host.start(&mut sky);
    let mut run = Run { host, sky, random: Random::new(seed, 30) };
    for (index, (at, happening)) in forecast.events.iter().enumerate().take_while(|(_, (at, _))| *at <= until) {
        if masked.contains(&index) {
            continue;
        }
        run.until(*at);
        if run.sky.ledger.broken.is_some() {
            break;
        }
        let now = run.host.machine.time();
        run.sky.tell(now, || format!("{happening}  [{index}]"));
        run.compare_with_twins();
        run.happens(*happening);
    }
    let Run { host, sky, .. } = run;
    Life {
        broken: sky.ledger.broken.clone(),
        stakes: sky.ledger.stakes,
        days: host.machine.time() as f64 / DAY as f64 * forecast.rules.len() as f64,
        requests: sky.requests,
        digest: sky.digest,
        told: sky.told.unwrap_or_default(),
    }
}

struct Run {
    host: Host,
    sky: Sky,
    random: Random,
}

impl Run {
    /// Lets time pass, with all that follows by itself.
    fn until(&mut self, end: Time) {
        while let Some(entry) = self.sky.later.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), later) = entry.remove_entry();
            self.host.run_until(at, &mut self.sky);
            self.sky.follow(later, &mut self.host.machine);
        }
        self.host.run_until(end, &mut self.sky);
    }

    fn happens(&mut self, happening: Happening) {
        let Self { host, sky, .. } = self;
        let now = host.machine.time();
        let machine = &mut host.machine;
        match happening {
            Happening::Usage(spell, time) => sky.spell_usage(spell, now + time),
            Happening::Token(spell, time) => sky.spell_token(spell, now + time),
            Happening::Offline(time) => sky.unplug(now + time),
            Happening::Refused(time) => sky.close_port(now + time),
            Happening::ClientBudget(requests, time, advice) => {
                sky.ration_clients(requests, time.max(10 * MINUTE), advice, now + 4 * time);
            }
            Happening::TokenBudget(budget, time) => sky.ration_tokens(budget, now + time),
            Happening::CliRotates(n, hold) => {
                if host.rules(n).refresh.owner == CredentialOwner::Vendor {
                    sky.cli_begins(n, hold, &mut host.machine);
                }
            }
            Happening::RudeCliRotates(n) => {
                if host.rules(n).refresh.owner == CredentialOwner::Vendor {
                    sky.cli_rotates(n, &mut host.machine);
                }
            }
            Happening::CliLocks(n, time) => {
                sky.file(n, machine, |file| file.cli_lock_until = if file.ours { 0 } else { now + time });
            }
            Happening::Logs(n) => sky.log_in(n, machine),
            Happening::LogsInIfLost(n) => {
                if sky.ledger.lying(n).is_none_or(|facts| sky.vendor.login_lost(&facts.refresh)) {
                    sky.log_in(n, machine);
                }
            }
            Happening::Switches(n) => sky.switch(n, machine),
            Happening::SignsOut(n) => sky.sign_out(n, machine),
            Happening::Removed(n, time) => sky.spoil(n, time, None, machine),
            Happening::Torn(n, time) => sky.spoil(n, time, Some(b"{\"claudeAiOauth\":{\"acc".to_vec()), machine),
            Happening::ExpiryUnsaid(n) => sky.unsay_expiry(n, machine),
            Happening::Named(n) => sky.name(n, machine),
            Happening::Unsafe(n, time) => {
                sky.file(n, machine, |file| file.unsafe_because = Some("it is a symlink".to_owned()));
                sky.after(time, Later::Safe(n), machine);
            }
            Happening::Revoked(n) => sky.revoke(n),
            Happening::Withdrawn(n) => sky.withdraw(n),
            Happening::Crash(time) => host.kill(time, sky),
            Happening::Stop(time) => host.stop(time, sky),
            Happening::PowerCut(time) => host.cut_power(time, sky),
            Happening::Trap(deed, sprung) => sky.trap(deed, sprung),
            Happening::StateFull(time) => {
                machine.disk.unwritable = true;
                sky.after(time, Later::StateWritable, machine);
            }
            Happening::Unwritable(n, time) => {
                sky.file(n, machine, |file| file.unwritable = true);
                sky.after(time, Later::Writable(n), machine);
            }
            Happening::StateLost(time) => {
                host.machine.disk.damaged = true;
                host.kill(time, sky);
            }
            Happening::Blind(time) => {
                machine.blind = true;
                sky.after(time, Later::Sighted, machine);
            }
            Happening::Suspend(time) => host.suspend(time),
            Happening::WallStep(by) => machine.set_wall(by),
            Happening::Reload(n, minutes) => {
                let mut rules = host.rules(n).clone();
                rules.interval = std::time::Duration::from_secs(60 * minutes);
                self.reload(n, rules);
            }
            Happening::Asks(n, command) => {
                host.command(n, command, sky);
            }
            Happening::Clears => self.clears(),
        }
    }

    fn reload(&mut self, n: usize, rules: quotad::policy::account::Rules) {
        self.host.reload(n, rules, &mut self.sky);
    }

    /// Bad weather ends, everyone sees to what is theirs, and quotad comes back.
    fn clears(&mut self) {
        self.sky.clear();
        self.host.machine.set_wall(0);
        for (_, later) in std::mem::take(&mut self.sky.later) {
            self.sky.follow(later, &mut self.host.machine);
        }
        let start = self.host.machine.time();
        self.host.start(&mut self.sky);
        self.until(start + MINUTE);
        let mut back = Vec::new();
        for n in 0..self.sky.accounts() {
            self.host.start(&mut self.sky);
            if self.sky.ledger.is_paused(n) {
                self.host.command(n, Command::Resume, &mut self.sky);
            }
            self.reload(n, self.host.rules(n).clone());
            self.sees_to_login(n);
            self.sky.ledger.watch_for_success(n);
        }
        self.until(start + 2 * MINUTE);
        for n in 0..self.sky.accounts() {
            back.push(self.sky.ledger.back_by(n, &self.host.machine) + 30 * MINUTE);
        }
        while self.sky.ledger.broken.is_none() {
            let now = self.host.machine.time();
            let late = back.iter().enumerate().find(|(n, _)| !self.sky.ledger.is_back(*n));
            let Some((n, by)) = late.map(|(n, by)| (n, *by)) else { break };
            if now > by {
                let view = self.host.process().map(|process| process.account(n).view(self.host.machine.now()));
                let view = view.map(|view| format!("{:?}: {}, until {:?}", view.state, view.reason, view.until));
                let how = format!(
                    "account {n} is not back {} min after the weather cleared: {view:?}",
                    (now - start) / MINUTE
                );
                self.sky.ledger.breaks(Promise::ComesBack, now, how);
            }
            self.until(now + 10 * MINUTE);
            (0..self.sky.accounts()).for_each(|n| self.sees_to_login(n));
        }
        for _ in 0..self.sky.accounts() {
            self.sky.ledger.stakes.count(Promise::ComesBack);
        }
    }

    /// The CLI is used when its token has expired, and the user logs in where told to.
    fn sees_to_login(&mut self, n: usize) {
        let told = self.host.process().map(|process| process.account(n).view(self.host.machine.now()).action);
        let told_to = told.is_none_or(|action| action.contains("log in"));
        let is_vendors = self.host.rules(n).refresh.owner == CredentialOwner::Vendor;
        if self.sky.is_login_good(n, &self.host.machine) && !told_to {
            return;
        }
        if is_vendors && !told_to {
            self.sky.cli_begins(n, SECOND, &mut self.host.machine);
        } else if told_to || self.sky.is_misdated(n) {
            self.sky.log_in(n, &mut self.host.machine);
        }
    }

    /// Now and then: an account started from what is stored must wait for the same things.
    fn compare_with_twins(&mut self) {
        if !self.random.one_in(6) || self.sky.ledger.broken.is_some() {
            return;
        }
        for n in 0..self.sky.accounts() {
            let now = self.host.machine.now();
            let quiet = |account: &&quotad::policy::account::Account| {
                account.is_started() && !account.is_due_soon(now) && account.next_wake(now).is_some()
            };
            let Some(process) = self.host.process() else { return };
            let Some(account) = Some(process.account(n)).filter(quiet) else { continue };
            if process.is_behind() || self.sky.ledger.is_unstored() || !self.sky.ledger.has_seen(n) {
                continue;
            }
            let Some(twin) = self.host.twin(n) else { continue };
            let (here, there) = (account.view(now), twin.view(now));
            // A command whose effect nobody judged, and a fence, count as tries at the next start.
            let is_judged = self.host.rules(n).refresh.mode == RefreshMode::Command || self.sky.ledger.is_fenced(n);
            let gates = |view: &quotad::policy::status::AccountView| {
                let token = if is_judged { &view.usage_gate } else { &view.token_gate };
                [&view.usage_gate, token, &view.auth_gate].map(|gate| (gate.failures, gate.rung, gate.until))
            };
            self.sky.ledger.stakes.count(Promise::RestoredIsTheSame);
            let soon = now.stamp + std::time::Duration::from_millis(HOUR / 60);
            let early = match (here.next_poll_at, there.next_poll_at) {
                // The record that two accounts share may hold the other's next poll.
                _ if self.sky.ledger.is_shared(n) => false,
                (Some(here), Some(there)) => there < here || there > here.max(soon),
                (here, there) => here.is_some() != there.is_some(),
            };
            let rung = |account| self.host.refused_next(n, account).map(|(_, rung)| rung);
            let (rung_now, rung_after) = (rung(account), rung(&twin));
            let differs =
                !self.sky.ledger.is_shared(n) && rung_now.is_some() && rung_after.is_some() && rung_now != rung_after;
            if early || differs || gates(&here) != gates(&there) {
                let at = self.host.machine.time();
                let how = format!(
                    "account {n}: {:?} {:?}, next {:?}, then {rung_now:?}; restored {:?} {:?}, next {:?}, then {rung_after:?}",
                    here.state,
                    gates(&here),
                    here.next_poll_at,
                    there.state,
                    gates(&there),
                    there.next_poll_at
                );
                self.sky.ledger.breaks(Promise::RestoredIsTheSame, at, how);
            }
        }
    }
}
