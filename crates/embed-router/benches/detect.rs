//! The cost of detection compared with whatlang alone on the same text.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use embed_router::{Detector, Kind, LanguageDetector};
use embed_testkit::data;

/// This many characters of the Declaration in a language, repeated as necessary.
fn passage(language: &str, chars: usize) -> String {
    let articles = data::udhr_in(language).join("\n");
    assert!(!articles.is_empty(), "the Declaration is in the crate");
    articles.chars().cycle().take(chars).collect()
}

fn detection(criterion: &mut Criterion) {
    let queries = [
        ("English query", "database query plan"),
        ("Spanish query", "base de datos"),
        ("Japanese query", "富士山の高さ"),
        ("Chinese query", "数据库查询"),
        ("Russian query", "запрос к базе"),
    ];
    let mut texts: Vec<_> =
        queries.map(|(name, text)| (name.to_owned(), text.to_owned())).into_iter().collect();
    for (name, language) in [
        ("English", "en"),
        ("French", "fr"),
        ("Indonesian", "id"),
        ("Japanese", "ja"),
        ("Chinese", "zh"),
        ("Korean", "ko"),
        ("Russian", "ru"),
        ("Thai", "th"),
    ] {
        for (chars, shown) in [(1_000, "1,000"), (2_000, "2,000"), (1_000_000, "a million")] {
            texts.push((format!("{name}, {shown} characters"), passage(language, chars)));
        }
    }
    let detector = LanguageDetector::new();
    for (name, text) in &texts {
        let mut group = criterion.benchmark_group(format!("detection/{name}"));
        group.throughput(Throughput::Bytes(text.len() as u64));
        // Both have a result, and ours is the right kind.
        assert_eq!(detector.detect(text).kind == Kind::En, name.starts_with("English"), "{name}");
        assert!(whatlang::detect(text).is_some(), "{name}");
        group.bench_function("embed-router", |bencher| bencher.iter(|| detector.detect(black_box(text))));
        group.bench_function("whatlang", |bencher| bencher.iter(|| whatlang::detect(black_box(text))));
        group.finish();
    }
}

criterion_group!(benches, detection);
criterion_main!(benches);
