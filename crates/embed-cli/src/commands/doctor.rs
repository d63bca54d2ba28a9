//! `embed doctor`: finds what is missing, and the command that fixes it.

use std::fmt::Write as _;
use std::time::Instant;

use clap::Args;
use embed_core::{Embedder, EmbedderExt, Error, ErrorKind};
use embed_encoder::assets::{DataHome, ModelFiles};
use embed_encoder::{
    Encoder, EncoderConfig, KERNELS_VARIABLE, Precision, Profile, RuntimeLibrary, available_threads, kernels,
    runtime_build,
};
use embed_ollama::OllamaConfig;
use embed_openai::OpenAiEmbedder;
use serde::Serialize;

use crate::commands::args::ReportFormat;
use crate::commands::ollama;
use crate::exit::Exit;
use crate::io::output::print;
use crate::settings::{self, BackendSpec, Document, Settings};
#[cfg(feature = "redis")]
use crate::stack::cache::redis_tier;

/// Check the set-up: data folder, runtime library, models, threads, and one text embedded.
///
/// The exit code is 1 if something is wrong. An optional file that isn't fetched (the f32 model) isn't a fault.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// How to write the findings.
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    format: ReportFormat,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: String,
    status: Status,
    detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    /// Not there, and not needed.
    Absent,
    Wrong,
}

pub(crate) async fn run(args: DoctorArgs, home: DataHome, settings: &Settings) -> Result<Exit, Error> {
    let config = settings.e5.clone().with_home(home.clone());
    let mut findings = vec![data_folder(&home), threads(&config), instructions(), runtime(&home, &config)];
    let document = settings::document(settings, &home)?;
    let encoders: Vec<_> = document.encoders().collect();
    for (at, (spec, encoder)) in encoders.iter().enumerate() {
        // The last one reads most languages, and needs no name.
        let is_last = at + 1 == encoders.len();
        let of_model = |finding: Finding| if is_last { finding } else { finding.of_model(&spec.name) };
        let profile = match encoder.profile(&home) {
            Ok(profile) => profile,
            Err(error) => {
                findings.push(of_model(Finding::of("model", Err(error))));
                continue;
            }
        };
        // Only the precision in use is needed.
        let if_absent =
            |precision| if precision == encoder.precision { Status::Wrong } else { Status::Absent };
        let precisions =
            Precision::ALL.iter().filter(|&&precision| is_last || precision == encoder.precision);
        findings.extend(
            precisions.map(|&precision| of_model(model(&home, profile, precision, if_absent(precision)))),
        );
        let config = config.clone().with_profile(profile).with_precision(encoder.precision);
        findings.push(of_model(one_text(config).await));
    }
    findings.extend(servers(settings, &document).await);
    #[cfg(feature = "redis")]
    findings.extend(redis(settings).await);
    print(&match args.format {
        ReportFormat::Table => table(&findings),
        ReportFormat::Jsonl => {
            findings.iter().map(|finding| serde_json::json!(finding).to_string() + "\n").collect()
        }
    })?;
    let wrong = findings.iter().any(|finding| finding.status == Status::Wrong);
    Ok(if wrong { Exit::Failures } else { Exit::Done })
}

impl Finding {
    /// The same about one of several models.
    fn of_model(mut self, name: &str) -> Self {
        self.check = format!("{} {name}", self.check);
        self
    }

    fn of(check: impl Into<String>, result: Result<String, Error>) -> Self {
        let check = check.into();
        match result {
            Ok(detail) => Self { check, status: Status::Ok, detail },
            Err(error) => Self { check, status: Status::Wrong, detail: error.to_string() },
        }
    }
}

/// The servers of the models. One of Ollama that nobody asked for may be missing.
async fn servers(settings: &Settings, document: &Document) -> Vec<Finding> {
    if settings.is_preset() {
        return ollama_servers(&settings.ollama, settings.names_ollama()).await;
    }
    let mut findings = Vec::new();
    for model in &document.models {
        match &model.backend {
            BackendSpec::Encoder(_) => {}
            BackendSpec::Ollama(config) => {
                let found = ollama_servers(config, true).await.into_iter();
                findings.extend(found.map(|finding| finding.of_model(&model.name)));
            }
            BackendSpec::OpenAi(config) => {
                let answered = OpenAiEmbedder::connect((**config).clone()).await;
                let answered = answered.map(|server| server.model().variant().to_string());
                findings.push(Finding::of("server", answered).of_model(&model.name));
            }
        }
    }
    findings
}

