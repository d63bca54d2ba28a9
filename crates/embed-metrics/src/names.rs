//! Every metric: name, kind, unit, help, labels and buckets, as data.
//!
//! Only metrics of this table are recorded, and all of them are in the output from the start, at zero; a
//! [reading](Metric::is_reading) is left out while its value is unknown. `docs/metrics.md` is rendered from this table.

/// A metric.
#[derive(Debug, PartialEq)]
pub struct Metric {
    /// Its name without the prefix.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricKind,
    /// Its unit: `seconds`, `texts`.
    pub unit: &'static str,
    /// Its labels, in order.
    pub labels: &'static [Label],
    /// What it means, in a sentence without a full stop.
    pub help: &'static str,
    /// Whether its series are left out while their values are unknown, because 0 would be wrong.
    pub is_reading: bool,
}

/// The kinds of metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Samples in buckets.
    Histogram(&'static Buckets),
}

/// Upper bounds of buckets, and why they are these.
#[derive(Debug, PartialEq)]
pub struct Buckets {
    /// What they measure.
    pub name: &'static str,
    /// The upper bounds, in ascending order; samples above the last one are counted too.
    pub bounds: &'static [f64],
    /// The reason for these bounds.
    pub reason: &'static str,
}

/// A label and its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its closed set of values.
    pub values: Values,
}

/// A closed set of values. In the sets that are set at construction, any other value is counted as [`OTHER`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// These.
    Fixed(&'static [&'static str]),
    /// The services of [`MetricsConfig::models`](crate::MetricsConfig::models).
    Services,
    /// The models of the service that the label before it names.
    Models,
    /// [`MetricsConfig::routes`](crate::MetricsConfig::routes).
    Routes,
    /// [`MetricsConfig::rules`](crate::MetricsConfig::rules), and `forced` and `pinned`, which every router knows.
    Rules,
    /// [`MetricsConfig::tiers`](crate::MetricsConfig::tiers).
    Tiers,
    /// [`MetricsConfig::parts`](crate::MetricsConfig::parts).
    Parts,
    /// Only the version of this software.
    Version,
    /// Only [`MetricsConfig::revision`](crate::MetricsConfig::revision).
    Revision,
    /// Only [`MetricsConfig::kernels`](crate::MetricsConfig::kernels).
    Kernels,
}

impl Values {
    /// The values of a fixed set; none for a set that is set at construction.
    #[must_use]
    pub fn fixed(self) -> &'static [&'static str] {
        match self {
            Self::Fixed(values) => values,
            _ => &[],
        }
    }
}

/// Related metrics.
#[derive(Debug)]
pub struct Group {
    /// Their topic.
    pub title: &'static str,
    /// How to read them.
    pub about: &'static str,
    /// The metrics.
    pub metrics: &'static [&'static Metric],
}

/// The label value for everything outside the label's set.
pub const OTHER: &str = "other";

/// The error kind of a call whose future was dropped before its end.
pub const CANCELLED: &str = "cancelled";

/// The rules that every router has, whatever its detector.
pub(crate) const FORCED: &str = "forced";
pub(crate) const PINNED: &str = "pinned";

/// Every metric, in the order of the page.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    GROUPS.iter().flat_map(|group| group.metrics.iter().copied())
}

const fn label(name: &'static str, values: Values) -> Label {
    Label { name, values }
}

const SERVICE: Label = label("service", Values::Services);
const MODEL: Label = label("model", Values::Models);
const ROUTE: Label = label("route", Values::Routes);
const PART: Label = label("part", Values::Parts);
const SIDE: Label = label("side", Values::Fixed(&["current", "candidate"]));
const RESULT: Label = label("result", Values::Fixed(&["answered", "failed", "refused"]));
const TIER: Label = label("tier", Values::Tiers);
const DIALECT: Label = label("dialect", Values::Fixed(DIALECTS));
const KIND: Label = label("kind", Values::Fixed(KINDS));

/// The kinds of [`embed_core::ErrorKind`], and that of a cancelled call.
const KINDS: &[&str] = &[
    "invalid_input",
    "input_too_long",
    "model_not_found",
    "dimension_mismatch",
    "space_mismatch",
    "unauthorized",
    "rate_limited",
    "overloaded",
    "timeout",
    "unavailable",
    "protocol",
    "config",
    "internal",
    CANCELLED,
    OTHER,
];

