//! A back end of your own: three methods, and the contract suite says whether it is one.
//!
//! This one needs no model: it hashes the trigrams of a text, so texts with words in common are close. A cache, a router, the
//! gateway and all the rest go around it as around any other.
//!
//! Run it: `cargo run -p embed-testkit --example own_back_end`. Check it: `cargo test -p embed-testkit --examples`.

#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, EmbedderExt, Error, ErrorKind, Health, ModelInfo, Result, RowInfo,
    SingleSpace, Space, Variant, async_trait, vector,
};

const DIMENSION: usize = 256;

/// Texts to hashed trigrams.
#[derive(Debug)]
struct Trigrams {
    model: ModelInfo,
}

impl Trigrams {
    fn new() -> Self {
        // Vectors may be compared within a space. What moves the numbers (weights, precision, a new version of this code) is
        // a trait of the variant: caches are keyed by it.
        let space = Space::builder("trigrams", DIMENSION).build();
        let variant = Variant::new(space, [("version", "1")]);
        Self { model: ModelInfo::builder("example", "trigrams", variant).build() }
    }

    /// The vector of one text, or why it has none.
    fn vector(text: &str) -> Result<Vec<f32>> {
        if text.trim().is_empty() {
            // Errors say what to do, and never quote the text.
            return Err(Error::new(ErrorKind::InvalidInput, "the text is empty; send one with words in it"));
        }
        let characters: Vec<char> = format!(" {} ", text.trim().to_lowercase()).chars().collect();
        let mut numbers = vec![0.0; DIMENSION];
        for trigram in characters.windows(3) {
            // FNV-1a: the same on every machine and in every release, as vectors that are stored have to be.
            let hash = trigram.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &character| {
                (hash ^ u64::from(character)).wrapping_mul(0x0100_0000_01b3)
            });
            numbers[(hash ^ (hash >> 40)) as usize % DIMENSION] += 1.0;
        }
        vector::normalise(&mut numbers);
        Ok(numbers)
    }
}

#[async_trait]
impl Embedder for Trigrams {
    fn model(&self) -> &ModelInfo {
        &self.model
    }

    /// One row for each text, in their order; a bad text fails alone. What takes long awaits something now and then, so
    /// that dropping the future ends it, and looks at [`EmbedRequest::deadline`].
    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let mut rows = EmbedResponse::builder(request.texts().len(), DIMENSION);
        for (row, text) in request.texts().iter().enumerate() {
            match Self::vector(text) {
                Ok(numbers) => rows.put(row, &numbers, RowInfo::new(self.model.clone())),
                Err(error) => rows.fail(row, error),
            }
        }
        Ok(rows.build())
    }

    async fn health(&self) -> Health {
        Health::ready()
    }
}

/// All rows are of the space that the model names, so a cache may stand around it: [`embed_core::Stack`] asks for that.
impl SingleSpace for Trigrams {}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let service = Trigrams::new();
    let query = service.encode_query("how to optimise a query").await?;
    for text in ["query optimisation in databases", "cooking recipes"] {
        let document = service.encode_document(text).await?;
        println!("{:.3}  {text}", query.similarity(&document)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    #[tokio::test]
    async fn it_keeps_the_contract() {
        embed_testkit::contract::check(Arc::new(super::Trigrams::new())).await;
    }

    #[test]
    fn it_runs() {
        super::main().unwrap();
    }
}
