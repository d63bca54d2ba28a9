//! `embed serve`: the gateway over the stack that the settings describe.

mod bridge;
mod callers;
mod labels;
mod live;
mod log;
mod manager;
mod model_details;
mod reload;
mod served_model;
mod stack;
#[cfg(feature = "otlp")]
mod traces;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Args;
use embed_core::{Error, ErrorKind};
use embed_encoder::assets::DataHome;
use embed_gateway::{Gateway, Server};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use bridge::Watch;
use live::Live;
use log::Log;
use reload::{Reload, Reloaded};
use stack::ServedStack;

use crate::exit::Exit;
use crate::io::output::print;
use crate::settings::{Settings, flags, ip};
use crate::signals::{EndSignal, Signals};
use crate::stack::cache;

/// How long to wait until the line with the address is written.
const FIRST_LINE: Duration = Duration::from_secs(1);

/// Serve embeddings over HTTP: one port for the APIs of OpenAI, Ollama and TEI.
///
/// It only listens on this machine unless API keys are set. A browser finds a page at the address; /openapi.json
/// describes the API, /metrics is for Prometheus. SIGTERM and Ctrl-C let accepted requests end first; a second one ends
/// the process immediately. SIGHUP reads the settings again: API keys, certificate, log level, models and routes.
#[derive(Debug, Args)]
#[command(args = flags(&["service", "e5", "ollama", "router", "cache", "gateway"]))]
pub(crate) struct ServeArgs {
    /// The host to listen at, instead of that of --listen: an IP address or a name.
    #[arg(long, value_name = "HOST", conflicts_with = "gateway.listen")]
    host: Option<String>,

    /// The port to listen at, instead of that of --listen; 0 is any free one.
    #[arg(short, long, value_name = "PORT", conflicts_with = "gateway.listen")]
    port: Option<u16>,
}

impl ServeArgs {
    /// The address to listen at: that of the settings, with the host and port given here.
    pub(crate) fn address(&self, mut address: SocketAddr) -> Result<SocketAddr, Error> {
        if let Some(host) = &self.host {
            let named = |error: Error| Error::new(error.kind(), format!("--host: {error}"));
            address.set_ip(ip(host).map_err(named)?);
        }
        if let Some(port) = self.port {
            address.set_port(port);
        }
        Ok(address)
    }
}

/// `again` reads the settings again in the same way.
pub(crate) async fn run(
    _: ServeArgs,
    home: DataHome,
    settings: &Settings,
    again: impl Fn() -> Result<Settings, Error> + Send + Sync + 'static,
) -> Result<Exit, Error> {
    let log = log::start(&settings.log)?;
    let served = serve(home, settings, &log, again).await;
    log.finish().await;
    match served? {
        None => Ok(Exit::Done),
        // Otherwise the runtime would wait for threads that still run.
        Some(end) => std::process::exit(end.code()),
    }
}

/// Serves until a signal comes; returns the signal that ended the drain, if there was one.
async fn serve(
    home: DataHome,
    settings: &Settings,
    log: &Log,
    again: impl Fn() -> Result<Settings, Error> + Send + Sync + 'static,
) -> Result<Option<EndSignal>, Error> {
    // Wrong settings are reported before a model is loaded.
    let mut config = callers::config(&settings.gateway)?;
    let listener = listen(settings.gateway.listen, "--listen").await?;
    let admin = match settings.gateway.admin_listen {
        Some(address) => Some(listen(address, "--admin-listen").await?),
        None => None,
    };
    let live = Live::new(ServedStack::build(settings, &home, None).await?);
    let stack = live.stack();
    let watch = Watch::start(&live, log.dropped());

    config.models = stack.entries();
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let gateway = Gateway::new(live.embedder(), config)
        .with_explainer(Arc::new(bridge::Explains(live.clone())))
        .with_planner(Arc::new(bridge::Plans(live.clone())))
        .with_status(watch.status())
        .with_metrics(watch.metrics())
        .with_observer(Arc::new(bridge::Observes(live.clone())));
    let mut where_to = format!("serving {scheme}://{} ({})\n", address(&listener)?, stack.router);
    let mut server = gateway.bind(listener)?;
    if let Some(admin) = admin {
        where_to.push_str(&format!("operators: http://{}\n", address(&admin)?));
        server = server.with_admin(admin)?;
    }
    watch.follow(server.watch());
    let cache = stack.cache.clone();
    drop(stack);
    let reloaded = Reloaded { gateway: server.watch(), filter: log.filter(), live, home };
    let reload = Reload::start(reloaded, again)?;
    let signals = Signals::new()?;
    // The reader of standard output may be slow or gone.
    log::within(FIRST_LINE, move || _ = print(&where_to));
    manager::ready();
    let (drained, killed) = until_signals(server, signals).await?;
    drop(reload);
    if let Some(end) = killed {
        tracing::warn!("a second signal ended the process before every request was answered");
        return Ok(Some(end));
    }
    cache::finish(cache.as_ref()).await;
    if drained.cut > 0 {
        tracing::warn!(
            connections = drained.cut,
            "the drain limit was over before every request was answered"
        );
    }
    Ok(None)
}

/// Runs the gateway until a signal ends it; a second signal ends its drain.
async fn until_signals(
    server: Server,
    mut signals: Signals,
) -> Result<(embed_gateway::Drained, Option<EndSignal>), Error> {
    let (begun, begin) = oneshot::channel::<()>();
    let (kill, killed) = oneshot::channel::<()>();
    let second = Arc::new(OnceLock::new());
    let seen = Arc::clone(&second);
    let listening = tokio::spawn(async move {
        if let Err(error) = signals.end().await {
            tracing::error!(%error, "without signals only a kill ends this process");
            std::future::pending::<()>().await;
        }
        manager::stopping();
        let _ = begun.send(());
        if let Ok(end) = signals.end().await {
            let _ = seen.set(end);
            let _ = kill.send(());
        }
    });
    let server = server.with_kill(async {
        if killed.await.is_err() {
            std::future::pending::<()>().await;
        }
    });
    let drained = server.run(async { _ = begin.await }).await;
    listening.abort();
    Ok((drained?, second.get().copied()))
}

async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| {
        let what =
            format!("can't listen at this address; another program may have it: choose another by {flag}");
        Error::new(ErrorKind::Config, what).with_context("address", address).with_source(error)
    })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Error> {
    listener
        .local_addr()
        .map_err(|error| Error::new(ErrorKind::Config, "the listener has no address").with_source(error))
}
