//! The refresh as a step machine: lock, probe, re-read, fence, check, post, store the successor, compare, stage,
//! replace, read back, settle, unlock.
//!
//! Owns the order of the steps and what each result leads to. Never performs one: `credential::owner` does, and
//! every point at which a process can be killed is the name of a step, so that the simulation and the real thing are
//! tested at the same places. The order is the promise: the fence is durable before the POST, and an answer is
//! durable before the credential file is touched.

use std::time::Duration;

use crate::model::{Fingerprint, Refusal};

/// One step, to be performed by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Take the exclusion that lies with the file.
    Lock,
    /// Prove that the directory can be written, before anything is spent.
    Probe,
    /// Read the file again under the lock.
    ReRead,
    /// Store durably that a POST of this token begins.
    OpenFence,
    /// Look once more whether the lock is still ours.
    CheckLock,
    /// Send the one POST.
    Post,
    /// Store the answer durably beside `state.db`.
    StoreSuccessor,
    /// Read the file again: does it still hold the posted token?
    Compare,
    /// Write the new file beside the old one.
    Stage,
    /// Put it in the old one's place.
    Replace,
    /// Read it back.
    ReadBack,
    /// Remove the stored successor: it is in its place.
    Settle,
    /// Give the lock back.
    Unlock,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 13] = [
        Self::Lock,
        Self::Probe,
        Self::ReRead,
        Self::OpenFence,
        Self::CheckLock,
        Self::Post,
        Self::StoreSuccessor,
        Self::Compare,
        Self::Stage,
        Self::Replace,
        Self::ReadBack,
        Self::Settle,
        Self::Unlock,
    ];

    /// Its name, for logs and for the tests that kill at it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Probe => "probe",
            Self::ReRead => "re-read",
            Self::OpenFence => "open-fence",
            Self::CheckLock => "check-lock",
            Self::Post => "post",
            Self::StoreSuccessor => "store-successor",
            Self::Compare => "compare",
            Self::Stage => "stage",
            Self::Replace => "replace",
            Self::ReadBack => "read-back",
            Self::Settle => "settle",
            Self::Unlock => "unlock",
        }
    }
}

/// What the POST brought, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minted {
    /// Names the new access token; the old one's name when the answer was damaged and held only a refresh token.
    pub access: Fingerprint,
    /// Names the refresh token that is good from here on.
    pub refresh: Fingerprint,
    /// How long the access token lives.
    pub lease: Duration,
}

/// What a step came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Done; for a read: the file holds the token it should.
    Done,
    /// A read found another token in the file.
    Changed,
    /// Somebody else holds the lock; who, as a clause. Worth another try soon.
    Busy(String),
    /// It could not be done; why, as a clause.
    Failed(String),
    /// The POST was answered with a new token.
    Granted(Minted),
    /// The POST was not.
    Refused(Refusal),
}

/// How a rotation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The new token lies in the file.
    Minted(Minted),
    /// The new token is in memory and, if that could be written, in the successor file; the file could not be
    /// written.
    Unplaced(Minted, String),
    /// Before the POST the file turned out to hold another token: nothing was sent, use that one.
    Adopted,
    /// After the POST the file holds another token: the successor is kept aside, the file is left alone.
    LostRace,
    /// The server gave no new token.
    Refused(Refusal),
    /// Nothing was sent: somebody else holds the lock.
    Busy(String),
    /// Nothing was sent: what stood in the way, as a clause.
    Held(String),
}

/// What comes after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Perform this step.
    Perform(Step),
    /// The rotation is over.
    Over(End),
}

/// One rotation under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    posted: Fingerprint,
    step: Step,
    minted: Option<Minted>,
    /// Set once the outcome is decided; what remains is to clean up.
    end: Option<End>,
    /// Brings a stored successor to its place instead of posting.
    placing: bool,
}

impl Rotation {
    /// A rotation of the refresh token `posted`, standing at its first step.
    pub fn of(posted: Fingerprint) -> Self {
        Self { posted, step: Step::Lock, minted: None, end: None, placing: false }
    }

