//! `desktop = {}`: shows the notice on the desktop, through the notification service of the
//! session (Desktop Notifications Specification 1.3).
//!
//! Works where watchpost itself runs in somebody's session. A system service cannot reach a user's
//! bus, not even as root, and says so; there `watchpost notify`, run by the user, shows the notices
//! by the same [`Desktop`]. Never the only channel to rely on: a notification is shown, not read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify_rust::{Notification, Timeout, Urgency};
use tokio::time::{Instant, timeout};

use super::{Action, Kind, Notice, Rejected};
use crate::pollers::Shared;
use crate::rules::{Severity, State};

crate::config! {
    /// Shows notices on the desktop of the session watchpost runs in.
    pub struct Config {}
}

impl Kind for Config {
    type Action = Desktop;

    const TELLS_PEOPLE: bool = true;

    fn action(&self, _: Duration, _: &Arc<Shared>) -> Desktop {
        Desktop::default()
    }
}

/// A call to the notification service takes milliseconds; one that hangs never returns.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// Alerts shown as notifications of their own within [`BURST_WINDOW`]; more are shown as one that
/// counts them, so that an outage does not paper over the screen.
const BURST_MAX: u32 = 5;

/// See [`BURST_MAX`].
const BURST_WINDOW: Duration = Duration::from_secs(10);

/// Alerts whose notification is remembered, to be replaced when they clear. Beyond, all are
/// forgotten, and those that clear get a notification of their own.
const SHOWN_MAX: usize = 1_000;

/// Characters of a text that are shown: a label may be as long as it likes, a screen is not.
const TEXT_CHARS_MAX: usize = 500;

/// Shows notices; remembers which notification is whose.
#[derive(Debug, Default)]
pub struct Desktop {
    state: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    /// The notification of each alert, by fingerprint.
    ids: HashMap<String, u32>,
    window: Option<Instant>,
    /// Notices in this window.
    count: u32,
    /// The notification that counts what is not shown.
    summary_id: Option<u32>,
}

/// What to show of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    /// A notification of its own, instead of the one of this id.
    Own(Option<u32>),
    /// One more among many, instead of the notification of this id.
    Many(u32, Option<u32>),
}

impl Shown {
    fn admit(&mut self, fingerprint: &str, now: Instant) -> Show {
        if self.window.is_none_or(|began| now.duration_since(began) >= BURST_WINDOW) {
            self.window = Some(now);
            self.count = 0;
            self.summary_id = None;
        }
        self.count += 1;
        // What replaces its own takes no more room on the screen.
        let own = self.ids.get(fingerprint).copied();
        if own.is_some() || self.count <= BURST_MAX {
            Show::Own(own)
        } else {
            Show::Many(self.count - BURST_MAX, self.summary_id)
        }
    }

    fn remember(&mut self, notice: &Notice, id: u32) {
        if notice.state == State::Inactive {
            self.ids.remove(&notice.fingerprint);
            return;
        }
        if self.ids.len() >= SHOWN_MAX {
            self.ids.clear();
        }
        self.ids.insert(notice.fingerprint.clone(), id);
    }
}

impl Action for Desktop {
    async fn fire(&self, notice: &Notice) -> Result<String, Rejected> {
        let show = self.lock().admit(&notice.fingerprint, Instant::now());
        match show {
            Show::Own(replaces) => {
                let id = call(&notification(notice), replaces).await?;
                self.lock().remember(notice, id);
                Ok(format!("shown as notification {id}"))
            }
            Show::Many(more, replaces) => {
                let id = call(&summary(more, notice), replaces).await?;
                self.lock().summary_id = Some(id);
                Ok(format!("counted in notification {id}"))
            }
        }
    }
}

