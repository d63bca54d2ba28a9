//! `embed cache` in a build without Redis, which says so.

use clap::Args;
use embed_core::Error;
use embed_encoder::assets::DataHome;

use crate::exit::Exit;
use crate::settings::Settings;

#[derive(Debug, Args)]
pub(crate) struct CacheCommandArgs {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    _any: Vec<String>,
}

#[expect(clippy::unused_async, reason = "it is where there is a Redis")]
pub(crate) async fn run(_: CacheCommandArgs, _: DataHome, settings: &Settings) -> Result<Exit, Error> {
    match settings.redis()? {}
}