    /// Brings a stored successor of `posted` to its place: the same steps without the POST.
    pub fn placing(posted: Fingerprint, minted: Minted) -> Self {
        Self { posted, step: Step::Lock, minted: Some(minted), end: None, placing: true }
    }

    /// The token that is exchanged.
    pub fn posted(&self) -> Fingerprint {
        self.posted
    }

    /// What the server granted, once it has.
    pub fn minted(&self) -> Option<&Minted> {
        self.minted.as_ref()
    }

    /// The step to perform now.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Takes the result of the current step.
    pub fn on(&mut self, event: Event) -> Next {
        match (self.step, event) {
            (Step::Lock, Event::Done) if self.placing => self.go(Step::StoreSuccessor),
            (Step::Lock, Event::Done) => self.go(Step::Probe),
            (Step::Lock, Event::Busy(who)) => Next::Over(End::Busy(who)),
            (Step::Lock, other) => Next::Over(End::Held(clause(other, "the lock was not to be had"))),

            (Step::Probe, Event::Done) => self.go(Step::ReRead),
            (Step::ReRead, Event::Done) => self.go(Step::OpenFence),
            (Step::ReRead, Event::Changed) => self.finish(Step::Unlock, End::Adopted),
            (Step::OpenFence, Event::Done) => self.go(Step::CheckLock),
            (Step::CheckLock, Event::Done) => self.go(Step::Post),
            (Step::Probe | Step::ReRead | Step::OpenFence | Step::CheckLock, other) => {
                self.finish(Step::Unlock, End::Held(clause(other, "the file changed")))
            }

            (Step::Post, Event::Granted(minted)) => {
                self.minted = Some(minted);
                self.go(Step::StoreSuccessor)
            }
            (Step::Post, Event::Refused(refusal)) => self.finish(Step::Unlock, End::Refused(refusal)),
            // Not even begun: the daemon stops.
            (Step::Post, Event::Failed(why)) => self.finish(Step::Unlock, End::Held(why)),
            (Step::Post, _) => self.finish(Step::Unlock, End::Refused(Refusal::Unknown("the exchange broke off"))),

            // A successor that cannot be stored is still worth writing into the file.
            (Step::StoreSuccessor, _) => self.go(Step::Compare),
            (Step::Compare, Event::Done) => self.go(Step::Stage),
            (Step::Stage, Event::Done) => self.go(Step::Replace),
            (Step::Compare, Event::Changed) => self.finish(Step::Unlock, End::LostRace),
            (Step::Replace, Event::Done) => self.go(Step::ReadBack),
            (Step::ReadBack, Event::Done) => {
                let end = self.placed();
                self.finish(Step::Settle, end)
            }
            (Step::Compare | Step::Stage | Step::Replace | Step::ReadBack, other) => {
                let why = clause(other, "the file changed while it was written");
                let end = match self.minted.clone() {
                    Some(minted) => End::Unplaced(minted, why),
                    None => End::Held(why),
                };
                self.finish(Step::Unlock, end)
            }

            (Step::Settle, _) => self.go(Step::Unlock),
            (Step::Unlock, _) => Next::Over(self.end.clone().unwrap_or_else(|| self.placed())),
        }
    }

    fn go(&mut self, step: Step) -> Next {
        self.step = step;
        Next::Perform(step)
    }

    fn finish(&mut self, step: Step, end: End) -> Next {
        self.end = Some(end);
        self.go(step)
    }

    fn placed(&self) -> End {
        match self.minted.clone() {
            Some(minted) => End::Minted(minted),
            None => End::Held("there was nothing to place".to_owned()),
        }
    }
}