/// Why a tier misses: it has no entry, its breaker is open, it fails in one of the ways that a tier can, or its entry is
/// invalid.
const MISSES: &[&str] = &[
    "absent",
    "breaker_open",
    "timeout",
    "unavailable",
    "unauthorized",
    "overloaded",
    "rate_limited",
    "protocol",
    "config",
    "internal",
    "schema",
    "layout",
    "dimension",
    "checksum",
    "vector",
    OTHER,
];

/// Why a tier doesn't store an entry.
const UNSTORED: &[&str] = &[
    "queue_full",
    "no_runtime",
    "breaker_open",
    "timeout",
    "unavailable",
    "unauthorized",
    "overloaded",
    "rate_limited",
    "protocol",
    "config",
    "internal",
    OTHER,
];

/// The gateway's dialects; its own pages and endpoints are native.
const DIALECTS: &[&str] = &["openai", "ollama", "tei", "native", OTHER];

/// Why a gateway refuses.
const REASONS: &[&str] = &[
    "key",
    "host",
    "origin",
    "queue",
    "deadline",
    "displaced",
    "rows",
    "body_bytes",
    "held_bytes",
    "address",
    "draining",
    "other",
];

/// Statuses that are counted individually, and the classes of all others.
const STATUSES: &[&str] = &[
    "1xx", "2xx", "3xx", "400", "401", "404", "413", "422", "429", "4xx", "500", "502", "503", "504", "5xx",
    CANCELLED,
];

const SERVICE_MODEL: &[Label] = &[SERVICE, MODEL];

static LATENCY: Buckets = Buckets {
    name: "Latency",
    bounds: &[
        0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
        60.0,
    ],
    reason: "what the memory cache has takes less than the first; a short query takes E5 1 to 2 ms and Ollama 10 to \
             25; 50 ms is the target of the 95th percentile, so one bound is exactly there; a batch of hundreds \
             takes seconds; 30 s is the default timeout, and only a call that waits for a model to load is above",
};

static WAIT: Buckets = Buckets {
    name: "Waiting",
    bounds: &[0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0],
    reason: "whoever finds a free place waits less than the first; from 50 ms on the queue is felt; after 30 s, the \
             default timeout, nobody waits any more",
};

static BATCH: Buckets = Buckets {
    name: "Batch",
    bounds: &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0],
    reason: "a query is one text; libraries send powers of two, most often 32; services that take more than a few \
             hundred at once are rare, so the last steps are wide",
};

const fn counter(
    name: &'static str,
    unit: &'static str,
    labels: &'static [Label],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Counter, unit, labels, help, is_reading: false }
}

const fn gauge(
    name: &'static str,
    unit: &'static str,
    labels: &'static [Label],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Gauge, unit, labels, help, is_reading: false }
}

/// A gauge that is left out while its value is unknown.
const fn reading(
    name: &'static str,
    unit: &'static str,
    labels: &'static [Label],
    help: &'static str,
) -> Metric {
    Metric { is_reading: true, ..gauge(name, unit, labels, help) }
}

const fn histogram(
    name: &'static str,
    unit: &'static str,
    buckets: &'static Buckets,
    labels: &'static [Label],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Histogram(buckets), unit, labels, help, is_reading: false }
}

/// One list generates both the names that the code uses and the table that is rendered and registered, so that no
/// metric can be missing from either.
macro_rules! catalogue {
    ($($title:literal: $about:literal { $($name:ident = $metric:expr;)+ })+) => {
        $($(pub(crate) static $name: Metric = $metric;)+)+

        /// Every metric, by what it is about.
        pub static GROUPS: &[Group] =
            &[$(Group { title: $title, about: $about, metrics: &[$(&$name),+] }),+];
    };
}

