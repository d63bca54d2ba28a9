//! What the client and the server say when something fails, as our errors: one table.

use embed_core::{Error, ErrorKind};
use fred::error::{Error as ClientError, ErrorKind as Kind};

/// What a failure means.
struct Meaning {
    kind: ErrorKind,
    /// Whether the same command may succeed later, without anybody's doing.
    temporary: bool,
    message: &'static str,
}

const fn lasting(kind: ErrorKind, message: &'static str) -> Meaning {
    Meaning { kind, temporary: false, message }
}

const fn passing(kind: ErrorKind, message: &'static str) -> Meaning {
    Meaning { kind, temporary: true, message }
}

/// By the first word of the server's answer.
const CODES: &[(&str, Meaning)] = &[
    (
        "OOM",
        passing(
            ErrorKind::Overloaded,
            "Redis is full; raise its maxmemory, or set maxmemory-policy to allkeys-lru so that it makes room",
        ),
    ),
    (
        READONLY,
        passing(
            ErrorKind::Unavailable,
            "this Redis is a replica and takes no writes; name its master in the URL",
        ),
    ),
    (
        "LOADING",
        passing(ErrorKind::Unavailable, "Redis is loading its data; it takes commands when it is done"),
    ),
    ("MASTERDOWN", passing(ErrorKind::Unavailable, "this Redis is a replica that has lost its master")),
    ("CLUSTERDOWN", passing(ErrorKind::Unavailable, "the Redis cluster is down; look at its CLUSTER INFO")),
    ("TRYAGAIN", passing(ErrorKind::Unavailable, "the slot of a key is being moved to another Redis node")),
    (
        "MOVED",
        passing(
            ErrorKind::Unavailable,
            "the key is at another Redis node; if this is a cluster, the URL has to begin with redis-cluster://",
        ),
    ),
    ("ASK", passing(ErrorKind::Unavailable, "the slot of a key is being moved to another Redis node")),
    (
        "CROSSSLOT",
        lasting(ErrorKind::Config, "this Redis is a cluster; the URL has to begin with redis-cluster://"),
    ),
    (
        "MISCONF",
        passing(ErrorKind::Unavailable, "Redis can't save to its disk and takes no writes; look at its log"),
    ),
    ("BUSY", passing(ErrorKind::Unavailable, "Redis is busy with a script")),
    ("NOREPLICAS", passing(ErrorKind::Unavailable, "Redis has too few replicas to take writes")),
    ("NOAUTH", lasting(ErrorKind::Unauthorized, "Redis asks for a password; put it into the URL")),
    (
        "WRONGPASS",
        lasting(ErrorKind::Unauthorized, "Redis doesn't know this user and password; correct the URL"),
    ),
    (
        "NOPERM",
        lasting(
            ErrorKind::Unauthorized,
            "the Redis user may not do this; allow it MGET, GET, SET, UNLINK and SCAN on the keys of the prefix, PING, \
             SELECT for a database, and CLUSTER for a cluster",
        ),
    ),
    (
        "DENIED",
        lasting(ErrorKind::Unauthorized, "Redis is in protected mode and lets only its own machine in"),
    ),
    ("WRONGTYPE", lasting(ErrorKind::Protocol, "a key holds something else than a value; clear the prefix")),
];

/// By a part of the server's answer, where its first word is the general `ERR`.
const PHRASES: &[(&str, Meaning)] = &[
    // Redis quotes a name that it doesn't know in one way or another, by its version.
    ("unknown command 'SENTINEL'", NO_SENTINEL),
    ("unknown command `SENTINEL`", NO_SENTINEL),
    ("unknown command 'MGET'", IS_SENTINEL),
    ("unknown command `MGET`", IS_SENTINEL),
    ("unknown command 'SELECT'", IS_SENTINEL),
    ("unknown command `SELECT`", IS_SENTINEL),
    ("unknown command 'UNLINK'", TOO_OLD),
    ("unknown command `UNLINK`", TOO_OLD),
    (
        "DB index is out of range",
        lasting(ErrorKind::Config, "Redis has no database of this number; correct the end of the URL"),
    ),
    (
        "SELECT is not allowed in cluster mode",
        lasting(ErrorKind::Config, "this Redis is a cluster; the URL has to begin with redis-cluster://"),
    ),
    (
        "cluster support disabled",
        lasting(ErrorKind::Config, "this Redis is no cluster; the URL has to begin with redis://"),
    ),
    (
        "max number of clients",
        passing(ErrorKind::Overloaded, "Redis has no connection left; raise its maxclients"),
    ),
    ("AUTH", lasting(ErrorKind::Unauthorized, "Redis has no password for this user; take it out of the URL")),
    (
        "invalid password",
        lasting(ErrorKind::Unauthorized, "Redis doesn't know this password; correct the URL"),
    ),
    (
        "InvalidCertificate",
        lasting(
            ErrorKind::Config,
            "the certificate of Redis isn't trusted, or is for another host; name the certificates to trust",
        ),
    ),
    (
        "CertificateRequired",
        lasting(ErrorKind::Config, "Redis asks for a certificate of this client; name its files"),
    ),
];

