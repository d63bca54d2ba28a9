//! The engine against the layouts that one could write by hand with `ort`, on the same model file and the
//! same texts: tokens a second over mixed English and Japanese, the latency of one short query, and bytes a second of
//! the tokenizer.
//!
//! `cargo bench -p embed-e5`; with `-- --test` each runs once, as a test. The model must be in the data
//! folder (`embed models pull`).

#![expect(clippy::unwrap_used, reason = "a benchmark that fails panics")]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use embed_core::{EmbedRequest, Embedder, EmbedderExt, ErrorKind, Role, Truncation};
use embed_e5::assets::{DataHome, LENGTHS, ModelFiles, POSITIONS};
use embed_e5::{E5Config, E5Embedder, Precision, Profile, RuntimeLibrary, available_threads, operators};
use embed_testkit::data::mixed_texts;
use embed_testkit::figures::quick_share;
use ort::environment::Environment;
use ort::operator::OperatorDomain;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::Tensor;
use tokenizers::Tokenizer;
use tokio::runtime::Runtime;

const QUERY: &str = "database query optimization";

/// What all layouts share.
struct Bench {
    runtime: Runtime,
    e5: E5Embedder,
    environment: Environment,
    files: ModelFiles,
    request: EmbedRequest,
    /// The same texts as token ids, cut to 512.
    sequences: Vec<Vec<i64>>,
    tokens: u64,
}

impl Bench {
    fn new(precision: Precision) -> Option<Self> {
        let home = DataHome::from_env().unwrap();
        let files = ModelFiles::open(&home, &Profile::all()[0], precision);
        let files = embed_testkit::require(&format!("multilingual-e5-small ({precision})"), files)?;
        let e5 = E5Embedder::load_blocking(E5Config::default().with_precision(precision)).unwrap();
        let library = RuntimeLibrary::find(&home, None).unwrap();
        let environment = *library.shared_environment().unwrap().downcast::<Environment>().unwrap();
        let texts = texts();
        let tokenizer = Tokenizer::from_file(&files.tokenizer).unwrap();
        let sequences: Vec<_> =
            texts.iter().map(|text| token_ids(&tokenizer, Role::Document, text)).collect();
        let tokens = sequences.iter().map(|ids| ids.len() as u64).sum();
        let request = EmbedRequest::new(texts.iter().map(String::as_str), Role::Document)
            .with_truncation(Truncation::End);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Some(Self { runtime, e5, environment, files, request, sequences, tokens })
    }

    fn engine(&self) -> f32 {
        let response = self.runtime.block_on(self.e5.embed(self.request.clone())).unwrap();
        let response = response.into_complete().unwrap();
        assert_eq!(response.len(), self.sequences.len());
        response.row(0).unwrap().vector()[0]
    }

    fn session(&self, threads: NonZeroUsize) -> Session {
        session(&self.environment, &self.files.model, threads)
    }
}

/// Every other text English, every other Japanese, from a few words to several hundred.
fn texts() -> Vec<String> {
    let english = |text: &&String| text.is_ascii();
    let japanese = |text: &&String| text.chars().any(|c| ('\u{3040}'..='\u{30ff}').contains(&c));
    let all = mixed_texts(2400);
    let english = all.iter().filter(english);
    let japanese = all.iter().filter(japanese);
    let count = if quick_share().is_some() { 12 } else { 160 };
    english.zip(japanese).flat_map(|(a, b)| [a.clone(), b.clone()]).take(count).collect()
}

fn token_ids(tokenizer: &Tokenizer, role: Role, text: &str) -> Vec<i64> {
    let encoding = tokenizer.encode_fast(Profile::all()[0].prompts.of(role).to_owned() + text, true).unwrap();
    let ids = encoding.get_ids();
    let mut ids: Vec<_> = ids.iter().take(512).map(|&id| i64::from(id)).collect();
    if let Some(last) = ids.last_mut() {
        // `</s>` in XLM-RoBERTa.
        *last = 2;
    }
    ids
}

fn session(environment: &Environment, model: &Path, threads: NonZeroUsize) -> Session {
    let operators = *operators::shared(threads).unwrap().downcast::<Arc<OperatorDomain>>().unwrap();
    Session::builder(environment)
        .unwrap()
        .with_optimization_level(GraphOptimizationLevel::All)
        .unwrap()
        .with_intra_threads(threads.get())
        .unwrap()
        .with_operators(operators)
        .unwrap()
        .commit_from_file(model)
        .unwrap()
}

