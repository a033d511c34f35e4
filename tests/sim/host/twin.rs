//! What an account would do if: the same account in a process and a machine of its own, which nobody else notices.

use std::collections::BTreeMap;
use std::time::Duration;

use quotad::credential::secret::FingerprintKey;
use quotad::model::{Endpoint, Exchange, UsageOutcome};
use quotad::policy::account::{Account, Action, Input};
use quotad::policy::schedule::Schedule;

use super::{Held, Host, Process, Random, Time};

impl Host {
    /// What an account would be if the process were killed and started now: it has looked at its file and recalled
    /// what is stored. `None` if something else comes first.
    pub(crate) fn twin(&self, n: usize) -> Option<Account> {
        let mut alone = self.alone(n, self.revive(n, false));
        let asks = alone.serve(Input::Timer, &mut self.dice.clone())?;
        let account = alone.process?.held.pop()?.account;
        (!asks && account.is_started()).then_some(account)
    }

    /// When `account` asks next, and the rung it is on if that is refused without advice: what it remembers of an
    /// incident that is over shows in nothing else. `None` if something else comes first.
    pub(crate) fn refused_next(&self, n: usize, account: &Account) -> Option<(Time, Option<u32>)> {
        let mut alone = self.alone(n, self.held(n, account.clone()));
        let mut dice = self.dice.clone();
        for _ in 0..4 {
            let wake = alone.process.as_ref()?.account(0).next_wake(alone.machine.now())?;
            alone.machine.time = alone.machine.time.max(alone.machine.time_of(wake));
            if alone.serve(Input::Timer, &mut dice)? {
                let now = alone.machine.now();
                let exchange = Exchange {
                    at: now.stamp,
                    endpoint: Endpoint::Usage,
                    status: Some(429),
                    meaning: String::new(),
                    headers: Vec::new(),
                    took: Duration::ZERO,
                };
                let account = &mut alone.process.as_mut()?.held[0].account;
                account.handle(Input::Replied(UsageOutcome::Limited { demand: None }, exchange), now, &mut dice);
                return Some((alone.machine.time, account.view(now).usage_gate.rung));
            }
        }
        None
    }

    fn alone(&self, n: usize, held: Held) -> Self {
        let machine = self.machine.clone();
        let key = FingerprintKey::new(&machine.disk.key);
        let (schedule, held) = (Schedule::new(), vec![held]);
        let process = Process { held, key, schedule, stopping: false, slept: false, store_at: None };
        Self {
            machine,
            rules: vec![self.rules[n].clone()],
            process: Some(process),
            under_way: BTreeMap::new(),
            count: 0,
            start_at: None,
            dice: self.dice.clone(),
            delays: self.delays.clone(),
            read: vec![None],
        }
    }

    /// Feeds an input and answers looks and recalls until the account asks (true) or rests (false).
    fn serve(&mut self, mut input: Input, dice: &mut Random) -> Option<bool> {
        loop {
            let now = self.machine.now();
            let actions = self.process.as_mut()?.held[0].account.handle(input, now, dice);
            let next = actions.into_iter().find(|action| !matches!(action, Action::Persist(_) | Action::Tell(_)));
            input = match next {
                None => return Some(false),
                Some(Action::Ask(_)) => return Some(true),
                Some(Action::Look) => Input::Looked(self.look(0)),
                Some(Action::Recall) => self.recall(0)?,
                Some(_) => return None,
            };
        }
    }
}
