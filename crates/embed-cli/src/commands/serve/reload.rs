//! SIGHUP: the settings are read again: API keys, certificate, log level, and the models with their routes. If anything is
//! wrong, everything stays as it was.

use embed_core::Error;
use embed_encoder::assets::DataHome;
use embed_gateway::GatewayWatch;
use tokio::task::JoinHandle;

use super::live::Live;
use super::log::Filter;
use super::{callers, manager};
use crate::settings::Settings;
use crate::signals::Hangups;

/// Reads the settings again at each signal, until it is dropped.
pub(super) struct Reload(JoinHandle<()>);

/// What is read again.
pub(super) struct Reloaded {
    pub(super) gateway: GatewayWatch,
    pub(super) filter: Filter,
    pub(super) live: Live,
    pub(super) home: DataHome,
}

impl Reload {
    /// `again` reads the settings again as at the start.
    pub(super) fn start(
        parts: Reloaded,
        again: impl Fn() -> Result<Settings, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let mut hangups = Hangups::new()?;
        Ok(Self(tokio::spawn(async move {
            loop {
                hangups.next().await;
                manager::reloading();
                match Box::pin(parts.reload(&again)).await {
                    Ok((keys, models)) => tracing::info!(keys, models, "the settings were read again"),
                    Err(error) => {
                        let cause = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::error!(%error, cause, "the settings can't be read again; the earlier ones stay in force");
                    }
                }
                manager::ready();
            }
        })))
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Reloaded {
    /// Everything is read, and new models are loaded, before anything is replaced; returns the number of keys, and whether
    /// the models were exchanged.
    async fn reload(
        &self,
        again: &impl Fn() -> Result<Settings, Error>,
    ) -> Result<(usize, &'static str), Error> {
        let settings = again()?;
        let config = callers::config(&settings.gateway)?;
        let stack = self.live.rebuilt(&settings, &self.home).await?;
        self.gateway.reload(&config)?;
        self.filter.set(&settings.log)?;
        let models = match stack {
            Some(stack) => {
                self.live.exchange(stack, &self.gateway).await?;
                "exchanged"
            }
            None => "as before",
        };
        Ok((config.api_keys.len(), models))
    }
}