catalogue! {
    "What callers see":
    "Recorded by the outermost `Metered`, which sees the whole of a call: rows from the cache too, and the rows of \
     every route. A call that got rows of two models counts as a request of both, with its whole latency; one \
     that got no row counts for the model that the service describes. Errors have no service here, since a failed \
     row doesn't say who failed; the back ends' own errors do." {
        EMBEDDING_REQUESTS = counter("embedding_requests_total", "calls", SERVICE_MODEL,
            "Calls that ended, well or not or because nobody waited, by who gave the rows");
        EMBEDDING_LATENCY = histogram("embedding_latency_seconds", "seconds", &LATENCY, SERVICE_MODEL,
            "Time of a call, failed ones included and cancelled ones not");
        EMBEDDING_CACHE_HITS = counter("embedding_cache_hits_total", "texts", &[SERVICE],
            "Texts whose vector came from a cache");
        EMBEDDING_ROWS = counter("embedding_rows_total", "texts", SERVICE_MODEL,
            "Texts that got a vector, from a cache or not");
        EMBEDDING_TOKENS = counter("embedding_tokens_total", "tokens", SERVICE_MODEL,
            "Tokens in those vectors, where the service counts them");
        EMBEDDING_TRUNCATIONS = counter("embedding_truncations_total", "texts", SERVICE_MODEL,
            "Texts of which a part isn't in the vector, because the request allowed that");
        EMBEDDING_BATCH = histogram("embedding_batch_texts", "texts", &BATCH, &[], "Texts in a call");
        EMBEDDING_IN_FLIGHT = gauge("embedding_in_flight", "calls", &[], "Calls going on");
        EMBEDDING_ERRORS = counter("embedding_errors_total", "texts", &[KIND],
            "Texts that got no vector, by kind of error; cancelled is a call that nobody waited for any more");
    }

    "What back ends do":
    "Recorded by `Metered::backend` around each back end, inside of the cache: only what the cache didn't have." {
        BACKEND_REQUESTS = counter("backend_requests_total", "calls", SERVICE_MODEL,
            "Calls of the back end that ended");
        BACKEND_LATENCY = histogram("backend_latency_seconds", "seconds", &LATENCY, SERVICE_MODEL,
            "Time of a call of the back end, failed ones included and cancelled ones not");
        BACKEND_ROWS = counter("backend_rows_total", "texts", SERVICE_MODEL, "Texts that the back end embedded");
        BACKEND_TOKENS = counter("backend_tokens_total", "tokens", SERVICE_MODEL,
            "Tokens that the back end embedded, where it counts them");
        BACKEND_TRUNCATIONS = counter("backend_truncations_total", "texts", SERVICE_MODEL,
            "Texts that the back end embedded in part, because the request allowed that");
        BACKEND_BATCH = histogram("backend_batch_texts", "texts", &BATCH, SERVICE_MODEL,
            "Texts in a call of the back end");
        BACKEND_IN_FLIGHT = gauge("backend_in_flight", "calls", SERVICE_MODEL, "Calls of the back end going on");
        BACKEND_ERRORS = counter("backend_errors_total", "texts", &[SERVICE, MODEL, KIND],
            "Texts that the back end gave no vector for, by kind of error");
        BACKEND_HEALTH = reading("backend_health", "",
            &[SERVICE, MODEL, label("status", Values::Fixed(&["ready", "degraded", "unavailable"]))],
            "1 for the state that the back end was in when it was last asked, 0 for the others; left out before that");
        MODEL_LOAD = reading("model_load_seconds", "seconds", SERVICE_MODEL,
            "Time that the last load of the model, or the first meeting with its server, took; left out before that");
    }

    "Cache":
    "Read from the cache at each scrape. A lookup of a text is a hit or a miss of every tier that it reaches, so the \
     hit rate of a tier is hits / (hits + misses)." {
        CACHE_HITS = counter("cache_hits_total", "texts", &[TIER], "Texts that a tier had");
        CACHE_MISSES = counter("cache_misses_total", "texts", &[TIER, label("reason", Values::Fixed(MISSES))],
            "Texts that a tier didn't give, by reason: absent is the plain miss; from schema to vector an entry was no \
             good; for the others the tier couldn't be asked");
        CACHE_STORED = counter("cache_stored_total", "entries", &[TIER], "Vectors that a tier stored");
        CACHE_UNSTORED = counter("cache_unstored_total", "entries",
            &[TIER, label("reason", Values::Fixed(UNSTORED))],
            "Vectors that a tier didn't store, by reason: queue_full and no_runtime dropped them before it was asked");
        CACHE_ENTRIES = reading("cache_entries", "entries", &[TIER],
            "Entries in a tier; of Redis those of the whole database; left out while it can't say");
        CACHE_BYTES = reading("cache_bytes", "bytes", &[TIER], "Bytes that a tier takes; left out while it can't say");
        CACHE_LIMIT = reading("cache_limit_bytes", "bytes", &[TIER],
            "Bytes that a tier may take; left out where there is no limit or it can't say");
        CACHE_EVICTIONS = counter("cache_evictions_total", "entries", &[TIER],
            "Entries thrown out of a tier to make room");
        CACHE_EXPIRATIONS = counter("cache_expirations_total", "entries", &[TIER],
            "Entries of a tier found too old");
        CACHE_COMPUTED = counter("cache_computed_total", "texts", &[], "Texts that the cache asked a back end for");
        CACHE_JOINED = counter("cache_joined_total", "texts", &[],
            "Texts that another call was computing already, or that a call held twice: what single-flight saved");
        CACHE_UNFIT = counter("cache_unfit_total", "texts", &[],
            "Texts whose row wasn't stored, because it failed or its back end had become another variant");
    }

    "Routes":
    "Read from the router at each scrape." {
        ROUTER_DECISIONS = counter("router_decisions_total", "texts", &[ROUTE, label("rule", Values::Rules)],
            "Texts by the route that they were sent to and the rule that decided: that of the language's detector, or \
             forced by the request, or pinned for the partition");
        ROUTER_CALLS = counter("router_calls_total", "calls", &[ROUTE, RESULT],
            "Calls of a route's service: answered, failed by its own fault, or not made because its breaker was open");
        ROUTER_FAILOVERS = counter("router_failovers_total", "texts",
            &[label("to", Values::Fixed(&["same_space", "other_space"]))],
            "Texts that another route gave than the one chosen, by whether they stayed in their space");
        ROUTER_UNREAD = counter("router_unread_total", "texts", &[],
            "Texts sent to a model that doesn't read their language, because the settings say so");
        SPACE_MISMATCHES = counter("space_mismatches_total", "texts", &[],
            "Texts that got no vector because theirs would have been of another space than their model's, and \
             comparisons of two spaces that were refused");
    }

    "Rollout":
    "Read from the router at each scrape; all zero where no rollout is configured. What is no counter here is over \
     the last calls, or begins anew when a stop is lifted." {
        ROLLOUT_SHARE = gauge("rollout_share_ratio", "ratio", &[], "Share of the partitions that get the candidate");
        ROLLOUT_STOPPED = gauge("rollout_stopped", "", &[],
            "1 while the rollout is stopped, by hand or because the candidate passed a limit");
        ROLLOUT_MOVED = counter("rollout_moved_total", "texts", &[], "Texts that the rollout sent to its candidate");
        ROLLOUT_CALLS = gauge("rollout_calls", "calls", &[SIDE, label("result", Values::Fixed(&["answered", "failed"]))],
            "Calls of the old route and of the candidate since the start");
        ROLLOUT_ERRORS = reading("rollout_error_ratio", "ratio", &[SIDE], "Share of the last calls that failed; left out before the first");
        ROLLOUT_LATENCY = reading("rollout_text_seconds", "seconds",
            &[SIDE, label("percentile", Values::Fixed(&["p50", "p95", "p99"]))],
            "Time for one text over the last calls; left out before the first");
        SHADOW_TEXTS = counter("shadow_texts_total", "texts",
            &[label("result", Values::Fixed(&["sampled", "dropped"]))],
            "Texts given to the candidate on trial, and those that there was no room for");
        SHADOW_COMPARED = gauge("shadow_compared_texts", "texts", &[], "Texts whose vectors were compared");
        SHADOW_COSINE = reading("shadow_cosine", "", &[label("of", Values::Fixed(&["mean", "lowest"]))],
            "Cosine of the candidate's vectors to the old route's, where both are of one space");
        SHADOW_OVERLAP = reading("shadow_overlap_ratio", "ratio", &[],
            "Mean share of nearest neighbours that both agree on, where they are of two spaces");
    }

    "Ollama":
    "Read from the client at each scrape; the sum, if there are several clients." {
        OLLAMA_POOL_SIZE = gauge("ollama_pool_size", "connections", &[],
            "Requests that may be on their way to the Ollama servers at once");
        OLLAMA_REQUESTS = counter("ollama_requests_total", "requests", &[], "Requests sent to embed texts");
        OLLAMA_LOADS = counter("ollama_loads_total", "requests", &[], "Requests sent to load the model");
        OLLAMA_LONG_WAITS = counter("ollama_long_waits_total", "requests", &[],
            "Requests waited for beyond the timeout, because a load may be going on");
        OLLAMA_RETRIES = counter("ollama_retries_total", "requests",
            &[label("reason", Values::Fixed(&["connection", "crash", "busy", "rows", OTHER]))],
            "Requests tried again: no connection, a crashed runner, a busy server, rows that weren't vectors");
        OLLAMA_BISECTIONS = counter("ollama_bisections_total", "requests", &[],
            "Requests cut in two to find the text that breaks the server");
        OLLAMA_TEXTS = counter("ollama_texts_total", "texts",
            &[label("event", Values::Fixed(&["duplicate", "failed", "bad_row", "shared_vector"]))],
            "Texts to look at: not sent since the call had them twice, failed alone, answered with what is no vector, \
             answered with another text's vector");
        OLLAMA_SERVERS = counter("ollama_server_events_total", "servers",
            &[label("event", Values::Fixed(&[
                "checked", "refused", "new_variant", "ejected", "returned", "unknown_version",
            ]))],
            "Servers asked who they are, refused for their vectors, found to be a new variant, taken out, back again, \
             newer than every known version");
    }

    "E5":
    "Read from the engine at each scrape." {
        E5_THREADS = gauge("e5_threads", "threads", &[], "Threads that embed");
        E5_PREFIXED = counter("e5_prefixed_texts_total", "texts", &[],
            "Texts that already began with query: or passage:, a sign that a caller adds prefixes by hand");
    }

    "Gateway and process":
    "Recorded as it happens; the states of breakers are read at each scrape." {
        GATEWAY_REQUESTS = counter("gateway_requests_total", "requests", &[DIALECT, label("status", Values::Fixed(STATUSES))],
            "HTTP requests that ended, by dialect and status; cancelled is one whose client hung up");
        GATEWAY_LATENCY = histogram("gateway_latency_seconds", "seconds", &LATENCY, &[DIALECT],
            "Time of an HTTP request from its head to the end of its answer, cancelled ones left out");
        GATEWAY_IN_FLIGHT = gauge("gateway_in_flight", "requests", &[DIALECT], "HTTP requests going on");
        QUEUE_DEPTH = gauge("gateway_queue_depth", "requests", &[], "Requests that wait for their turn");
        QUEUE_WAIT = histogram("gateway_queue_seconds", "seconds", &WAIT, &[],
            "Time that requests waited for their turn, those that gave up included");
        GATEWAY_REFUSALS = counter("gateway_refusals_total", "requests", &[label("reason", Values::Fixed(REASONS))],
            "HTTP requests and connections refused, by the limit or the rule that they met; address is one address with \
             too many connections");
        GATEWAY_CONNECTIONS = gauge("gateway_connections", "connections",
            &[label("state", Values::Fixed(&["open", "limit"]))],
            "Connections that are open, and the most that may be");
        GATEWAY_DRAINING = gauge("gateway_draining", "", &[], "1 from the beginning of the shutdown on");
        LOG_DROPPED = counter("log_lines_dropped_total", "lines", &[],
            "Lines of the log that were dropped since who reads it was too slow");
        BREAKERS = gauge("breakers", "breakers",
            &[PART, label("state", Values::Fixed(&["closed", "open", "absent"]))],
            "Circuit breakers in a state, by the part that they stand before; absent is a part that wasn't there at the start and hasn't been found since");
        BREAKER_OPENINGS = counter("breaker_openings_total", "", &[PART], "Times that a breaker opened");
        BUILD_INFO = gauge("build_info", "",
            &[label("version", Values::Version), label("revision", Values::Revision), label("kernels", Values::Kernels)],
            "Always 1");
    }
}
