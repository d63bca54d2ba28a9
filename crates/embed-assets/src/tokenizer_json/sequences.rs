//! From a table of single characters to the map that SentencePiece normalises with.
//!
//! The wheel keeps of SentencePiece's map what single characters become. The original also has sequences: what
//! Unicode composes (kana with U+3099 and U+309A, Hangul jamo, letters with diacritics), in every mix of forms that are
//! compatible with its parts, such as half-width kana with their marks. They are made here as SentencePiece's builder
//! makes them (`BuildNFKCMap`): each character is decomposed (NFKD), each part of that is replaced by every character
//! that decomposes to it alone, and the result is composed (NFC). A sequence that shorter ones give anyway is left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

/// No character of the planes above decomposes.
const LAST: char = '\u{2FFFF}';

/// What is replaced by what, in the order of the bytes.
pub(super) type Map = BTreeMap<String, String>;

/// The map of a table of single characters, with the sequences that belong to it.
///
/// A character that Unicode replaces and the table doesn't is newer than the table. The model never saw it replaced, so
/// it is in no sequence.
pub(super) fn with_sequences(table: &[(char, String)]) -> Map {
    let mut map: Map = table.iter().map(|(from, to)| (String::from(*from), to.clone())).collect();
    map.extend(sequences(&map));
    map
}

fn sequences(singles: &Map) -> Map {
    let nfkc = ComposingNormalizerBorrowed::new_nfkc();
    let nfkd = DecomposingNormalizerBorrowed::new_nfkd();
    // SentencePiece's rules for white space and control characters differ from NFKC. The sequences come from NFKC alone.
    let mut shorter = HashMap::new();
    let mut decomposed = BTreeSet::new();
    let mut alike: HashMap<char, Vec<char>> = HashMap::new();
    for character in '\u{1}'..=LAST {
        let text = String::from(character);
        let composed = nfkc.normalize(&text);
        if composed != text {
            if !singles.contains_key(&text) {
                continue;
            }
            shorter.insert(text.clone(), composed.into_owned());
        }
        let parts = nfkd.normalize(&text);
        let mut characters = parts.chars();
        match (characters.next(), characters.next()) {
            (Some(only), None) => alike.entry(only).or_default().push(character),
            _ => drop(decomposed.insert(parts.into_owned())),
        }
    }

    let mut longer: BTreeMap<usize, Map> = BTreeMap::new();
    for parts in decomposed {
        let composed = ComposingNormalizerBorrowed::new_nfc().normalize(&parts);
        if composed == parts {
            continue;
        }
        let forms = longer.entry(parts.chars().count()).or_default();
        for form in mixes(&parts, &alike).into_iter().filter(|form| *form != composed) {
            forms.insert(form, composed.clone().into_owned());
        }
    }
    let mut sequences = Map::new();
    for (length, mut forms) in longer {
        forms.retain(|form, composed| normalise(form, length - 1, &shorter) != *composed);
        shorter.extend(forms.clone());
        sequences.extend(forms);
    }
    sequences
}

/// Every text whose characters decompose to those of `parts`, one to one.
fn mixes(parts: &str, alike: &HashMap<char, Vec<char>>) -> Vec<String> {
    let mut mixes = vec![String::new()];
    for part in parts.chars() {
        let forms = alike.get(&part).map(Vec::as_slice).unwrap_or_default();
        mixes = mixes.iter().flat_map(|mix| forms.iter().map(move |form| format!("{mix}{form}"))).collect();
    }
    mixes
}

/// The longest match at every place, of at most `longest` characters.
fn normalise(text: &str, longest: usize, map: &HashMap<String, String>) -> String {
    let mut rest = text;
    let mut normalised = String::new();
    while let Some(first) = rest.chars().next() {
        let ends: Vec<_> = rest.char_indices().map(|(at, c)| at + c.len_utf8()).take(longest).collect();
        let matched = ends.into_iter().rev().find_map(|end| Some((end, map.get(&rest[..end])?)));
        let (end, form) = matched.map_or((first.len_utf8(), None), |(end, form)| (end, Some(form)));
        normalised += form.map_or(&rest[..end], String::as_str);
        rest = &rest[end..];
    }
    normalised
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compatible_characters_compose_and_those_that_the_table_lacks_do_not() {
        let table = [('ﾞ', "\u{3099}"), ('ﾃ', "テ"), ('Ａ', "A")];
        let map = with_sequences(&table.map(|(from, to)| (from, to.to_owned())));
        let becomes = |text: &str| map.get(text).map(String::as_str);
        assert_eq!(becomes("ﾃﾞ"), Some("デ"));
        assert_eq!(becomes("テ\u{3099}"), Some("デ"));
        assert_eq!(becomes("Ａ\u{301}"), Some("Á"));
        assert_eq!(becomes("\u{1112}\u{1161}\u{11ab}"), Some("한"));
        assert_eq!(becomes("e\u{323}\u{302}"), Some("ệ"));
        assert_eq!(becomes("Ａ"), Some("A"));
        assert_eq!(becomes("ｶﾞ"), None, "half-width ka isn't in the table");
        assert_eq!(becomes("デ"), None);
    }
}
