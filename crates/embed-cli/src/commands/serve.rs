//! `embed serve`: the gateway over the stack that the settings describe.

mod bridge;
mod lines;
mod log;
mod offer;
mod stack;
#[cfg(feature = "otlp")]
mod traces;

use std::sync::Arc;

use clap::Args;
use embed_core::{Error, ErrorKind};
use embed_e5::assets::DataHome;
use embed_gateway::{ApiKey, Gateway, GatewayConfig, TlsConfig};
use embed_metrics::Metered;
use tokio::net::TcpListener;

use bridge::Watch;
use stack::ServedStack;

use crate::cache;
use crate::exit::{Exit, file_error};
use crate::output::print;
use crate::settings::{GatewaySettings, Settings, flags};
use crate::signals::wait_for_signal;

/// Embed for everybody who doesn't write Rust: one port in the dialects of OpenAI, Ollama and TEI.
///
/// It listens on this machine alone unless API keys are set. A browser finds a page at the address; /openapi.json says
/// what there is, /metrics is for Prometheus. SIGTERM and Ctrl-C let accepted requests end first.
#[derive(Debug, Args)]
#[command(args = flags(&["service", "e5", "ollama", "router", "cache", "gateway"]))]
pub(crate) struct ServeArgs {}

pub(crate) async fn run(_: ServeArgs, home: DataHome, settings: &Settings) -> Result<Exit, Error> {
    let log = log::start(&settings.log)?;
    let served = serve(home, settings).await;
    log.finish().await;
    served
}

async fn serve(home: DataHome, settings: &Settings) -> Result<Exit, Error> {
    // Settings that can't work are said before a model is loaded.
    let mut config = config(&settings.gateway)?;
    let address = settings.gateway.listen;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let what = "this address can't be listened at; another program may have it: choose one by --listen";
        Error::new(ErrorKind::Config, what).with_context("address", address).with_source(error)
    })?;
    let stack = Arc::new(ServedStack::build(settings, home).await?);
    let watch = Watch::start(&stack);

    config.models = stack.models();
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let embedder = Arc::new(Metered::new(Arc::clone(&stack.router), &stack.metrics));
    let gateway = Gateway::new(embedder, config)
        .with_explainer(Arc::new(bridge::Explains(Arc::clone(&stack.router))))
        .with_planner(Arc::new(bridge::Plans(Arc::clone(&stack.router))))
        .with_status(watch.status())
        .with_metrics(watch.metrics())
        .with_observer(Arc::new(bridge::Observes(stack.metrics.gateway())));
    let address = listener.local_addr().unwrap_or(address);
    print(&format!("serving {scheme}://{address} ({})\n", stack.router))?;
    let shutdown = async {
        if let Err(error) = wait_for_signal().await {
            tracing::error!(%error, "the system doesn't tell of signals; only a kill ends this process");
            std::future::pending::<()>().await;
        }
    };
    let served = gateway.serve(listener, shutdown).await;
    cache::finish(stack.cache.as_ref()).await;
    let drained = served?;
    if drained.cut > 0 {
        tracing::warn!(
            connections = drained.cut,
            "the drain limit was over before every request was answered"
        );
    }
    Ok(Exit::Done)
}

/// The gateway's settings with what has to be read from files.
fn config(settings: &GatewaySettings) -> Result<GatewayConfig, Error> {
    let mut config = settings.config.clone();
    if let Some(path) = &settings.api_key_file {
        let keys = std::fs::read_to_string(path)
            .map_err(|error| file_error("the file of API keys can't be read", path.display(), error))?;
        let keys = keys.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys = keys.enumerate().map(|(index, key)| ApiKey::new(format!("file-{}", index + 1), key));
        let before = config.api_keys.len();
        config.api_keys.extend(keys);
        // Whoever names a file wants a key to be asked for.
        if config.api_keys.len() == before {
            return Err(Error::new(ErrorKind::Config, "the file of API keys has none; write one a line")
                .with_context("file", path.display()));
        }
    }
    config.tls = match (&settings.tls_certificate, &settings.tls_key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(TlsConfig::new(certificate, key)),
        _ => {
            let what = "TLS needs gateway.tls_certificate and gateway.tls_key; one of them is missing";
            return Err(Error::new(ErrorKind::Config, what));
        }
    };
    Ok(config)
}
