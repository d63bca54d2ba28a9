//! Unpaired UTF-16 surrogates in JSON escapes, which remain if a program cuts a string within a pair.

use std::borrow::Cow;

/// Replaces each escape of an unpaired surrogate (`\\ud83d` without its other half) by that of U+FFFD, the replacement
/// character. Ollama, Go and JavaScript's encoder do the same; serde_json refuses the whole document.
///
/// The length stays the same, and so do the positions in error messages. Anything that isn't JSON stays unchanged.
#[must_use]
pub fn replace_unpaired_surrogates(json: &[u8]) -> Cow<'_, [u8]> {
    let mut replaced = Cow::Borrowed(json);
    let mut at = 0;
    // JSON has backslashes only in strings, so strings needn't be found.
    while let Some(ahead) = json[at..].iter().position(|byte| *byte == b'\\') {
        at += ahead;
        at += match escaped(json, at) {
            Some(0xd800..=0xdbff) if matches!(escaped(json, at + 6), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                replaced.to_mut()[at + 2..at + 6].copy_from_slice(b"fffd");
                6
            }
            Some(_) => 6,
            // Another escape, such as `\\\\`, whose second character begins none; nothing follows the last byte.
            None => 2.min(json.len() - at),
        };
    }
    replaced
}

/// The UTF-16 unit of an escape such as `\ud83d` at this position.
fn escaped(json: &[u8], at: usize) -> Option<u16> {
    let [b'\\', b'u', digits @ ..] = json.get(at..at + 6)? else { return None };
    // `from_str_radix` would accept a sign.
    let digits =
        std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_are_replaced_and_pairs_stay() {
        for (json, expected) in [
            (r#""cut \ud83d""#, r#""cut \ufffd""#),
            (r#""\uD83D\uDE00 \u00e9""#, r#""\uD83D\uDE00 \u00e9""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83d\n\ud83dx""#, r#""\ufffd\n\ufffdx""#),
            (r#""a \\ud83d in words""#, r#""a \\ud83d in words""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\ud8"#, r#""\ud8"#),
            (r#""\"#, r#""\"#),
            (r#""\u+d83""#, r#""\u+d83""#),
        ] {
            assert_eq!(
                String::from_utf8_lossy(&replace_unpaired_surrogates(json.as_bytes())),
                expected,
                "{json}"
            );
        }
        assert!(matches!(replace_unpaired_surrogates(b"{}"), Cow::Borrowed(_)));
    }

    proptest! {
        /// JSON without unpaired surrogates stays unchanged, and otherwise the result is JavaScript's well-formed string.
        #[test]
        fn units_are_read_as_utf16_reads_them(units in prop::collection::vec(0xd700_u16..0xe100, 0..12)) {
            let json = format!("\"{}\"", units.iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>());
            let text: String = serde_json::from_slice(&replace_unpaired_surrogates(json.as_bytes())).unwrap();
            prop_assert_eq!(text, String::from_utf16_lossy(&units));
        }

        #[test]
        fn the_length_stays(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(replace_unpaired_surrogates(&bytes).len(), bytes.len());
        }
    }
}
