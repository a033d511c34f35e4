//! The story, chapter by chapter: what the vendors and the people do, and where the daemon must have got by then.
//!
//! Each chapter sets a scene, waits for the daemon to reach a state by its own rules, and holds the vendor's journal
//! against the promise the chapter is about.

use std::time::{Duration, Instant};

use super::DemoError;
use super::stage::{Stage, derailed};
use super::vendor::{Answer, Budget, Call, RetryAfter};
use crate::model::Endpoint;
use crate::policy::status::{AccountState, AccountView, GateState};

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// Long enough for everything that happens here.
const A_WORKING_DAY: Duration = Duration::from_hours(8);

/// Tells the whole story.
pub(super) async fn tell(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    healthy_polls(stage).await?;
    usage_storm(stage).await?;
    token_storm(stage).await?;
    cli_rotates(stage).await?;
    revoked(stage).await?;
    rejected(stage).await?;
    new_logins(stage).await
}

async fn healthy_polls(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.chapter(
        "1  Healthy polls",
        &["laptop"],
        "laptop's credential file belongs to the vendor's CLI: quotad only reads it. It asks every 10 minutes, a \
         little later each time by chance, so that many clients do not ask in step.",
    );
    stage.happens("laptop", "someone logs in with the vendor's CLI");
    stage.log_in("laptop", minutes(90))?;
    stage.until("laptop", "be polled three times", |view| is_ok(view) && view.counters.ok >= 3).await?;
    Ok(())
}

async fn usage_storm(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.chapter(
        "2  The usage endpoint says 429",
        &["eager"],
        "eager is polled every 5 minutes. Its vendor allows two requests in 16.5 minutes and starts this time again \
         at every refusal, with a Retry-After of 0: whoever keeps asking every 5 minutes stays out for ever.",
    );
    let budget =
        Budget { requests: 2, window: Duration::from_secs(990), restarts: true, retry_after: RetryAfter::Zero };
    stage.vendor("eager").with(|world| world.budget = Some(budget));
    stage.happens("eager", "someone logs in with the vendor's CLI");
    stage.log_in("eager", A_WORKING_DAY)?;
    stage.until("eager", "be throttled", |view| view.counters.throttled > 0).await?;
    let out = stage.until("eager", "get out of the 429s", is_ok).await?;
    stage.until("eager", "go on at the learned interval", |view| view.counters.ok > out.counters.ok).await?;
    let asked = stage.journal("eager", |call| call.endpoint == Some(Endpoint::Usage));
    stage.remark(&format!(
        "The vendor's journal: {} requests in all, {} refused, {} minutes apart. A 429 changes the pace, not only the \
         next attempt; the learned interval shrinks back by a tenth of the excess per success.",
        asked.len(),
        asked.iter().filter(|call| call.status == Some(429)).count(),
        gaps(&asked)
    ));
    stage.vendor("eager").with(|world| world.budget = None);
    stage.happens("eager", "the vendor drops that limit");
    Ok(())
}

async fn token_storm(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.chapter(
        "3  The token endpoint says 429",
        &["night-shift"],
        "night-shift is a grant of quotad's own: quotad refreshes it ahead of expiry. The token endpoint has a gate of \
         its own. While the access token is good, usage is asked on; and usage being refused never spends a refresh \
         token.",
    );
    for _ in 0..3 {
        stage.vendor("night-shift").token().next(Answer::RateLimited(RetryAfter::Absent));
    }
    stage.happens("night-shift", "someone logs in; this access token expires in half an hour");
    stage.log_in("night-shift", minutes(30))?;
    stage.until("night-shift", "be refreshed after three refusals", |view| view.counters.refreshes > 0).await?;
    stage.until("night-shift", "be polled with the new token", just_answered).await?;
    let posts = stage.journal("night-shift", |call| call.endpoint == Some(Endpoint::Token));
    stage.remark(&format!("The vendor's journal: {} posts, {} minutes apart.", posts.len(), gaps(&posts)));
    let too_early = posts.windows(2).zip([5, 10, 20]).find(|(pair, rung)| apart(pair) < minutes(*rung));
    match too_early {
        Some((_, rung)) => Err(derailed(format!("the token endpoint was asked again before {rung} minutes were over"))),
        None => Ok(()),
    }
}

async fn cli_rotates(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.chapter(
        "4  The vendor's CLI rotates the file",
        &["laptop"],
        "laptop's access token has expired meanwhile. Its refresh token is the CLI's to spend, so quotad waits.",
    );
    let waiting = stage.until("laptop", "wait for its owner", |view| view.state == AccountState::Waiting).await?;
    stage.recall(&waiting);
    stage.happens("laptop", "the vendor's CLI is used: it refreshes and replaces the file");
    write_and_be_polled(stage, "laptop", |stage| stage.cli_rotates("laptop")).await
}