/// One run over the tokens of these texts.
fn run(session: &mut Session, texts: &[&Vec<i64>]) -> f32 {
    let ids: Vec<i64> = texts.iter().copied().flatten().copied().collect();
    let positions: Vec<i64> = texts.iter().flat_map(|text| (0..).take(text.len())).collect();
    let lengths: Vec<i64> = texts.iter().map(|text| text.len() as i64).collect();
    let inputs = ort::inputs![
        "input_ids" => Tensor::from_array(([ids.len()], ids)).unwrap(),
        POSITIONS => Tensor::from_array(([positions.len()], positions)).unwrap(),
        LENGTHS => Tensor::from_array(([lengths.len()], lengths)).unwrap(),
    ];
    let outputs = session.run(inputs).unwrap();
    let (_, means) = outputs[0].try_extract_tensor::<f32>().unwrap();
    assert!(means[0].is_finite() && means[0] != 0.0, "a run gave no vector");
    assert_eq!(means.len() % texts.len(), 0, "a run gave another number of vectors");
    means[0]
}

/// What most programs do: one session with all cores, batches of 32 as the texts come.
fn one_session_batches(session: &mut Session, sequences: &[Vec<i64>]) -> f32 {
    sequences.chunks(32).map(|batch| run(session, &batch.iter().collect::<Vec<_>>())).sum()
}

/// The best that was found by hand: a single-threaded session for each core, one text a run, the long ones
/// first, ids made beforehand.
fn session_per_core(sessions: &mut [Session], longest_first: &[&Vec<i64>]) -> f32 {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = sessions
            .iter_mut()
            .map(|session| {
                scope.spawn(|| {
                    let mut sum = 0.0;
                    while let Some(ids) = longest_first.get(next.fetch_add(1, Ordering::Relaxed)) {
                        sum += run(session, &[ids]);
                    }
                    sum
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    })
}

fn throughput(c: &mut Criterion) {
    // A quick run hasn't the time to load all: those of the rivals say something of each.
    let precisions = if quick_share().is_some() { &[Precision::Int8][..] } else { Precision::ALL };
    for &precision in precisions {
        let Some(bench) = Bench::new(precision) else {
            return;
        };
        let cores = available_threads();
        let mut group = c.benchmark_group(format!("e5/engine, {precision}"));
        group.throughput(Throughput::Elements(bench.tokens));
        group.sample_size(10).sampling_mode(SamplingMode::Flat).warm_up_time(Duration::from_millis(500));
        group.bench_function(BenchmarkId::from_parameter("embed-e5"), |b| {
            b.iter(|| black_box(bench.engine()))
        });
        let mut sessions: Vec<_> = (0..cores.get()).map(|_| bench.session(NonZeroUsize::MIN)).collect();
        let mut longest_first: Vec<_> = bench.sequences.iter().collect();
        longest_first.sort_by_key(|ids| std::cmp::Reverse(ids.len()));
        group.bench_function(BenchmarkId::from_parameter("bare ort, session per core"), |b| {
            b.iter(|| black_box(session_per_core(&mut sessions, &longest_first)));
        });
        drop(sessions);
        let mut session = bench.session(cores);
        group.bench_function(BenchmarkId::from_parameter("bare ort, batches of 32"), |b| {
            b.iter(|| black_box(one_session_batches(&mut session, &bench.sequences)));
        });
        group.finish();
    }
}

fn latency(c: &mut Criterion) {
    let Some(bench) = Bench::new(Precision::Int8) else {
        return;
    };
    let mut group = c.benchmark_group("e5/short query, one at a time");
    let Bench { runtime, e5, .. } = &bench;

    group.bench_function(BenchmarkId::from_parameter("embed-e5"), |b| {
        b.iter(|| black_box(runtime.block_on(e5.encode_query(QUERY)).unwrap()));
    });
    let tokenizer = Tokenizer::from_file(&bench.files.tokenizer).unwrap();
    let mut session = bench.session(NonZeroUsize::MIN);
    group.bench_function(BenchmarkId::from_parameter("bare ort"), |b| {
        b.iter(|| black_box(run(&mut session, &[&token_ids(&tokenizer, Role::Query, QUERY)])));
    });
    group.finish();
}

/// Paragraphs of fifteen languages as one text that is longer than the model reads: every byte is tokenised, which the
/// count in the refusal proves, and nothing runs.
fn tokenise(c: &mut Criterion) {
    let Some(bench) = Bench::new(Precision::Int8) else {
        return;
    };
    let text = mixed_texts(200).join("\n");
    let request = EmbedRequest::new([text.as_str()], Role::Document);
    let tokenizer = Tokenizer::from_file(&bench.files.tokenizer).unwrap();
    let mut group = c.benchmark_group("e5/tokenise");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function(BenchmarkId::from_parameter("embed-e5"), |b| {
        b.iter(|| {
            let response = bench.runtime.block_on(bench.e5.embed(request.clone())).unwrap();
            let error = response.row(0).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InputTooLong);
        });
    });
    group.bench_function(BenchmarkId::from_parameter("tokenizers"), |b| {
        b.iter(|| black_box(token_ids(&tokenizer, Role::Document, &text)));
    });
    group.finish();
}

criterion_group!(benches, throughput, latency, tokenise);
criterion_main!(benches);
