//! Real Ollama 0.5.4 and real E5 behind the router: rows, a server that dies, and retrieval across languages.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use embed_core::{Coverage, EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Role, vector};
use embed_e5::{E5Config, E5Embedder};
use embed_ollama::{OllamaConfig, OllamaEmbedder};
use embed_router::{LanguageDetector, Plan, Reads, Route, Router, RouterConfig, fuse};
use embed_testkit::data::{udhr, udhr_in};
use embed_testkit::ollama::rig::{self, RealServer};

use crate::support::{documents, field};

const VERSION: &str = "0.5.4";

struct Real {
    ollama: Arc<OllamaEmbedder>,
    e5: Arc<E5Embedder>,
    router: Arc<Router>,
}

/// The vectors of texts, by their index.
struct Alone {
    ollama: HashMap<usize, Vec<f32>>,
    e5: Vec<Vec<f32>>,
}

impl Real {
    /// English to the server, everything else to the model in this process. `None`, with a message, without a model.
    async fn behind(server: &RealServer, config: RouterConfig) -> Option<Self> {
        static E5: OnceLock<Result<Arc<E5Embedder>, Error>> = OnceLock::new();
        let e5 = E5.get_or_init(|| E5Embedder::load_blocking(E5Config::default()).map(Arc::new)).clone();
        let e5 = embed_testkit::require("multilingual-e5-small (int8)", e5)?;
        // Short pauses, so that a killed server is given up soon.
        let pauses = (Duration::from_millis(5), Duration::from_millis(20));
        let settings = OllamaConfig::new("all-minilm", server.url()).with_pauses(pauses.0, pauses.1);
        let ollama = Arc::new(OllamaEmbedder::connect(settings).await.unwrap());
        let routes = [
            Route::builder("ollama").backend(Arc::clone(&ollama)).reads(Reads::only(["en"])).build(),
            Route::new("e5", Arc::clone(&e5)),
        ];
        let router = Router::new(routes, Arc::new(LanguageDetector::new()), config).unwrap();
        Some(Self { ollama, e5, router: Arc::new(router) })
    }

    /// The vectors of the two services by themselves: the server's for its texts, the model's for all.
    async fn alone(&self, texts: &[String], is_english: impl Fn(usize) -> bool) -> Alone {
        let (rows, english): (Vec<_>, Vec<_>) =
            texts.iter().enumerate().filter(|(row, _)| is_english(*row)).unzip();
        let vectors = |response: EmbedResponse| -> Vec<Vec<f32>> {
            response.rows().map(|row| row.unwrap().vector().to_vec()).collect()
        };
        let ollama = vectors(self.ollama.embed(documents(&english)).await.unwrap());
        let e5 = vectors(self.e5.embed(documents(texts)).await.unwrap());
        Alone { ollama: rows.into_iter().zip(ollama).collect(), e5 }
    }

    /// Checks that a row is the vector of its route by itself, in the route's space.
    fn check(&self, response: &EmbedResponse, alone: &Alone, index: usize) -> &'static str {
        let row = response.row(index).unwrap();
        let (route, expected, model) = match row.info().route.as_deref() {
            Some("ollama") => ("ollama", &alone.ollama[&index], self.ollama.model()),
            Some("e5") => ("e5", &alone.e5[index], self.e5.model()),
            other => panic!("row {index} is of the route {other:?}"),
        };
        assert_eq!(row.space(), model.space(), "row {index}");
        let cosine = vector::cosine(row.vector(), expected).unwrap();
        assert!(cosine >= 0.9999, "row {index} isn't the vector of its text: cosine {cosine}");
        route
    }
}

/// The same articles in ten languages, one language after the other in each article.
fn ten_languages() -> Vec<(String, String)> {
    let languages = ["ja", "en", "zh", "de-1996", "fr", "ko", "es", "ru", "ar", "vi"];
    let mut texts: Vec<_> =
        udhr().into_iter().filter(|article| languages.contains(&article.language.as_str())).collect();
    texts.sort_by_key(|article| (article.article, languages.iter().position(|l| *l == article.language)));
    texts.into_iter().map(|article| (article.language, article.text)).collect()
}

#[tokio::test]
async fn three_hundred_texts_in_ten_languages() {
    let Some(server) = rig::require(VERSION) else { return };
    let Some(real) = Real::behind(&server, RouterConfig::default()).await else { return };
    let (languages, texts): (Vec<_>, Vec<_>) = ten_languages().into_iter().unzip();
    assert_eq!(texts.len(), 300);
    let response = real.router.embed(documents(&texts)).await.unwrap();
    let alone = real.alone(&texts, |index| languages[index] == "en").await;
    let mut rows = HashMap::<_, usize>::new();
    for (index, language) in languages.iter().enumerate() {
        let route = real.check(&response, &alone, index);
        assert_eq!(route, if language == "en" { "ollama" } else { "e5" }, "row {index}, {language}");
        *rows.entry(route).or_default() += 1;
    }
    println!("300 texts in ten languages: {rows:?}, each in its place and in the space of its route");
    println!("{}", real.router);
}

