//! What the machine asks of the world around it, and what it lets it see.

use std::time::Duration;

use quotad::credential::holding::Holding;
use quotad::demo::vendor;
use quotad::model::Endpoint;
use quotad::policy::account::{Account, Answer, Command, Record, Rules};
use quotad::policy::rotation::Step;
use quotad::provider::Reply;
use quotad::provider::exchange::Broken;

use super::machine::{Machine, Time};

/// A request that leaves the machine.
pub(crate) struct Sent<'a> {
    /// Which account sends it.
    pub account: usize,
    /// Where to.
    pub endpoint: Endpoint,
    /// The token it carries.
    pub token: &'a str,
    /// As it arrives at the vendor.
    pub request: vendor::Request,
}

/// Something the process is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Look at the credential file.
    Look,
    /// Send a usage request.
    Ask,
    /// Write a record to `state.db` (a fence is the step [`Step::OpenFence`]).
    Store,
    /// Perform a step of a rotation.
    Step(Step),
    /// Take in the answer of an endpoint.
    Hear(Endpoint),
}

/// Whether it comes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is done.
    Done,
    /// The process is killed before it, and started again after so long.
    Kill(Time),
    /// The machine loses power before it, and is up again after so long.
    PowerCut(Time),
}

/// Something that has just happened.
pub(crate) enum Saw<'a> {
    /// A process began; whether it could read nothing of what was stored.
    Started {
        /// See design.md, "Cautious state".
        cautious: bool,
    },
    /// The process is gone, and with it everything in memory.
    Died {
        /// The machine went with it.
        power: bool,
    },
    /// The machine slept.
    Woke,
    /// An account heard how an exchange ended.
    Heard(Endpoint, &'a Result<Reply, Broken>),
    /// A record was written to `state.db`, or could not be.
    Stored(&'a Record, bool),
    /// The successor was stored beside `state.db`, or could not be.
    KeptSuccessor(bool),
    /// quotad replaced a credential file: what lay there before.
    Replaced(&'a [u8]),
    /// A rotation gave its lock back, or never got it.
    Unlocked,
    /// The config changed; whether a process runs that reads it again.
    Reloaded(&'a Rules, bool),
    /// A person asked for something, and was answered.
    Commanded(Command, &'a Answer),
    /// An account has taken in something and said what follows; and what is held of its login in memory.
    Settled(&'a Account, &'a Holding),
}

/// The world around the machine: answers, interferes, watches.
pub(crate) trait Surroundings {
    /// What comes back for a request, and after how long.
    fn exchange(&mut self, sent: &Sent<'_>, machine: &mut Machine) -> (Result<Reply, Broken>, Duration);

    /// The vendor's command is started for an account.
    ///
    /// # Errors
    /// Why it does not run.
    fn run_command(&mut self, _account: usize, _machine: &mut Machine) -> Result<(), String> {
        Ok(())
    }

    /// Something is about to be done.
    fn before(&mut self, _account: usize, _deed: Deed, _machine: &mut Machine) -> Fate {
        Fate::Done
    }

    /// Something was done.
    fn saw(&mut self, _account: usize, _saw: Saw<'_>, _machine: &Machine) {}

    /// Whether enough was seen: nothing more happens then.
    fn is_over(&self) -> bool {
        false
    }
}
