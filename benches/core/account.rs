//! One poll of one Claude account under the default config, input by input; an account that has been polled for five
//! hours, so that it holds as many exchanges as it ever will.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use divan::Bencher;
use quotad::model::{Credential, Endpoint, Exchange, Fingerprint, Login, UsageOutcome};
use quotad::policy::account::{Account, Action, Input, Look};
use quotad::policy::refresh::Marks;
use quotad::policy::status::AccountState;
use quotad::policy::time::{Loaded, Moment, Now, Stamp};

use crate::{listed, parse};

const POLLS: usize = 30;

/// The dice.
const HALF: Loaded = Loaded(0.5);

/// An account right before an input.
#[derive(Clone)]
struct Step {
    account: Account,
    input: Input,
    now: Now,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.input {
            Input::Timer => "1 timer",
            Input::Looked(_) => "2 looked",
            Input::Consulted(_) => "3 consulted",
            Input::Replied(UsageOutcome::Answered { .. }, _) => "4 replied, 200",
            Input::Replied(UsageOutcome::Limited { .. }, _) => "4 replied, 429",
            input => unreachable!("no part of an ordinary poll: {input:?}"),
        })
    }
}

/// An account, its file, and the clocks.
#[derive(Clone)]
struct Life {
    account: Account,
    login: Login,
    now: Now,
}

impl Life {
    fn begin() -> Self {
        let (account, config, paths) =
            listed("[accounts.work]\nprovider = \"claude\"\ncredentials = \"~/.claude/.credentials.json\"\n");
        let rules = quotad::supervisor::rules(&account, &config, &paths, false);
        let now = Now { moment: Moment::from_millis(18_000_000), stamp: Stamp::from_second(1_800_000_000).unwrap() };
        let login = Login {
            access: Fingerprint::new([1; 16]),
            refresh: Some(Fingerprint::new([2; 16])),
            expires_at: Some(now.stamp.checked_add(Duration::from_hours(8)).unwrap()),
            login_ends_at: None,
            scopes: Some(vec!["user:inference".to_owned(), "user:profile".to_owned()]),
            plan: Some("max_20x".to_owned()),
            identity: Some("01234567-89ab-cdef-0123-456789abcdef".to_owned()),
            modified_at: Some(now.stamp),
            unsafe_because: None,
        };
        let account = Account::new(rules, "boot".to_owned(), None, Marks::default(), false, now);
        Self { account, login, now }
    }

    /// Right before an ordinary poll.
    fn grown_up() -> Self {
        let (mut life, answer) = (Self::begin(), parse::claude());
        let mut polls = 0;
        while polls < POLLS {
            polls += usize::from(asks(&life.serve(&answer)));
        }
        let view = life.account.view(life.now);
        assert!(view.state == AccountState::Ok && view.exchanges.len() == 20, "an ordinary account: {view:?}");
        life
    }

    /// Waits for the next timer and serves it to its end; each step on the way.
    fn serve(&mut self, answer: &UsageOutcome) -> Vec<Step> {
        let moment = self.account.next_wake(self.now).unwrap().max(self.now.moment);
        self.now = Now { moment, stamp: self.now.stamp_at(moment) };
        let (mut steps, mut inputs) = (Vec::new(), VecDeque::from([Input::Timer]));
        while let Some(input) = inputs.pop_front() {
            steps.push(Step { account: self.account.clone(), input: input.clone(), now: self.now });
            let actions = self.account.handle(input, self.now, &mut HALF.clone());
            inputs.extend(actions.into_iter().filter_map(|action| self.perform(&action, answer)));
        }
        steps
    }

    fn perform(&self, action: &Action, answer: &UsageOutcome) -> Option<Input> {
        let credential = || Credential::Login(self.login.clone());
        let look = || Look { credential: credential(), doubt: &[], warning: None, in_use: false, unplaced: None };
        match action {
            Action::Look => Some(Input::Looked(look())),
            Action::Recall => Some(Input::Recalled(Box::default())),
            Action::Consult => Some(Input::Consulted(None)),
            Action::Ask(_) => Some(Input::Replied(answer.clone(), self.exchange(answer))),
            Action::Persist(_) | Action::Tell(_) => None,
            action => unreachable!("no part of an ordinary poll: {action:?}"),
        }
    }

    fn exchange(&self, answer: &UsageOutcome) -> Exchange {
        let (status, headers) = match answer {
            UsageOutcome::Limited { .. } => (429, vec![("retry-after".to_owned(), "60".to_owned())]),
            _ => (200, Vec::new()),
        };
        Exchange {
            at: self.now.stamp,
            endpoint: Endpoint::Usage,
            status: Some(status),
            meaning: String::new(),
            headers,
            took: Duration::from_millis(200),
        }
    }
}

/// Whether a request leaves on the way.
fn asks(steps: &[Step]) -> bool {
    steps.iter().any(|step| matches!(step.input, Input::Replied(..)))
}

fn limited() -> UsageOutcome {
    UsageOutcome::Limited { demand: Some(Duration::from_secs(60)) }
}

/// The steps of a poll that is answered, and how the account stands after it.
fn poll(answer: &UsageOutcome, state: AccountState) -> (Vec<Step>, Life) {
    let mut life = Life::grown_up();
    let steps = life.serve(answer);
    assert!(steps.len() == 4 && asks(&steps), "timer, look, local files, answer");
    assert_eq!(life.account.view(life.now).state, state);
    (steps, life)
}

fn steps() -> impl Iterator<Item = Step> {
    let (answered, refused) = (poll(&parse::claude(), AccountState::Ok).0, poll(&limited(), AccountState::Throttled).0);
    answered.into_iter().chain(refused.into_iter().skip(3))
}

/// Each input by itself.
#[divan::bench(args = steps(), sample_size = 50)]
fn handle(bencher: Bencher<'_, '_>, step: &Step) {
    bencher.with_inputs(|| (step.account.clone(), Some(step.input.clone()))).bench_local_refs(|(account, input)| {
        input.take().map(|input| account.handle(input, step.now, &mut HALF.clone()))
    });
}

/// All four inputs of a poll that brings numbers.
#[divan::bench(sample_size = 50)]
fn whole_poll(bencher: Bencher<'_, '_>) {
    let (steps, _) = poll(&parse::claude(), AccountState::Ok);
    let inputs = || steps.iter().map(|step| step.input.clone()).collect::<Vec<_>>();
    bencher.with_inputs(|| (steps[0].account.clone(), inputs())).bench_local_refs(|(account, inputs)| {
        for input in inputs.drain(..) {
            divan::black_box(account.handle(input, steps[0].now, &mut HALF.clone()));
        }
    });
}

/// What everyone sees, after a poll that was answered so.
#[divan::bench(args = [200, 429], sample_size = 50)]
fn view(bencher: Bencher<'_, '_>, status: u16) {
    let (_, life) = match status {
        200 => poll(&parse::claude(), AccountState::Ok),
        _ => poll(&limited(), AccountState::Throttled),
    };
    bencher.bench_local(|| life.account.view(life.now));
}
