//! Routing: policies, forced routes, pins, absent routes.

use std::sync::Arc;

use embed_core::{EmbedRequest, Embedder, ErrorKind, HealthStatus, Role};
use embed_router::{
    BreakerState, DecidedBy, Detection, Detector, Kind, PinBook, Policy, Reads, Route, RouteStats, Router,
    RouterConfig,
};
use embed_testkit::Scripted;

use crate::support::{Letters, Rig, all_to, documents, down, field, outcomes};

const TEXTS: [&str; 5] = ["plain words", "ことば", "words と ことば", "Öl", "more words"];

#[tokio::test]
async fn hybrid_sends_english_to_one_route_and_the_rest_to_the_other() {
    let rig = Rig::hybrid(RouterConfig::default());
    let response = rig.router.embed(documents(&TEXTS)).await.unwrap();
    assert_eq!(outcomes(&response), ["ollama", "e5", "e5", "e5", "ollama"]);
    for (row, text) in response.rows().zip(TEXTS) {
        let row = row.unwrap();
        let double = rig.double(row.info().route.as_deref().unwrap());
        assert_eq!(row.vector(), double.vector(text, Role::Document));
        assert_eq!(row.space(), double.model().space());
    }
    assert_eq!((rig.double("ollama").calls(), rig.double("e5").calls()), (1, 1), "one call for each route");
    let stats = rig.router.stats();
    assert_eq!(rules(&stats.routes[0]), [("ascii", 2)]);
    assert_eq!(rules(&stats.routes[1]), [("both", 1), ("kana", 1), ("rest", 1)]);
    assert_eq!((stats.unread, stats.failovers), (0, 0));
}

#[tokio::test]
async fn one_route_for_everything_counts_unsupported_texts() {
    let rig = Rig::new(&[("ollama", "minilm"), ("e5", "e5")], all_to("ollama"));
    let response = rig.router.embed(documents(&TEXTS)).await.unwrap();
    assert_eq!(outcomes(&response), ["ollama"; 5]);
    assert_eq!(rig.router.stats().unread, 3);
    assert_eq!(rig.router.model().name(), "minilm");
}

#[tokio::test]
async fn a_policy_may_name_a_route_for_each_kind() {
    let policy = Policy::everything_to("rest").with(Kind::Ja, "ja").with(Kind::En, "en");
    let config = RouterConfig::default().with_policy(policy);
    let rig = Rig::new(&[("en", "minilm"), ("ja", "ruri"), ("rest", "e5")], config);
    let response = rig.router.embed(documents(&TEXTS)).await.unwrap();
    assert_eq!(outcomes(&response), ["en", "ja", "rest", "rest", "en"]);
}

#[tokio::test]
async fn a_policy_may_name_a_route_for_a_language() {
    let policy = Policy::hybrid("en", "rest").with_language("de", "own").with_language("en", "own");
    let config = RouterConfig::default().with_policy(policy);
    let rig = Rig::new(&[("en", "minilm"), ("own", "ruri"), ("rest", "e5")], config);
    let response = rig.router.embed(documents(&TEXTS)).await.unwrap();
    assert_eq!(outcomes(&response), ["en", "rest", "rest", "own", "en"], "a kind goes before its language");
    let plan = rig.router.plan_query("plain words").await.unwrap();
    let routes: Vec<_> = plan.items.iter().map(|item| &*item.route).collect();
    assert_eq!(routes, ["en", "rest", "own"], "a space in use is also that of a language");
}

#[tokio::test]
async fn a_forced_route_gets_all_texts_uninspected() {
    let pins: PinBook = [("tenant", "ollama")].into_iter().collect();
    let rig = Rig::hybrid(RouterConfig::default().with_pins(pins));
    let request = documents(&TEXTS).with_partition("tenant").with_route("e5");
    let response = rig.router.embed(request.clone()).await.unwrap();
    assert_eq!(outcomes(&response), ["e5"; 5]);
    let decisions = rig.router.decide(&request).unwrap();
    assert!(
        decisions.iter().all(|decision| decision.by == DecidedBy::Request && decision.detection.is_none())
    );
    let stats = rig.router.stats();
    assert_eq!((stats.forced, stats.pinned), (5, 0));
    assert_eq!(rules(&stats.routes[1]), [("forced", 5)]);
}

