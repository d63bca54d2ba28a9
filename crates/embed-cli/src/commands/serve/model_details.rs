//! What the gateway shows of its models, and their tokens.

use std::sync::Arc;

use embed_core::{Error, Role};
use embed_encoder::{Encoder, Precision};
use embed_gateway::{ModelDetails, Token, Tokenizer};
use embed_ollama::{OllamaConfig, OllamaModels};

use crate::stack::RemoteConfig;

/// Cuts texts into the tokens of a model in this process.
#[derive(Debug)]
pub(super) struct EncoderTokens(pub(super) Arc<Encoder>);

impl Tokenizer for EncoderTokens {
    fn tokenise(&self, text: &str, role: Role) -> Result<Vec<Token>, Error> {
        let tokens = self.0.tokenise(text, role)?;
        let of_gateway = |token: embed_encoder::Token| {
            Token::new(token.id, token.piece, token.special).with_span(token.span)
        };
        Ok(tokens.into_iter().map(of_gateway).collect())
    }

    fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, Error> {
        self.0.decode(ids, skip_special)
    }
}

/// A model in this process, described by its files.
pub(super) fn of_encoder(encoder: &Encoder) -> ModelDetails {
    let (quantization, dtype) = match encoder.precision() {
        Precision::Int8 => ("Q8_0", "int8"),
        // Its weights are float32, and its arithmetic is both.
        Precision::Mixed => ("F32", "mixed"),
        Precision::F32 => ("F32", "float32"),
        // Named as in the setting.
        other => ("", other.as_str()),
    };
    ModelDetails::default()
        .with_family("bert", "onnx")
        .with_size(Some(encoder.profile().parameters), Some(encoder.model_bytes()))
        .with_precision(quantization, Some(dtype))
}

/// A model of a server, as the server describes it; what it doesn't report is left out.
pub(super) async fn of_server(config: &RemoteConfig) -> ModelDetails {
    match config {
        RemoteConfig::Ollama(config) => of_ollama(config).await,
        RemoteConfig::OpenAi(..) => ModelDetails::default(),
    }
}

async fn of_ollama(config: &OllamaConfig) -> ModelDetails {
    let name = &config.model;
    let described = async {
        let server = OllamaModels::new(config.clone())?;
        Ok::<_, Error>((server.show(name).await?, server.list().await?))
    };
    let Ok((shown, listed)) = described.await else {
        return ModelDetails::default().with_family("bert", "gguf");
    };
    let tagged = |name: &str| if name.contains(':') { name.to_owned() } else { format!("{name}:latest") };
    let summary = listed.iter().find(|model| model.name.eq_ignore_ascii_case(&tagged(name)));
    let dtype = match &*shown.quantisation {
        "F32" => Some("float32"),
        "F16" => Some("float16"),
        "BF16" => Some("bfloat16"),
        _ => None,
    };
    ModelDetails::default()
        .with_family(shown.architecture.unwrap_or_else(|| "bert".to_owned()), "gguf")
        .with_size(shown.parameter_count, summary.map(|model| model.size))
        .with_precision(shown.quantisation, dtype)
}
