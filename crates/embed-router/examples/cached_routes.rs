//! Cache and router together: English to one model, everything else to another, each behind one shared cache.
//!
//! Doubles replace the back ends, so that it runs anywhere; use `OllamaEmbedder::connect(..)` and `E5Embedder::load(..)`
//! instead. It embeds twice, then the English back end goes down: cached texts are still answered, and only others fail.
//!
//! Run it: `cargo run -p embed-router --example cached_routes`.

#![expect(clippy::print_stdout, reason = "an example prints its results")]

use std::sync::Arc;
use std::time::Duration;

use embed_cache::{Cache, CacheConfig, MemoryConfig, MemoryTier};
use embed_core::{EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Result, Role};
use embed_router::{LanguageDetector, Policy, Reads, Route, Router, RouterConfig};
use embed_testkit::Scripted;

/// The whole stack: `Router(route → Cached(Guarded(back end)))`, whatever the order of the builder's calls.
fn stack(english: impl Embedder, others: impl Embedder) -> Result<(Router, Cache)> {
    // A `RedisTier` after the memory tier would share the vectors with other processes.
    let memory = MemoryTier::new(MemoryConfig::default())?;
    let cache = Cache::new(CacheConfig::default(), vec![Arc::new(memory)])?;
    let english = Route::builder("english")
        .backend(english)
        .cache(cache.clone())
        .timeout(Duration::from_secs(30))
        .reads(Reads::only(["en"]))
        .build();
    let others = Route::builder("others").backend(others).cache(cache.clone()).build();
    let config = RouterConfig::default().with_policy(Policy::hybrid("english", "others"));
    Ok((Router::new([english, others], LanguageDetector::new(), config)?, cache))
}

/// A line for each text: its route and where the vector came from, or why there is none.
fn lines(texts: &[&str], response: &EmbedResponse) -> Vec<String> {
    let line = |(text, row): (&&str, Result<embed_core::EmbeddingRef<'_>, &Error>)| match row {
        Ok(row) => {
            let (route, tier) = (row.info().route.as_deref(), row.info().tier.as_deref());
            format!("{text}: {} from {}", route.unwrap_or("-"), tier.unwrap_or("the back end"))
        }
        Err(error) => format!("{text}: {error}"),
    };
    texts.iter().zip(response).map(line).collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let (english, others) = (Scripted::new("all-minilm", 384), Scripted::new("multilingual-e5-small", 384));
    let (router, cache) = stack(english.clone(), others)?;
    let mut seen = Vec::new();
    let mut embed = async |texts: &[&str]| -> Result<()> {
        let response = router.embed(EmbedRequest::new(texts.iter().copied(), Role::Document)).await?;
        seen.extend(lines(texts, &response));
        Ok(())
    };

    embed(&["height of Mount Fuji", "富士山の高さ"]).await?;
    embed(&["height of Mount Fuji", "富士山の高さ"]).await?;
    english.fail_calls(Some(Error::new(ErrorKind::Unavailable, "the server is gone").temporary()));
    embed(&["height of Mount Fuji", "depth of the lake", "湖の深さ"]).await?;

    println!("{}", seen.join("\n"));
    println!("{} texts were computed", cache.counted().computed);
    let expected = [
        "height of Mount Fuji: english from the back end",
        "富士山の高さ: others from the back end",
        "height of Mount Fuji: english from memory",
        "富士山の高さ: others from memory",
        "height of Mount Fuji: english from memory",
        "depth of the lake: the server is gone",
        "湖の深さ: others from the back end",
    ];
    for (line, expected) in seen.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() {
        super::main().unwrap();
    }
}
