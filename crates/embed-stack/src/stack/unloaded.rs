//! A model that is described and not loaded.

use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, ModelInfo, Variant, async_trait,
};
use embed_encoder::Profile;

/// The description of a model that isn't loaded.
#[derive(Debug)]
pub(super) struct UnloadedModel(ModelInfo);

impl UnloadedModel {
    pub(super) fn new(profile: &Profile) -> Self {
        let variant = Variant::new(profile.space(), [("loaded", "no")]);
        Self(ModelInfo::builder(profile.family, profile.name, variant).build())
    }
}

#[async_trait]
impl Embedder for UnloadedModel {
    fn model(&self) -> &ModelInfo {
        &self.0
    }

    async fn embed(&self, _: EmbedRequest) -> Result<EmbedResponse, Error> {
        Err(Error::new(ErrorKind::Internal, "this model was described and not loaded"))
    }

    async fn health(&self) -> Health {
        Health::ready()
    }
}