fn clause(event: Event, otherwise: &str) -> String {
    match event {
        Event::Failed(why) | Event::Busy(why) => why,
        Event::Done | Event::Changed | Event::Granted(_) | Event::Refused(_) => otherwise.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minted() -> Minted {
        Minted { access: Fingerprint::new([8; 16]), refresh: Fingerprint::new([9; 16]), lease: Duration::from_mins(1) }
    }

    /// Runs a rotation in which every step succeeds but `odd`, which answers `event`; returns the steps and the end.
    fn run(odd: Step, event: &Event) -> (Vec<Step>, End) {
        let mut rotation = Rotation::of(Fingerprint::new([1; 16]));
        let mut steps = vec![rotation.step()];
        loop {
            let step = rotation.step();
            let result = match step {
                _ if step == odd => event.clone(),
                Step::Post => Event::Granted(minted()),
                _ => Event::Done,
            };
            match rotation.on(result) {
                Next::Perform(next) => steps.push(next),
                Next::Over(end) => return (steps, end),
            }
        }
    }

    fn failed() -> Event {
        Event::Failed("disk full".to_owned())
    }

    #[test]
    fn a_rotation_takes_every_step_in_order() {
        let (steps, end) = run(Step::Lock, &Event::Done);
        assert_eq!(steps, Step::ALL);
        assert_eq!(end, End::Minted(minted()));
    }

    #[test]
    fn steps_have_the_names_that_the_tests_which_kill_at_them_use() {
        assert_eq!(
            Step::ALL.map(Step::as_str).join(" "),
            "lock probe re-read open-fence check-lock post store-successor compare stage replace read-back settle unlock"
        );
    }

    #[test]
    fn nothing_is_posted_unless_every_step_before_it_succeeded() {
        for step in [Step::Lock, Step::Probe, Step::ReRead, Step::OpenFence, Step::CheckLock] {
            for event in [failed(), Event::Changed] {
                let (steps, end) = run(step, &event);
                assert!(!steps.contains(&Step::Post), "{step:?} {event:?}");
                assert!(matches!(end, End::Held(_) | End::Adopted), "{step:?} {event:?}: {end:?}");
            }
        }
    }

    #[test]
    fn a_post_that_was_not_even_begun_is_no_unknown_outcome() {
        assert_eq!(run(Step::Post, &failed()).1, End::Held("disk full".to_owned()));
    }

    #[test]
    fn a_token_found_under_the_lock_is_adopted_without_a_post() {
        assert_eq!(run(Step::ReRead, &Event::Changed).1, End::Adopted);
    }

    #[test]
    fn the_successor_is_stored_before_the_file_is_touched_and_kept_when_that_fails() {
        for step in [Step::Compare, Step::Stage, Step::Replace, Step::ReadBack] {
            let (steps, end) = run(step, &failed());
            assert!(steps.contains(&Step::StoreSuccessor) && !steps.contains(&Step::Settle), "{step:?}");
            assert_eq!(end, End::Unplaced(minted(), "disk full".to_owned()), "{step:?}");
        }
        assert_eq!(run(Step::StoreSuccessor, &failed()).1, End::Minted(minted()), "the file is still worth writing");
    }

    #[test]
    fn a_newer_login_in_the_file_is_never_overwritten() {
        let (steps, end) = run(Step::Compare, &Event::Changed);
        assert!(!steps.contains(&Step::Replace) && !steps.contains(&Step::Settle));
        assert_eq!(end, End::LostRace);
    }

    #[test]
    fn the_lock_is_given_back_whatever_happens_once_it_was_taken() {
        for step in Step::ALL.into_iter().filter(|step| *step != Step::Lock) {
            for event in [failed(), Event::Changed, Event::Refused(Refusal::Challenge)] {
                assert_eq!(run(step, &event).0.last(), Some(&Step::Unlock), "{step:?} {event:?}");
            }
        }
    }

    #[test]
    fn placing_a_stored_successor_takes_the_same_steps_without_the_post() {
        let mut rotation = Rotation::placing(Fingerprint::new([1; 16]), minted());
        let mut steps = vec![rotation.step()];
        while let Next::Perform(step) = rotation.on(Event::Done) {
            steps.push(step);
        }
        assert_eq!(
            steps,
            [
                Step::Lock,
                Step::StoreSuccessor,
                Step::Compare,
                Step::Stage,
                Step::Replace,
                Step::ReadBack,
                Step::Settle,
                Step::Unlock
            ]
        );
    }
}
