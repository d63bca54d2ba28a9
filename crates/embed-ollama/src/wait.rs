//! How long an answer is waited for: a load is never aborted, and a dead server is not waited for.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use embed_remote::{Http, Limit, Patience, Seen, Trouble, add};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use crate::config::OllamaConfig;
use crate::identity::same_model;
use crate::stats::Counters;

/// What a server that gives no answer is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pulse {
    /// It doesn't answer anything.
    Dead,
    /// It is loading the model, or waits to.
    Loading,
    /// The model is loaded and has answered before.
    Busy,
}

/// The server that is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting<'a> {
    pub(crate) http: &'a Http,
    pub(crate) config: &'a OllamaConfig,
    pub(crate) counters: &'a Counters,
}

/// Between two looks at `/api/ps`.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Waits for an answer. When the request timeout is over, the server is asked what it does: one that
/// loads the model is waited for up to the load timeout.
pub(crate) async fn wait<T>(
    waiting: Waiting<'_>,
    patience: Patience,
    answer: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let mut answer = pin!(answer);
    let began = Instant::now();
    let config = waiting.config;
    let step = config.request_timeout;
    let busy_limit = match patience {
        Patience::Usual => step,
        Patience::More => step * 4,
    };
    loop {
        let left = config.load_timeout.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(Seen::Silence.into());
        }
        if let Ok(answer) = timeout(step.min(left), &mut answer).await {
            return answer;
        }
        let pulse = tokio::select! {
            biased;
            answer = &mut answer => return answer,
            pulse = pulse(waiting) => pulse,
        };
        match pulse {
            Pulse::Dead => return Err(Seen::Silence.into()),
            Pulse::Busy if began.elapsed() >= busy_limit => return Err(Seen::Silence.into()),
            Pulse::Busy | Pulse::Loading => add(&waiting.counters.long_waits, 1),
        }
    }
}

#[derive(Deserialize)]
struct Running {
    #[serde(default)]
    models: Option<Vec<RunningModel>>,
}

#[derive(Deserialize)]
struct RunningModel {
    #[serde(default)]
    name: String,
    #[serde(default)]
    expires_at: String,
}

async fn pulse(Waiting { http, config, .. }: Waiting<'_>) -> Pulse {
    let look = || async {
        let running = timeout(config.connect_timeout, http.get::<Running>("/api/ps", Limit::LIST)).await;
        // A server without the route is alive all the same.
        match running {
            Err(_) => Err(Pulse::Dead),
            Ok(Err(Trouble { seen: Seen::Answer { .. }, .. })) => Err(Pulse::Loading),
            Ok(Err(_)) => Err(Pulse::Dead),
            Ok(Ok(running)) => Ok(running
                .models
                .unwrap_or_default()
                .into_iter()
                .find(|model| same_model(&model.name, &config.model))
                .map(|model| model.expires_at)),
        }
    };
    // A model that is still loading may be listed too. It has no end of its life yet, and the server shows
    // one counted from the moment of the question, so that it moves between two questions.
    let first = match look().await {
        Err(pulse) => return pulse,
        Ok(None) => return Pulse::Loading,
        Ok(Some(expires)) => expires,
    };
    sleep(LOOK_AGAIN).await;
    match look().await {
        Err(pulse) => pulse,
        Ok(Some(second)) if second == first => Pulse::Busy,
        Ok(_) => Pulse::Loading,
    }
}
