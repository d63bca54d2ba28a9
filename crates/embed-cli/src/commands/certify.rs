//! `embed certify`: does a server, or a model in this process, give right vectors?

mod args;
mod checks;
mod finding;
mod reference;
mod target;
mod texts;

use std::fmt::Write as _;

use embed_core::Error;
use embed_encoder::Profile;
use embed_encoder::assets::DataHome;

pub(crate) use self::args::CertifyArgs;
use self::checks::Checks;
use self::finding::{Finding, Status};
use self::reference::Reference;
use self::target::Target;
use crate::commands::args::ReportFormat;
use crate::exit::Exit;
use crate::io::output::print;
use crate::settings::Settings;

pub(crate) async fn run(args: CertifyArgs, home: DataHome, settings: &Settings) -> Result<Exit, Error> {
    let target = Target::open(&args, &home, settings).await?;
    let reference = match reference_name(&args, target.model()) {
        Ok(profile) => Reference::load(profile, settings, home).await,
        Err(reason) => Err(reason),
    };
    let findings = Checks { target: &target, reference: reference.as_ref() }.run().await?;
    print(&match args.format {
        ReportFormat::Table => table(&target, &findings),
        ReportFormat::Jsonl => {
            findings.iter().map(|finding| serde_json::json!(finding).to_string() + "\n").collect()
        }
    })?;
    let has_fault = findings.iter().any(|finding| finding.status == Status::Fault);
    Ok(if has_fault { Exit::Failures } else { Exit::Done })
}

/// The model in this process that the target's model is, as far as its name says.
fn reference_name(args: &CertifyArgs, model: &str) -> Result<&'static Profile, Error> {
    if let Some(name) = &args.reference {
        return Profile::by_name(name);
    }
    // `all-minilm:latest` of Ollama, `multilingual-e5-small:query` of the gateway.
    let bare = model.split(':').next().unwrap_or_default();
    Profile::by_name(bare)
}

fn table(target: &Target, findings: &[Finding]) -> String {
    let mut page = format!("{target}\n\n");
    for Finding { check, status, detail } in findings {
        let status = match status {
            Status::Ok => "ok",
            Status::Note => "note",
            Status::Skipped => "skipped",
            Status::Fault => "FAULT",
        };
        let _ = writeln!(page, "{status:<7} {check:<12} {detail}");
    }
    page
}
