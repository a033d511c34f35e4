//! Alerts in front of their channels: a queue, a worker and a breaker for each, beside the loop.
//!
//! What certainly reached nobody is tried again once the breaker lets it, for an hour; what may have reached somebody is
//! not. What does not fit into a queue is dropped and said. Nothing here is stored: see the module above.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use super::{Channel, Undelivered};
use crate::clock::Clock;
use crate::policy::cooldown::Cooldown;
use crate::policy::ladder::Ladder;
use crate::policy::time::Deadline;
use crate::supervisor::alert::Notice;

/// So many alerts wait for a channel at most.
const WAITING: usize = 32;
/// An alert that could not be delivered for so long is history.
const OUTDATED: Duration = Duration::from_hours(1);

/// How patient a channel is.
#[derive(Debug, Clone)]
struct Pace {
    /// The breaker's waits after failures in a row.
    ladder: Ladder,
    /// How long one alert may take.
    limit: Duration,
}

impl Pace {
    fn of(channel: Channel) -> Self {
        let rungs = [1, 5, 15].map(Duration::from_mins).to_vec();
        Self { ladder: Ladder::new(rungs, Duration::from_hours(1)), limit: channel.limit() }
    }
}

/// Hands every alert to the channels it is configured for, until the loop is gone.
pub async fn distribute(notices: broadcast::Receiver<Notice>, clock: Clock) {
    distribute_at(notices, clock, Pace::of).await;
}

