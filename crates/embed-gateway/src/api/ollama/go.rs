//! Go's error messages for what it can't decode, which Ollama's clients may expect.

use crate::failure::Failure;
use crate::json::{BadJson, JsonKind, Number, Value};

/// A body that isn't what a handler of Ollama decodes into `api.<request>`.
pub(super) fn bad_json(error: &BadJson, request: &str) -> Failure {
    Failure::bad_request(match error {
        BadJson::Empty => "missing request body".to_owned(),
        BadJson::Cut => "unexpected EOF".to_owned(),
        BadJson::TooDeep => "exceeded max depth".to_owned(),
        // Go would go on and embed a replacement character: silently a wrong vector.
        BadJson::NotUtf8 { .. } | BadJson::Encoded(_) => error.to_string(),
        // Go quotes the unexpected character, which is part of the caller's input.
        BadJson::Syntax { line, column } => format!("invalid JSON at line {line}, column {column}"),
        BadJson::NotAnObject(kind) => {
            format!("json: cannot unmarshal {} into Go value of type api.{request}", kind.as_str())
        }
    })
}

/// A field of the wrong kind.
pub(super) fn bad_field(got: JsonKind, request: &str, field: &str, go_type: &str) -> Failure {
    let kind = got.as_str();
    Failure::bad_request(format!(
        "json: cannot unmarshal {kind} into Go struct field {request}.{field} of type {go_type}"
    ))
}

/// Checks a `keep_alive` as Ollama parses it: seconds, or a duration with units. It has no effect here, since nothing is
/// unloaded.
pub(super) fn check_keep_alive(value: Value) -> Result<(), Failure> {
    match value {
        Value::Null | Value::Number(Number::Integer(_) | Number::Float(_)) => Ok(()),
        Value::Text(text) => check_duration(&text).map_err(Failure::bad_request),
        Value::Bool(_) => Err(Failure::bad_request("Unsupported type: 'bool'")),
        Value::List(_) => Err(Failure::bad_request("Unsupported type: '[]interface {}'")),
        Value::Object(_) => Err(Failure::bad_request("Unsupported type: 'map[string]interface {}'")),
    }
}

/// Whether a `keep_alive` means that the model is unloaded at once.
pub(super) fn is_zero(keep_alive: &Value) -> bool {
    match keep_alive {
        Value::Number(Number::Integer(seconds)) => *seconds == 0,
        Value::Number(Number::Float(seconds)) => seconds.trunc() == 0.0,
        Value::Text(text) => {
            check_duration(text).is_ok() && !text.contains(|c: char| ('1'..='9').contains(&c))
        }
        _ => false,
    }
}

/// The options that Ollama 0.9.3 knows. It ignores others.
pub(super) const OPTIONS: &[&str] = &[
    "num_keep",
    "seed",
    "num_predict",
    "top_k",
    "repeat_last_n",
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "use_mmap",
    "stop",
    "top_p",
    "min_p",
    "typical_p",
    "temperature",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
];

/// Checks the values of options as Ollama does before it passes them to a runner. They have no effect here, and a caller's
/// mistake isn't a status of 500 as it is there.
pub(super) fn check_options(options: &[(&'static str, Value)]) -> Result<(), Failure> {
    for (name, value) in options {
        let number = matches!(value, Value::Number(_));
        let wanted = match (*name, value) {
            (_, Value::Null) => continue,
            ("use_mmap", value) if !matches!(value, Value::Bool(_)) => "of type boolean",
            ("stop", Value::List(list)) if list.odd.is_some() => "of an array of strings",
            ("stop", value) if !matches!(value, Value::List(_)) => "of type array",
            ("use_mmap" | "stop", _) => continue,
            // Where an integer is expected, the fraction of a number is dropped.
            _ if number => continue,
            (name, _) if is_float(name) => "of type float32",
            _ => "of type integer",
        };
        return Err(Failure::bad_request(format!("option \"{name}\" must be {wanted}")));
    }
    Ok(())
}

fn is_float(option: &str) -> bool {
    option == "temperature" || option.ends_with("_p") || option.ends_with("_penalty")
}

/// Go's `time.ParseDuration`: an optional sign, then numbers with units, such as `1h30m` or `-1.5s`.
fn check_duration(text: &str) -> Result<(), String> {
    const UNITS: [&str; 8] = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
    // A longer text isn't a duration, and isn't quoted.
    let quoted = if text.len() <= 32 { format!("{text:?}") } else { "\"…\"".to_owned() };
    let invalid = || format!("time: invalid duration {quoted}");
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(());
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(unit_at);
        if !number.contains(|c: char| c.is_ascii_digit()) || number.matches('.').count() > 1 {
            return Err(invalid());
        }
        let next = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(next);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {quoted}"));
        }
        if !UNITS.contains(&unit) {
            return Err(format!("time: unknown unit \"{unit}\" in duration {quoted}"));
        }
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_reads_them() {
        for good in ["5m", "0", "-1s", "+1.5h", "1h30m", "100ms", ".5s", "1µs"] {
            check_duration(good).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        // Answers of Ollama 0.9.3.
        for (bad, message) in [
            ("10", r#"time: missing unit in duration "10""#),
            ("PT15M", r#"time: invalid duration "PT15M""#),
            ("", r#"time: invalid duration """#),
            ("5d", r#"time: unknown unit "d" in duration "5d""#),
            ("1..5s", r#"time: invalid duration "1..5s""#),
        ] {
            assert_eq!(check_duration(bad).unwrap_err(), message);
        }
    }
}
