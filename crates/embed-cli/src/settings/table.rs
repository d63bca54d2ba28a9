//! The table of settings. A setting is a row here; its value lives in [`Settings`](super::Settings).

use std::num::NonZeroUsize;

use clap::builder::PossibleValue;
use embed_cache::Element;
use embed_core::{Error, ErrorKind};
use embed_e5::{Precision, Profile};
use embed_gateway::ApiKey;
use embed_ollama::{Secret, server_url};

use super::LogFormat;
use super::kind::Kind;
use super::setting::{HIDDEN, Setting, choose, name, names};
use crate::cache::Place;
use crate::service::Service;

/// Every setting, by section.
pub(crate) static TABLE: &[Setting] = &[
    Setting::new(
        "service",
        "TMWS_EMBEDDING_SERVICE",
        "Who embeds the texts.",
        Kind::Choice {
            of: names::<Service>,
            set: |settings, name| choose(name, &mut settings.service),
            get: |settings| name(settings.service),
        },
    )
    .flag("service", "SERVICE"),
    Setting::new(
        "e5.model",
        "TMWS_E5_MODEL",
        "The model that is run in this process; `embed models list` names them.",
        Kind::Text {
            what: "the name of a model of the E5 family",
            set: |settings, name| {
                settings.e5.profile = Profile::by_name(name)?;
                Ok(())
            },
            get: |settings| Some(settings.e5.profile.name.to_owned()),
        },
    )
    .flag("model", "NAME"),
    Setting::new(
        "e5.precision",
        "TMWS_E5_PRECISION",
        "In which arithmetic: int8 is fastest, f32 is the reference, mixed is f32 with int8 where it costs least.",
        Kind::Choice {
            of: || Precision::ALL.map(|precision| PossibleValue::new(precision.as_str())).into(),
            set: |settings, name| {
                settings.e5.precision = name.parse()?;
                Ok(())
            },
            get: |settings| settings.e5.precision.to_string(),
        },
    )
    .flag("precision", "PRECISION"),
    Setting::new(
        "e5.threads",
        "TMWS_E5_THREADS",
        "Threads that embed; as many as there are processors unless you say so.",
        Kind::Count {
            most: 1024,
            set: |settings, count| settings.e5.threads = NonZeroUsize::new(count as usize),
            get: |settings| settings.e5.threads.map(|count| count.get() as u64),
        },
    )
    .flag("threads", "N")
    .example("2"),
    Setting::new(
        "ollama.model",
        "TMWS_OLLAMA_MODEL",
        "The model that an Ollama server embeds with; `embed ollama list` names them.",
        Kind::Text {
            what: "the name of a model",
            set: |settings, name| {
                name.clone_into(&mut settings.ollama.model);
                Ok(())
            },
            get: |settings| Some(settings.ollama.model.clone()),
        },
    )
    .flag("model", "NAME"),
    Setting::new(
        "ollama.url",
        "TMWS_OLLAMA_API_BASE",
        "The address of an Ollama server, with or without /api; several servers of the same model as a list, \
               or separated by commas. If nothing names one, OLLAMA_HOST does.",
        Kind::Texts {
            what: "an address such as http://127.0.0.1:11434, or a list of them",
            set: |settings, urls| {
                let urls = urls.iter().map(|url| server_url(url));
                settings.ollama.servers = urls.collect::<Result<_, _>>()?;
                Ok(())
            },
            get: |settings| settings.ollama.servers.clone(),
        },
    )
    .flag("ollama-url", "URL"),
    Setting::new(
        "ollama.pool_size",
        "TMWS_OLLAMA_POOL_SIZE",
        "Requests in flight at one Ollama server. development is 5, staging 10, production 20, high_traffic 50.",
        Kind::Pool {
            set: |settings, size| settings.ollama.pool_size = size as usize,
            get: |settings| settings.ollama.pool_size as u64,
        },
    )
    .flag("ollama-pool", "N"),
    Setting::new(
        "ollama.timeout",
        "TMWS_OLLAMA_TIMEOUT",
        "How long an answer of a loaded model may take, in seconds.",
        Kind::Seconds {
            least: 0.001,
            set: |settings, timeout| {
                let ollama = &mut settings.ollama;
                ollama.request_timeout = timeout;
                ollama.load_timeout = ollama.load_timeout.max(timeout);
            },
            get: |settings| Some(settings.ollama.request_timeout),
        },
    ),
    Setting::new(
        "ollama.token",
        "TMWS_OLLAMA_TOKEN",
        "Sent as `Authorization: Bearer …` to a proxy before the server; Ollama itself asks for none.",
        Kind::Text {
            what: "a token of visible ASCII characters",
            set: |settings, token| {
                if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(Error::new(ErrorKind::Config, "must be a token of visible ASCII characters"));
                }
                settings.ollama.token = Some(Secret::new(token));
                Ok(())
            },
            get: |settings| settings.ollama.token.as_ref().map(|_| HIDDEN.to_owned()),
        },
    )
    .example("\"the-token\"")
    .secret(),
    Setting::new(
        "router.rollout",
        "TMWS_ROUTER_ROLLOUT",
        "The rollout to follow: partitions that are in it leave its one route for the other. `embed rollout start` \
         writes the file.",
        Kind::Path {
            set: |settings, path| settings.router.rollout = Some(path),
            get: |settings| settings.router.rollout.as_ref(),
        },
    )
    .flag("rollout", "FILE")
    .example("\"rollout.json\""),
    Setting::new(
        "router.shadow_percent",
        "TMWS_ROUTER_SHADOW_PERCENT",
        "How many of a hundred calls of the old route the candidate of the rollout is tried with, beside the \
         caller's path.",
        Kind::Count {
            most: 100,
            set: |settings, percent| settings.router.shadow_percent = Some(percent),
            get: |settings| settings.router.shadow_percent,
        },
    )
    .example("10"),
    Setting::new(
        "router.cross_space",
        "TMWS_ROUTER_CROSS_SPACE",
        "Whether a text may go to a model of another space when every route of its own fails. Its vector then finds \
         nothing among those of the space that it left.",
        Kind::Switch {
            set: |settings, on| settings.router.cross_space = on,
            get: |settings| settings.router.cross_space,
        },
    ),
    Setting::new(
        "cache.place",
        "TMWS_CACHE",
        "Where vectors are kept, so that a text is embedded once; auto is both if a Redis is named, else memory.",
        Kind::Choice {
            of: names::<Place>,
            set: |settings, name| choose(name, &mut settings.cache.place),
            get: |settings| name(settings.cache.place),
        },
    )
    .flag("cache", "WHERE"),
    Setting::new(
        "cache.ttl",
        "TMWS_CACHE_TTL",
        "How long a vector is kept, in seconds.",
        Kind::Seconds {
            least: 0.01,
            set: |settings, ttl| settings.cache.memory.ttl = Some(ttl),
            get: |settings| settings.cache.memory.ttl,
        },
    ),
    Setting::new(
        "cache.memory_bytes",
        "TMWS_CACHE_MEMORY_BYTES",
        "Bytes that the vectors kept in memory may take.",
        Kind::Count {
            most: 1 << 40,
            set: |settings, bytes| settings.cache.memory.max_bytes = bytes,
            get: |settings| Some(settings.cache.memory.max_bytes),
        },
    ),
    Setting::new(
        "cache.read_budget",
        "TMWS_CACHE_READ_BUDGET",
        "How long Redis may take to answer a read, in seconds; after that its vectors are computed.",
        Kind::Seconds {
            least: 0.001,
            set: |settings, budget| settings.cache.config.read_budget = budget,
            get: |settings| Some(settings.cache.config.read_budget),
        },
    ),
    Setting::new(
        "cache.element",
        "TMWS_CACHE_ELEMENT",
        "As what numbers vectors are stored: f32 as they are, f16 in half the bytes and rounded.",
        Kind::Choice {
            of: || ["f32", "f16"].map(PossibleValue::new).into(),
            set: |settings, name| {
                settings.cache.config.element = if name == "f16" { Element::F16 } else { Element::F32 };
                Ok(())
            },
            get: |settings| match settings.cache.config.element {
                Element::F16 => "f16".to_owned(),
                _ => "f32".to_owned(),
            },
        },
    ),
    Setting::new(
        "cache.redis_url",
        "TMWS_REDIS_URL",
        "Redis: redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// for TLS, redis-cluster://…, \
               redis-sentinel://…?sentinelServiceName=NAME. In a variable or a file, a password isn't seen by who \
               lists processes.",
        Kind::Text {
            what: "an address such as redis://127.0.0.1:6379",
            set: |settings, url| {
                settings.cache.redis_url = Some(url.parse()?);
                Ok(())
            },
            get: |settings| settings.cache.redis_url.as_ref().map(ToString::to_string),
        },
    )
    .flag("redis-url", "URL")
    .example("\"redis://127.0.0.1:6379\"")
    .secret(),
    Setting::new(
        "cache.redis_prefix",
        "TMWS_REDIS_PREFIX",
        "What every key in Redis begins with, before a colon, so that others may use the same database.",
        Kind::Text {
            what: "a text that isn't empty",
            set: |settings, prefix| {
                prefix.clone_into(&mut settings.cache.redis_prefix);
                Ok(())
            },
            get: |settings| Some(settings.cache.redis_prefix.clone()),
        },
    ),
    Setting::new(
        "gateway.listen",
        "TMWS_GATEWAY_LISTEN",
        "The address that `embed serve` listens at; port 0 is any free one.",
        Kind::Text {
            what: "an address and a port such as 127.0.0.1:8080",
            set: |settings, address| {
                let what = "must be an address and a port such as 127.0.0.1:8080";
                settings.gateway.listen = address.parse().map_err(|_| Error::new(ErrorKind::Config, what))?;
                Ok(())
            },
            get: |settings| Some(settings.gateway.listen.to_string()),
        },
    )
    .flag("listen", "ADDRESS"),
    Setting::new(
        "gateway.admin_listen",
        "TMWS_GATEWAY_ADMIN_LISTEN",
        "A second address at which /healthz, /readyz, /metrics and /status are served, with connections of its own: \
         whoever fills the other one doesn't keep probes out. It has no TLS and asks for no key, so strangers must not \
         reach it.",
        Kind::Text {
            what: "an address and a port such as 127.0.0.1:9090",
            set: |settings, address| {
                let what = "must be an address and a port such as 127.0.0.1:9090";
                let address = address.parse().map_err(|_| Error::new(ErrorKind::Config, what))?;
                settings.gateway.admin_listen = Some(address);
                Ok(())
            },
            get: |settings| settings.gateway.admin_listen.map(|address| address.to_string()),
        },
    )
    .flag("admin-listen", "ADDRESS")
    .example("\"127.0.0.1:9090\""),
    Setting::new(
        "gateway.api_keys",
        "TMWS_GATEWAY_API_KEYS",
        "Keys that let callers in: a list in the file, separated by commas in the variable, where a key can't have one. \
         Without any, everybody may call, and only from this machine.",
        Kind::Texts {
            what: "a key, or a list of them",
            set: |settings, keys| {
                let keys = keys.iter().enumerate();
                settings.gateway.config.api_keys =
                    keys.map(|(index, key)| ApiKey::new(format!("key-{}", index + 1), key)).collect();
                Ok(())
            },
            get: |settings| settings.gateway.config.api_keys.iter().map(|_| HIDDEN.to_owned()).collect(),
        },
    )
    .example("[\"a-long-secret\"]")
    .secret(),
    Setting::new(
        "gateway.api_key_file",
        "TMWS_GATEWAY_API_KEY_FILE",
        "A file with further keys, one a line. Empty lines and lines that begin with # are none; a comment behind a \
         key names it in the log.",
        Kind::Path {
            set: |settings, path| settings.gateway.api_key_file = Some(path),
            get: |settings| settings.gateway.api_key_file.as_ref(),
        },
    )
    .example("\"/run/secrets/api-keys\""),
    Setting::new(
        "gateway.public_without_key",
        "TMWS_GATEWAY_PUBLIC_WITHOUT_KEY",
        "Listen at an address that other machines reach although no key is asked for.",
        Kind::Switch {
            set: |settings, on| settings.gateway.config.allow_public_without_key = on,
            get: |settings| settings.gateway.config.allow_public_without_key,
        },
    ),
    Setting::new(
        "gateway.cors_origins",
        "TMWS_GATEWAY_CORS_ORIGINS",
        "Origins of web pages that may call, with a * for what varies (http://localhost:*, https://*.example.org), or \
         * alone. Where no key is asked for, pages of this machine may call as well, and others are refused.",
        Kind::Texts {
            what: "an origin such as https://app.example.org, or a list of them",
            set: |settings, origins| {
                let config = &mut settings.gateway.config;
                config.cors_origins = origins.iter().map(|&origin| origin.to_owned()).collect();
                config.check_origins()
            },
            get: |settings| settings.gateway.config.cors_origins.clone(),
        },
    )
    .example("[\"https://app.example.org\"]"),
    Setting::new(
        "gateway.tls_certificate",
        "TMWS_GATEWAY_TLS_CERTIFICATE",
        "The certificate for TLS in the process, in PEM; goes with tls_key.",
        Kind::Path {
            set: |settings, path| settings.gateway.tls_certificate = Some(path),
            get: |settings| settings.gateway.tls_certificate.as_ref(),
        },
    )
    .example("\"/etc/embed/tls.crt\""),
    Setting::new(
        "gateway.tls_key",
        "TMWS_GATEWAY_TLS_KEY",
        "The private key of the certificate, in PEM.",
        Kind::Path { set: |settings, path| settings.gateway.tls_key = Some(path), get: |settings| settings.gateway.tls_key.as_ref() },
    )
    .example("\"/etc/embed/tls.key\""),
    Setting::new(
        "gateway.concurrency",
        "TMWS_GATEWAY_CONCURRENCY",
        "Pieces of requests that are embedded at once.",
        Kind::Count {
            most: 65_536,
            set: |settings, count| settings.gateway.config.admission.concurrency = count as usize,
            get: |settings| Some(settings.gateway.config.admission.concurrency as u64),
        },
    ),
    Setting::new(
        "gateway.queue",
        "TMWS_GATEWAY_QUEUE",
        "Requests that may wait for their turn; one more is told to come back later.",
        Kind::Count {
            most: 1 << 20,
            set: |settings, count| settings.gateway.config.admission.queue = count as usize,
            get: |settings| Some(settings.gateway.config.admission.queue as u64),
        },
    ),
    Setting::new(
        "gateway.max_rows",
        "TMWS_GATEWAY_MAX_ROWS",
        "The most texts of a request.",
        Kind::Count {
            most: 1 << 30,
            set: |settings, count| settings.gateway.config.limits.rows = count as usize,
            get: |settings| Some(settings.gateway.config.limits.rows as u64),
        },
    ),
    Setting::new(
        "gateway.max_body_bytes",
        "TMWS_GATEWAY_MAX_BODY_BYTES",
        "The largest body of a request.",
        Kind::Count {
            most: 1 << 32,
            set: |settings, count| {
                let limits = &mut settings.gateway.config.limits;
                limits.body_bytes = count as usize;
                limits.held_bytes = limits.held_bytes.max(limits.body_bytes);
            },
            get: |settings| Some(settings.gateway.config.limits.body_bytes as u64),
        },
    ),
    Setting::new(
        "gateway.connections",
        "TMWS_GATEWAY_CONNECTIONS",
        "Connections at once; further ones wait.",
        Kind::Count {
            most: 1 << 20,
            set: |settings, count| settings.gateway.config.limits.connections = count as usize,
            get: |settings| Some(settings.gateway.config.limits.connections as u64),
        },
    ),
    Setting::new(
        "gateway.connections_per_address",
        "TMWS_GATEWAY_CONNECTIONS_PER_ADDRESS",
        "Connections of one address at once (of IPv6, of one /64), this machine's own included; further ones get a \
         503. Without it, a quarter of all, and 64 at least. A proxy in front is one address: let it have as many as \
         it opens.",
        Kind::Count {
            most: 1 << 20,
            set: |settings, count| {
                settings.gateway.config.limits.connections_per_address = Some(count as usize);
            },
            get: |settings| settings.gateway.config.limits.connections_per_address.map(|count| count as u64),
        },
    )
    .example("512"),
    Setting::new(
        "gateway.header_timeout",
        "TMWS_GATEWAY_HEADER_TIMEOUT",
        "Seconds that the head of a request may take from its first byte, or from the start of the connection for the \
         first one.",
        Kind::Seconds {
            least: 0.001,
            set: |settings, timeout| settings.gateway.config.limits.header_timeout = timeout,
            get: |settings| Some(settings.gateway.config.limits.header_timeout),
        },
    ),
    Setting::new(
        "gateway.idle_timeout",
        "TMWS_GATEWAY_IDLE_TIMEOUT",
        "Seconds that a connection may be idle between two requests. It must be more than proxies and balancers in \
         front keep theirs for, which is 60 mostly.",
        Kind::Seconds {
            least: 0.001,
            set: |settings, timeout| settings.gateway.config.limits.idle_timeout = timeout,
            get: |settings| Some(settings.gateway.config.limits.idle_timeout),
        },
    ),
    Setting::new(
        "gateway.deadline",
        "TMWS_GATEWAY_DEADLINE",
        "Seconds after which a request is given up that names no deadline.",
        Kind::Seconds {
            least: 0.001,
            set: |settings, deadline| {
                let config = &mut settings.gateway.config;
                config.deadline = deadline;
                config.longest_deadline = config.longest_deadline.max(deadline);
            },
            get: |settings| Some(settings.gateway.config.deadline),
        },
    ),
    Setting::new(
        "gateway.readiness_delay",
        "TMWS_GATEWAY_READINESS_DELAY",
        "Seconds between saying that it isn't ready any more and closing the door, for balancers to notice.",
        Kind::Seconds {
            least: 0.0,
            set: |settings, delay| settings.gateway.config.readiness_delay = delay,
            get: |settings| Some(settings.gateway.config.readiness_delay),
        },
    ),
    Setting::new(
        "gateway.drain_limit",
        "TMWS_GATEWAY_DRAIN_LIMIT",
        "Seconds that accepted requests may take to end when the process is told to.",
        Kind::Seconds {
            least: 0.0,
            set: |settings, limit| settings.gateway.config.drain_limit = limit,
            get: |settings| Some(settings.gateway.config.drain_limit),
        },
    ),
    Setting::new(
        "log.filter",
        "TMWS_LOG",
        "What `embed serve` says on standard error: error, warn, info, debug or trace, also for single parts \
               (info,embed_gateway=debug).",
        Kind::Text {
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
        "How it says it: for people, or a JSON object a line.",
        Kind::Choice {
            of: names::<LogFormat>,
            set: |settings, name| choose(name, &mut settings.log.format),
            get: |settings| name(settings.log.format),
        },
    ),
    Setting::new(
        "log.otlp_endpoint",
        "TMWS_OTLP_ENDPOINT",
        "A collector that `embed serve` sends traces to, as OTLP over HTTP to `/v1/traces` there. Only a build with the \
         feature `otlp` has it; the variables OTEL_* set the rest.",
        Kind::Text {
            what: "an address such as http://localhost:4318",
            set: |settings, address| {
                if !cfg!(feature = "otlp") {
                    let mend = "this program was built without traces; build it with `cargo build --features otlp`, or leave this out";
                    return Err(Error::new(ErrorKind::Config, mend));
                }
                settings.log.otlp_endpoint = Some(server_url(address)?);
                Ok(())
            },
            get: |settings| settings.log.otlp_endpoint.clone(),
        },
    )
    .example("\"http://localhost:4318\""),
];