async fn revoked(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.chapter(
        "5  A login is revoked",
        &["studio"],
        "studio is a grant of quotad's own too. Its vendor revokes the whole login: no token of it is good any more.",
    );
    stage.happens("studio", "someone logs in");
    stage.log_in("studio", A_WORKING_DAY)?;
    stage.until("studio", "be polled", is_ok).await?;
    stage.happens("studio", "the vendor revokes the login");
    let tokens = stage.tokens("studio")?;
    stage.vendor("studio").with(|world| world.revoke(&tokens.refresh));
    let is_dead = |view: &AccountView| view.state == AccountState::Dead && view.counters.refresh_failures > 0;
    stage.until("studio", "be dead", is_dead).await?;
    Ok(())
}

async fn rejected(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.chapter(
        "6  A token is rejected, and nobody says why",
        &["desktop"],
        "desktop's vendor forgets an access token that should be good for hours. That may pass: three rejections in a \
         row of the same, unchanged file close the auth gate, and each further one takes it to the next rung.",
    );
    stage.happens("desktop", "someone logs in with the vendor's CLI");
    stage.log_in("desktop", A_WORKING_DAY)?;
    stage.until("desktop", "be polled", is_ok).await?;
    stage.happens("desktop", "the vendor forgets the access token");
    let tokens = stage.tokens("desktop")?;
    stage.vendor("desktop").with(|world| world.withdraw(&tokens.access));
    let is_on_third_rung = |view: &AccountView| view.auth_gate.rung >= Some(2);
    stage.until("desktop", "climb the auth pause", is_on_third_rung).await?;
    Ok(())
}

async fn new_logins(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.chapter(
        "7  New logins",
        &["desktop", "studio"],
        "A changed file lifts a dead mark and an auth pause at once.",
    );
    let dead = stage.view("studio")?;
    stage.recall(&dead);
    let revoked = stage.tokens("studio")?.refresh;
    let posts = stage.vendor("studio").with(|world| world.posts_of(&revoked).count());
    let since = stage.journal("studio", |call| call.at > dead.since).len();
    if (posts, since) != (1, 0) {
        let said = format!("the revoked login was posted {posts} times, and asked with {since} times once dead");
        return Err(derailed(said));
    }
    stage.remark("The vendor's journal: its refresh token was posted once in all, and nothing has been sent since.");
    stage.happens("studio", "someone logs in again");
    write_and_be_polled(stage, "studio", |stage| stage.log_in("studio", A_WORKING_DAY)).await?;
    let paused = stage.view("desktop")?;
    stage.recall(&paused);
    stage.happens("desktop", "the vendor's CLI refreshes and replaces the file");
    write_and_be_polled(stage, "desktop", |stage| stage.cli_rotates("desktop")).await?;
    let replayed = stage.report().tallies.into_iter().find(|tally| tally.replays > 0);
    replayed.map_or(Ok(()), |tally| Err(derailed(format!("{} posted a spent refresh token", tally.account))))
}

/// Changes a file and says how long, in real time, the request took that this earns.
async fn write_and_be_polled<'t>(
    stage: &mut Stage<'t>,
    name: &str,
    write: impl FnOnce(&mut Stage<'t>) -> Result<(), DemoError>,
) -> Result<(), DemoError> {
    let before = stage.view(name)?.counters.ok;
    let written = Instant::now();
    write(stage)?;
    stage.until(name, "take up the new token", |view| is_ok(view) && view.counters.ok > before).await?;
    let asked = stage.journal(name, |call| call.endpoint == Some(Endpoint::Usage));
    let took = asked.last().map_or(Duration::ZERO, |call| call.arrived.saturating_duration_since(written));
    stage.remark(&format!("The vendor saw the new token {} ms of real time after the file changed.", took.as_millis()));
    Ok(())
}

fn just_answered(view: &AccountView) -> bool {
    let last = view.exchanges.last();
    is_ok(view) && last.is_some_and(|last| last.endpoint == Endpoint::Usage && last.status == Some(200))
}

fn is_ok(view: &AccountView) -> bool {
    view.state == AccountState::Ok && view.usage_gate.state == GateState::Clear
}

/// The minutes between one call and the next: `5.2, 5.0, 10.4`.
fn gaps(calls: &[Call]) -> String {
    let gaps = calls.windows(2).map(|pair| format!("{:.1}", apart(pair).as_secs_f64() / 60.0));
    gaps.collect::<Vec<_>>().join(", ")
}

fn apart(pair: &[Call]) -> Duration {
    Duration::try_from(pair[1].at.duration_since(pair[0].at)).unwrap_or_default()
}
