//! SIGHUP: API keys, certificate and log level are read again. If anything is wrong, everything stays as it was.

use embed_core::Error;
use embed_gateway::GatewayWatch;
use tokio::task::JoinHandle;

use super::log::Filter;
use super::{callers, manager};
use crate::settings::Settings;
use crate::signals::Hangups;

/// Reads the settings again at each signal, until it is dropped.
pub(super) struct Reload(JoinHandle<()>);

impl Reload {
    /// `again` reads the settings again as at the start.
    pub(super) fn start(
        gateway: GatewayWatch,
        filter: Filter,
        again: impl Fn() -> Result<Settings, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let mut hangups = Hangups::new()?;
        Ok(Self(tokio::spawn(async move {
            loop {
                hangups.next().await;
                manager::reloading();
                match reload(&gateway, &filter, &again) {
                    Ok(keys) => tracing::info!(keys, "API keys, certificate and log level were read again"),
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

/// Everything is read before anything is replaced; returns the number of keys.
fn reload(
    gateway: &GatewayWatch,
    filter: &Filter,
    again: &impl Fn() -> Result<Settings, Error>,
) -> Result<usize, Error> {
    let settings = again()?;
    let config = callers::config(&settings.gateway)?;
    gateway.reload(&config)?;
    filter.set(&settings.log)?;
    Ok(config.api_keys.len())
}
