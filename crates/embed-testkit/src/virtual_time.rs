//! Virtual time, for tests that say how long something takes.

use std::time::Duration;

use tokio::time::{Instant, advance};

/// A stopwatch of virtual time. In a test with `start_paused`, time only passes while every task waits for it, so the
/// result is the time that the code waits, whatever the machine does. Real time is for benchmarks.
#[derive(Debug, Clone, Copy)]
pub struct VirtualTime(Instant);

impl VirtualTime {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// If time is not paused.
    pub async fn start() -> Self {
        // Tokio has no query for paused time; this panics if it isn't paused.
        advance(Duration::ZERO).await;
        Self(Instant::now())
    }

    /// When it was started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.0
    }

    /// How much virtual time has passed.
    #[must_use]
    pub fn passed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_what_is_waited_for() {
        let time = VirtualTime::start().await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(time.passed(), Duration::from_secs(3600));
    }

    #[tokio::test]
    #[should_panic(expected = "time is not frozen")]
    async fn there_is_none_where_time_passes_by_itself() {
        VirtualTime::start().await;
    }
}
