//! The signals that end a process, or have it read its settings again.

use std::io;

/// A signal that asks the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Interrupt,
    Terminate,
}

impl End {
    /// The exit code of a process that ends by it at once, as shells have it.
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Waits until somebody asks the process to end.
pub(crate) async fn wait_for_signal() -> io::Result<()> {
    Signals::new()?.end().await.map(drop)
}

#[cfg(unix)]
mod system {
    use std::io;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::End;

    /// The signals, from now on.
    #[derive(Debug)]
    pub(crate) struct Signals {
        interrupt: Signal,
        terminate: Signal,
    }

    impl Signals {
        pub(crate) fn new() -> io::Result<Self> {
            let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
            Ok(Self { interrupt: signal(interrupt)?, terminate: signal(terminate)? })
        }

        /// Waits until somebody asks the process to end; also a second time.
        pub(crate) async fn end(&mut self) -> io::Result<End> {
            Ok(tokio::select! {
                _ = self.interrupt.recv() => End::Interrupt,
                _ = self.terminate.recv() => End::Terminate,
            })
        }
    }

    /// Signals that ask for the settings to be read again.
    #[derive(Debug)]
    pub(crate) struct Hangups(Signal);

    impl Hangups {
        pub(crate) fn new() -> io::Result<Self> {
            signal(SignalKind::hangup()).map(Self)
        }

        pub(crate) async fn next(&mut self) {
            self.0.recv().await;
        }
    }
}

#[cfg(not(unix))]
mod system {
    use std::io;

    use super::End;

    /// The signals, from now on.
    #[derive(Debug)]
    pub(crate) struct Signals;

    impl Signals {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        /// Waits until somebody asks the process to end; also a second time.
        pub(crate) async fn end(&mut self) -> io::Result<End> {
            tokio::signal::ctrl_c().await.map(|()| End::Interrupt)
        }
    }

    /// Signals that ask for the settings to be read again: here there are none.
    #[derive(Debug)]
    pub(crate) struct Hangups;

    impl Hangups {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        pub(crate) async fn next(&mut self) {
            std::future::pending().await
        }
    }
}

pub(crate) use system::{Hangups, Signals};