impl Desktop {
    fn lock(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows it and returns its id. The connection to the bus ends with the call.
async fn call(notification: &Notification, replaces: Option<u32>) -> Result<u32, Rejected> {
    let mut notification = notification.clone();
    if let Some(id) = replaces {
        notification.id(id);
    }
    match timeout(CALL_TIMEOUT, notification.show_async()).await {
        Ok(Ok(handle)) => Ok(handle.id()),
        Ok(Err(error)) => Err(classified(&error.to_string())),
        Err(_) => Err(Rejected::temporary("the notification service does not answer")),
    }
}

/// Errors of the service have a D-Bus name; all others are about reaching the bus.
fn classified(error: &str) -> Rejected {
    if error.starts_with("org.freedesktop.DBus.Error.ServiceUnknown") {
        Rejected::temporary("no notification service runs in this session")
    } else if error.starts_with("org.") {
        Rejected::temporary(format!("the notification service refuses: {error}"))
    } else {
        Rejected::Permanent(format!(
            "no desktop session can be reached from here ({error}); \
             a service shows nothing itself: run `watchpost notify` as the user who should see it"
        ))
    }
}

fn notification(notice: &Notice) -> Notification {
    let over = notice.state == State::Inactive;
    let word = if over { "over" } else { notice.severity.as_str() };
    let mut body = escaped(&notice.summary);
    if !notice.description.is_empty() {
        body = format!("{body}\n{}", escaped(&notice.description));
    }
    if !notice.reason.is_empty() {
        body = format!("{body}\n<i>{}</i>", escaped(&notice.reason));
    }
    let urgency = match notice.severity {
        _ if over => Urgency::Normal,
        Severity::Info => Urgency::Low,
        Severity::Warning => Urgency::Normal,
        Severity::Critical => Urgency::Critical,
    };
    // The title is no markup to any service, so it is not escaped.
    built(&format!("{}: {word}", bounded(&notice.rule)), &body, urgency)
}

fn summary(more: u32, last: &Notice) -> Notification {
    let body = format!("the last: {}", escaped(&last.summary));
    built(&format!("{more} more notices"), &body, Urgency::Critical)
}

fn built(title: &str, body: &str, urgency: Urgency) -> Notification {
    let mut notification = Notification::new();
    notification.appname("watchpost").summary(title).body(body);
    notification.urgency(urgency).timeout(Timeout::Default);
    notification
}

/// Text from outside, as text inside markup.
fn escaped(text: &str) -> String {
    bounded(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn bounded(text: &str) -> String {
    let printable = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
    let mut shown: String = text.chars().take(TEXT_CHARS_MAX).map(printable).collect();
    if text.chars().nth(TEXT_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::testing::notice;

    #[test]
    fn text_from_outside_is_no_markup_and_has_an_end() {
        let mut notice = notice("x", State::Firing);
        notice.summary = "<b>&\u{7}".to_owned() + &"y".repeat(100_000);
        let shown = notification(&notice);
        assert!(shown.body.starts_with("&lt;b&gt;&amp; yyy"), "{}", &shown.body[..30]);
        assert!(shown.body.len() < 700);
        assert_eq!(shown.summary, "gateway-down: critical");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_counted_in_one_notification() {
        let mut shown = Shown::default();
        let now = Instant::now();
        shown.remember(&notice("known", State::Firing), 7);
        for n in 0..BURST_MAX {
            assert_eq!(shown.admit(&n.to_string(), now), Show::Own(None));
        }
        assert_eq!(shown.admit("a", now), Show::Many(1, None));
        shown.summary_id = Some(9);
        assert_eq!(shown.admit("b", now), Show::Many(2, Some(9)));
        assert_eq!(shown.admit("known", now), Show::Own(Some(7)));
        assert_eq!(shown.admit("c", now + BURST_WINDOW), Show::Own(None));
    }

    #[test]
    fn only_a_bus_out_of_reach_is_beyond_hope() {
        let error = "org.freedesktop.DBus.Error.ServiceUnknown: The name is not activatable";
        assert!(matches!(classified(error), Rejected::Temporary { .. }));
        let error = "I/O error: failed to connect to unix:path=/run/user/0/bus";
        let Rejected::Permanent(message) = classified(error) else { panic!("a permanent one") };
        assert!(message.contains("watchpost notify"));
    }
}
