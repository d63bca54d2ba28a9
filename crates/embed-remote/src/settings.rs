//! How a call goes about its texts, whatever the protocol.

use std::time::Duration;

use backon::BackoffBuilder;

/// What a client's own settings come down to for its calls.
#[derive(Debug, Clone)]
pub struct CallSettings {
    /// Requests in flight at one server.
    pub pool_size: usize,
    /// How long a whole call may take, if the request doesn't say.
    pub deadline: Option<Duration>,
    /// How often a request is tried, the first time included.
    pub tries: u32,
    /// The pause before the second try; each one after it is twice as long.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// From its first failure on, how long a request waits for servers of which none answers.
    pub longest_outage: Duration,
    /// The longest pause that a server may ask for.
    pub longest_asked: Duration,
    /// How long a request without a deadline is tried at servers that throttle.
    pub longest_throttled: Duration,
    /// Bytes of text in one request.
    pub max_batch_bytes: usize,
    /// Texts in one request.
    pub max_batch_rows: usize,
    /// A longer text is refused, unless it may be cut.
    pub max_text_bytes: usize,
    /// Send each text alone, so that every row has its token count.
    pub count_tokens: bool,
}

impl CallSettings {
    /// From the first pause, each twice as long, with up to as much again by chance, so that clients which
    /// failed together don't come back together.
    pub fn pauses(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        let longest = self.longest_pause;
        backon::ExponentialBuilder::new()
            .with_min_delay(self.first_pause)
            .with_max_delay(longest)
            .with_factor(2.0)
            .with_max_times(self.tries as usize)
            .with_jitter()
            .build()
            .map(move |pause| pause.min(longest))
    }
}
