//! Tokens and vectors that need no model: a word is a token, and a vector is made of the hash of its text.

/// The tokens of a text: words, single punctuation marks, single characters outside of the Latin script.
#[must_use]
pub fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut word: Option<usize> = None;
    for (at, char) in text.char_indices() {
        let part_of_word = char.is_alphanumeric() && (char as u32) < 0x2000;
        if part_of_word {
            word.get_or_insert(at);
            continue;
        }
        if let Some(start) = word.take() {
            tokens.push(&text[start..at]);
        }
        if !char.is_whitespace() {
            tokens.push(&text[at..at + char.len_utf8()]);
        }
    }
    if let Some(start) = word {
        tokens.push(&text[start..]);
    }
    tokens
}

/// A vector of norm 1: always the same for a text, and different from those of all other texts.
#[must_use]
pub fn vector(text: &str, dimension: usize, drift: f32) -> Vec<f32> {
    let mut vector = noise(text, dimension);
    if drift != 0.0 {
        let other = noise(&format!("{text}\u{0}drift"), dimension);
        for (value, other) in vector.iter_mut().zip(other) {
            *value += drift * other;
        }
    }
    embed_core::vector::normalise(&mut vector);
    vector
}

fn noise(text: &str, dimension: usize) -> Vec<f32> {
    let mut state = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut next = || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    (0..dimension).map(|_| (next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_marks_are_tokens() {
        assert_eq!(tokens("why is the sky blue?").len(), 6);
        assert_eq!(tokens(" 富士山, a.b "), ["富", "士", "山", ",", "a", ".", "b"]);
        assert!(tokens(" \n").is_empty());
    }

    #[test]
    fn vectors_differ() {
        let (a, b) = (vector("a", 384, 0.0), vector("b", 384, 0.0));
        assert_eq!(a, vector("a", 384, 0.0));
        assert!(embed_core::vector::cosine(&a, &b).unwrap().abs() < 0.3);
        let moved = vector("a", 384, 0.1);
        let cosine = embed_core::vector::cosine(&a, &moved).unwrap();
        assert!((0.98..0.999).contains(&cosine), "{cosine}");
    }
}
