//! `embed compare`: the cosine of every pair of texts.

use std::fmt::Write as _;

use clap::Args;
use embed_core::{EmbedResponse, Embedder, EmbedderExt, Error, Role};
use embed_encoder::assets::DataHome;

use crate::commands::args::parse_role;
use crate::exit::Exit;
use crate::io::output::{pad, print};
use crate::settings::{Settings, flags};
use crate::stack;

/// Print the cosine matrix of texts.
///
/// Cosines of the E5 family are between 0.7 and 1.0: compare them with each other, not with a fixed bound.
#[derive(Debug, Args)]
#[command(args = flags(&["service", "e5", "ollama", "router"]))]
pub(crate) struct CompareArgs {
    /// Two texts or more.
    #[arg(required = true, num_args = 2.., value_name = "TEXT")]
    texts: Vec<String>,

    /// The role of the texts; to compare texts of the same kind, this family uses `query`.
    #[arg(long, default_value = "query", value_parser = parse_role)]
    role: Role,
}

const TEXT_COLUMNS: usize = 44;

pub(crate) async fn run(args: CompareArgs, home: DataHome, settings: &Settings) -> Result<Exit, Error> {
    let embedder = stack::load(settings, home, None).await?;
    let texts: Vec<_> = args.texts.iter().map(String::as_str).collect();
    let response = embedder.encode_batch(&texts, args.role).await?;
    let mut page = format!("space {}\n\n", embedder.model().space());
    page.push_str(&matrix(&texts, &response)?);
    print(&page)?;
    Ok(Exit::Done)
}

fn matrix(texts: &[&str], response: &EmbedResponse) -> Result<String, Error> {
    let mut page = String::new();
    let head: String = (0..texts.len()).map(|column| format!("{column:>7}")).collect();
    let _ = writeln!(page, "{:>4}  {}{head}", "", pad("", TEXT_COLUMNS));
    for (row, text) in texts.iter().enumerate() {
        let _ = write!(page, "{row:>4}  {}", pad(text, TEXT_COLUMNS));
        for column in 0..texts.len() {
            let left = response.row(row).map_err(Clone::clone)?;
            let right = response.row(column).map_err(Clone::clone)?;
            let _ = write!(page, "{:>7.3}", left.similarity(right)?);
        }
        page.push('\n');
    }
    Ok(page)
}
