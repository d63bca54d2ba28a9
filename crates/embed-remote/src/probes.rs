//! Who a server is, proven by the vectors of a fixed set of texts.
//!
//! A name proves nothing (an alias), a digest nearly nothing (the same weights give other vectors under
//! another version of the server, and a pull may change the digest and nothing else). Vectors do.

use embed_core::vector;

/// Texts on which servers are known to differ for the same weights: accents that are kept or
/// stripped, upper case that becomes one token, characters outside of the vocabulary, digits and
/// punctuation, a longer passage. All are far shorter than any model reads.
pub const PROBES: [&str; 6] = [
    "database query optimization",
    "Hokkaidō, Łódź and the café in Århus",
    "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG",
    "富士山 на Волге 🗻 µ",
    "fn main() { let x = 3.14159; } // e-mail: a.b@c.de, 50 % off!",
    "All human beings are born free and equal in dignity and rights. They are endowed with reason and \
     conscience and should act towards one another in a spirit of brotherhood.",
];

/// From this cosine on, two vectors are the same numbers, computed by other arithmetic.
pub const SAME_NUMBERS: f32 = 0.9999;
/// From this cosine on, vectors of one text may still be compared: another precision or kernel.
const SAME_SPACE: f32 = 0.97;

/// How the vectors of two servers differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Drift {
    /// The same numbers.
    None,
    /// Other numbers that still mean the same; the lowest cosine.
    Moved(f32),
    /// Nothing in common; the lowest cosine.
    Foreign(f32),
}

/// What to do about a server whose vectors have moved: it was upgraded, or its model was pulled anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Upgrade {
    /// Its vectors are refused; it takes part again when they are what they were.
    #[default]
    Refuse,
    /// If no other server gives the old vectors any more, its vectors are a new variant of the same space,
    /// and the rows say so. Vectors that have nothing to do with the old ones are refused even so: that is
    /// another model.
    NewVariant,
}

/// Compares the vectors of the same texts, which are the same numbers from the cosine `same` on ([`SAME_NUMBERS`] unless a
/// server's arithmetic isn't the same each time).
#[must_use]
pub fn drift(was: &[Vec<f32>], is: &[Vec<f32>], same: f32) -> Drift {
    let width = |probes: &[Vec<f32>]| probes.first().map_or(0, Vec::len);
    if width(was) != width(is) || was.len() != is.len() {
        return Drift::Foreign(0.0);
    }
    let cosines = was.iter().zip(is).map(|(a, b)| vector::cosine(a, b).unwrap_or(0.0));
    match cosines.fold(1.0, f32::min) {
        worst if worst >= same => Drift::None,
        worst if worst >= SAME_SPACE => Drift::Moved(worst),
        worst => Drift::Foreign(worst),
    }
}
