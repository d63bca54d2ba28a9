//! What a service manager is told (systemd, `Type=notify`). Without one, nothing.

#[cfg(unix)]
use sd_notify::NotifyState;

/// It serves.
pub(super) fn ready() {
    #[cfg(unix)]
    tell(&[NotifyState::Ready]);
}

/// It drains, and ends then.
pub(super) fn stopping() {
    #[cfg(unix)]
    tell(&[NotifyState::Stopping]);
}

/// It reads its settings again, and says that it is ready then.
pub(super) fn reloading() {
    #[cfg(unix)]
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

#[cfg(unix)]
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}
