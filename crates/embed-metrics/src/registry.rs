//! Every series of the table, registered once with the exporter and looked up by its labels.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use embed_core::{Error, ErrorKind, Result};
use metrics::{Counter, Gauge, Histogram, Key, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::MetricsConfig;
use crate::names::{self, FORCED, Label, Metric, MetricKind, OTHER, PINNED, Values};

/// The exporter keeps samples of histograms in a list until it renders, so without a scrape the list would grow for ever.
/// After this many samples, the call that records the next one moves them into their buckets. That takes a bit more than
/// a tenth of a millisecond, and the list takes a few hundred kilobytes at most.
const SAMPLES_HELD: u32 = 4096;

/// All crates of the workspace have the same version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The exporter and the series that are registered with it.
pub(crate) struct Registry {
    pub(crate) recorder: Arc<PrometheusRecorder>,
    exporter: PrometheusHandle,
    config: MetricsConfig,
    /// By the metric's name without prefix.
    families: HashMap<&'static str, Vec<Series>>,
    samples: AtomicU32,
}

struct Series {
    labels: Vec<String>,
    handle: Handle,
}

#[derive(Clone)]
enum Handle {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// A histogram whose samples don't pile up.
pub(crate) struct Samples {
    histogram: Histogram,
    registry: Arc<Registry>,
}

/// Figures read from other crates, summed by series: values outside a label's set are `other`, so several figures may
/// belong to one series.
pub(crate) struct Snapshot<'r> {
    registry: &'r Registry,
    counts: BTreeMap<(&'static str, usize), u64>,
    levels: BTreeMap<&'static str, Vec<f64>>,
}

impl Registry {
    pub(crate) fn new(config: MetricsConfig) -> Result<Self> {
        config.check()?;
        let mut builder = PrometheusBuilder::new();
        for metric in names::all() {
            if let MetricKind::Histogram(buckets) = metric.kind {
                let name = Matcher::Full(full_name(&config, metric));
                builder = builder.set_buckets_for_metric(name, buckets.bounds).map_err(|error| {
                    Error::new(ErrorKind::Internal, "the exporter refuses a table of buckets")
                        .with_context("metric", metric.name)
                        .with_source(error)
                })?;
            }
        }
        let recorder = builder.build_recorder();
        let families =
            names::all().map(|metric| (metric.name, register(&recorder, &config, metric))).collect();
        let exporter = recorder.handle();
        Ok(Self { recorder: Arc::new(recorder), exporter, config, families, samples: AtomicU32::new(0) })
    }

    /// Version, revision and instructions, as labels of the metric `build_info`.
    pub(crate) fn build(&self) -> [&str; 3] {
        [VERSION, &self.config.revision, &self.config.kernels]
    }

    /// Services and models that have series, `other` included.
    pub(crate) fn models(&self) -> impl Iterator<Item = (&str, &str)> {
        self.families[names::EMBEDDING_REQUESTS.name].iter().filter_map(|series| {
            match series.labels.as_slice() {
                [service, model] => Some((service.as_str(), model.as_str())),
                _ => None,
            }
        })
    }

    pub(crate) fn render(&self) -> String {
        let page = self.exporter.render();
        // An unknown reading is NaN and is left out.
        page.split_inclusive('\n').filter(|line| !line.ends_with(" NaN\n")).collect()
    }

    pub(crate) fn counter(&self, metric: &Metric, labels: &[&str]) -> Counter {
        match self.handle(metric, labels) {
            Some(Handle::Counter(counter)) => counter.clone(),
            _ => unreachable_in_the_table(metric, Counter::noop()),
        }
    }

    pub(crate) fn gauge(&self, metric: &Metric, labels: &[&str]) -> Gauge {
        match self.handle(metric, labels) {
            Some(Handle::Gauge(gauge)) => gauge.clone(),
            _ => unreachable_in_the_table(metric, Gauge::noop()),
        }
    }

    pub(crate) fn samples(self: &Arc<Self>, metric: &Metric, labels: &[&str]) -> Samples {
        let histogram = match self.handle(metric, labels) {
            Some(Handle::Histogram(histogram)) => histogram.clone(),
            _ => unreachable_in_the_table(metric, Histogram::noop()),
        };
        Samples { histogram, registry: Arc::clone(self) }
    }

    pub(crate) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { registry: self, counts: BTreeMap::new(), levels: BTreeMap::new() }
    }

    fn handle(&self, metric: &Metric, labels: &[&str]) -> Option<&Handle> {
        let at = self.find(metric, labels)?;
        Some(&self.families.get(metric.name)?[at].handle)
    }

    /// The index of a series in its family; label values outside their sets become `other`.
    fn find(&self, metric: &Metric, labels: &[&str]) -> Option<usize> {
        debug_assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
        let mut known = Vec::with_capacity(labels.len());
        for (label, value) in metric.labels.iter().zip(labels) {
            let set = values(&self.config, label, known.last().copied());
            known.push(if set.contains(value) { *value } else { OTHER });
        }
        self.families.get(metric.name)?.iter().position(|series| series.labels == known)
    }
}

impl Samples {
    pub(crate) fn record(&self, sample: f64) {
        self.histogram.record(sample);
        let before = self.registry.samples.fetch_add(1, Ordering::Relaxed);
        if before % SAMPLES_HELD == SAMPLES_HELD - 1 {
            self.registry.exporter.run_upkeep();
        }
    }
}

impl Snapshot<'_> {
    /// Adds to the total of a counter since the start.
    pub(crate) fn count(&mut self, metric: &Metric, labels: &[&str], count: u64) {
        if let Some((name, at)) = self.find(metric, labels) {
            *self.counts.entry((name, at)).or_default() += count;
        }
    }

    /// Adds to the level of a gauge. Gauges of the metric that this snapshot doesn't mention are set to 0.
    pub(crate) fn level(&mut self, metric: &Metric, labels: &[&str], level: f64) {
        self.reading(metric, labels, Some(level));
    }

    /// Like [`level`](Self::level) for a level that may be unknown. Readings of the metric that this snapshot doesn't
    /// know are left out.
    pub(crate) fn reading(&mut self, metric: &Metric, labels: &[&str], level: Option<f64>) {
        let Some((name, at)) = self.find(metric, labels) else { return };
        let series = self.registry.families[name].len();
        let levels = self.levels.entry(name).or_insert_with(|| vec![unknown(metric); series]);
        if let Some(level) = level {
            let before = Some(levels[at]).filter(|before| !before.is_nan());
            levels[at] = before.unwrap_or_default() + level;
        }
    }

    /// Writes everything to the registry.
    pub(crate) fn show(self) {
        for ((name, at), count) in self.counts {
            match &self.registry.families[name][at].handle {
                Handle::Counter(counter) => counter.absolute(count),
                Handle::Gauge(_) | Handle::Histogram(_) => {}
            }
        }
        for (name, levels) in self.levels {
            for (series, level) in self.registry.families[name].iter().zip(levels) {
                if let Handle::Gauge(gauge) = &series.handle {
                    gauge.set(level);
                }
            }
        }
    }

    fn find(&self, metric: &Metric, labels: &[&str]) -> Option<(&'static str, usize)> {
        let (name, _) = self.registry.families.get_key_value(metric.name)?;
        Some((name, self.registry.find(metric, labels)?))
    }
}

