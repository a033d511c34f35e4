//! The way to the daemon: listens for its events, and looks at its status after each and every ten seconds.
//!
//! Owns how often the daemon is asked. Never gives up: without a daemon it tries again every second and says so once
//! each time.

use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::scene::News;
use crate::control::client::{Client, ClientError};
use crate::control::events::Told;
use crate::model::AccountName;
use crate::policy::account::Command;

/// How long without an event before the status is looked at all the same: readings come without one.
const LOOK: Duration = Duration::from_secs(10);
/// How long the events that come together may take.
const SETTLE: Duration = Duration::from_millis(200);
/// How long until a daemon that does not answer is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Tells all that happens, for as long as somebody listens.
pub(super) async fn follow(client: Client, tell: Sender<News>) {
    while !tell.is_closed() {
        if let Err(error) = stay(&client, &tell).await {
            let _ = tell.send(News::Lost(error.to_string())).await;
        }
        sleep(RETRY).await;
    }
}

/// One connection, until it breaks or nobody listens.
async fn stay(client: &Client, tell: &Sender<News>) -> Result<(), ClientError> {
    // The events come first, so that nothing can happen unseen between the two.
    let mut events = client.events_in_time().await?;
    loop {
        let status = News::Status(Box::new(client.status(None).await?));
        if tell.send(status).await.is_err() {
            return Ok(());
        }
        let Ok(told) = timeout(LOOK, events.next()).await else { continue };
        pass_on(told?, tell).await;
        let settled = Instant::now() + SETTLE;
        while let Ok(told) = timeout_at(settled, events.next()).await {
            pass_on(told?, tell).await;
        }
    }
}

async fn pass_on(told: Told, tell: &Sender<News>) {
    if let Told::Changed(event) = told {
        let _ = tell.send(News::Event(event)).await;
    }
}

/// Asks for a poll, and tells what came of it.
pub(super) async fn poll(client: Client, account: AccountName, tell: Sender<News>) {
    let said = match client.command(&account, Command::Poll).await {
        Ok(answer) => News::Said(format!("{account}: {}", answer.said), answer.at.or(answer.until)),
        Err(error) => News::Said(error.to_string(), None),
    };
    let _ = tell.send(said).await;
}
