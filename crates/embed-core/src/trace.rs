//! The trace context of a request (W3C Trace Context) and its id.

use std::fmt;
use std::sync::Arc;

/// The trace that a request belongs to, and its id, for services that propagate them. Neither changes a vector, so they
/// aren't part of a cache key. A call that serves several callers has the context of the first.
///
/// The headers are those of [W3C Trace Context](https://www.w3.org/TR/trace-context/). Values that violate the standard
/// are dropped, so everything in here can be sent as it is.
///
/// ```
/// use embed_core::TraceContext;
///
/// let trace = TraceContext::new()
///     .with_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
///     .with_tracestate("rojo=00f067aa0ba902b7")
///     .with_request_id("42");
/// assert_eq!(trace.trace_id(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TraceContext {
    traceparent: Option<Arc<str>>,
    tracestate: Option<Arc<str>>,
    request_id: Option<Arc<str>>,
}

/// The longest header that is propagated. The standard requires at least 512 characters of `tracestate`.
const LONGEST_HEADER: usize = 1024;
/// The longest id.
const LONGEST_ID: usize = 128;
/// Members that a `tracestate` may have.
const MOST_MEMBERS: usize = 32;

impl TraceContext {
    /// No trace and no id.
    #[must_use]
    pub const fn new() -> Self {
        Self { traceparent: None, tracestate: None, request_id: None }
    }

    /// Sets the trace and the parent span of the request: the header `traceparent`. A malformed one is dropped, and
    /// then there is no trace.
    #[must_use]
    pub fn with_traceparent(mut self, header: &str) -> Self {
        self.traceparent = is_traceparent(header).then(|| header.into());
        self
    }

    /// Sets the vendors' data of the trace: the header `tracestate`, several ones joined by commas. A malformed one is
    /// dropped, and without a trace there is none.
    #[must_use]
    pub fn with_tracestate(mut self, header: &str) -> Self {
        self.tracestate = is_tracestate(header).then(|| header.into());
        self
    }

    /// Sets the id of the request: the header `x-request-id`, 1 to 128 visible ASCII characters. Other ids are dropped.
    #[must_use]
    pub fn with_request_id(mut self, id: &str) -> Self {
        let is_id = (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        self.request_id = is_id.then(|| id.into());
        self
    }

    /// The header `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// The header `tracestate`; `None` without a `traceparent`.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.traceparent.as_ref().and(self.tracestate.as_deref())
    }

    /// The id of the request.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// The id of the trace: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.traceparent()?.split('-').nth(1)
    }

    /// The headers to propagate, with their names.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let headers = [
            ("traceparent", self.traceparent()),
            ("tracestate", self.tracestate()),
            ("x-request-id", self.request_id()),
        ];
        headers.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Only the ids: a `tracestate` may hold a vendor's private data.
impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceContext")
            .field("trace_id", &self.trace_id())
            .field("request_id", &self.request_id())
            .finish_non_exhaustive()
    }
}

fn is_traceparent(header: &str) -> bool {
    if header.len() > LONGEST_HEADER || !header.bytes().all(|byte| byte.is_ascii_graphic()) {
        return false;
    }
    let parts: Vec<_> = header.split('-').collect();
    let Some((&[version, trace, span, flags], rest)) = parts.split_first_chunk() else { return false };
    let is_hex = |part: &str, length: usize| {
        part.len() == length
            && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    // Later versions may append more fields.
    let is_known = is_hex(version, 2) && version != "ff" && (version != "00" || rest.is_empty());
    is_known && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2) && !is_zero(trace) && !is_zero(span)
}

fn is_tracestate(header: &str) -> bool {
    // Members may be empty and surrounded by white space.
    let members: Vec<_> = header
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty())
        .collect();
    let is_member = |member: &&str| {
        member.split_once('=').is_some_and(|(key, value)| {
            let mut key = key.bytes();
            let first = key.next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            let other =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
            let is_value = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
            first
                && key.len() < 256
                && key.all(other)
                && (1..=256).contains(&value.len())
                && value.bytes().all(is_value)
        })
    };
    header.len() <= LONGEST_HEADER
        && (1..=MOST_MEMBERS).contains(&members.len())
        && members.iter().all(is_member)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_must_follow_its_standard() {
        let later = PARENT.replacen("00", "cc", 1);
        let longer = format!("{later}-what-comes");
        for good in [PARENT, &later, &longer] {
            assert_eq!(TraceContext::new().with_traceparent(good).traceparent(), Some(good));
        }
        for bad in [
            "",
            "00",
            &PARENT.to_uppercase(),
            &format!("{PARENT}-more"),
            &format!("{PARENT} "),
            &PARENT.replacen("00", "ff", 1),
            &PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &PARENT.replace("00f067aa0ba902b7", "00f067aa0ba902b"),
            &PARENT.replace("-01", "-1"),
            &format!("{later}-{}", "a".repeat(LONGEST_HEADER)),
            &format!("{later}-\r\nx: y"),
        ] {
            assert_eq!(TraceContext::new().with_traceparent(bad).traceparent(), None, "{bad}");
        }
    }

    #[test]
    fn a_tracestate_needs_a_trace() {
        let state = |header: &str| {
            let trace = TraceContext::new().with_traceparent(PARENT).with_tracestate(header);
            trace.tracestate().map(str::to_owned)
        };
        for good in ["rojo=00f067aa0ba902b7", "a=1, fw529a3039@dt=FfAe,,x/y=a b"] {
            assert_eq!(state(good).as_deref(), Some(good));
        }
        let many = vec!["a=1"; MOST_MEMBERS + 1].join(",");
        for bad in ["", ",", "a", "=1", "A=1", "a=", "a=b=c", "a=\u{e9}", "a=1\r\nb: c", &many] {
            assert_eq!(state(bad), None, "{bad}");
        }
        let alone = TraceContext::new().with_tracestate("a=1");
        assert_eq!(alone.headers().count(), 0);
    }

    #[test]
    fn headers_are_what_is_known() {
        let trace = TraceContext::new().with_traceparent(PARENT).with_tracestate("a=1").with_request_id("42");
        let headers: Vec<_> = trace.headers().collect();
        assert_eq!(headers, [("traceparent", PARENT), ("tracestate", "a=1"), ("x-request-id", "42")]);
        for bad in ["", "two words", "a\r\nb", &"a".repeat(LONGEST_ID + 1)] {
            assert_eq!(TraceContext::new().with_request_id(bad), TraceContext::new(), "{bad}");
        }
        assert!(!format!("{trace:?}").contains("a=1"), "a vendor's data is private");
    }
}
