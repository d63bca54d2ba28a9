//! Virtual time, for tests that say how long something takes.

use std::time::Duration;

use tokio::time::{Instant, advance};

/// A stopwatch of virtual time: in a test with `start_paused`, time passes only while everybody waits for it, so what
/// passes is what the code waits for and nothing of the machine. Time that passes by itself is for benchmarks.
#[derive(Debug, Clone, Copy)]
pub struct VirtualTime(Instant);

impl VirtualTime {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// If time is not paused.
    pub async fn start() -> Self {
        // Nothing asks whether time is paused; this panics if it isn't.
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
