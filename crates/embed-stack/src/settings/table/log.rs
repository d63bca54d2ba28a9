//! The settings of the log and the traces of `embed serve`.

use embed_core::{Error, ErrorKind};
use embed_ollama::server_url;

use super::super::choices::LogFormat;
use super::super::kind::SettingKind;
use super::super::setting::{Setting, field};

/// The settings, in the order in which they are shown.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "log.filter",
        "TMWS_LOG",
        "What `embed serve` logs on standard error: error, warn, info, debug or trace, also for single parts \
               (info,embed_gateway=debug).",
        SettingKind::Text {
            what: "a filter such as info",
            set: |settings, filter| {
                tracing_subscriber::EnvFilter::try_new(filter)
                    .map_err(|_| Error::new(ErrorKind::Config, "must be a filter such as info or info,embed_gateway=debug"))?;
                filter.clone_into(&mut settings.log.filter);
                Ok(())
            },
            get: |settings| Some(settings.log.filter.clone()),
        },
    ),
    Setting::new(
        "log.format",
        "TMWS_LOG_FORMAT",
        "The format of the log: for people, or a JSON object a line.",
        field!(Choice LogFormat, log.format),
    ),
    Setting::new(
        "log.otlp_endpoint",
        "TMWS_OTLP_ENDPOINT",
        "A collector that `embed serve` sends traces to, as OTLP over HTTP to `/v1/traces` there. Only a build with the \
         feature `otlp` has it; the variables OTEL_* set the rest.",
        SettingKind::Text {
            what: "an address such as http://localhost:4318",
            set: |settings, address| {
                if !cfg!(feature = "otlp") {
                    let fix = "this program was built without traces; build it with `cargo build --features otlp`, or leave this out";
                    return Err(Error::new(ErrorKind::Config, fix));
                }
                settings.log.otlp_endpoint = Some(server_url(address)?);
                Ok(())
            },
            get: |settings| settings.log.otlp_endpoint.clone(),
        },
    )
    .example("\"http://localhost:4318\""),
];