#[tokio::test]
async fn an_unknown_route_is_an_error_that_lists_the_routes() {
    let rig = Rig::hybrid(RouterConfig::default());
    let none: [&str; 0] = [];
    for texts in [&TEXTS[..], &none] {
        let error = rig.router.embed(documents(texts).with_route("e6")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(field(&error, "routes").as_deref(), Some("ollama, e5"));
    }
}

#[tokio::test]
async fn a_pinned_partition_stays_on_its_route() {
    let pins = PinBook::default();
    let rig = Rig::hybrid(RouterConfig::default().with_pins(pins.clone()));
    let request = documents(&TEXTS).with_partition("tenant");
    assert_eq!(outcomes(&rig.router.embed(request.clone()).await.unwrap())[0], "ollama");
    pins.pin("tenant", "e5");
    assert_eq!(outcomes(&rig.router.embed(request.clone()).await.unwrap()), ["e5"; 5]);
    assert_eq!(rig.router.stats().pinned, 5);
    let other = documents(&TEXTS).with_partition("another");
    assert_eq!(outcomes(&rig.router.embed(other).await.unwrap())[0], "ollama");
    pins.pin("tenant", "e6");
    assert_eq!(rig.router.embed(request.clone()).await.unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(pins.unpin("tenant").as_deref(), Some("e6"));
    assert_eq!(outcomes(&rig.router.embed(request).await.unwrap())[0], "ollama");
}

#[tokio::test]
async fn decisions_explain_themselves_without_embedding() {
    let rig = Rig::hybrid(RouterConfig::default());
    let decisions = rig.router.decide(&documents(&TEXTS)).unwrap();
    let detection = decisions[1].detection.as_ref().unwrap();
    assert_eq!((&*decisions[1].route, &*detection.rule, &*detection.language), ("e5", "kana", "ja"));
    assert_eq!(decisions[0].space.as_ref(), Some(rig.double("ollama").model().space()));
    assert_eq!(rig.double("ollama").calls() + rig.double("e5").calls(), 0);
}

#[tokio::test]
async fn unknown_route_names_are_refused_when_the_router_is_built() {
    let build = |routes: &[&str], config| {
        let routes: Vec<_> = routes.iter().map(|name| Route::new(*name, Scripted::new("e5", 8))).collect();
        Router::new(routes, Arc::new(Letters), config).map(drop).unwrap_err()
    };
    let pins = [("tenant", "ollama")].into_iter().collect();
    for (routes, config, says) in [
        (&["e5"][..], RouterConfig::default(), "the policy names a route"),
        (&["e5", "e5"], all_to("e5"), "two routes have the same name"),
        (&["e5"], all_to("e5").with_pins(pins), "a pin names a route"),
        (&[], all_to("e5"), "the policy names a route"),
    ] {
        let error = build(routes, config);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().starts_with(says), "{error}");
    }
}

#[tokio::test]
async fn an_absent_route_is_replaced_for_good() {
    let e5 = Scripted::new("e5", 8);
    let routes =
        [Route::builder("ollama").absent(down()).fallback("e5").build(), Route::new("e5", e5.clone())];
    let router = Router::new(routes, Arc::new(Letters), RouterConfig::default()).unwrap();
    let absence = &router.absences()[0];
    assert_eq!((&*absence.route, absence.fallback.as_deref()), ("ollama", Some("e5")));
    assert_eq!(router.to_string(), "Router(ollama absent, e5 → scripted/e5)");
    assert_eq!(outcomes(&router.embed(documents(&TEXTS)).await.unwrap()), ["e5"; 5]);
    assert_eq!(e5.calls(), 1, "one space, one call");
    let health = router.health().await;
    assert_eq!(health.status(), HealthStatus::Degraded);
    assert_eq!(field(health.reason().unwrap(), "down").as_deref(), Some("ollama"));
    assert_eq!(router.stats().routes[0].breaker, BreakerState::Absent);
    // A request that names it gets its error, and not a vector of another space.
    let forced = router.embed(documents(&TEXTS).with_route("ollama")).await.unwrap_err();
    assert_eq!((forced.kind(), field(&forced, "route").as_deref()), (ErrorKind::Unavailable, Some("ollama")));
}

/// A fallback of the same space also takes the texts that are meant for the absent route alone.
#[tokio::test]
async fn a_fallback_of_the_same_space_takes_named_texts_too() {
    let routes = [
        Route::builder("ollama").absent(down()).same_space_fallback("minilm").build(),
        Route::new("minilm", Scripted::new("minilm", 8)),
        Route::new("e5", Scripted::new("e5", 8)),
    ];
    let config = RouterConfig::default().with_pins([("contracts", "ollama")].into_iter().collect());
    let router = Router::new(routes, Arc::new(Letters), config).unwrap();
    let named = router.embed(documents(&TEXTS).with_route("ollama")).await.unwrap();
    assert_eq!(outcomes(&named), ["minilm"; 5]);
    let pinned = router.embed(documents(&TEXTS).with_partition("contracts")).await.unwrap();
    assert_eq!(outcomes(&pinned), ["minilm"; 5]);
}

#[tokio::test]
async fn an_absent_route_without_a_fallback_fails_its_texts_alone() {
    let e5 = Route::new("e5", Scripted::new("e5", 8));
    let routes = [Route::builder("ollama").absent(down()).build(), e5];
    let router = Router::new(routes, Arc::new(Letters), RouterConfig::default()).unwrap();
    let response = router.embed(documents(&TEXTS)).await.unwrap();
    assert_eq!(outcomes(&response), ["unavailable", "e5", "e5", "e5", "unavailable"]);
    let fallen = Router::new(
        [
            Route::builder("ollama").absent(down()).fallback("e5").build(),
            Route::builder("e5").absent(down()).build(),
        ],
        Letters,
        all_to("e5"),
    )
    .unwrap_err();
    assert!(format!("{fallen:?}").contains("the server is gone"), "{fallen:?}");
    let nothing = Router::new([Route::builder("e5").absent(down()).build()], Arc::new(Letters), all_to("e5"))
        .unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn the_stack_is_printed() {
    let rig = Rig::hybrid(RouterConfig::default());
    assert_eq!(rig.router.to_string(), "Router(ollama → scripted/minilm, e5 → scripted/e5)");
    let debug = format!("{:?}", rig.router);
    assert!(debug.contains("ollama → scripted/minilm"), "{debug}");
}

#[tokio::test]
async fn statistics_serialize_to_json() {
    let rig = Rig::hybrid(RouterConfig::default());
    rig.router.embed(EmbedRequest::new(["words"], Role::Query)).await.unwrap();
    let json = serde_json::to_value(rig.router.stats()).unwrap();
    assert_eq!(json["routes"][0]["rows_by_rule"]["ascii"], 1);
    assert_eq!(json["routes"][0]["breaker"], "closed");
    assert_eq!(json["routes"][1]["space"], "e5/mean/query-passage/l2/8");
}

/// The counts of texts by rule.
fn rules(route: &RouteStats) -> Vec<(&str, u64)> {
    route.rows_by_rule.iter().map(|(rule, rows)| (&**rule, *rows)).collect()
}

/// A detector whose names are loaded at run time.
#[derive(Debug)]
struct Loaded(Vec<(String, String)>);

impl Detector for Loaded {
    fn detect(&self, text: &str) -> Detection {
        match self.0.iter().find(|(word, _)| text.contains(word)) {
            Some((word, language)) => {
                Detection::new(Kind::Other, language.clone(), 1.0, format!("has {word}"))
            }
            None => Detection::new(Kind::Other, "und", 0.0, "nothing"),
        }
    }
}

#[tokio::test]
async fn a_detector_may_load_its_names() {
    let words = [("und", "de"), ("og", "da")].map(|(word, language)| (word.to_owned(), language.to_owned()));
    let route =
        Route::builder("e5").backend(Scripted::new("e5", 8)).reads(Reads::only(["de".to_owned()])).build();
    let router = Router::new([route], Loaded(words.into()), all_to("e5")).unwrap();
    router.embed(documents(&["du und ich", "wir und ihr", "dig og mig", "?"])).await.unwrap();
    let stats = router.stats();
    assert_eq!(rules(&stats.routes[0]), [("has og", 1), ("has und", 2), ("nothing", 1)]);
    assert_eq!(stats.unread, 2);
}
