//! The settings: what a file, variables and flags say, each over the one before.
//!
//! [`TABLE`] has a row for each of them; the readers, `embed config`, the flags and `docs/configuration.md` are all
//! made from it. A new setting is a row there and, unless the configuration of a crate has it already, a field here.

mod address;
mod environment;
mod file;
mod flags;
mod kind;
#[cfg(test)]
mod page;
mod setting;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, ValueEnum};
use embed_cache::{CacheConfig, MemoryConfig, RedisConfig, RedisUrl};
use embed_core::{Error, ErrorKind};
use embed_e5::E5Config;
use embed_gateway::GatewayConfig;
use embed_ollama::OllamaConfig;

use crate::cache::Place;
use crate::service::Service;
use kind::Given;

pub(crate) use address::ip;
pub(crate) use file::ConfigFile;
pub(crate) use flags::flags;
pub(crate) use setting::{Setting, name};
pub(crate) use table::TABLE;

/// Every setting with its effective value, and where the values come from.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) service: Service,
    pub(crate) e5: E5Config,
    pub(crate) ollama: OllamaConfig,
    pub(crate) router: RouterSettings,
    pub(crate) cache: CacheSettings,
    pub(crate) gateway: GatewaySettings,
    pub(crate) log: LogSettings,
    /// The file that was read, or would be if it were there.
    pub(crate) file: Option<ConfigFile>,
    /// By key; what isn't in it has its default.
    origins: BTreeMap<&'static str, Origin>,
}

/// The settings of what chooses between models.
#[derive(Debug, Default)]
pub(crate) struct RouterSettings {
    /// The state file of a rollout to follow.
    pub(crate) rollout: Option<PathBuf>,
    /// How many of a hundred calls the candidate of the rollout is tried with.
    pub(crate) shadow_percent: Option<u64>,
    /// Whether a text may leave its space when that fails.
    pub(crate) cross_space: bool,
}

/// The settings of the cache.
#[derive(Debug)]
pub(crate) struct CacheSettings {
    pub(crate) place: Place,
    pub(crate) config: CacheConfig,
    /// Its time to live is that of Redis, too.
    pub(crate) memory: MemoryConfig,
    pub(crate) redis_url: Option<RedisUrl>,
    pub(crate) redis_prefix: String,
}

/// The settings of `embed serve`.
#[derive(Debug)]
pub(crate) struct GatewaySettings {
    pub(crate) listen: SocketAddr,
    /// Where probes, metrics and the state are served as well.
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Without models, which the service decides.
    pub(crate) config: GatewayConfig,
    /// A file with further API keys.
    pub(crate) api_key_file: Option<PathBuf>,
    pub(crate) tls_certificate: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
}

/// What `embed serve` says of itself on standard error.
#[derive(Debug)]
pub(crate) struct LogSettings {
    pub(crate) filter: String,
    pub(crate) format: LogFormat,
    /// Where traces are sent.
    pub(crate) otlp_endpoint: Option<String>,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// A JSON object a line.
    Json,
}

