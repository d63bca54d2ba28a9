//! Plans: the vectors of a query and of a document in each space, and the effect of coverage.

use embed_core::{Coverage, EmbedRequest, ErrorKind, Role};
use embed_router::{PinBook, Plan, RolloutConfig, RouterConfig, fuse};

use crate::support::{Rig, all_to, documents, down};

const ENGLISH: &str = "plain words";
const JAPANESE: &str = "ことば";

fn routes(plan: &Plan) -> Vec<&str> {
    plan.items.iter().map(|item| &*item.route).collect()
}

#[tokio::test]
async fn a_query_is_planned_for_every_space_that_supports_it() {
    let rig = Rig::hybrid(RouterConfig::default());
    let english = rig.router.plan_query(ENGLISH).await.unwrap();
    assert_eq!(routes(&english), ["ollama", "e5"]);
    for item in &english.items {
        let double = rig.double(&item.route);
        let vector = item.outcome.as_ref().unwrap();
        assert_eq!(vector.vector(), double.vector(ENGLISH, Role::Query));
        assert_eq!(item.space.as_ref(), Some(vector.space()));
    }
    assert_eq!(routes(&rig.router.plan_query(JAPANESE).await.unwrap()), ["e5"]);
    assert_eq!(routes(&rig.router.plan_query("words と ことば").await.unwrap()), ["e5"]);
}

#[tokio::test]
async fn a_document_is_stored_where_its_coverage_says() {
    let rig = Rig::hybrid(RouterConfig::default());
    for (text, coverage, expected) in [
        (ENGLISH, Coverage::Route, &["ollama"][..]),
        (ENGLISH, Coverage::Reachable, &["ollama", "e5"]),
        (JAPANESE, Coverage::Route, &["e5"]),
        (JAPANESE, Coverage::Reachable, &["e5"]),
    ] {
        let plan = rig.router.plan_document(text, coverage).await.unwrap();
        assert_eq!(routes(&plan), expected, "{coverage:?}");
        assert!(plan.is_complete());
    }
}

#[tokio::test]
async fn a_batch_is_planned_in_order_with_one_call_for_each_route() {
    let rig = Rig::hybrid(RouterConfig::default());
    let texts = [JAPANESE, ENGLISH, "more words", "", "Öl"];
    let plans = rig.router.plan(documents(&texts), Coverage::Reachable).await.unwrap();
    assert_eq!(plans.len(), texts.len());
    assert_eq!((rig.double("ollama").calls(), rig.double("e5").calls()), (1, 1));
    for (plan, text) in plans.iter().zip(texts) {
        for item in &plan.items {
            match &item.outcome {
                Ok(vector) => {
                    assert_eq!(vector.vector(), rig.double(&item.route).vector(text, Role::Document))
                }
                Err(error) => assert_eq!((text, error.kind()), ("", ErrorKind::InvalidInput)),
            }
        }
    }
    let none: [&str; 0] = [];
    assert!(rig.router.plan(documents(&none), Coverage::Route).await.unwrap().is_empty());
}

