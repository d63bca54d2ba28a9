//! Compiles a map of replacements to SentencePiece's `precompiled_charsmap`.
//!
//! The format is that of the library `darts-clone`, which SentencePiece uses: the u32 length of the trie in
//! bytes, the trie as a double array of u32 units, and the replacements, each ended by a zero byte. In a
//! unit, bits 0 to 7 are the label (the byte that leads there), bit 8 says that a key ends there, bit 9
//! that the offset is in units of 256 (not used here), bits 10 to 30 are the offset; the unit of a value
//! has bit 31 and 31 bits of value, here where the replacement begins.
//! A step from the unit at `p` by the byte `c` leads to the unit at `p ^ offset ^ c`, if its label is `c`;
//! the value of a key that ends at `p` lies at `p ^ offset`.

use std::collections::HashMap;

use embed_core::Error;

use super::sequences::Map;
use crate::weights::broken;

const LEAF: u32 = 1 << 8;
const VALUE: u32 = 1 << 31;
const OFFSET_SHIFT: u32 = 10;
/// Offsets have 21 bits.
const OFFSETS: u32 = 1 << 21;
/// Readers access any of the 256 places around an offset without a bounds check.
const ALIGNMENT: usize = 256;
/// How many places at the end are searched for room for a node.
const OPEN: usize = 16 * ALIGNMENT;

/// Compiles the map.
///
/// # Errors
///
/// [`ErrorKind::Protocol`](embed_core::ErrorKind::Protocol) if the map is too large for the format.
pub(super) fn precompile(map: &Map) -> Result<Vec<u8>, Error> {
    let mut replacements = Vec::new();
    let mut places = HashMap::new();
    let mut entries = Vec::with_capacity(map.len());
    for (from, to) in map {
        let place = match places.get(to.as_str()) {
            Some(&place) => place,
            None => {
                let place = u32::try_from(replacements.len()).ok().filter(|place| place & VALUE == 0);
                let place = place.ok_or_else(too_large)?;
                replacements.extend_from_slice(to.as_bytes());
                replacements.push(0);
                places.insert(to.as_str(), place);
                place
            }
        };
        entries.push((from.as_bytes(), place));
    }
    let mut trie = Trie::default();
    let root = trie.node_of(&entries, 0);
    let units = DoubleArray::build(&trie, root)?;
    let bytes = units.len().checked_mul(4).and_then(|bytes| u32::try_from(bytes).ok());
    let mut compiled = bytes.ok_or_else(too_large)?.to_le_bytes().to_vec();
    compiled.extend(units.into_iter().flat_map(u32::to_le_bytes));
    compiled.extend(replacements);
    Ok(compiled)
}

fn too_large() -> Error {
    broken("the normalisation table is too large for a tokenizer")
}

/// A trie over the bytes of the keys in which equal branches are shared: what follows the four forms of a Hangul
/// consonant is stored once.
#[derive(Default)]
struct Trie {
    nodes: Vec<Node>,
    numbers: HashMap<Node, usize>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Node {
    /// In the order of the bytes, so that the array is the same each time.
    children: Vec<(u8, usize)>,
    value: Option<u32>,
}

impl Trie {
    /// The node of sorted keys that agree in their first `depth` bytes.
    fn node_of(&mut self, mut entries: &[(&[u8], u32)], depth: usize) -> usize {
        let mut value = None;
        if let Some((&(key, place), rest)) = entries.split_first()
            && key.len() == depth
        {
            value = Some(place);
            entries = rest;
        }
        let children = entries
            .chunk_by(|(left, _), (right, _)| left[depth] == right[depth])
            .map(|branch| (branch[0].0[depth], self.node_of(branch, depth + 1)))
            .collect();
        let node = Node { children, value };
        let (nodes, new) = (&mut self.nodes, node.clone());
        *self.numbers.entry(node).or_insert_with(|| {
            nodes.push(new);
            nodes.len() - 1
        })
    }
}

struct DoubleArray {
    units: Vec<u32>,
    taken: Vec<bool>,
    /// No two nodes may share a base: their children would be each other's.
    bases: Vec<bool>,
}

impl DoubleArray {
    fn build(trie: &Trie, root: usize) -> Result<Vec<u32>, Error> {
        let mut array =
            Self { units: vec![0; ALIGNMENT], taken: vec![false; ALIGNMENT], bases: vec![false; ALIGNMENT] };
        array.taken[0] = true;
        let mut placed = vec![None; trie.nodes.len()];
        let mut waiting = vec![(root, 0)];
        while let Some((number, position)) = waiting.pop() {
            let node = &trie.nodes[number];
            let base = match placed[number] {
                Some(base) => base,
                None => {
                    let base = array.place(node)?;
                    placed[number] = Some(base);
                    // In reverse, so that the first one is taken next.
                    let below = node.children.iter().rev();
                    waiting.extend(below.map(|&(byte, child)| (child, base ^ usize::from(byte))));
                    base
                }
            };
            array.lead(position, node, base)?;
        }
        Ok(array.units)
    }