/// The value of a gauge before it is set.
fn unknown(metric: &Metric) -> f64 {
    if metric.is_reading { f64::NAN } else { 0.0 }
}

fn full_name(config: &MetricsConfig, metric: &Metric) -> String {
    format!("{}_{}", config.prefix, metric.name)
}

fn register(recorder: &PrometheusRecorder, config: &MetricsConfig, metric: &Metric) -> Vec<Series> {
    static METADATA: Metadata<'static> = Metadata::new("embed_metrics", Level::INFO, None);
    let name = full_name(config, metric);
    let (described, help) = (name.clone().into(), metric.help.into());
    match metric.kind {
        MetricKind::Counter => recorder.describe_counter(described, None, help),
        MetricKind::Gauge => recorder.describe_gauge(described, None, help),
        MetricKind::Histogram(_) => recorder.describe_histogram(described, None, help),
    }
    let mut rows = vec![Vec::new()];
    for label in metric.labels {
        rows = rows
            .into_iter()
            .flat_map(|row: Vec<&str>| {
                let set = values(config, label, row.last().copied());
                set.into_iter().map(move |value| [row.as_slice(), &[value]].concat())
            })
            .collect();
    }
    rows.into_iter()
        .map(|row| {
            let pairs = metric.labels.iter().zip(&row);
            let labels: Vec<_> =
                pairs.map(|(label, value)| metrics::Label::new(label.name, (*value).to_owned())).collect();
            let key = Key::from_parts(name.clone(), labels);
            let handle = match metric.kind {
                MetricKind::Counter => Handle::Counter(recorder.register_counter(&key, &METADATA)),
                MetricKind::Gauge => {
                    let gauge = recorder.register_gauge(&key, &METADATA);
                    gauge.set(unknown(metric));
                    Handle::Gauge(gauge)
                }
                MetricKind::Histogram(_) => Handle::Histogram(recorder.register_histogram(&key, &METADATA)),
            };
            Series { labels: row.into_iter().map(ToOwned::to_owned).collect(), handle }
        })
        .collect()
}

/// The values of a label, each once; `before` is the value of the label before it.
fn values<'c>(config: &'c MetricsConfig, label: &Label, before: Option<&str>) -> Vec<&'c str> {
    fn open<'c>(names: impl IntoIterator<Item = &'c String>) -> Vec<&'c str> {
        let mut values = Vec::new();
        for name in names.into_iter().map(String::as_str) {
            if !values.contains(&name) && name != OTHER {
                values.push(name);
            }
        }
        values.push(OTHER);
        values
    }
    match label.values {
        Values::Fixed(values) => values.to_vec(),
        Values::Services => open(config.models.iter().map(|(service, _)| service)),
        Values::Models => {
            let here = config.models.iter().filter(|(service, _)| before == Some(service));
            open(here.map(|(_, model)| model))
        }
        Values::Routes => open(&config.routes),
        Values::Rules => [FORCED, PINNED].into_iter().chain(open(&config.rules)).collect(),
        Values::Tiers => open(&config.tiers),
        Values::Parts => open(&config.parts),
        Values::Version => vec![VERSION],
        Values::Revision => vec![config.revision.as_str()],
        Values::Kernels => vec![config.kernels.as_str()],
    }
}

/// A metric was looked up as the wrong kind, or with a value that its fixed set lacks: a bug in this crate, which must
/// not take a service down.
fn unreachable_in_the_table<T>(metric: &Metric, nothing: T) -> T {
    debug_assert!(false, "{} doesn't match the table", metric.name);
    nothing
}