/// Each vector has its own outcome, and a plan never substitutes a vector of another space.
#[tokio::test]
async fn a_failed_space_is_an_error_of_its_item() {
    let rig = Rig::hybrid(RouterConfig::default().with_cross_space(true));
    rig.double("ollama").fail_calls(Some(down()));
    let plan = rig.router.plan_query(ENGLISH).await.unwrap();
    assert_eq!(plan.items[0].outcome.as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(plan.vectors().count(), 1);
    assert!(!plan.is_complete());
    let twins = [("ollama", "minilm"), ("ollama-2", "minilm"), ("e5", "e5")];
    let rig = Rig::new(&twins, RouterConfig::default());
    rig.double("ollama").fail_calls(Some(down()));
    let plan = rig.router.plan_query(ENGLISH).await.unwrap();
    assert_eq!(routes(&plan), ["ollama", "e5"], "a space has one vector, however many routes serve it");
    assert_eq!(plan.items[0].outcome.as_ref().unwrap().info().route.as_deref(), Some("ollama-2"));
}

#[tokio::test]
async fn a_forced_or_pinned_text_has_one_vector() {
    let pins: PinBook = [("tenant", "e5")].into_iter().collect();
    let rig = Rig::hybrid(RouterConfig::default().with_pins(pins));
    let request = EmbedRequest::new([ENGLISH], Role::Query);
    for request in [request.clone().with_route("e5"), request.with_partition("tenant")] {
        let plans = rig.router.plan(request, Coverage::Reachable).await.unwrap();
        assert_eq!(routes(&plans[0]), ["e5"]);
        assert!(plans[0].detection.is_none());
    }
}

#[tokio::test]
async fn a_text_that_no_model_reads_gets_the_vector_of_its_route() {
    let rig = Rig::new(&[("ollama", "minilm")], all_to("ollama"));
    assert_eq!(routes(&rig.router.plan_query(JAPANESE).await.unwrap()), ["ollama"]);
}

/// Queries of a moved partition use the new space, and its documents are also kept in the old one, in case of a stop.
#[tokio::test]
async fn a_moved_partition_keeps_its_way_back() {
    let rollout = RolloutConfig::new("ollama", "new").with_percentage(100).with_cross_space(true);
    let routes_of = [("ollama", "minilm"), ("e5", "e5"), ("new", "gemma")];
    let rig = Rig::new(&routes_of, RouterConfig::default().with_rollout(rollout));
    for (role, coverage, expected) in [
        (Role::Query, Coverage::Reachable, &["new", "e5"][..]),
        (Role::Document, Coverage::Route, &["new"]),
        (Role::Document, Coverage::Reachable, &["new", "ollama", "e5"]),
    ] {
        let request = EmbedRequest::new([ENGLISH], role).with_partition("tenant");
        let plans = rig.router.plan(request, coverage).await.unwrap();
        assert_eq!(routes(&plans[0]), expected, "{role} {coverage:?}");
    }
    let outside = rig.router.plan_query(ENGLISH).await.unwrap();
    assert_eq!(routes(&outside), ["ollama", "e5"], "without a partition nothing moves");
}

/// A store with a list for each space: with `Reachable` every query finds every document; with `Route` a Japanese query
/// can't find an English one.
#[tokio::test]
async fn what_coverage_leaves_out() {
    let rig = Rig::hybrid(RouterConfig::default());
    for (coverage, finds_english) in [(Coverage::Reachable, true), (Coverage::Route, false)] {
        let documents = [ENGLISH, JAPANESE];
        let plans = rig.router.plan(crate::support::documents(&documents), coverage).await.unwrap();
        let search = async |query: &str| {
            let plan = rig.router.plan_query(query).await.unwrap();
            let lists = plan.vectors().map(|asked| {
                let stored = |(index, plan): (usize, &Plan)| {
                    let same = plan.vectors().find(|vector| vector.space() == asked.space())?;
                    Some((same.similarity(asked).unwrap(), documents[index]))
                };
                let mut found: Vec<_> = plans.iter().enumerate().filter_map(stored).collect();
                found.sort_by(|a, b| b.0.total_cmp(&a.0));
                found.into_iter().map(|(_, document)| document).collect::<Vec<_>>()
            });
            fuse(lists.collect::<Vec<_>>()).into_iter().map(|found| found.id).collect::<Vec<_>>()
        };
        let by_english = search(ENGLISH).await;
        assert!(
            by_english.contains(&ENGLISH) && by_english.contains(&JAPANESE),
            "English is searched in both spaces"
        );
        assert!(search(JAPANESE).await.contains(&JAPANESE));
        assert_eq!(search(JAPANESE).await.contains(&ENGLISH), finds_english, "{coverage:?}");
    }
}
