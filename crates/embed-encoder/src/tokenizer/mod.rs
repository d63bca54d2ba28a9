//! Turns text into token ids and cuts them into windows.
//!
//! A text is read piece by piece. Ids that no window needs are counted and dropped, so that the windows bound the memory
//! and not the text.

mod body;
mod charsmap;
mod lattice;
mod library;
mod pieces;
#[cfg(test)]
mod tests;
mod unigram;

use std::path::Path;
use std::sync::Arc;
use std::{fmt, fs};

use embed_core::{Error, ErrorKind, Role, Truncation};

use self::body::{Around, TokenBuffer};
pub(crate) use self::body::{TokenisedText, Window};
use self::lattice::Lattice;
use self::library::Library;
use self::unigram::Unigram;
use crate::Profile;

/// The version of this program's rules for texts that the model's files don't define: the normaliser, special tokens that
/// a text spells, and the mean over chunks. It is a part of the variant, so that caches don't mix vectors of different
/// rules.
pub(crate) const TEXT_RULES: &str = "2";

/// A model's tokenizer with what stands around a text: special tokens and the prompt of the role.
pub(crate) struct TextTokenizer {
    ids: TokenizerKind,
    /// The tokens of the prompts by role. Tokenizers split at white space, so they are the same for every text.
    prompts: [Vec<u32>; 2],
    max_tokens: usize,
    max_text_bytes: usize,
}

/// How text becomes ids, without the frame.
enum TokenizerKind {
    /// The multilingual models.
    Unigram(Box<Unigram>),
    /// The English models, and everything else that `tokenizers` reads.
    Library(Box<Library>),
}

/// A text that is being tokenised.
pub(crate) struct Tokenising {
    text: Arc<str>,
    role: Role,
    /// The rest of the text, without surrounding white space.
    at: usize,
    end: usize,
    word: Lattice,
    body: TokenBuffer,
}

impl TokenizerKind {
    fn read(json: &[u8], broken: impl Fn(&str) -> Error) -> Result<Self, Error> {
        if let Some(unigram) = Unigram::read(json) {
            return Ok(Self::Unigram(Box::new(unigram)));
        }
        let library = Library::read(json).map_err(|error| {
            broken("the tokenizer can't be read").with_source(std::io::Error::other(error))
        })?;
        let library =
            library.ok_or_else(|| broken("the tokenizer doesn't put one special token at each end"))?;
        Ok(Self::Library(Box::new(library)))
    }

    /// Reads a text from `at` to `until` or somewhat further.
    fn read_on(
        &self,
        text: &str,
        at: &mut usize,
        until: usize,
        (word, body): (&mut Lattice, &mut TokenBuffer),
    ) -> Result<(), Error> {
        match self {
            Self::Unigram(unigram) => {
                unigram.read_on(text, at, until, (word, body));
                Ok(())
            }
            Self::Library(library) => library
                .read_on(text, at, until, body)
                // The tokenizer's own message may quote the text, so it is dropped.
                .map_err(|_| Error::new(ErrorKind::Internal, "the tokenizer failed on a text")),
        }
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let mut body = TokenBuffer::new(Truncation::ChunkMean, usize::MAX);
        self.read_on(text, &mut 0, text.len(), (&mut Lattice::default(), &mut body))?;
        Ok(body.into_ids())
    }

    /// The ids of the first and the last token of every text.
    fn frame(&self) -> (u32, u32) {
        match self {
            Self::Unigram(unigram) => (unigram.first, unigram.last),
            Self::Library(library) => (library.first, library.last),
        }
    }
}

impl TextTokenizer {
    pub(crate) fn open(path: &Path, profile: &Profile, max_text_bytes: usize) -> Result<Self, Error> {
        let broken = |what: &str| {
            Error::new(ErrorKind::Config, what)
                .with_context("file", path.display())
                .with_context("fix", "embed models verify")
        };
        let json =
            fs::read(path).map_err(|error| broken("the tokenizer can't be read").with_source(error))?;
        let ids = TokenizerKind::read(&json, broken)?;
        let tokens = |role| ids.encode(profile.prompts.of(role).trim_end());
        let prompts = [tokens(Role::Query)?, tokens(Role::Document)?];
        Ok(Self { ids, prompts, max_tokens: profile.max_tokens, max_text_bytes })
    }

    /// Begins a text, which takes almost no time.
    ///
    /// # Errors
    ///
    /// If a cheap check shows that the text can't be embedded.
    pub(crate) fn begin(
        &self,
        text: Arc<str>,
        role: Role,
        truncation: Truncation,
    ) -> Result<Tokenising, Error> {
        check_text(&text, self.max_text_bytes)?;
        let at = text.len() - text.trim_start().len();
        let end = text.trim_end().len();
        let room = self.max_tokens.saturating_sub(self.around(role).len()).max(1);
        Ok(Tokenising {
            text,
            role,
            at,
            end,
            word: Lattice::default(),
            body: TokenBuffer::new(truncation, room),
        })
    }

    /// Reads about `bytes` more. Returns `Some` at the end of the text.
    ///
    /// # Errors
    ///
    /// If the text has nothing that the model reads, or is too long and the request doesn't allow a cut.
    pub(crate) fn advance(
        &self,
        state: &mut Tokenising,
        bytes: usize,
    ) -> Result<Option<TokenisedText>, Error> {
        let Tokenising { text, role, at, end, word, body } = state;
        let until = at.saturating_add(bytes.max(1)).min(*end);
        self.ids.read_on(&text[..*end], at, until, (word, &mut *body))?;
        if *at < *end {
            return Ok(None);
        }
        let body = std::mem::replace(body, TokenBuffer::new(Truncation::Error, 0));
        let bytes = text.len();
        let windows = body.into_windows(&self.around(*role));
        windows.map(Some).map_err(|error| error.with_context("bytes", bytes))
    }

    /// The windows of a text, in one go. The prompt of the role comes before the text, in every window.
    pub(crate) fn tokenise(
        &self,
        text: &str,
        role: Role,
        truncation: Truncation,
    ) -> Result<TokenisedText, Error> {
        let mut state = self.begin(text.into(), role, truncation)?;
        loop {
            if let Some(tokenised) = self.advance(&mut state, usize::MAX)? {
                return Ok(tokenised);
            }
        }
    }

    fn around(&self, role: Role) -> Around<'_> {
        let (first, last) = self.ids.frame();
        Around { first, before: &self.prompts[role as usize], last }
    }
}

fn check_text(text: &str, max_bytes: usize) -> Result<(), Error> {
    let invalid = |what: &str| Err(Error::new(ErrorKind::InvalidInput, what));
    if text.is_empty() {
        invalid("the text is empty")
    } else if text.len() > max_bytes {
        Err(Error::new(ErrorKind::InputTooLong, "the text is too large; split it into passages")
            .with_context("bytes", text.len())
            .with_context("limit", max_bytes))
    } else if text.contains('\0') {
        invalid("the text has a NUL character, which no text has; is it binary data?")
    } else if text.trim().is_empty() {
        invalid("the text is nothing but white space")
    } else {
        Ok(())
    }
}

impl fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextTokenizer").field("max_tokens", &self.max_tokens).finish_non_exhaustive()
    }
}
