//! One table that translates failures of the client and the server to our errors.

use embed_core::{Error, ErrorKind};
use fred::error::{Error as ClientError, ErrorKind as Kind};

/// What a failure means.
struct Meaning {
    kind: ErrorKind,
    /// Whether the same command may succeed later without a change by the operator.
    temporary: bool,
    message: &'static str,
}

const fn lasting(kind: ErrorKind, message: &'static str) -> Meaning {
    Meaning { kind, temporary: false, message }
}

const fn passing(kind: ErrorKind, message: &'static str) -> Meaning {
    Meaning { kind, temporary: true, message }
}

/// Meanings by the first word of the server's answer.
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
            "this Redis is a replica and accepts no writes; name its master in the URL",
        ),
    ),
    ("LOADING", passing(ErrorKind::Unavailable, "Redis is loading its data; it accepts commands afterwards")),
    ("MASTERDOWN", passing(ErrorKind::Unavailable, "this Redis is a replica that has lost its master")),
    ("CLUSTERDOWN", passing(ErrorKind::Unavailable, "the Redis cluster is down; see its CLUSTER INFO")),
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
        passing(ErrorKind::Unavailable, "Redis can't save to disk and accepts no writes; see its log"),
    ),
    ("BUSY", passing(ErrorKind::Unavailable, "Redis is busy with a script")),
    ("NOREPLICAS", passing(ErrorKind::Unavailable, "Redis has too few replicas to accept writes")),
    ("NOAUTH", lasting(ErrorKind::Unauthorized, "Redis requires a password; put it into the URL")),
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
        lasting(ErrorKind::Unauthorized, "Redis is in protected mode and accepts only local connections"),
    ),
    ("WRONGTYPE", lasting(ErrorKind::Protocol, "a key holds something other than a value; clear the prefix")),
];

/// Meanings by a part of the server's answer, if its first word is the general `ERR`.
const PHRASES: &[(&str, Meaning)] = &[
    // How Redis quotes an unknown name depends on its version.
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
        lasting(ErrorKind::Config, "this Redis isn't a cluster; the URL has to begin with redis://"),
    ),
    (
        "max number of clients",
        passing(ErrorKind::Overloaded, "Redis has no connection left; raise its maxclients"),
    ),
    ("AUTH", lasting(ErrorKind::Unauthorized, "Redis has no password for this user; remove it from the URL")),
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
        lasting(ErrorKind::Config, "Redis requires a certificate of this client; name its files"),
    ),
];

const NO_SENTINEL: Meaning = lasting(
    ErrorKind::Config,
    "this Redis isn't a sentinel; the URL has to begin with redis:// and to name the server itself",
);
const IS_SENTINEL: Meaning = lasting(
    ErrorKind::Config,
    "this is a sentinel, not a server; the URL has to begin with redis-sentinel:// and to end with \
     ?sentinelServiceName=NAME",
);
const TOO_OLD: Meaning = lasting(ErrorKind::Config, "this Redis is older than 4.0; update it");

const READONLY: &str = "READONLY";

/// Whether the server is a replica, so that the master must be found.
pub(super) fn is_readonly(error: &ClientError) -> bool {
    code(error.details()) == Some(READONLY)
}

/// Whether one key holds another type of value; the others may be valid.
pub(super) fn is_wrong_type(error: &ClientError) -> bool {
    code(error.details()) == Some("WRONGTYPE")
}

/// Whether the key is at another node.
pub(super) fn is_redirection(error: &ClientError) -> bool {
    // Only redirections are of this kind, since the client may not follow them.
    *error.kind() == Kind::Routing
}

/// The error for a failure. It keeps only the first word of the server's answer, which may quote a command and with it
/// a password.
pub(super) fn translated(error: &ClientError) -> Error {
    let details = error.details();
    let code = code(details);
    let by_code = CODES.iter().find(|(word, _)| Some(*word) == code).map(|(_, meaning)| meaning);
    let by_phrase =
        || PHRASES.iter().find(|(phrase, _)| details.contains(phrase)).map(|(_, meaning)| meaning);
    let by_kind = match (error.kind(), code) {
        // Without an answer, the client gave up the connection.
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
        // These details come from the operating system, not from the server.
        Kind::IO => match cause(details) {
            Some(cause) => mapped.with_context("cause", cause),
            None => mapped,
        },
        _ => mapped,
    }
}

/// The operating system's message. The client keeps only the `Debug` form of such errors:
/// `Os { code: 111, kind: ConnectionRefused, message: "Connection refused" }`, `Custom { kind: …, error: "…" }`,
/// `Kind(UnexpectedEof)`.
fn cause(details: &str) -> Option<String> {
    let quoted = ["message: \"", "error: \""].into_iter().find_map(|before| {
        let (_, rest) = details.split_once(before)?;
        Some(rest.split_once('"')?.0.to_lowercase())
    });
    quoted.or_else(|| match details {
        "Kind(UnexpectedEof)" => Some("the server closed the connection".to_owned()),
        // Plain words.
        _ if !details.contains(['{', '(', '"']) => Some(details.to_owned()),
        _ => None,
    })
}

/// The meaning of the client's kind of failure.
fn by_kind(kind: &Kind) -> Meaning {
    match kind {
        Kind::Timeout => passing(ErrorKind::Timeout, "Redis doesn't answer in time"),
        Kind::IO | Kind::Canceled => passing(
            ErrorKind::Unavailable,
            "there is no connection to Redis; check that it runs, and the URL",
        ),
        Kind::Routing => {
            passing(ErrorKind::Unavailable, "the slot of a key is being moved to another Redis node")
        }
        Kind::Cluster => passing(ErrorKind::Unavailable, "a node of the Redis cluster can't be reached"),
        Kind::Sentinel => passing(
            ErrorKind::Unavailable,
            "the sentinels name no reachable master; check that they run, and sentinelServiceName",
        ),
        Kind::Backpressure => passing(ErrorKind::Overloaded, "too many commands are waiting for Redis"),
        Kind::Auth => lasting(ErrorKind::Unauthorized, "Redis rejects this user; correct the URL"),
        Kind::Config | Kind::Url => lasting(ErrorKind::Config, "the Redis client refuses its settings"),
        Kind::Protocol | Kind::Parse | Kind::NotFound => passing(
            ErrorKind::Protocol,
            "the server at this address isn't Redis, or sent an invalid answer; check host and port of the URL",
        ),
        Kind::InvalidCommand | Kind::InvalidArgument => {
            lasting(ErrorKind::Internal, "the Redis client refuses a command of this software")
        }
        #[cfg(feature = "redis-rustls")]
        Kind::Tls => lasting(ErrorKind::Config, "TLS with Redis failed; check that its port speaks TLS"),
        _ => passing(ErrorKind::Unavailable, "Redis refused a command"),
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
            // Answers of Redis 7.0.
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
    fn quotes_of_a_server_are_not_kept() {
        let quoting = "ERR unknown command `AUTH`, with args beginning with: `hush`";
        let error = translated(&ClientError::new(Kind::Unknown, quoting));
        assert!(!format!("{error} {error:?}").contains("hush"));
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
    }

    #[test]
    fn a_sentinel_s_refusal_keeps_its_meaning() {
        // All errors about sentinels are of the client's kind `Sentinel`.
        let error = translated(&ClientError::new(Kind::Sentinel, "WRONGPASS invalid username-password pair"));
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
    }
}
