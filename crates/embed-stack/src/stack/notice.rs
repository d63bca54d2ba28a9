//! What whoever runs a stack should know while it goes on.

/// Takes a notice: a sentence without a full stop at its end, for one line of a log.
pub type Notice = fn(&str);

/// Writes it to the log of the program, if that has one.
pub(super) fn log(notice: &str) {
    tracing::warn!("{notice}");
}
