//! The effective values of all settings.

use std::collections::BTreeMap;
#[cfg(feature = "gateway")]
use std::net::SocketAddr;
use std::path::PathBuf;

use embed_cache::{CacheConfig, MemoryConfig};
#[cfg(feature = "redis")]
use embed_cache::{RedisConfig, RedisUrl};
use embed_core::{Error, ErrorKind};
use embed_encoder::{EncoderConfig, Profile};
#[cfg(feature = "gateway")]
use embed_gateway::GatewayConfig;
use embed_ollama::OllamaConfig;

#[cfg(feature = "gateway")]
use super::choices::LogFormat;
use super::choices::{CachePlace, Choice, PRESET_ROUTES, ServiceChoice};
use super::declared::Declared;
#[cfg(not(feature = "redis"))]
use super::no_redis::{RedisConfig, RedisUrl};
use super::origin::{ConfigFile, Origin};

/// The effective values of all settings, and their origins.
#[derive(Debug)]
pub struct Settings {
    /// The service, where the file declares no models.
    pub service: ServiceChoice,
    /// What every model in this process has, and the model of the service.
    pub e5: EncoderConfig,
    /// Bytes that the models in this process may take together.
    pub memory_budget: Option<u64>,
    /// What every client of Ollama has, and the model of the service.
    pub ollama: OllamaConfig,
    /// The router.
    pub router: RouterSettings,
    /// The cache.
    pub cache: CacheSettings,
    /// The server.
    #[cfg(feature = "gateway")]
    pub gateway: GatewaySettings,
    /// The log of the server.
    #[cfg(feature = "gateway")]
    pub log: LogSettings,
    /// The document of the file, if it has one.
    pub(super) declared: Declared,
    /// The one model of the document that is used.
    pub(super) only: Option<String>,
    /// The file that was read, or would be read if it existed.
    pub file: Option<ConfigFile>,
    /// By key; settings without an entry have their defaults.
    pub(super) origins: BTreeMap<&'static str, Origin>,
}

/// The settings of the router.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouterSettings {
    /// The state file of a rollout to follow.
    pub rollout: Option<PathBuf>,
    /// How many of a hundred calls are also sent to the candidate of the rollout.
    pub shadow_percent: Option<u64>,
    /// Whether a text may go to another space when all routes of its space fail.
    pub cross_space: bool,
    /// The partitions that are pinned to routes.
    pub pins: BTreeMap<String, String>,
    /// The model in this process that the hybrid service has for English.
    pub english: Option<&'static Profile>,
}

/// The settings of the cache.
#[derive(Debug)]
pub struct CacheSettings {
    /// Where vectors are kept.
    pub place: CachePlace,
    /// What all tiers have.
    pub config: CacheConfig,
    /// Its TTL applies to Redis too.
    pub memory: MemoryConfig,
    /// The Redis, if one is named.
    pub redis_url: Option<RedisUrl>,
    /// The prefix of its keys.
    pub redis_prefix: String,
}

/// The settings of `embed serve`.
#[cfg(feature = "gateway")]
#[derive(Debug)]
pub struct GatewaySettings {
    /// The address that it listens at.
    pub listen: SocketAddr,
    /// A second address for probes, metrics and status.
    pub admin_listen: Option<SocketAddr>,
    /// Without models, which depend on the service.
    pub config: GatewayConfig,
    /// A file with further API keys.
    pub api_key_file: Option<PathBuf>,
    /// The certificate for TLS.
    pub tls_certificate: Option<PathBuf>,
    /// Its private key.
    pub tls_key: Option<PathBuf>,
}

/// The log of `embed serve`.
#[cfg(feature = "gateway")]
#[derive(Debug)]
pub struct LogSettings {
    /// What is logged.
    pub filter: String,
    /// How it is written.
    pub format: LogFormat,
    /// Where traces are sent.
    pub otlp_endpoint: Option<String>,
}

impl Settings {
    /// Where the value of the setting with this key comes from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Whether the settings name an Ollama server, so that it is an error if it is missing.
    #[must_use]
    pub fn names_ollama(&self) -> bool {
        self.origins.contains_key("ollama.url")
    }

    /// Whether the service says which models there are. One that a variable or a flag names wins over the file.
    #[must_use]
    pub fn is_preset(&self) -> bool {
        self.declared.is_empty()
            || matches!(self.origins.get("service"), Some(Origin::Variable(_) | Origin::Flag(_)))
    }

    /// Has this service, whatever the file declares.
    pub fn use_service(&mut self, service: ServiceChoice) {
        self.service = service;
        self.declared = Declared::default();
    }

    /// The name of the service, or of the model or the models that the file declares.
    #[must_use]
    pub fn service_name(&self) -> String {
        match &self.only {
            _ if self.is_preset() => self.service.name().to_owned(),
            Some(only) => only.clone(),
            None => "declared models".to_owned(),
        }
    }

    /// Checks that a name may be that of a route: of a declared model, or of a preset, since a rollout may outlive a service.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if it may not.
    pub fn check_route(&self, flag: &str, name: &str) -> Result<(), Error> {
        let routes = self.routes();
        if routes.contains(&name) {
            return Ok(());
        }
        let what = format!("{flag}: no model is called {name}; it is one of {}", routes.join(", "));
        Err(Error::new(ErrorKind::Config, what))
    }

    /// The names that a route may have.
    pub(super) fn routes(&self) -> Vec<&str> {
        PRESET_ROUTES.into_iter().chain(self.declared.names()).collect()
    }

    /// The Redis that is named, which none can be.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] always.
    #[cfg(not(feature = "redis"))]
    pub fn redis(&self) -> Result<RedisUrl, Error> {
        self.cache.redis_url.clone().ok_or_else(super::no_redis::none)
    }

    /// The configured Redis.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if none is named.
    #[cfg(feature = "redis")]
    pub fn redis(&self) -> Result<RedisConfig, Error> {
        let CacheSettings { memory, redis_url, redis_prefix, .. } = &self.cache;
        let url = redis_url.clone().ok_or_else(|| {
            let fix =
                "no Redis is named; give --redis-url, set TMWS_REDIS_URL, or write redis_url under [cache]";
            Error::new(ErrorKind::Config, fix)
        })?;
        let mut config = RedisConfig::new(url).with_prefix(redis_prefix);
        if let Some(ttl) = memory.ttl {
            config = config.with_ttl(ttl);
        }
        Ok(config)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            service: ServiceChoice::default(),
            e5: EncoderConfig::default(),
            memory_budget: None,
            ollama: OllamaConfig::default(),
            router: RouterSettings {
                english: Profile::by_name("all-minilm-l6-v2").ok(),
                ..RouterSettings::default()
            },
            cache: CacheSettings {
                place: CachePlace::default(),
                config: CacheConfig::default(),
                memory: MemoryConfig::default(),
                redis_url: None,
                redis_prefix: RedisConfig::PREFIX.to_owned(),
            },
            #[cfg(feature = "gateway")]
            gateway: GatewaySettings {
                listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
                admin_listen: None,
                config: GatewayConfig::new([]),
                api_key_file: None,
                tls_certificate: None,
                tls_key: None,
            },
            #[cfg(feature = "gateway")]
            log: LogSettings {
                filter: "info,embed_metrics=warn".to_owned(),
                format: LogFormat::default(),
                otlp_endpoint: None,
            },
            declared: Declared::default(),
            only: None,
            file: None,
            origins: BTreeMap::new(),
        }
    }
}