    /// Makes the unit at a position point to a base.
    fn lead(&mut self, position: usize, node: &Node, base: usize) -> Result<(), Error> {
        let offset = u32::try_from(base ^ position).ok().filter(|&offset| offset < OFFSETS);
        self.units[position] |= offset.ok_or_else(too_large)? << OFFSET_SHIFT;
        if node.value.is_some() {
            self.units[position] |= LEAF;
        }
        Ok(())
    }

    /// Finds room for the children of a node, and writes its labels and its value.
    fn place(&mut self, node: &Node) -> Result<usize, Error> {
        let bytes = node.children.iter().map(|&(byte, _)| byte);
        let labels: Vec<u8> = node.value.map(|_| 0).into_iter().chain(bytes).collect();
        // Few nodes fit the gaps further up; searching them costs more than it saves.
        let mut base = self.units.len().saturating_sub(OPEN).max(1);
        while self.bases.get(base).copied().unwrap_or_default()
            || labels.iter().any(|&label| self.is_taken(base ^ usize::from(label)))
        {
            base += 1;
        }
        if base >= OFFSETS as usize {
            return Err(too_large());
        }
        let length = (base + 1).next_multiple_of(ALIGNMENT).max(self.units.len());
        self.units.resize(length, 0);
        self.taken.resize(length, false);
        self.bases.resize(length, false);
        self.bases[base] = true;
        for &label in &labels {
            let place = base ^ usize::from(label);
            self.taken[place] = true;
            self.units[place] = u32::from(label);
        }
        if let Some(value) = node.value {
            self.units[base] = VALUE | value;
        }
        Ok(base)
    }

    fn is_taken(&self, place: usize) -> bool {
        self.taken.get(place).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks a key up as the readers of the format do.
    fn look_up(compiled: &[u8], key: &[u8]) -> Option<String> {
        let length = u32::from_le_bytes(compiled[..4].try_into().unwrap()) as usize;
        let units: Vec<usize> = compiled[4..4 + length]
            .as_chunks::<4>()
            .0
            .iter()
            .map(|unit| u32::from_le_bytes(*unit) as usize)
            .collect();
        let offset = |unit: usize| (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let mut position = offset(units[0]);
        let mut ends = false;
        for &byte in key {
            position ^= usize::from(byte);
            let unit = units[position];
            if unit & ((1 << 31) | 0xFF) != usize::from(byte) {
                return None;
            }
            ends = unit >> 8 & 1 == 1;
            position ^= offset(unit);
        }
        if ends {
            let text = &compiled[4 + length + (units[position] & ((1 << 31) - 1))..];
            let end = text.iter().position(|&byte| byte == 0).unwrap();
            return Some(String::from_utf8(text[..end].to_vec()).unwrap());
        }
        None
    }

    fn map<const N: usize>(entries: [(&str, &str); N]) -> Map {
        entries.map(|(from, to)| (from.to_owned(), to.to_owned())).into()
    }

    #[test]
    fn every_text_finds_its_own_replacement_and_no_other() {
        let map = map([
            ("\t", " "),
            ("\u{1}", ""),
            ("½", "1⁄2"),
            ("ﬁ", "fi"),
            ("Ａ", "A"),
            ("Ａ\u{301}", "Á"),
            ("A\u{301}", "Á"),
            ("𝐀", "A"),
            ("㍿", "株式会社"),
        ]);
        let compiled = precompile(&map).unwrap();
        let characters = (1..=0x1F_FFF_u32).filter_map(char::from_u32).map(String::from);
        for text in characters.chain(map.keys().cloned()).chain(["B\u{301}".to_owned()]) {
            assert_eq!(look_up(&compiled, text.as_bytes()), map.get(&text).cloned(), "{text:?}");
        }
    }

    #[test]
    fn branches_that_are_equal_are_there_once() {
        let vowels = ('a'..='z').flat_map(|first| ('a'..='z').map(move |second| format!("{first}{second}")));
        let of = |initials: &[&str]| {
            let keys =
                initials.iter().flat_map(|initial| vowels.clone().map(move |end| format!("{initial}{end}")));
            precompile(&keys.map(|key| (key, "x".to_owned())).collect()).unwrap().len()
        };
        assert!(of(&["1", "2", "3", "4", "5", "6"]) < of(&["1"]) + 4096);
    }

    #[test]
    fn an_empty_map_replaces_nothing() {
        let compiled = precompile(&Map::new()).unwrap();
        assert_eq!(look_up(&compiled, b"a"), None);
    }
}
