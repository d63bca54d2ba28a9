//! The vocabulary of a Unigram tokenizer and the character map before it.

/// The vocabulary that a `tokenizer.json` is written from.
#[derive(Debug, Clone, PartialEq)]
pub struct Vocabulary {
    /// The pieces with their log-probabilities; the index is the id.
    pub pieces: Vec<(String, f32)>,
    /// Id of `<s>`.
    pub bos: u32,
    /// Id of `</s>`.
    pub eos: u32,
    /// Id of `<pad>`.
    pub pad: u32,
    /// Id of `<unk>`.
    pub unk: u32,
    /// Replacements of single characters, which come first, in the order of the characters.
    pub normalisation: Vec<(char, String)>,
}
