//! `quotad test-alert`: one made-up alert through each configured channel, from this process.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Args, ValueEnum};

use super::run::{load, runtime};
use super::{Exit, Failure, print};
use crate::clock::Clock;
use crate::config::Alerts;
use crate::export::notice::Channel;
use crate::model::AccountName;
use crate::paths::Paths;
use crate::policy::alert::Alert;
use crate::provider;
use crate::supervisor::network;
use crate::transport::{NetworkError, Transport};

/// How to get a channel, for whoever has none.
const HOW: &str = "no channel is configured, so alerts are only logged; [alerts.desktop], [alerts.exec] and \
                   [alerts.webhook] of the config make one (man quotad.toml)";

/// Arguments of `test-alert`.
#[derive(Debug, Args)]
pub(super) struct TestAlert {
    /// This channel alone
    #[arg(long, value_name = "NAME")]
    channel: Option<Name>,
}

/// A channel, on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    Desktop,
    Exec,
    Webhook,
}

impl From<Name> for Channel {
    fn from(name: Name) -> Self {
        match name {
            Name::Desktop => Self::Desktop,
            Name::Exec => Self::Exec,
            Name::Webhook => Self::Webhook,
        }
    }
}

impl TestAlert {
    /// Sends it and prints what came of it; failed unless every channel delivered.
    pub(super) fn run(self, config: Option<&Path>) -> Result<Exit, Failure> {
        let failed = |said: String| Failure::new(Exit::Failed, said);
        let paths = Paths::of_this_user().map_err(|error| failed(error.to_string()))?;
        let config = load(config, &paths)?.config;
        let channels = self.channels(&config.alerts)?;
        let transport = Transport::new(network(&config))
            .map_err(|error: NetworkError| Failure::new(Exit::Config, error.to_string()))?;
        let account = AccountName::parse("example").map_err(|rule| failed(rule.to_owned()))?;
        let alert = Alert::made_up(account, provider::ALL[0].id(), Clock::real().now().stamp);
        let runtime = runtime()?;
        let mut exit = Exit::Ok;
        for channel in channels {
            let delivered = runtime.block_on(channel.deliver(&alert, &config.alerts, &transport, channel.limit()));
            let mut line = format!("{channel} ({}): ", channel.target(&config.alerts));
            let _ = match delivered {
                Ok(said) => writeln!(line, "delivered; {said}"),
                Err(failure) => {
                    exit = Exit::Failed;
                    writeln!(line, "not delivered; {failure}")
                }
            };
            print(&line)?;
        }
        Ok(exit)
    }

    fn channels(&self, config: &Alerts) -> Result<Vec<Channel>, Failure> {
        let wanted = self.channel.map_or(Channel::ALL.to_vec(), |name| vec![name.into()]);
        let channels: Vec<_> = wanted.into_iter().filter(|channel| channel.is_configured(config)).collect();
        match (self.channel.map(Channel::from), channels.is_empty()) {
            (_, false) => Ok(channels),
            (Some(channel), true) => Err(Failure::new(
                Exit::Failed,
                format!("{channel} is not configured; [alerts.{channel}] of the config makes it (man quotad.toml)"),
            )),
            (None, true) => Err(Failure::new(Exit::Failed, HOW)),
        }
    }
}