async fn distribute_at(mut notices: broadcast::Receiver<Notice>, clock: Clock, pace: impl Fn(Channel) -> Pace) {
    let mut queues: BTreeMap<Channel, mpsc::Sender<Notice>> = BTreeMap::new();
    loop {
        let notice = match notices.recv().await {
            Ok(notice) => notice,
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(
                    event = "alert-dropped",
                    missed,
                    "{missed} alerts came faster than they could be handed on"
                );
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        for channel in Channel::ALL.into_iter().filter(|channel| channel.is_configured(&notice.channels)) {
            let queue = queues.entry(channel).or_insert_with(|| {
                let (queue, waiting) = mpsc::channel(WAITING);
                let worker =
                    Worker { channel, pace: pace(channel), breaker: Cooldown::default(), clock: clock.clone() };
                tokio::spawn(worker.run(waiting));
                queue
            });
            if queue.try_send(notice.clone()).is_err() {
                dropped(channel, &notice, "too many wait already");
            }
        }
    }
}

/// Delivers through one channel, one alert at a time.
struct Worker {
    channel: Channel,
    pace: Pace,
    breaker: Cooldown,
    clock: Clock,
}

impl Worker {
    async fn run(mut self, mut waiting: mpsc::Receiver<Notice>) {
        while let Some(notice) = waiting.recv().await {
            self.work_off(&notice).await;
        }
    }

    async fn work_off(&mut self, notice: &Notice) {
        loop {
            if let Some(until) = self.breaker.until() {
                tokio::time::sleep(until.at.since(self.clock.now().moment) / self.clock.speed()).await;
            }
            if self.clock.now().since(notice.alert.at) > OUTDATED {
                return dropped(self.channel, notice, "it could not be delivered for an hour");
            }
            let Notice { alert, channels, transport } = notice;
            match self.channel.deliver(alert, channels, transport, self.pace.limit).await {
                Ok(said) => return self.note_delivery(notice, &said),
                Err(failure) => {
                    self.note_failure(notice, &failure);
                    if !failure.is_certain {
                        return;
                    }
                }
            }
        }
    }

    fn note_delivery(&mut self, notice: &Notice, said: &str) {
        let (channel, account, kind) =
            (self.channel.as_str(), notice.alert.account.as_str(), notice.alert.kind.as_str());
        if self.breaker.is_open() {
            tracing::info!(event = "alert-delivered", channel, account, kind, "{channel} works again: {said}");
        } else {
            tracing::debug!(event = "alert-delivered", channel, account, kind, "{channel}: {said}");
        }
        self.breaker.close(&self.pace.ladder, Duration::ZERO, self.clock.now().moment);
    }

    /// The breaker opens, or stays open for longer. A person looks once: the first failure of an incident is a warning.
    fn note_failure(&mut self, notice: &Notice, failure: &Undelivered) {
        let now = self.clock.now();
        let was_open = self.breaker.is_open();
        self.breaker.count();
        let rung = self.breaker.climb(now.moment);
        self.breaker.wait(Deadline::after(now.moment, self.pace.ladder.cooldown(rung)));
        let (channel, account, kind) =
            (self.channel.as_str(), notice.alert.account.as_str(), notice.alert.kind.as_str());
        let until = self.breaker.until().map(|until| now.stamp_at(until.at).strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let rest = if failure.is_certain { "it is tried again" } else { "it is not tried again" };
        let reason = failure.said.as_str();
        if was_open {
            tracing::info!(
                event = "alert-not-delivered",
                channel,
                account,
                kind,
                until,
                reason,
                "{channel} did not deliver an alert ({reason}); {rest}"
            );
        } else {
            tracing::warn!(
                event = "alert-not-delivered",
                channel,
                account,
                kind,
                until,
                reason,
                "{channel} did not deliver an alert ({reason}); {rest}, and {channel} rests until {}",
                until.as_deref().unwrap_or_default()
            );
        }
    }
}

fn dropped(channel: Channel, notice: &Notice, reason: &str) {
    let (account, kind) = (notice.alert.account.as_str(), notice.alert.kind.as_str());
    let channel = channel.as_str();
    tracing::warn!(
        event = "alert-dropped",
        channel,
        account,
        kind,
        reason,
        "an alert for {channel} is dropped: {reason}"
    );
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::super::sample;
    use super::*;
    use crate::config::{Alerts, Config, Webhook, WebhookFormat};
    use crate::policy::alert::Alert;
    use crate::transport::{Network, Transport};

    /// An alert of this moment for these channels.
    fn notice(clock: &Clock, channels: &Alerts, account: &str) -> Notice {
        let account = crate::model::AccountName::parse(account).unwrap();
        let alert = Alert { at: clock.now().stamp, account, ..sample::threshold() };
        let transport = Transport::new(Network::default()).unwrap();
        Notice { alert: Arc::new(alert), channels: Arc::new(channels.clone()), transport: Arc::new(transport) }
    }

    fn shell(script: &str) -> Alerts {
        let exec = Some(["/bin/sh", "-c", script].map(str::to_owned).to_vec());
        Alerts { exec, ..Config::default().alerts }
    }

    /// A quarter of a second, then half of one.
    fn quick(_: Channel) -> Pace {
        let rungs = [250, 500].map(Duration::from_millis).to_vec();
        Pace { ladder: Ladder::new(rungs, Duration::from_secs(1)), limit: Duration::from_millis(300) }
    }

    fn lines(path: &Path) -> usize {
        std::fs::read_to_string(path).unwrap_or_default().lines().count()
    }

    async fn wait_for(what: &str, done: impl Fn() -> bool) {
        for _ in 0..1000 {
            if done() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("waited for {what}");
    }

    #[tokio::test]
    async fn what_certainly_reached_nobody_comes_once_the_program_is_there_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let (program, out) = (dir.path().join("hook"), dir.path().join("out"));
        let channels = Alerts { exec: Some(vec![program.display().to_string()]), ..Config::default().alerts };
        let clock = Clock::real();
        let (sender, receiver) = broadcast::channel(64);
        tokio::spawn(distribute_at(receiver, clock.clone(), quick));
        for account in ["a", "b", "c"] {
            sender.send(notice(&clock, &channels, account)).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
        let staged = dir.path().join("staged");
        std::fs::write(&staged, format!("#!/bin/sh\necho $QUOTAD_ALERT_ACCOUNT >> {}\n", out.display())).unwrap();
        std::fs::set_permissions(&staged, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::rename(staged, program).unwrap();
        wait_for("three alerts", || lines(&out) == 3).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(std::fs::read_to_string(out).unwrap(), "a\nb\nc\n", "in their order, each once");
    }

    #[tokio::test]
    async fn what_may_have_reached_somebody_is_not_sent_again_and_opens_the_breaker() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let channels = shell(&format!("echo >> {}; exit 1", out.display()));
        let clock = Clock::real();
        let (sender, receiver) = broadcast::channel(64);
        tokio::spawn(distribute_at(receiver, clock.clone(), quick));
        let began = std::time::Instant::now();
        for account in ["a", "b"] {
            sender.send(notice(&clock, &channels, account)).unwrap();
        }
        wait_for("the second alert", || lines(&out) == 2).await;
        assert!(began.elapsed() >= Duration::from_millis(250), "it waited for the breaker");
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(lines(&out), 2);
    }

    #[tokio::test]
    async fn a_channel_that_hangs_holds_up_no_other_and_what_does_not_fit_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let webhook = Some(Webhook { url, format: WebhookFormat::Json, token_file: None });
        let channels = Alerts { webhook, ..shell(&format!("echo >> {}", out.display())) };
        let clock = Clock::real();
        let (sender, receiver) = broadcast::channel(256);
        let patient = |channel| Pace { limit: Duration::from_secs(60), ..quick(channel) };
        tokio::spawn(distribute_at(receiver, clock.clone(), patient));
        for wave in 0..3 {
            for _ in 0..20 {
                sender.send(notice(&clock, &channels, "a")).unwrap();
            }
            // The program takes every one of them, while the webhook has its first.
            wait_for("the program", || lines(&out) == 20 * (wave + 1)).await;
        }
        // What waits is delivered once it can be: the one in hand, and as many as the queue holds.
        for answered in 0..=WAITING {
            let request = answer(&silent).await;
            assert!(!request.contains("last"), "only {answered} waited");
            if answered == 10 {
                sender.send(notice(&clock, &channels, "last")).unwrap();
            }
        }
        assert!(answer(&silent).await.contains("last"), "more were kept than fit");
    }

    /// Answers the next delivery; what it said.
    async fn answer(server: &tokio::net::TcpListener) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut stream, _) = tokio::time::timeout(Duration::from_secs(20), server.accept()).await.unwrap().unwrap();
        let mut request = String::new();
        while !request.trim_end().ends_with('}') {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).await.unwrap();
            assert!(read > 0, "the request broke off: {request}");
            request += &String::from_utf8_lossy(&piece[..read]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
        request
    }

    #[tokio::test]
    async fn what_is_an_hour_old_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let channels = shell(&format!("echo >> {}", out.display()));
        let clock = Clock::real();
        let mut old = notice(&clock, &channels, "a");
        let at = clock.now().stamp - Duration::from_mins(61);
        old.alert = Arc::new(Alert { at, ..(*old.alert).clone() });
        let mut worker = Worker {
            channel: Channel::Exec,
            pace: quick(Channel::Exec),
            breaker: Cooldown::default(),
            clock: clock.clone(),
        };
        worker.work_off(&old).await;
        assert_eq!(lines(&out), 0);
        worker.work_off(&notice(&clock, &channels, "a")).await;
        assert_eq!(lines(&out), 1);
    }
}