/// Who said what a setting is.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    Default,
    File(PathBuf, usize),
    Variable(&'static str),
    Flag(&'static str),
}

/// All that is wrong with the settings, a sentence each.
#[derive(Debug)]
pub(crate) struct Problems(Vec<String>);

/// Settings that are being put together.
#[derive(Default)]
struct Draft {
    settings: Settings,
    problems: Vec<String>,
}

impl Settings {
    /// Reads the file, the variables and the flags, in this order. The file is the one that is named, else the one
    /// that `TMWS_CONFIG` names, else the one in its usual place if it is there.
    pub(crate) fn read(file: Option<&Path>, flags: &ArgMatches) -> Result<Self, Problems> {
        let mut draft = Draft::default();
        let variables = environment::read(&mut draft);
        draft.settings.file = ConfigFile::choose(file, variables.get(environment::CONFIG).map(Path::new));
        file::apply(&mut draft);
        environment::apply(&variables, &mut draft);
        flags::apply(flags, &mut draft);
        environment::fall_back(&variables, &mut draft);
        draft.finish()
    }

    /// Reads a file alone.
    pub(crate) fn read_file(file: &Path) -> Result<Self, Problems> {
        let mut draft = Draft::default();
        draft.settings.file = ConfigFile::choose(Some(file), None);
        file::apply(&mut draft);
        draft.finish()
    }

    /// Who said what this setting is.
    pub(crate) fn origin(&self, setting: &Setting) -> Origin {
        self.origins.get(setting.key).cloned().unwrap_or(Origin::Default)
    }

    /// Whether somebody names an Ollama server: then its absence is a fault.
    pub(crate) fn names_ollama(&self) -> bool {
        self.origins.contains_key("ollama.url")
    }

    /// The Redis that is named.
    pub(crate) fn redis(&self) -> Result<RedisConfig, Error> {
        let CacheSettings { memory, redis_url, redis_prefix, .. } = &self.cache;
        let url = redis_url.clone().ok_or_else(|| {
            let mend =
                "no Redis is named; give --redis-url, set TMWS_REDIS_URL, or write redis_url under [cache]";
            Error::new(ErrorKind::Config, mend)
        })?;
        let mut config = RedisConfig::new(url).with_prefix(redis_prefix);
        if let Some(ttl) = memory.ttl {
            config = config.with_ttl(ttl);
        }
        Ok(config)
    }
}

impl Draft {
    fn set(&mut self, setting: &'static Setting, origin: Origin, text: &str) {
        self.set_given(setting, origin, &Given::Text(text.to_owned()));
    }

    fn set_given(&mut self, setting: &'static Setting, origin: Origin, given: &Given) {
        match setting.kind.set(&mut self.settings, given) {
            Ok(()) => {
                self.settings.origins.insert(setting.key, origin);
            }
            Err(error) => self.problem(&origin, setting.key, error),
        }
    }

    fn problem(&mut self, origin: &Origin, key: &str, what: impl fmt::Display) {
        self.problems.push(format!("{origin}: {key}: {what}"));
    }

    fn finish(mut self) -> Result<Settings, Problems> {
        let settings = self.settings;
        if let Place::Redis | Place::Both = settings.cache.place
            && let Err(error) = settings.redis()
        {
            let origin = settings.origins.get("cache.place").unwrap_or(&Origin::Default);
            self.problems.push(format!("{origin}: vectors are to be kept in Redis, but {error}"));
        }
        if self.problems.is_empty() { Ok(settings) } else { Err(Problems(self.problems)) }
    }
}

impl Problems {
    /// All of them.
    pub(crate) fn all(&self) -> &[String] {
        &self.0
    }
}

impl From<Problems> for Error {
    /// The first; a command that can't begin says no more than a line.
    fn from(Problems(problems): Problems) -> Self {
        let first = problems.first().map_or("the settings are wrong", String::as_str);
        let message = match problems.len() {
            0 | 1 => first.to_owned(),
            count => format!("{first}; `embed config check` lists all {count} problems"),
        };
        Self::new(ErrorKind::Config, message)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            service: Service::default(),
            e5: E5Config::default(),
            ollama: OllamaConfig::default(),
            router: RouterSettings::default(),
            cache: CacheSettings {
                place: Place::default(),
                config: CacheConfig::default(),
                memory: MemoryConfig::default(),
                redis_url: None,
                redis_prefix: RedisConfig::PREFIX.to_owned(),
            },
            gateway: GatewaySettings {
                listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
                admin_listen: None,
                config: GatewayConfig::new([]),
                api_key_file: None,
                tls_certificate: None,
                tls_key: None,
            },
            log: LogSettings {
                filter: "info,embed_metrics=warn".to_owned(),
                format: LogFormat::default(),
                otlp_endpoint: None,
            },
            file: None,
            origins: BTreeMap::new(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// The known name that was perhaps meant.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Two letters in five may be wrong, missing or swapped; below that, every name is like every other.
    const ALIKE: f64 = 0.6;
    let scored = known.map(|known| (strsim::normalized_damerau_levenshtein(name, known), known));
    let best = scored.max_by(|(left, _), (right, _)| left.total_cmp(right))?;
    (best.0 > ALIKE).then_some(best.1)
}
