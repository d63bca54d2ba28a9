//! What a failure means: one table, read from top to bottom. The texts are those of OpenAI, TEI, vLLM, LiteLLM, llama.cpp,
//! Infinity, Ollama and this project's gateway.

use embed_core::{Error, ErrorKind, Retry};
use embed_remote::{Again, Blame, Failure, Pause, Reason, RowFault, Seen};

use crate::wire::said;

/// A row of the table.
#[derive(Debug)]
struct Rule {
    /// Its name, which an error has in its context.
    name: &'static str,
    on: On,
    kind: ErrorKind,
    again: Again,
    blame: Blame,
    /// What is wrong and the fix; `{model}` stands for the model's name.
    message: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum On {
    Connect,
    Name,
    Tls,
    Broken,
    Silence,
    TooMuch,
    LeftOut,
    Rows(&'static [RowFault]),
    /// One of these statuses (none: any), and one of these parts in what the body says (none: anything).
    Says(&'static [u16], &'static [&'static str]),
    /// The same at a server that has not yet embedded a text with these settings: later a refusal is about its texts, and
    /// the words may be theirs, which a server may quote.
    SaysAtFirst(&'static [u16], &'static [&'static str]),
    /// Any status from the first to the last.
    Statuses(u16, u16),
    /// An answer of success that can't be read, though it is JSON or nearly so.
    Unreadable,
}

pub(crate) const TOO_MANY_TEXTS: &str = "too-many-texts";
pub(crate) const TOO_MANY_TOKENS: &str = "too-many-tokens";

const NO_MODEL: &[&str] = &[
    "model_not_found",
    "model_not_exist",
    "does not exist",
    "unknown model",
    "model not found",
    "invalid model",
    "no such model",
];

#[rustfmt::skip]
static RULES: &[Rule] = &[
    Rule { name: "refused", on: On::Connect, kind: ErrorKind::Unavailable, again: Again::AsSet, blame: Blame::Server,
        message: "no server answers at this address; start it, or set its address" },
    Rule { name: "no-address", on: On::Name, kind: ErrorKind::Unavailable, again: Again::AsSet, blame: Blame::Server,
        message: "the server's name has no address; check it and the network" },
    Rule { name: "tls", on: On::Tls, kind: ErrorKind::Unavailable, again: Again::AsSet, blame: Blame::Server,
        message: "no TLS connection to the server; check the address's scheme and the certificates of this machine" },
    Rule { name: "broken", on: On::Broken, kind: ErrorKind::Unavailable, again: Again::AsSet, blame: Blame::Server,
        message: "the server broke the connection off; its log may say why" },
    // The second wait is a longer one.
    Rule { name: "silence", on: On::Silence, kind: ErrorKind::Timeout, again: Again::AtMost(1), blame: Blame::Server,
        message: "the server gave no answer in time; raise `request_timeout`, or send less in a request" },
    Rule { name: "left-out", on: On::LeftOut, kind: ErrorKind::Unavailable, again: Again::AsSet, blame: Blame::Server,
        message: "the server failed too often and is left out until it answers again; it is tried every few seconds" },
    Rule { name: "too-much", on: On::TooMuch, kind: ErrorKind::Protocol, again: Again::AtMost(1), blame: Blame::Server,
        message: "the answer is longer than one can be; check the address and what stands before the server" },

    Rule { name: "no-rows", on: On::Rows(&[RowFault::None]), kind: ErrorKind::Protocol, again: Again::AtMost(1), blame: Blame::Text,
        message: "the server gave no rows for the texts that it was sent; check its model" },
    Rule { name: "row-width", on: On::Rows(&[RowFault::Width]), kind: ErrorKind::DimensionMismatch, again: Again::AtMost(1), blame: Blame::Text,
        message: "the server gave a vector of another width than the model's; check its model" },
    Rule { name: "rows", on: On::Rows(&[RowFault::Count, RowFault::Null, RowFault::NotFinite, RowFault::Zero, RowFault::Norm]),
        kind: ErrorKind::Protocol, again: Again::AtMost(1), blame: Blame::Text,
        message: "the server gave something that is no vector of the model; check its model" },

    Rule { name: "no-quota", on: On::Says(&[402, 403, 429], &["insufficient_quota", "billing", "exceeded your current quota"]),
        kind: ErrorKind::RateLimited, again: Again::Never, blame: Blame::Request,
        message: "the account has no quota left; check its plan and its limits" },
    Rule { name: TOO_MANY_TOKENS, on: On::Says(&[429], &["request too large"]),
        kind: ErrorKind::InputTooLong, again: Again::Never, blame: Blame::Size,
        message: "the text has more tokens than the account may send in a minute; shorten it, or raise the limit" },
    Rule { name: "throttled", on: On::Says(&[429], &[]), kind: ErrorKind::RateLimited, again: Again::Throttled, blame: Blame::Request,
        message: "the server is asked too often; ask less at once, or raise the account's limit" },
    Rule { name: "no-credentials", on: On::Says(&[401, 403, 407], &[]), kind: ErrorKind::Unauthorized, again: Again::Never, blame: Blame::Request,
        message: "the server or a proxy before it refuses this client; set `key` or `key_file`, or the headers that it asks for" },
    Rule { name: "no-model", on: On::Says(&[404], &["model"]), kind: ErrorKind::ModelNotFound, again: Again::Never, blame: Blame::Request,
        message: "the server doesn't have {model}; its /v1/models lists those that it has" },
    Rule { name: "no-model", on: On::SaysAtFirst(&[400, 422], NO_MODEL), kind: ErrorKind::ModelNotFound, again: Again::Never, blame: Blame::Request,
        message: "the server doesn't have {model}; its /v1/models lists those that it has" },
    Rule { name: "no-route", on: On::Says(&[404, 405], &[]), kind: ErrorKind::Config, again: Again::Never, blame: Blame::Request,
        message: "there is no /embeddings at this address; check host, port and path, which mostly ends in /v1" },

    Rule { name: TOO_MANY_TEXTS, on: On::Says(&[400, 413, 422], &["array_above_max_length", "array too long", "batch size", "\ntoo_long\n",
            "too many inputs", "too many texts", "too many items", "maximum allowed batch", "number of inputs"]),
        kind: ErrorKind::Protocol, again: Again::Never, blame: Blame::Size,
        message: "the server calls one text too many; check what stands before it" },
    Rule { name: TOO_MANY_TOKENS, on: On::Says(&[400, 413, 422], &["max_tokens_per_request", "tokens per request", "max batch tokens", "batch tokens"]),
        kind: ErrorKind::InputTooLong, again: Again::Never, blame: Blame::Size,
        message: "the text has more tokens than the server takes in a request; shorten it, or ask for a truncation" },
    Rule { name: "too-long", on: On::Says(&[400, 413, 422, 500], &["context length", "context_length", "maximum context", "must have less than",
            "exceed_context", "exceeds the available context", "context size", "context window", "too large to process", "physical batch size",
            "maximum sequence length", "maximum input length", "input is too long", "text is too long", "input_too_long", "string_too_long",
            "too many tokens", "longer than the model"]),
        kind: ErrorKind::InputTooLong, again: Again::Never, blame: Blame::Text,
        message: "the text is longer than the model reads; shorten it, or ask for a truncation" },
    Rule { name: "dimensions", on: On::SaysAtFirst(&[400, 422], &["dimensions", "matryoshka"]), kind: ErrorKind::Config, again: Again::Never, blame: Blame::Request,
        message: "{model} gives no vectors of so many numbers; leave `dimensions` out, or name another number" },
    Rule { name: "empty-text", on: On::Says(&[400, 413, 422], &["cannot be empty", "can't be empty", "must not be empty", "is empty", "string_too_short", "empty string"]),
        kind: ErrorKind::InvalidInput, again: Again::Never, blame: Blame::Text,
        message: "the text is empty to this model; leave it out" },
    Rule { name: "too-large", on: On::Says(&[413], &[]), kind: ErrorKind::InputTooLong, again: Again::Never, blame: Blame::Size,
        message: "the server takes no request of this size; shorten the text, or ask for a truncation" },
    Rule { name: "too-early", on: On::Says(&[408, 425], &[]), kind: ErrorKind::Unavailable, again: Again::AsSet, blame: Blame::Server,
        message: "a proxy before the server asks to try again; check what it waits for" },
    Rule { name: "refused-text", on: On::Says(&[400, 422, 424], &[]), kind: ErrorKind::Protocol, again: Again::Never, blame: Blame::Text,
        message: "the server refuses the text, and says why in a way that this client doesn't know; its log may say more" },
    Rule { name: "other-400", on: On::Statuses(400, 499), kind: ErrorKind::Protocol, again: Again::Never, blame: Blame::Request,
        message: "the server refuses the request; check that it speaks OpenAI's API" },

    Rule { name: "busy", on: On::Says(&[503, 529], &[]), kind: ErrorKind::Overloaded, again: Again::AsSet, blame: Blame::Request,
        message: "the server is overloaded or still loads its model; try later, or ask less at once" },
    Rule { name: "gateway", on: On::Says(&[502, 504], &[]), kind: ErrorKind::Unavailable, again: Again::AsSet, blame: Blame::Server,
        message: "a proxy doesn't reach the server; check that it runs" },
    Rule { name: "not-there", on: On::Says(&[501], &[]), kind: ErrorKind::Config, again: Again::Never, blame: Blame::Request,
        message: "the server doesn't embed; start it for embeddings, or name a model that does" },
    Rule { name: "other-500", on: On::Statuses(500, 599), kind: ErrorKind::Unavailable, again: Again::AtMost(1), blame: Blame::Text,
        message: "the server failed; its log may say why" },
    Rule { name: "redirect", on: On::Statuses(300, 399), kind: ErrorKind::Config, again: Again::Never, blame: Blame::Request,
        message: "the server sends elsewhere, which would turn the request into another one; set the address that it sends to" },
    // JSON has no NaN, and some servers write one all the same.
    Rule { name: "unreadable", on: On::Unreadable, kind: ErrorKind::Protocol, again: Again::AtMost(1), blame: Blame::Text,
        message: "the server's answer for this text is no JSON of vectors; check its model" },
    Rule { name: "foreign", on: On::Says(&[], &[]), kind: ErrorKind::Protocol, again: Again::Never, blame: Blame::Request,
        message: "what answers doesn't speak OpenAI's API; check the address, and whether a proxy or portal answers instead" },
];

impl Rule {
    fn matches(&self, seen: &Seen, said: &str, proven: bool) -> bool {
        match (self.on, seen) {
            (On::Connect, Seen::Connect)
            | (On::Name, Seen::Name)
            | (On::Tls, Seen::Tls)
            | (On::Broken, Seen::Broken)
            | (On::Silence, Seen::Silence)
            | (On::TooMuch, Seen::TooMuch)
            | (On::LeftOut, Seen::LeftOut) => true,
            (On::Rows(faults), Seen::Rows(fault)) => faults.contains(fault),
            (On::Statuses(first, last), Seen::Answer { status, .. }) => (first..=last).contains(status),
            (On::SaysAtFirst(..), _) if proven => false,
            (On::Says(statuses, parts) | On::SaysAtFirst(statuses, parts), Seen::Answer { status, .. }) => {
                (statuses.is_empty() || statuses.contains(status))
                    && (parts.is_empty() || parts.iter().any(|part| said.contains(part)))
            }
            (On::Unreadable, Seen::Answer { status: 200..=299, body, .. }) => {
                body.0.trim_ascii_start().starts_with(b"{")
            }
            _ => false,
        }
    }

    fn reason(&self) -> Reason {
        match (self.on, self.kind) {
            (On::Silence, _) => Reason::Silence,
            (On::Connect | On::Name | On::Tls | On::Broken, _) => Reason::Connection,
            (On::Rows(_), _) => Reason::Rows,
            (_, ErrorKind::Overloaded | ErrorKind::RateLimited) => Reason::Busy,
            _ => Reason::Other,
        }
    }
}

/// Finds the rule for what was seen, and says what is to be done about it; `proven` is a server that has embedded texts with
/// the same settings.
pub(crate) fn failure(seen: &Seen, model: &str, proven: bool) -> Failure {
    let (said, status, after) = match seen {
        Seen::Answer { status, body, after, .. } => (said(&body.0), Some(*status), *after),
        _ => (String::new(), None, None),
    };
    // The table ends in a rule that matches every answer; `the_table_has_an_answer_for_everything` tests it.
    let last = &RULES[RULES.len() - 1];
    let rule = RULES.iter().find(|rule| rule.matches(seen, &said, proven)).unwrap_or(last);
    let mut error = Error::new(rule.kind, rule.message.replace("{model}", model));
    if let Some(status) = status {
        error = error.with_context("status", status);
    }
    error = error.with_context("rule", rule.name);
    if rule.again != Again::Never {
        error = error.with_retry(Retry::Temporary { after });
    }
    let pause = if rule.name == "busy" { Pause::Short } else { Pause::BackOff };
    Failure { error, after, again: rule.again, pause, blame: rule.blame, reason: rule.reason() }
}

/// The rule that an error is of.
pub(crate) fn rule_of(error: &Error) -> Option<&str> {
    error.context().find(|(name, _)| *name == "rule").map(|(_, rule)| rule)
}

/// Whether an error of the table is about the text, and not about the service.
pub(crate) fn is_about_text(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::InvalidInput
        | ErrorKind::InputTooLong
        | ErrorKind::Protocol
        | ErrorKind::DimensionMismatch => true,
        // A crash that followed a text until it was alone.
        ErrorKind::Unavailable => rule_of(error) == Some("other-500"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use embed_remote::Body;

    use super::*;

    fn of(status: u16, body: &str) -> (String, ErrorKind, Blame) {
        let body = Body(body.as_bytes().to_vec());
        let failure =
            failure(&Seen::Answer { status, headers: Box::default(), body, after: None }, "m", false);
        (rule_of(&failure.error).unwrap().to_owned(), failure.error.kind(), failure.blame)
    }

    #[test]
    fn the_table_has_an_answer_for_everything() {
        for status in 100..600 {
            for body in ["", "{}", "{\"error\":{}}", "<html>"] {
                assert!(!of(status, body).0.is_empty());
            }
        }
        for fault in RowFault::ALL {
            assert_ne!(rule_of(&failure(&Seen::Rows(fault), "m", false).error), Some("foreign"));
        }
        let others =
            [Seen::Connect, Seen::Name, Seen::Tls, Seen::Broken, Seen::Silence, Seen::TooMuch, Seen::LeftOut];
        for seen in others {
            assert_ne!(rule_of(&failure(&seen, "m", false).error), Some("foreign"), "{seen:?}");
        }
    }

    /// What servers really say, each in its own words.
    #[test]
    fn every_server_is_understood() {
        use Blame::{Request, Size, Text};
        use ErrorKind::{
            Config, InputTooLong, InvalidInput, ModelNotFound, Overloaded, Protocol, RateLimited,
            Unauthorized, Unavailable,
        };
        let error = |message: &str, code: &str| {
            serde_json::json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": code}}).to_string()
        };
        let cases = [
            // OpenAI.
            (400, error("This model's maximum context length is 8192 tokens, however you requested 9003 tokens", ""), "too-long", InputTooLong, Text),
            (400, error("Invalid 'input': array too long.", "array_above_max_length"), TOO_MANY_TEXTS, Protocol, Size),
            (400, error("Requested 350000 tokens, max 300000 tokens per request", "max_tokens_per_request"), TOO_MANY_TOKENS, InputTooLong, Size),
            (400, error("'$.input' is invalid.", ""), "refused-text", Protocol, Text),
            (400, error("This model does not support specifying dimensions.", ""), "dimensions", Config, Request),
            (401, error("Incorrect API key provided", "invalid_api_key"), "no-credentials", Unauthorized, Request),
            (404, error("The model `x` does not exist", "model_not_found"), "no-model", ModelNotFound, Request),
            (429, error("Rate limit reached on requests per min", "rate_limit_exceeded"), "throttled", RateLimited, Request),
            (429, error("You exceeded your current quota", "insufficient_quota"), "no-quota", RateLimited, Request),
            (429, error("Request too large for x on tokens per min (TPM): Limit 1000, Requested 5000.", "rate_limit_exceeded"), TOO_MANY_TOKENS, InputTooLong, Size),
            // TEI.
            (413, r#"{"message":"Input validation error: `inputs` must have less than 512 tokens. Given: 600","code":413,"type":"Validation"}"#.to_owned(), "too-long", InputTooLong, Text),
            (422, r#"{"message":"batch size 64 > maximum allowed batch size 32","code":422,"type":"Validation"}"#.to_owned(), TOO_MANY_TEXTS, Protocol, Size),
            (429, r#"{"message":"Model is overloaded","code":429,"type":"Overloaded"}"#.to_owned(), "throttled", RateLimited, Request),
            (422, r#"{"message":"Input validation error: `inputs` cannot be empty","type":"Validation"}"#.to_owned(), "empty-text", InvalidInput, Text),
            // vLLM.
            (400, r#"{"object":"error","message":"This model's maximum context length is 512 tokens. However, you requested 600 tokens in the input for embedding generation.","type":"BadRequestError","param":null,"code":400}"#.to_owned(), "too-long", InputTooLong, Text),
            // LiteLLM.
            (400, error("litellm.ContextWindowExceededError: maximum context length", "400"), "too-long", InputTooLong, Text),
            // llama.cpp, and its Python server.
            (500, r#"{"error":{"code":500,"message":"input is too large to process. increase the physical batch size","type":"server_error"}}"#.to_owned(), "too-long", InputTooLong, Text),
            (400, r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#.to_owned(), "too-long", InputTooLong, Text),
            (503, r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#.to_owned(), "busy", Overloaded, Request),
            (500, r#"{"error":{"message":"Requested tokens (600) exceed context window of 512","type":"internal_server_error"}}"#.to_owned(), "too-long", InputTooLong, Text),
            // Infinity, and others built with FastAPI.
            (422, r#"{"detail":[{"type":"too_long","loc":["body","input"],"msg":"List should have at most 2048 items","input":["x"]}]}"#.to_owned(), TOO_MANY_TEXTS, Protocol, Size),
            (422, r#"{"detail":[{"type":"string_too_long","loc":["body","input",3],"msg":"String should have at most 122880 characters"}]}"#.to_owned(), "too-long", InputTooLong, Text),
            // Ollama.
            (
                404,
                r#"{"error":{"message":"model \"x\" not found, try pulling it first","type":"api_error","code":null}}"#.to_owned(),
                "no-model",
                ModelNotFound,
                Request,
            ),
            (404, r#"{"detail":"Not Found"}"#.to_owned(), "no-route", Config, Request),
            // Proxies, and others.
            (413, String::new(), "too-large", InputTooLong, Size),
            (502, "<html>".to_owned(), "gateway", Unavailable, Blame::Server),
            (500, String::new(), "other-500", Unavailable, Text),
            (200, r#"{"data":[{"embedding":[NaN]}]}"#.to_owned(), "unreadable", Protocol, Text),
            (200, "<html>please log in</html>".to_owned(), "foreign", Protocol, Request),
        ];
        for (status, body, rule, kind, blame) in cases {
            assert_eq!(of(status, &body), (rule.to_owned(), kind, blame), "{status} {body}");
        }
    }

    #[test]
    fn words_that_a_server_quotes_from_a_text_blame_no_more_than_a_text() {
        for quoted in ["the dimensions of a lake", "a model that does not exist", "an unknown model"] {
            let body =
                serde_json::json!({ "error": { "message": format!("invalid: {quoted}") } }).to_string();
            let seen =
                Seen::Answer { status: 400, headers: Box::default(), body: Body(body.into()), after: None };
            assert_eq!(failure(&seen, "m", true).blame, Blame::Text, "{quoted}");
        }
    }

    #[test]
    fn messages_are_sentences_with_a_fix_and_quote_nothing() {
        for rule in RULES {
            assert!(!rule.message.ends_with('.') && rule.message.contains([';', ',']), "{}", rule.name);
        }
        let body = Body(br#"{"error":{"message":"private text exceeds context length"}}"#.to_vec());
        let seen = Seen::Answer { status: 400, headers: Box::default(), body, after: None };
        assert!(!format!("{:?}{seen:?}", failure(&seen, "m", false)).contains("private"));
    }
}
