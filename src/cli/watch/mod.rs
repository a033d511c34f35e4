//! `quotad watch`: every account, live.
//!
//! Owns the loop between the keyboard, the clock and the daemon. `scene` is what is known and selected, `draw` puts it
//! on a screen and is pure, `link` talks to the daemon, `keys` reads the keyboard, `screen` takes the terminal and gives
//! it back, `backend` writes to it. Asks the daemon at events and every ten seconds, never at the tick that moves the countdowns.

mod backend;
mod draw;
mod keys;
mod link;
mod scene;
mod screen;
mod seen;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use self::scene::{Scene, Wish};
use self::screen::Screen;
use super::page::Page;
use super::run::runtime;
use super::{Daemon, Exit, Failure};
use crate::clock::Clock;
use crate::control::client::Client;
use crate::service::{ScreenSignal, ScreenSignals};

/// How often the countdowns move.
const TICK: Duration = Duration::from_secs(1);

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub(super) struct Watch {
    #[command(flatten)]
    daemon: Daemon,
}

impl Watch {
    /// Shows until a key or a signal ends it, with or without a daemon.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
            return Err(Failure::new(Exit::Usage, "watch needs a terminal: use `quotad status` elsewhere"));
        }
        let client = self.daemon.client()?;
        let shown = runtime()?.block_on(watch(client));
        shown.map_err(|error| Failure::new(Exit::Failed, format!("drawing on the terminal: {error}")))?;
        Ok(Exit::Ok)
    }
}

async fn watch(client: Client) -> io::Result<()> {
    let (page, clock) = (Page::here(), Clock::real());
    let mut signals = ScreenSignals::take()?;
    let mut screen = Screen::take()?;
    let mut keys = keys::listen();
    let (tell, mut news) = mpsc::channel(64);
    tokio::spawn(link::follow(client.clone(), tell.clone()));
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut scene = Scene::default();
    loop {
        let now = clock.now().stamp;
        screen.draw(|frame| draw::draw(frame, &scene, &page.clone().at(now)))?;
        tokio::select! {
            biased;
            signal = signals.next() => match signal {
                ScreenSignal::Stop => return Ok(()),
                ScreenSignal::Resized => {}
            },
            key = keys.recv() => match key.map(|key| scene.press(key)) {
                None | Some(Some(Wish::Quit)) => return Ok(()),
                Some(Some(Wish::Poll(account))) => {
                    tokio::spawn(link::poll(client.clone(), account, tell.clone()));
                }
                Some(None) => {}
            },
            // The sender is held here as well, so it never ends.
            Some(one) = news.recv() => scene.take(one, clock.now().stamp),
            _ = tick.tick() => {}
        }
    }
}
