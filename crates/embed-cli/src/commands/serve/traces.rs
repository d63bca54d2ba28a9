//! Traces of `embed serve`, sent to a collector over OTLP.

use std::collections::HashMap;
use std::env;

use embed_core::{Error, ErrorKind, TraceContext};
use opentelemetry::KeyValue;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// Makes a span a child of its caller's, and returns the context for the calls that it makes; `None` if it isn't exported.
pub(super) fn continue_from(span: &Span, caller: &TraceContext) -> Option<TraceContext> {
    let propagator = TraceContextPropagator::new();
    if caller.traceparent().is_some() {
        let carrier: HashMap<_, _> =
            caller.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        // A span that isn't exported has no parent either.
        let _ = span.set_parent(propagator.extract(&carrier));
    }
    let mut carrier = HashMap::new();
    propagator.inject_context(&span.context(), &mut carrier);
    let carried = |name: &str| carrier.get(name).map(String::as_str).unwrap_or_default();
    let trace =
        caller.clone().with_traceparent(carried("traceparent")).with_tracestate(carried("tracestate"));
    trace.traceparent().is_some().then_some(trace)
}

/// What a trace shows whatever the level of the log: each request with its figures, and the stack's calls inside it.
const SHOWN: [(&str, Level); 2] = [("embed_gateway", Level::DEBUG), ("embed_metrics", Level::DEBUG)];

/// Names the service, as for every program that speaks OTLP.
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

/// Sends spans in batches, from a separate thread. Its queue is bounded: if a collector is slow or gone, spans are dropped
/// and no request waits.
#[derive(Debug)]
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    /// Traces to the collector at this address. If it isn't there, that is no error, now or later.
    pub(super) fn to(endpoint: &str) -> Result<Self, Error> {
        // reqwest comes without a crypto provider; a second call finds the one that is there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{endpoint}/v1/traces"))
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Config, "log.otlp_endpoint can't be used").with_source(error)
            })?;
        let mut resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        if env::var_os(SERVICE_NAME).is_none_or(|name| name.is_empty()) {
            resource = resource.with_service_name("embed");
        }
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
        Ok(Self(provider.build()))
    }

    /// The layer that takes spans from `tracing`.
    pub(super) fn layer<S: Subscriber + for<'span> LookupSpan<'span>>(&self) -> impl Layer<S> + use<S> {
        // Source locations and threads say nothing about a request.
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("embed"))
            .with_location(false)
            .with_threads(false)
            .with_filter(Targets::new().with_targets(SHOWN))
    }

    /// Sends the rest; waits a few seconds at most for a collector that doesn't take it.
    pub(super) async fn finish(self) {
        // It blocks, and its client must not be dropped among tasks.
        let sent = tokio::task::spawn_blocking(move || self.0.shutdown()).await;
        if let Ok(Err(error)) = sent {
            tracing::warn!(%error, "the last traces weren't sent");
        }
    }
}
