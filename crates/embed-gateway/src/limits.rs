//! The limits of requests and connections, and of concurrent work.

use std::time::Duration;

/// The limits of requests and connections. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest body; 32 MiB by default. A larger one gets a 413.
    pub body_bytes: usize,
    /// The most texts in a request; 20,000 by default (30 MB of vectors at 384 numbers). More get a 413.
    pub rows: usize,
    /// The most bytes of all bodies in memory; 256 MiB by default. More get a 503.
    pub held_bytes: usize,
    /// The largest head of a request; 16 KiB by default. A larger one gets a 431.
    pub header_bytes: usize,
    /// How long the head of a request may take from its first byte, or from the start of its connection for the
    /// first one, TLS handshake included; 30 s by default.
    pub header_timeout: Duration,
    /// How long a connection may be idle between two requests; 75 s by default, which is more than the 60 s for which
    /// proxies and load balancers keep theirs. If it were less, they would send requests on connections that are just
    /// being closed.
    pub idle_timeout: Duration,
    /// How long a whole request body may take; 60 s by default.
    pub body_timeout: Duration,
    /// How long a client may stop reading its answer; 30 s by default.
    pub write_timeout: Duration,
    /// The most open connections; 1024 by default. Further ones wait in the listener's backlog.
    pub connections: usize,
    /// The most open connections of one address (for IPv6, of one /64). `None`, the default, is a quarter of all
    /// connections, but at least 64. Further ones get a 503 and are closed. A proxy in front is one address, so allow as
    /// many as it opens. When the share of an address or all connections are in use, connections whose request hasn't
    /// come yet are closed for new ones.
    pub connections_per_address: Option<usize>,
}

/// How requests are admitted to the stack. A request is split into pieces that take turns separately, so that one with ten
/// thousand texts doesn't delay others.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdmissionConfig {
    /// The most pieces in flight at the stack; 64 by default.
    pub concurrency: usize,
    /// The most requests that may wait for their first turn; 512 by default, as in Ollama.
    pub queue: usize,
    /// The most texts of a piece; 64 by default.
    pub piece_rows: usize,
    /// The size of texts after which a piece ends; 256 KiB by default.
    pub piece_bytes: usize,
    /// The most pieces of one request in flight at the stack; 4 by default. With one, a back end with several workers
    /// would idle at the end of each piece.
    pub pieces_at_once: usize,
}

impl Limits {
    /// Sets the largest body, and the most bytes of all bodies in memory.
    #[must_use]
    pub fn with_bytes(mut self, body: usize, held: usize) -> Self {
        self.body_bytes = body;
        self.held_bytes = held;
        self
    }

    /// Sets the most texts in a request.
    #[must_use]
    pub fn with_rows(mut self, rows: usize) -> Self {
        self.rows = rows;
        self
    }

    /// Sets the largest head of a request.
    #[must_use]
    pub fn with_header_bytes(mut self, bytes: usize) -> Self {
        self.header_bytes = bytes;
        self
    }

    /// Sets how long a head and a body may take, and how long an answer may stall.
    #[must_use]
    pub fn with_timeouts(mut self, header: Duration, body: Duration, write: Duration) -> Self {
        self.header_timeout = header;
        self.body_timeout = body;
        self.write_timeout = write;
        self
    }

    /// Sets how long a connection may be idle between two requests.
    #[must_use]
    pub fn with_idle_timeout(mut self, idle: Duration) -> Self {
        self.idle_timeout = idle;
        self
    }

    /// Sets the most open connections of one address.
    #[must_use]
    pub fn with_connections_per_address(mut self, connections: usize) -> Self {
        self.connections_per_address = Some(connections);
        self
    }

    /// The most open connections of one address.
    pub(crate) fn share(&self) -> usize {
        self.connections_per_address.unwrap_or((self.connections / 4).max(64))
    }

    /// Sets the most open connections.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 32 << 20,
            rows: 20_000,
            held_bytes: 256 << 20,
            header_bytes: 16 << 10,
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            connections: 1024,
            connections_per_address: None,
        }
    }
}

impl AdmissionConfig {
    /// Sets the most pieces in flight at the stack, and the most waiting requests.
    #[must_use]
    pub fn with_bounds(mut self, concurrency: usize, queue: usize) -> Self {
        self.concurrency = concurrency;
        self.queue = queue;
        self
    }

    /// Sets the size of a piece, and the most pieces of one request in flight.
    #[must_use]
    pub fn with_pieces(mut self, rows: usize, bytes: usize, at_once: usize) -> Self {
        self.piece_rows = rows;
        self.piece_bytes = bytes;
        self.pieces_at_once = at_once;
        self
    }
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self { concurrency: 64, queue: 512, piece_rows: 64, piece_bytes: 256 << 10, pieces_at_once: 4 }
    }
}
