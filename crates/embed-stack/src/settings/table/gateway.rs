//! The settings of `embed serve`: addresses, callers, limits.

use embed_gateway::ApiKey;

use super::super::address::{ADDRESS, address};
use super::super::kind::SettingKind;
use super::super::setting::{HIDDEN, Setting, field};

/// The settings, in the order in which they are shown.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "gateway.listen",
        "TMWS_GATEWAY_LISTEN",
        "The address that `embed serve` listens at; port 0 is any free one. A name is looked up at the start, and \
         without a host it is this machine alone.",
        SettingKind::Text {
            what: ADDRESS,
            set: |settings, text| {
                settings.gateway.listen = address(text)?;
                Ok(())
            },
            get: |settings| Some(settings.gateway.listen.to_string()),
        },
    )
    .flag("listen", "ADDRESS"),
    Setting::new(
        "gateway.admin_listen",
        "TMWS_GATEWAY_ADMIN_LISTEN",
        "A second address at which /healthz, /readyz, /metrics and /status are served, with separate \
         connections, so that callers who use up those of the first address don't block probes. It has no TLS and asks \
         for no key, so strangers must not reach it.",
        SettingKind::Text {
            what: ADDRESS,
            set: |settings, text| {
                settings.gateway.admin_listen = Some(address(text)?);
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
        "Keys that callers need: a list in the file, separated by commas in the variable, where a key can't contain one. \
         Without any key, only this machine may call, without authentication.",
        SettingKind::Texts {
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
        field!(Path, gateway.api_key_file),
    )
    .example("\"/run/secrets/api-keys\""),
    Setting::new(
        "gateway.public_without_key",
        "TMWS_GATEWAY_PUBLIC_WITHOUT_KEY",
        "Allow an address that other machines reach even though no key is required.",
        field!(Switch, gateway.config.allow_public_without_key),
    ),
    Setting::new(
        "gateway.cors_origins",
        "TMWS_GATEWAY_CORS_ORIGINS",
        "Origins of web pages that may call, with a * for what varies (http://localhost:*, https://*.example.org), or \
         * alone. Without keys, pages of this machine may also call, and others are refused.",
        SettingKind::Texts {
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
        field!(Path, gateway.tls_certificate),
    )
    .example("\"/etc/embed/tls.crt\""),
    Setting::new(
        "gateway.tls_key",
        "TMWS_GATEWAY_TLS_KEY",
        "The private key of the certificate, in PEM.",
        field!(Path, gateway.tls_key),
    )
    .example("\"/etc/embed/tls.key\""),
    Setting::new(
        "gateway.concurrency",
        "TMWS_GATEWAY_CONCURRENCY",
        "How many pieces of requests are embedded at the same time.",
        field!(Count 65_536, gateway.config.admission.concurrency),
    ),
    Setting::new(
        "gateway.queue",
        "TMWS_GATEWAY_QUEUE",
        "How many requests may wait for their turn; further ones are asked to come back later.",
        field!(Count 1 << 20, gateway.config.admission.queue),
    ),
    Setting::new(
        "gateway.max_rows",
        "TMWS_GATEWAY_MAX_ROWS",
        "The most texts of a request.",
        field!(Count 1 << 30, gateway.config.limits.rows),
    ),
    Setting::new(
        "gateway.max_body_bytes",
        "TMWS_GATEWAY_MAX_BODY_BYTES",
        "The largest body of a request.",
        SettingKind::Count {
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
        "How many connections may be open; further ones wait.",
        field!(Count 1 << 20, gateway.config.limits.connections),
    ),
    Setting::new(
        "gateway.connections_per_address",
        "TMWS_GATEWAY_CONNECTIONS_PER_ADDRESS",
        "How many connections one address may have (for IPv6, one /64), including this machine; further ones get a \
         503. Without it, a quarter of all, and 64 at least. A proxy in front is one address: let it have as many as \
         it opens.",
        SettingKind::Count {
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
        field!(Seconds 0.001, gateway.config.limits.header_timeout),
    ),
    Setting::new(
        "gateway.idle_timeout",
        "TMWS_GATEWAY_IDLE_TIMEOUT",
        "Seconds that a connection may be idle between two requests. It must be longer than in proxies and balancers in \
         front, which mostly use 60.",
        field!(Seconds 0.001, gateway.config.limits.idle_timeout),
    ),
    Setting::new(
        "gateway.deadline",
        "TMWS_GATEWAY_DEADLINE",
        "Seconds after which a request without a deadline is given up.",
        SettingKind::Seconds {
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
        "Seconds between reporting that it is no longer ready and closing the listener, so that balancers notice.",
        field!(Seconds 0.0, gateway.config.readiness_delay),
    ),
    Setting::new(
        "gateway.drain_limit",
        "TMWS_GATEWAY_DRAIN_LIMIT",
        "Seconds that accepted requests may take to finish when the process is stopped.",
        field!(Seconds 0.0, gateway.config.drain_limit),
    ),
];
