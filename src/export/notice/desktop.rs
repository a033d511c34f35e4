//! A notice on the desktop, through the session's bus. The bus is asked for each time: it comes and goes with the
//! session.

use std::time::Duration;

use notify_rust::{Notification, Urgency};

use super::Undelivered;
use super::message::Message;
use crate::clock;
use crate::policy::alert::{Alert, Severity};

pub(super) async fn deliver(alert: &Alert, limit: Duration) -> Result<String, Undelivered> {
    let message = Message::of(alert, &clock::zone());
    let (urgency, icon) = match alert.kind.severity() {
        Severity::Info => (Urgency::Normal, "dialog-information"),
        Severity::Warning => (Urgency::Normal, "dialog-warning"),
        Severity::Urgent => (Urgency::Critical, "dialog-error"),
    };
    let mut notice = Notification::new();
    notice.appname("quotad").summary(&message.title).body(&plain(&message.text)).icon(icon).urgency(urgency);
    match tokio::time::timeout(limit, notice.show_async()).await {
        Ok(Ok(_)) => Ok("the desktop took it".to_owned()),
        Ok(Err(error)) => Err(Undelivered::certainly(format!("the session's bus did not take it: {error}"))),
        Err(_) => Err(Undelivered::perhaps(format!("no answer within {} s", limit.as_secs()))),
    }
}

/// Most desktops read the body as markup.
fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendors_name_for_a_window_is_no_markup() {
        assert_eq!(plain("<a href=\"x\">weekly & more</a>"), "&lt;a href=\"x\"&gt;weekly &amp; more&lt;/a&gt;");
    }
}
