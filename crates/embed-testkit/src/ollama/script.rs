//! The state and behaviour of a double.

use std::time::Duration;

use super::version::number;

/// The state and behaviour of the server; may be changed at any time.
#[derive(Debug, Clone)]
pub struct Script {
    /// Its version, which decides how it behaves.
    pub version: String,
    /// The one embedding model that it has.
    pub model: String,
    /// Another model that it has, which is for chat.
    pub chat_model: Option<String>,
    /// The digest of the embedding model.
    pub digest: String,
    /// The width of the vectors.
    pub dimension: usize,
    /// The number of tokens that the model reads, the two special ones included.
    pub context: usize,
    /// How long a load takes.
    pub load_time: Duration,
    /// How long a text takes.
    pub embed_time: Duration,
    /// A text with this in it crashes the runner.
    pub poison: Option<String>,
    /// How far the vectors are moved from the default ones.
    pub drift: f32,
    /// Whether the rows of an array come in another order; of the real servers only the oldest do that.
    pub shuffle: bool,
    /// Whether requests at the same time damage each other's rows, as from 0.4.0 to 0.5.7.
    pub mixes: bool,
    /// Whether the model is listed as running while it loads.
    pub lists_loading: bool,
    /// The token that must come as `Authorization: Bearer …`, as a proxy asks for it.
    pub token: Option<String>,
    /// Every answer is this page, as behind a portal.
    pub portal: bool,
    /// Every embedding hangs, while the rest of the server answers.
    pub wedged: bool,
}

impl Script {
    /// A server of a version, which has `all-minilm`.
    pub(super) fn of(version: &str) -> Self {
        let since = |text| number(version) >= number(text);
        Self {
            version: version.to_owned(),
            model: "all-minilm:latest".to_owned(),
            chat_model: Some("llama3:latest".to_owned()),
            digest: "1b226e2802dbb772b5fc32a58f103ca1804ef7501331012de126ab22f67475ef".to_owned(),
            dimension: 384,
            context: 512,
            load_time: Duration::ZERO,
            embed_time: Duration::ZERO,
            poison: None,
            drift: 0.0,
            shuffle: !since("0.3.5"),
            mixes: since("0.4.0") && !since("0.5.8"),
            lists_loading: true,
            token: None,
            portal: false,
            wedged: false,
        }
    }
}
