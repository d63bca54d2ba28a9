//! What models are called on the Hugging Face hub that Ollama's library has under names of its own.

/// Names of Ollama's library without a tag, the tags that are this very model, and its repository on the hub. No tag is
/// `latest`.
const MODELS: [(&str, &[&str], &str); 7] = [
    ("all-minilm", &["latest", "22m", "l6-v2"], "sentence-transformers/all-MiniLM-L6-v2"),
    ("all-minilm", &["33m", "l12-v2"], "sentence-transformers/all-MiniLM-L12-v2"),
    ("nomic-embed-text", &["latest", "v1.5"], "nomic-ai/nomic-embed-text-v1.5"),
    ("mxbai-embed-large", &["latest", "335m", "v1"], "mixedbread-ai/mxbai-embed-large-v1"),
    ("bge-m3", &["latest", "567m"], "BAAI/bge-m3"),
    ("bge-large", &["latest", "335m"], "BAAI/bge-large-en-v1.5"),
    ("snowflake-arctic-embed", &["latest", "l", "335m"], "Snowflake/snowflake-arctic-embed-l"),
];

/// The repository on the hub of a model of Ollama's library; `None` for a model that isn't known here.
///
/// ```
/// use embed_ollama::hub_id;
/// assert_eq!(hub_id("all-minilm"), Some("sentence-transformers/all-MiniLM-L6-v2"));
/// assert_eq!(hub_id("all-minilm:33m"), Some("sentence-transformers/all-MiniLM-L12-v2"));
/// assert_eq!(hub_id("my-own:latest"), None);
/// ```
#[must_use]
pub fn hub_id(model: &str) -> Option<&'static str> {
    let model = model.trim().trim_start_matches("registry.ollama.ai/").trim_start_matches("library/");
    let (name, tag) = model.split_once(':').unwrap_or((model, "latest"));
    let is_tag = |known: &&str| tag.eq_ignore_ascii_case(known);
    let found = MODELS
        .iter()
        .find(|(library, tags, _)| library.eq_ignore_ascii_case(name) && tags.iter().any(is_tag));
    found.map(|(_, _, repository)| *repository)
}

/// The name in Ollama's library of a repository on the hub, in letters of any case; `None` for one that isn't known here.
///
/// ```
/// use embed_ollama::library_name;
/// assert_eq!(library_name("sentence-transformers/all-MiniLM-L6-v2").as_deref(), Some("all-minilm"));
/// assert_eq!(library_name("sentence-transformers/all-MiniLM-L12-v2").as_deref(), Some("all-minilm:33m"));
/// assert_eq!(library_name("all-minilm"), None);
/// ```
#[must_use]
pub fn library_name(repository: &str) -> Option<String> {
    let (name, tags, _) = MODELS.iter().find(|(.., hub)| hub.eq_ignore_ascii_case(repository.trim()))?;
    match tags.first() {
        None | Some(&"latest") => Some((*name).to_owned()),
        Some(tag) => Some(format!("{name}:{tag}")),
    }
}
