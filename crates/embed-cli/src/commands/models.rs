//! Placeholder until the real file lands.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelsArgs {}
pub(crate) async fn run(_: ModelsArgs, _: embed_e5::assets::DataHome) -> Result<(), embed_core::Error> {
    Ok(())
}