const NO_SENTINEL: Meaning = lasting(
    ErrorKind::Config,
    "this Redis is no sentinel; the URL has to begin with redis:// and to name the server itself",
);
const IS_SENTINEL: Meaning = lasting(
    ErrorKind::Config,
    "this is a sentinel and no server; the URL has to begin with redis-sentinel:// and to end in \
     ?sentinelServiceName=NAME",
);
const TOO_OLD: Meaning = lasting(ErrorKind::Config, "this Redis is older than 4.0; update it");

const READONLY: &str = "READONLY";

/// Whether the server is a replica, so that the master is to be looked for.
pub(super) fn is_readonly(error: &ClientError) -> bool {
    code(error.details()) == Some(READONLY)
}

/// Whether one key holds something that isn't ours; the others may be right.
pub(super) fn is_wrong_type(error: &ClientError) -> bool {
    code(error.details()) == Some("WRONGTYPE")
}

/// Whether the key is at another node than it was sent to.
pub(super) fn is_redirection(error: &ClientError) -> bool {
    // The only thing that the client calls so: it may follow no redirections.
    *error.kind() == Kind::Routing
}

/// The error of a failure. Of what the server said it keeps the first word only: a server may quote a command,
/// and with it a password.
pub(super) fn translated(error: &ClientError) -> Error {
    let details = error.details();
    let code = code(details);
    let by_code = CODES.iter().find(|(word, _)| Some(*word) == code).map(|(_, meaning)| meaning);
    let by_phrase =
        || PHRASES.iter().find(|(phrase, _)| details.contains(phrase)).map(|(_, meaning)| meaning);
    let by_kind = match (error.kind(), code) {
        // The server said nothing: the connection was given up.
        (Kind::Unknown, None) => by_kind(&Kind::Canceled),
        (kind, _) => by_kind(kind),
    };
    let meaning = by_code.or_else(by_phrase).unwrap_or(&by_kind);
    let mut mapped = Error::new(meaning.kind, meaning.message);
    if meaning.temporary {
        mapped = mapped.temporary();
    }
    if let Some(code) = code {
        mapped = mapped.with_context("code", code);
    }
    match error.kind() {
        // From the operating system, not from the server.
        Kind::IO => match cause(details) {
            Some(cause) => mapped.with_context("cause", cause),
            None => mapped,
        },
        _ => mapped,
    }
}

/// What the operating system said. The client keeps the `Debug` form of its errors alone:
/// `Os { code: 111, kind: ConnectionRefused, message: "Connection refused" }`, `Custom { kind: …, error: "…" }`,
/// `Kind(UnexpectedEof)`.
fn cause(details: &str) -> Option<String> {
    let quoted = ["message: \"", "error: \""].into_iter().find_map(|before| {
        let (_, rest) = details.split_once(before)?;
        Some(rest.split_once('"')?.0.to_lowercase())
    });
    quoted.or_else(|| match details {
        "Kind(UnexpectedEof)" => Some("the server ended the connection".to_owned()),
        // Words and no structure.
        _ if !details.contains(['{', '(', '"']) => Some(details.to_owned()),
        _ => None,
    })
}

/// What kind of failure the client says it is.
fn by_kind(kind: &Kind) -> Meaning {
    match kind {
        Kind::Timeout => passing(ErrorKind::Timeout, "Redis doesn't answer in time"),
        Kind::IO | Kind::Canceled => passing(
            ErrorKind::Unavailable,
            "there is no connection to Redis; see whether it runs, and the URL",
        ),
        Kind::Routing => {
            passing(ErrorKind::Unavailable, "the slot of a key is being moved to another Redis node")
        }
        Kind::Cluster => passing(ErrorKind::Unavailable, "a node of the Redis cluster can't be reached"),
        Kind::Sentinel => passing(
            ErrorKind::Unavailable,
            "the sentinels name no master that can be reached; see whether they run, and sentinelServiceName",
        ),
        Kind::Backpressure => passing(ErrorKind::Overloaded, "too many commands wait for Redis"),
        Kind::Auth => lasting(ErrorKind::Unauthorized, "Redis doesn't let this user in; correct the URL"),
        Kind::Config | Kind::Url => lasting(ErrorKind::Config, "the Redis client refuses its settings"),
        Kind::Protocol | Kind::Parse | Kind::NotFound => passing(
            ErrorKind::Protocol,
            "what answers at this address isn't Redis, or answered what Redis must not; check host and port of the URL",
        ),
        Kind::InvalidCommand | Kind::InvalidArgument => {
            lasting(ErrorKind::Internal, "the Redis client refuses a command of this software")
        }
        #[cfg(feature = "redis-rustls")]
        Kind::Tls => lasting(ErrorKind::Config, "TLS with Redis failed; see whether its port speaks TLS"),
        _ => passing(ErrorKind::Unavailable, "Redis refuses a command"),
    }
}