/// The server dies while it works. E5's rows are unaffected; English rows are those that came in time, errors, or, only if
/// allowed, rows that name the other space.
#[tokio::test]
async fn a_server_that_is_killed_in_the_middle() {
    for cross in [false, true] {
        let Some(server) = rig::require_exclusive(VERSION) else { return };
        let config = RouterConfig::default().with_cross_space(cross);
        let Some(real) = Real::behind(&server, config).await else { return };
        let (articles, english) = (udhr_in("ja"), udhr_in("en"));
        let text = |row: usize| match row % 2 {
            0 => format!("{row}. {}", english[row / 2 % 30]),
            _ => format!("{row}。{}", articles[row / 2 % 30]),
        };
        let texts: Vec<String> = (0..300).map(text).collect();
        let alone = real.alone(&texts, |row| row % 2 == 0).await;
        let sent = real.ollama.stats().requests;
        let call = {
            let (router, texts) = (Arc::clone(&real.router), texts.clone());
            tokio::spawn(async move { router.embed(documents(&texts)).await })
        };
        while real.ollama.stats().requests < sent + 50 {
            assert!(!call.is_finished(), "the call ended before the server could be killed");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        server.signal_server("KILL").unwrap();
        // The runner may have died with its server.
        let _ = server.signal_runner("KILL");
        let response = call.await.unwrap().unwrap();
        assert_eq!(response.len(), 300);
        let mut english = HashMap::<_, usize>::new();
        for row in 0..300 {
            let outcome = match response.row(row) {
                Ok(_) => real.check(&response, &alone, row),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                    assert_eq!(field(error, "route").as_deref(), Some("ollama"));
                    "error"
                }
            };
            if row % 2 == 1 {
                assert_eq!(outcome, "e5", "row {row} is harmed");
            } else {
                *english.entry(outcome).or_default() += 1;
            }
        }
        println!("killed, cross space {cross}: 150 rows of E5 unharmed, the English ones {english:?}");
        let lost = if cross { "e5" } else { "error" };
        assert!(english[lost] > 0, "the server died too late");
        assert_eq!(english.keys().filter(|outcome| !["ollama", lost].contains(outcome)).count(), 0);
        assert_eq!(real.router.stats().cross_space, if cross { english[lost] as u64 } else { 0 });
    }
}

const LANGUAGES: [&str; 2] = ["en", "ja"];

/// Stored documents, each with the vectors of its plan.
async fn store(router: &Router, coverage: Coverage) -> Vec<Plan> {
    let texts = LANGUAGES.map(udhr_in).concat();
    router.plan(documents(&texts), coverage).await.unwrap()
}

/// The documents that a query finds, the best first: one list per space, merged.
fn search(stored: &[Plan], query: &Plan) -> Vec<usize> {
    assert!(query.is_complete(), "{query:?}");
    let lists = query.vectors().map(|asked| {
        let similarity = |(index, document): (usize, &Plan)| {
            let of_space = document.vectors().find(|vector| vector.space() == asked.space())?;
            Some((of_space.similarity(asked).unwrap(), index))
        };
        let mut list: Vec<_> = stored.iter().enumerate().filter_map(similarity).collect();
        list.sort_by(|a, b| b.0.total_cmp(&a.0));
        list.into_iter().map(|(_, index)| index).collect::<Vec<_>>()
    });
    fuse(lists.collect::<Vec<_>>()).into_iter().map(|found| found.id).collect()
}

/// How many of the 30 articles in one language find their counterpart first among the documents in another.
async fn found(router: &Router, stored: &[Plan], asked: usize, among: usize) -> usize {
    let queries = EmbedRequest::new(udhr_in(LANGUAGES[asked]).iter().map(String::as_str), Role::Query);
    let plans = router.plan(queries, Coverage::Reachable).await.unwrap();
    let first = |query: &Plan| search(stored, query).into_iter().find(|index| index / 30 == among);
    plans.iter().enumerate().filter(|(article, query)| first(query) == Some(among * 30 + article)).count()
}

#[tokio::test]
async fn retrieval_across_languages() {
    let Some(server) = rig::require(VERSION) else { return };
    let Some(real) = Real::behind(&server, RouterConfig::default()).await else { return };
    let mut counts = HashMap::new();
    for coverage in [Coverage::Reachable, Coverage::Route] {
        let stored = store(&real.router, coverage).await;
        for (asked, language) in LANGUAGES.iter().enumerate() {
            for (among, other) in LANGUAGES.iter().enumerate() {
                let count = found(&real.router, &stored, asked, among).await;
                println!("{coverage:?}: {language} finds its article first among {other}: {count} of 30");
                counts.insert((coverage, *language, *other), count);
            }
        }
    }
    for own in LANGUAGES {
        for coverage in [Coverage::Reachable, Coverage::Route] {
            assert_eq!(counts[&(coverage, own, own)], 30, "{own} among its own, {coverage:?}");
        }
    }
    assert!(counts[&(Coverage::Reachable, "en", "ja")] >= 27);
    assert!(counts[&(Coverage::Reachable, "ja", "en")] >= 27);
    // Without it, English documents have no vector in the space in which Japanese is searched.
    assert_eq!(counts[&(Coverage::Route, "ja", "en")], 0);
    assert!(counts[&(Coverage::Route, "en", "ja")] >= 27, "English is searched in both spaces");
}
