//! The signals that end a process or make it reload its settings.

use std::io;

use embed_core::{Error, ErrorKind};

/// A signal that ends the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndSignal {
    Interrupt,
    Terminate,
}

impl EndSignal {
    /// The exit code of a process that the signal ends immediately, as in shells.
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Waits for a signal that ends the process.
pub(crate) async fn wait_for_signal() -> Result<(), Error> {
    Signals::new()?.end().await.map(drop)
}

fn failed(error: io::Error) -> Error {
    Error::new(ErrorKind::Internal, "the system delivers no signals").with_source(error)
}

#[cfg(unix)]
mod system {
    use embed_core::Error;
    use tokio::signal::unix::{Signal, SignalKind, signal};

    use crate::signals::{EndSignal, failed};

    /// The signals, from now on.
    #[derive(Debug)]
    pub(crate) struct Signals {
        interrupt: Signal,
        terminate: Signal,
    }

    impl Signals {
        pub(crate) fn new() -> Result<Self, Error> {
            let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
            Ok(Self {
                interrupt: signal(interrupt).map_err(failed)?,
                terminate: signal(terminate).map_err(failed)?,
            })
        }

        /// Waits for the next signal that ends the process.
        pub(crate) async fn end(&mut self) -> Result<EndSignal, Error> {
            Ok(tokio::select! {
                _ = self.interrupt.recv() => EndSignal::Interrupt,
                _ = self.terminate.recv() => EndSignal::Terminate,
            })
        }
    }

    /// Signals for reading the settings again.
    #[derive(Debug)]
    pub(crate) struct Hangups(Signal);

    impl Hangups {
        pub(crate) fn new() -> Result<Self, Error> {
            signal(SignalKind::hangup()).map(Self).map_err(failed)
        }

        pub(crate) async fn next(&mut self) {
            self.0.recv().await;
        }
    }
}

#[cfg(not(unix))]
mod system {
    use embed_core::Error;

    use crate::signals::{EndSignal, failed};

    /// The signals, from now on.
    #[derive(Debug)]
    pub(crate) struct Signals;

    impl Signals {
        pub(crate) fn new() -> Result<Self, Error> {
            Ok(Self)
        }

        /// Waits for the next signal that ends the process.
        pub(crate) async fn end(&mut self) -> Result<EndSignal, Error> {
            tokio::signal::ctrl_c().await.map(|()| EndSignal::Interrupt).map_err(failed)
        }
    }

    /// Signals for reading the settings again; this system has none.
    #[derive(Debug)]
    pub(crate) struct Hangups;

    impl Hangups {
        pub(crate) fn new() -> Result<Self, Error> {
            Ok(Self)
        }

        pub(crate) async fn next(&mut self) {
            std::future::pending().await
        }
    }
}

pub(crate) use system::{Hangups, Signals};
