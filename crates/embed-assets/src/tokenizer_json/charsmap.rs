//! Compiles a table of character replacements to SentencePiece's `precompiled_charsmap`.
//!
//! The format is that of the library `darts-clone`, which SentencePiece uses: the u32 length of the trie in
//! bytes, the trie as a double array of u32 units, and the replacements, each ended by a zero byte. In a
//! unit, bits 0 to 7 are the label (the byte that leads there), bit 8 says that a key ends there, bit 9
//! that the offset is in units of 256 (not used here), bits 10 to 30 are the offset; the unit of a value
//! has bit 31 and 31 bits of value, here where the replacement begins.
//! A step from the unit at `p` by the byte `c` leads to the unit at `p ^ offset ^ c`, if its label is `c`;
//! the value of a key that ends at `p` lies at `p ^ offset`.

use std::collections::{BTreeMap, HashSet};

use embed_core::Error;

use crate::weights::broken;

const LEAF: u32 = 1 << 8;
const VALUE: u32 = 1 << 31;
const OFFSET_SHIFT: u32 = 10;
/// Offsets have 21 bits.
const OFFSETS: usize = 1 << 21;
/// A reader looks at any of the 256 places around an offset without asking whether they exist.
const ALIGNMENT: usize = 256;

/// Compiles the table.
///
/// # Errors
///
/// [`ErrorKind::Protocol`](embed_core::ErrorKind::Protocol) if a character is there twice, or the table is too
/// large for the format.
pub(super) fn precompile<'a>(table: impl Iterator<Item = (char, &'a str)>) -> Result<Vec<u8>, Error> {
    let mut replacements = Vec::new();
    let mut root = Node::default();
    for (from, to) in table {
        let place = u32::try_from(replacements.len()).ok().filter(|place| place & VALUE == 0);
        let place = place.ok_or_else(too_large)?;
        replacements.extend_from_slice(to.as_bytes());
        replacements.push(0);
        let mut node = &mut root;
        for &byte in from.encode_utf8(&mut [0; 4]).as_bytes() {
            node = node.children.entry(byte).or_default();
        }
        if node.value.replace(place).is_some() {
            return Err(broken("a character is in the normalisation table twice")
                .with_context("code_point", u32::from(from)));
        }
    }
    let units = DoubleArray::build(&root)?;
    let bytes = units.len().checked_mul(4).and_then(|bytes| u32::try_from(bytes).ok());
    let mut compiled = bytes.ok_or_else(too_large)?.to_le_bytes().to_vec();
    compiled.extend(units.into_iter().flat_map(u32::to_le_bytes));
    compiled.extend(replacements);
    Ok(compiled)
}

fn too_large() -> Error {
    broken("the normalisation table is too large for a tokenizer")
}

/// A trie over the bytes of the keys.
#[derive(Default)]
struct Node {
    /// In order, so that the array is the same each time.
    children: BTreeMap<u8, Self>,
    value: Option<u32>,
}

struct DoubleArray {
    units: Vec<u32>,
    taken: Vec<bool>,
    /// No two nodes may share a base: their children would be each other's.
    bases: HashSet<usize>,
    /// Every base below is in use or fits nothing.
    lowest: usize,
}

impl DoubleArray {
    fn build(root: &Node) -> Result<Vec<u32>, Error> {
        let mut array = Self {
            units: vec![0; ALIGNMENT],
            taken: vec![false; ALIGNMENT],
            bases: HashSet::new(),
            lowest: 1,
        };
        array.taken[0] = true;
        let mut waiting = vec![(root, 0)];
        while let Some((node, position)) = waiting.pop() {
            let base = array.place(node, position)?;
            // From the last to the first, so that the first is taken up next.
            waiting
                .extend(node.children.iter().rev().map(|(&byte, child)| (child, base ^ usize::from(byte))));
        }
        Ok(array.units)
    }

    /// Finds room for what hangs on the node at a position, and writes it.
    fn place(&mut self, node: &Node, position: usize) -> Result<usize, Error> {
        let labels: Vec<u8> =
            node.value.map(|_| 0).into_iter().chain(node.children.keys().copied()).collect();
        let mut base = self.lowest;
        while self.bases.contains(&base)
            || labels.iter().any(|&label| self.is_taken(base ^ usize::from(label)))
        {
            base += 1;
        }
        let offset = base ^ position;
        if offset >= OFFSETS {
            return Err(too_large());
        }
        self.bases.insert(base);
        while self.bases.contains(&self.lowest) {
            self.lowest += 1;
        }
        let length = (base + 1).next_multiple_of(ALIGNMENT).max(self.units.len());
        self.units.resize(length, 0);
        self.taken.resize(length, false);
        for &label in &labels {
            self.taken[base ^ usize::from(label)] = true;
        }
        // Below `OFFSETS`, so it fits.
        self.units[position] |= (offset as u32) << OFFSET_SHIFT;
        if let Some(value) = node.value {
            self.units[position] |= LEAF;
            self.units[base] = VALUE | value;
        }
        for &label in node.children.keys() {
            self.units[base ^ usize::from(label)] = u32::from(label);
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
        for &byte in key {
            position ^= usize::from(byte);
            let unit = units[position];
            if unit & ((1 << 31) | 0xFF) != usize::from(byte) {
                return None;
            }
            position ^= offset(unit);
            if unit >> 8 & 1 == 1 {
                let text = &compiled[4 + length + (units[position] & ((1 << 31) - 1))..];
                let end = text.iter().position(|&byte| byte == 0).unwrap();
                return Some(String::from_utf8(text[..end].to_vec()).unwrap());
            }
        }
        None
    }

    #[test]
    fn every_character_finds_its_own_replacement_and_no_other() {
        let table = [
            ('\t', " "),
            ('\u{1}', ""),
            ('½', "1⁄2"),
            ('ﬁ', "fi"),
            ('Ａ', "A"),
            ('𝐀', "A"),
            ('㍿', "株式会社"),
        ];
        let compiled = precompile(table.into_iter()).unwrap();
        for code in 1..=0x1F_FFF_u32 {
            let Some(character) = char::from_u32(code) else {
                continue;
            };
            let wanted = table.iter().find(|(from, _)| *from == character).map(|(_, to)| (*to).to_owned());
            let found = look_up(&compiled, character.encode_utf8(&mut [0; 4]).as_bytes());
            assert_eq!(found, wanted, "U+{code:04X}");
        }
    }

    #[test]
    fn a_character_that_is_there_twice_is_an_error() {
        assert!(precompile([('a', "b"), ('a', "c")].into_iter()).is_err());
    }

    #[test]
    fn an_empty_table_replaces_nothing() {
        let compiled = precompile(std::iter::empty()).unwrap();
        assert_eq!(look_up(&compiled, b"a"), None);
    }
}
