//! Notifies the service manager (systemd, `Type=notify`), if there is one.

#[cfg(unix)]
use sd_notify::NotifyState;

/// The service is ready.
pub(super) fn ready() {
    #[cfg(unix)]
    tell(&[NotifyState::Ready]);
}

/// The service drains and then ends.
pub(super) fn stopping() {
    #[cfg(unix)]
    tell(&[NotifyState::Stopping]);
}

/// The service reads its settings again; `ready` follows.
pub(super) fn reloading() {
    #[cfg(unix)]
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

#[cfg(unix)]
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager can't be notified");
    }
}