async fn ollama_servers(config: &OllamaConfig, is_named: bool) -> Vec<Finding> {
    let reports = ollama::report(config).await.into_iter();
    reports
        .map(|ollama::ServerCheck { check, result }| {
            let gone = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable);
            let mut finding = Finding::of(check, result);
            if gone && !is_named {
                finding.status = Status::Absent;
            }
            finding
        })
        .collect()
}

/// Redis, if one is named: then its absence is a fault.
#[cfg(feature = "redis")]
async fn redis(settings: &Settings) -> Option<Finding> {
    settings.cache.redis_url.as_ref()?;
    let answered = async {
        let (tier, url) = redis_tier(settings).await?;
        let started = Instant::now();
        tier.ping().await?;
        let answered = started.elapsed();
        tier.check().await?;
        Ok(format!("{url} answers in {:.1} ms", answered.as_secs_f64() * 1e3))
    };
    Some(Finding::of("redis", answered.await))
}

fn data_folder(home: &DataHome) -> Finding {
    let root = home.root();
    let shown = root.display();
    let (status, detail) = match root.metadata() {
        Ok(meta) if !meta.is_dir() => (Status::Wrong, format!("{shown} is not a folder; set EMBED_HOME")),
        Ok(meta) if meta.permissions().readonly() => {
            // As docs/deploy.md advises: an attacker who takes over a server can't change its model.
            (Status::Ok, format!("{shown}, read-only: nothing can be fetched into it"))
        }
        Ok(_) => (Status::Ok, shown.to_string()),
        Err(_) => (Status::Wrong, format!("{shown} is not there; run `embed models pull`")),
    };
    Finding { check: "data folder".to_owned(), status, detail }
}

fn threads(e5: &EncoderConfig) -> Finding {
    let detail = match e5.threads {
        Some(threads) => format!("{threads} (e5.threads)"),
        None => format!("{} (affinity and CPU quota; --threads changes it)", available_threads()),
    };
    Finding { check: "threads".to_owned(), status: Status::Ok, detail }
}

/// What the models compute by.
fn instructions() -> Finding {
    let shown = kernels().map(|kernels| {
        match std::env::var_os(KERNELS_VARIABLE).is_some_and(|name| !name.is_empty()) {
            true => format!("{kernels} ({KERNELS_VARIABLE})"),
            false => format!("{kernels}, the fastest of this processor ({KERNELS_VARIABLE} names others)"),
        }
    });
    Finding::of("kernels", shown)
}

/// The library that the embedder loads, with the same checks.
fn runtime(home: &DataHome, e5: &EncoderConfig) -> Finding {
    let started = RuntimeLibrary::find(home, e5.runtime_library.as_deref()).and_then(|library| {
        library.start()?;
        let path =
            library.path().map_or("a part of this program".to_owned(), |path| path.display().to_string());
        Ok(format!("{path}: {}", runtime_build().unwrap_or("")))
    });
    Finding::of("runtime", started)
}

fn model(home: &DataHome, profile: &Profile, precision: Precision, if_absent: Status) -> Finding {
    let check = match precision {
        Precision::F32 => "model f32",
        Precision::Mixed => "model mixed",
        #[cfg(feature = "openvino")]
        Precision::Bf16 => "model bf16",
        _ => "model int8",
    };
    let mut finding = Finding::of(
        check,
        ModelFiles::open(home, profile, precision).map(|files| {
            let remark = report_remark(profile, precision);
            format!("{}, SHA-256 {}{remark}", files.model.display(), files.model_sha256)
        }),
    );
    if finding.status == Status::Wrong && !home.model_slot(profile, precision).root().exists() {
        finding.status = if_absent;
    }
    finding
}

fn report_remark(profile: &Profile, precision: Precision) -> &'static str {
    if profile.precision_label(precision) == precision.as_str() { "" } else { "; not calibrated" }
}

async fn one_text(config: EncoderConfig) -> Finding {
    let started = Instant::now();
    let embedded = async {
        let embedder = Encoder::load(config).await?;
        let loaded = started.elapsed();
        let embedding = embedder.encode_query("富士山の高さ").await?;
        Ok(format!(
            "one text in {:.1} ms, after {:.0} ms of loading; {}",
            (started.elapsed() - loaded).as_secs_f64() * 1e3,
            loaded.as_secs_f64() * 1e3,
            embedding.info().model.variant()
        ))
    };
    Finding::of("embedding", embedded.await)
}

fn table(findings: &[Finding]) -> String {
    let mut page = String::new();
    for Finding { check, status, detail } in findings {
        let status = match status {
            Status::Ok => "ok",
            Status::Absent => "absent",
            Status::Wrong => "WRONG",
        };
        let _ = writeln!(page, "{status:<7} {check:<12} {detail}");
    }
    page
}