/// The first word of an answer, if it is a code: capital letters only.
fn code(details: &str) -> Option<&str> {
    let word = details.split_whitespace().next()?;
    (word.len() >= 3 && word.bytes().all(|byte| byte.is_ascii_uppercase())).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_kind() {
        let answers = [
            // What a Redis 7.0 says.
            ("OOM command not allowed when used memory > 'maxmemory'.", ErrorKind::Overloaded, true),
            ("READONLY You can't write against a read only replica.", ErrorKind::Unavailable, true),
            ("LOADING Redis is loading the dataset in memory", ErrorKind::Unavailable, true),
            ("MASTERDOWN Link with MASTER is down", ErrorKind::Unavailable, true),
            ("CLUSTERDOWN The cluster is down", ErrorKind::Unavailable, true),
            ("TRYAGAIN Multiple keys request during rehashing of slot", ErrorKind::Unavailable, true),
            ("MOVED 3999 127.0.0.1:6381", ErrorKind::Unavailable, true),
            ("ASK 3999 127.0.0.1:6381", ErrorKind::Unavailable, true),
            ("CROSSSLOT Keys in request don't hash to the same slot", ErrorKind::Config, false),
            ("MISCONF Redis is configured to save RDB snapshots", ErrorKind::Unavailable, true),
            ("BUSY Redis is busy running a script.", ErrorKind::Unavailable, true),
            ("NOREPLICAS Not enough good replicas to write.", ErrorKind::Unavailable, true),
            ("NOAUTH Authentication required.", ErrorKind::Unauthorized, false),
            ("WRONGPASS invalid username-password pair", ErrorKind::Unauthorized, false),
            ("NOPERM User x has no permissions to run the 'set' command", ErrorKind::Unauthorized, false),
            ("DENIED Redis is running in protected mode", ErrorKind::Unauthorized, false),
            ("WRONGTYPE Operation against a key holding the wrong kind", ErrorKind::Protocol, false),
            ("ERR DB index is out of range", ErrorKind::Config, false),
            ("ERR SELECT is not allowed in cluster mode", ErrorKind::Config, false),
            ("ERR This instance has cluster support disabled", ErrorKind::Config, false),
            ("ERR max number of clients reached", ErrorKind::Overloaded, true),
            ("ERR AUTH <password> called without any password configured", ErrorKind::Unauthorized, false),
            ("ERR invalid password", ErrorKind::Unauthorized, false),
            ("ERR something new", ErrorKind::Unavailable, true),
        ];
        for (answer, kind, temporary) in answers {
            let error = translated(&ClientError::new(Kind::Unknown, answer));
            assert_eq!((error.kind(), error.is_temporary()), (kind, temporary), "{answer}: {error}");
            assert_eq!(error.context().next().unwrap(), ("code", answer.split(' ').next().unwrap()));
        }
        let kinds = [
            (Kind::Timeout, ErrorKind::Timeout, true),
            (Kind::IO, ErrorKind::Unavailable, true),
            (Kind::Canceled, ErrorKind::Unavailable, true),
            (Kind::Routing, ErrorKind::Unavailable, true),
            (Kind::Cluster, ErrorKind::Unavailable, true),
            (Kind::Sentinel, ErrorKind::Unavailable, true),
            (Kind::Unknown, ErrorKind::Unavailable, true),
            (Kind::Backpressure, ErrorKind::Overloaded, true),
            (Kind::Auth, ErrorKind::Unauthorized, false),
            (Kind::Config, ErrorKind::Config, false),
            (Kind::Url, ErrorKind::Config, false),
            (Kind::Protocol, ErrorKind::Protocol, true),
            (Kind::Parse, ErrorKind::Protocol, true),
            (Kind::NotFound, ErrorKind::Protocol, true),
            (Kind::InvalidCommand, ErrorKind::Internal, false),
            (Kind::InvalidArgument, ErrorKind::Internal, false),
        ];
        for (kind, ours, temporary) in kinds {
            let error = translated(&ClientError::new(kind.clone(), "some words"));
            assert_eq!((error.kind(), error.is_temporary()), (ours, temporary), "{kind:?}: {error}");
        }
    }

    #[test]
    fn what_a_server_quotes_is_not_kept() {
        let quoting = "ERR unknown command `AUTH`, with args beginning with: `hush`";
        let error = translated(&ClientError::new(Kind::Unknown, quoting));
        assert!(!format!("{error} {error:?}").contains("hush"));
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
    }

    #[test]
    fn a_sentinel_s_refusal_keeps_its_meaning() {
        // The client calls everything about sentinels `Sentinel`.
        let error = translated(&ClientError::new(Kind::Sentinel, "WRONGPASS invalid username-password pair"));
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
    }
}
