//! The settings of the stack: service, models, routes, cache.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use embed_cache::Element;
use embed_core::{Error, ErrorKind};
use embed_encoder::Profile;
use embed_ollama::{Secret, library_name, server_url, shown_url};

use super::super::choices::{CachePlace, Names, ServiceChoice};
use super::super::kind::SettingKind;
use super::super::setting::{HIDDEN, Setting, field};

/// The names of `Precision` of `embed-encoder`.
const PRECISIONS: Names = &[
    ("int8", ""),
    ("f32", ""),
    ("mixed", ""),
    #[cfg(feature = "openvino")]
    ("bf16", ""),
];

const PINS: &str =
    "PARTITION=ROUTE where ROUTE is the name of a model, or a list of them with each partition once";

/// The settings, in the order in which they are shown.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "service",
        "TMWS_EMBEDDING_SERVICE",
        "The service that embeds the texts.",
        field!(Choice ServiceChoice, service),
    )
    .flag("service", "SERVICE"),
    Setting::new(
        "e5.model",
        "TMWS_E5_MODEL",
        "The model that runs in this process; `embed models list` names them, and their names on the hub also work.",
        SettingKind::Text {
            what: "the name of a model",
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
        "The precision: int8 is fastest, f32 is the reference, mixed is nearly as exact in half the time.",
        SettingKind::Choice {
            of: PRECISIONS,
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
        "The number of threads that embed; by default one for each processor.",
        SettingKind::Count {
            most: 1024,
            set: |settings, count| settings.e5.threads = NonZeroUsize::new(count as usize),
            get: |settings| settings.e5.threads.map(|count| count.get() as u64),
        },
    )
    .flag("threads", "N")
    .example("2"),
    Setting::new(
        "e5.keep_alive",
        "TMWS_E5_KEEP_ALIVE",
        "How long a model in this process stays loaded after its last text, in seconds; the next text loads it again, in a \
         fraction of a second. By default, for ever.",
        SettingKind::Seconds {
            least: 0.1,
            set: |settings, time| settings.e5.keep_alive = Some(time),
            get: |settings| settings.e5.keep_alive,
        },
    )
    .example("600"),
    Setting::new(
        "e5.memory_budget",
        "TMWS_E5_MEMORY_BUDGET",
        "Bytes that the models in this process may take together: over it, the one that was asked least recently is unloaded. \
         By default there is no limit.",
        SettingKind::Count {
            most: 1 << 40,
            set: |settings, bytes| settings.memory_budget = Some(bytes),
            get: |settings| settings.memory_budget,
        },
    )
    .example("1000000000"),
    Setting::new(
        "ollama.model",
        "TMWS_OLLAMA_MODEL",
        "The model that an Ollama server embeds with; `embed ollama list` names them.",
        SettingKind::Text {
            what: "the name of a model",
            set: |settings, name| {
                // The server knows it by its name in the library of Ollama.
                settings.ollama.model = library_name(name).unwrap_or_else(|| name.to_owned());
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
               or separated by commas. For a proxy that asks for user and password, write \
               http://USER:PASSWORD@HOST. If nothing names a server, OLLAMA_HOST is used.",
        SettingKind::Texts {
            what: "an address such as http://127.0.0.1:11434, or a list of them",
            set: |settings, urls| {
                let urls = urls.iter().map(|url| server_url(url));
                settings.ollama.servers = urls.collect::<Result<_, _>>()?;
                Ok(())
            },
            get: |settings| settings.ollama.servers.iter().map(|url| shown_url(url)).collect(),
        },
    )
    .flag("ollama-url", "URL"),
    Setting::new(
        "ollama.pool_size",
        "TMWS_OLLAMA_POOL_SIZE",
        "Requests in flight at one Ollama server. development is 5, staging 10, production 20, high_traffic 50.",
        SettingKind::Pool {
            set: |settings, size| settings.ollama.pool_size = size as usize,
            get: |settings| settings.ollama.pool_size as u64,
        },
    )
    .flag("ollama-pool", "N"),
    Setting::new(
        "ollama.timeout",
        "TMWS_OLLAMA_TIMEOUT",
        "How long an answer of a loaded model may take, in seconds.",
        SettingKind::Seconds {
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
        "Sent as `Authorization: Bearer …` to a proxy in front of the server; Ollama itself asks for none.",
        SettingKind::Text {
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
        "The rollout to follow: partitions that are in it move from its first route to the second. `embed rollout start` \
         writes the file.",
        field!(Path, router.rollout),
    )
    .flag("rollout", "FILE")
    .example("\"rollout.json\""),
    Setting::new(
        "router.shadow_percent",
        "TMWS_ROUTER_SHADOW_PERCENT",
        "How many of a hundred calls of the old route are also sent to the candidate of the rollout, without delaying \
         the caller.",
        SettingKind::Count {
            most: 100,
            set: |settings, percent| settings.router.shadow_percent = Some(percent),
            get: |settings| settings.router.shadow_percent,
        },
    )
    .example("10"),
    Setting::new(
        "router.cross_space",
        "TMWS_ROUTER_CROSS_SPACE",
        "Whether a text may go to a model of another space when every route of its own space fails. Its vector then \
         finds nothing among those of its usual space.",
        field!(Switch, router.cross_space),
    ),
    Setting::new(
        "router.pins",
        "TMWS_ROUTER_PINS",
        "Partitions whose texts all go to one route, in any language, so that a collection stays in the space of its \
         vectors. A request that names a model or a route goes there.",
        SettingKind::Texts {
            what: PINS,
            set: |settings, pins| {
                settings.router.pins = read_pins(pins)?;
                Ok(())
            },
            get: |settings| settings.router.pins.iter().map(|(partition, route)| format!("{partition}={route}")).collect(),
        },
    )
    .example("[\"contracts=e5\"]"),
    Setting::new(
        "router.english_model",
        "TMWS_ROUTER_ENGLISH_MODEL",
        "The model in this process that reads English in the hybrid service. Where a setting names an Ollama server, it takes \
         over while that is unavailable, if it is in the data folder and its vectors are those of the server; elsewhere it \
         takes all English. `none` leaves English to Ollama alone.",
        SettingKind::Text {
            what: "the name of a model that runs in this process, or none",
            set: |settings, name| {
                settings.router.english = if name == "none" { None } else { Some(Profile::by_name(name)?) };
                Ok(())
            },
            get: |settings| Some(settings.router.english.map_or("none", |profile| profile.name).to_owned()),
        },
    ),
    Setting::new(
        "cache.place",
        "TMWS_CACHE",
        "Where vectors are kept, so that each text is embedded once; auto is both if a Redis is set, else memory.",
        field!(Choice CachePlace, cache.place),
    )
    .flag("cache", "WHERE"),
    Setting::new(
        "cache.ttl",
        "TMWS_CACHE_TTL",
        "How long a vector is kept, in seconds.",
        SettingKind::Seconds {
            least: 0.01,
            set: |settings, ttl| settings.cache.memory.ttl = Some(ttl),
            get: |settings| settings.cache.memory.ttl,
        },
    ),
    Setting::new(
        "cache.memory_bytes",
        "TMWS_CACHE_MEMORY_BYTES",
        "Bytes that the vectors kept in memory may take.",
        SettingKind::Count {
            most: 1 << 40,
            set: |settings, bytes| settings.cache.memory.max_bytes = bytes,
            get: |settings| Some(settings.cache.memory.max_bytes),
        },
    ),
    Setting::new(
        "cache.read_budget",
        "TMWS_CACHE_READ_BUDGET",
        "How long Redis may take to answer a read, in seconds; after that its vectors are computed.",
        field!(Seconds 0.001, cache.config.read_budget),
    ),
    Setting::new(
        "cache.element",
        "TMWS_CACHE_ELEMENT",
        "The numbers in which Redis stores vectors: f32 keeps them exactly, f16 rounds them to half the bytes.",
        SettingKind::Choice {
            of: &[("f32", ""), ("f16", "")],
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
        "Redis: redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// for TLS, redis-cluster://… (with \
               ?node=HOST:PORT&node=… for further nodes), redis-sentinel://…?sentinelServiceName=NAME. In a variable or a file, a password isn't seen by who \
               lists processes.",
        SettingKind::Text {
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
        "The prefix of every key in Redis, before a colon, so that others may use the same database.",
        SettingKind::Text {
            what: "a text that isn't empty",
            set: |settings, prefix| {
                prefix.clone_into(&mut settings.cache.redis_prefix);
                Ok(())
            },
            get: |settings| Some(settings.cache.redis_prefix.clone()),
        },
    ),
];

fn read_pins(pins: &[&str]) -> Result<BTreeMap<String, String>, Error> {
    let mut read = BTreeMap::new();
    for pin in pins {
        // A partition may have an equals sign in its name.
        let pin = pin.rsplit_once('=').map(|(partition, route)| (partition.trim(), route.trim()));
        let known = pin.filter(|(partition, route)| !partition.is_empty() && !route.is_empty());
        let is_new = known
            .is_some_and(|(partition, route)| read.insert(partition.to_owned(), route.to_owned()).is_none());
        if !is_new {
            return Err(Error::new(ErrorKind::Config, format!("must be {PINS}")));
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use embed_encoder::Precision;

    use super::PRECISIONS;

    #[test]
    fn every_precision_has_its_name() {
        let names: Vec<_> = Precision::ALL.iter().map(|precision| precision.as_str()).collect();
        assert_eq!(PRECISIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
    }
}
