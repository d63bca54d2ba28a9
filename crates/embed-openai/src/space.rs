//! What the space and the variant are called, by the settings.

use embed_core::{ModelInfo, Normalisation, PrefixScheme, Space, Variant};
use sha2::{Digest, Sha256};

use crate::config::{OpenAiConfig, Prompts};

/// What vectors of such a width are. It depends on the settings alone, so that it is known before a server was asked.
pub(crate) fn model_info(config: &OpenAiConfig, width: usize, generation: u32) -> ModelInfo {
    let normalisation = if config.is_normalised() { Normalisation::L2 } else { Normalisation::None };
    // Cut by the server or here, it is the same space.
    let width = config.dimensions.map_or(width, |dimensions| dimensions.min(width));
    let space = Space::builder(config.space_name(), width)
        .pooling(config.pooling)
        .prefixes(prefixes(&config.prompts))
        .normalisation(normalisation)
        .build();
    let mut traits = vec![("api", "openai".to_owned())];
    traits.extend(config.max_tokens.map(|tokens| ("context", tokens.to_string())));
    traits.extend((generation > 0).then(|| ("generation", generation.to_string())));
    let mut builder = ModelInfo::builder("openai", config.model.trim(), Variant::new(space, traits));
    if let Some(tokens) = config.max_tokens {
        builder = builder.max_tokens(tokens);
    }
    builder.build()
}

/// The scheme of the prompts, by the digest that an encoder in the process gives the same prompts.
fn prefixes(prompts: &Prompts) -> PrefixScheme {
    match (&*prompts.query, &*prompts.document) {
        ("", "") => PrefixScheme::None,
        ("query: ", "passage: ") => PrefixScheme::QueryPassage,
        (query, document) => {
            let digest = Sha256::digest(format!("{query}\0{document}"));
            let first = digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
            PrefixScheme::Other(first)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    #[test]
    fn the_variant_names_what_moves_the_vectors() {
        let config = OpenAiConfig::new("Text-Embedding-3-Small", "http://h");
        let id = |config: &OpenAiConfig| model_info(config, 4, 0).variant().id().to_owned();
        assert_eq!(id(&config), "text-embedding-3-small/unknown/plain/l2/4;api=openai");
        let e5 = config.clone().with_prompts(Prompts::new("query: ", "passage: ")).with_max_tokens(512);
        assert_eq!(id(&e5), "text-embedding-3-small/unknown/query-passage/l2/4;api=openai;context=512");
        let other = config.clone().with_prompts(Prompts::new("search_query: ", "search_document: "));
        assert!(id(&other).contains("/prompts-") && id(&other) != id(&config));
        let identity = Identity::new("m", vec![vec![1.0; 4]]);
        let moved = Identity::new("m", vec![vec![1.0; 4]]).after(&identity);
        let of = |identity: &Identity| model_info(&config, identity.dimension(), identity.generation());
        assert_ne!(of(&identity).variant(), of(&moved).variant());
        assert_eq!(of(&identity), model_info(&config, 4, 0), "a declared one is the same");
        let text = serde_json::to_string(&moved).unwrap();
        assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), moved);
    }
}
