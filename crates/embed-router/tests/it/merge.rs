//! Rows are returned in the order of the request, whatever the routes and failures.

use std::collections::HashMap;
use std::sync::Arc;

use embed_core::{Embedder, Error, ErrorKind, Role};
use embed_router::{Detection, Detector, Kind, Policy, Route, Router, RouterConfig};
use embed_testkit::Scripted;
use proptest::prelude::*;

use crate::support::{documents, down};

/// The first character of a text is its kind, and so decides its route.
#[derive(Debug)]
struct FirstLetter;

const KINDS: [Kind; 4] = [Kind::En, Kind::Ja, Kind::Mixed, Kind::Other];

impl Detector for FirstLetter {
    fn detect(&self, text: &str) -> Detection {
        let kind = KINDS[usize::from(text.as_bytes()[0] - b'0')];
        Detection::new(kind, "en", 1.0, "first letter")
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// The text's.
    Own,
    /// The route's.
    Gone,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![3 => Just(Fault::None), 1 => Just(Fault::Own), 1 => Just(Fault::Gone)]
}

proptest! {
    /// Four routes in three spaces: 0 and 3 share one. At its route each text succeeds, fails by its own fault, or by the
    /// route's; each route may be down. Every row is the vector of its text in a space that is allowed.
    #[test]
    fn any_assignment_and_any_failure(
        texts in prop::collection::vec((0..4_usize, fault()), 1..40),
        gone in prop::array::uniform4(prop::bool::weighted(0.25)),
        cross in any::<bool>(),
    ) {
        let doubles = ["a", "b", "c", "a"].map(|space| Scripted::new(space, 8));
        let written: Vec<String> = texts.iter().enumerate().map(|(i, (kind, _))| format!("{kind} ({i})")).collect();
        for (route, double) in doubles.iter().enumerate() {
            double.fail_calls(gone[route].then(down));
            for (text, (_, fault)) in written.iter().zip(&texts).filter(|(_, (kind, _))| *kind == route) {
                match fault {
                    Fault::None => {}
                    Fault::Own => double.fail_texts_with(text, Error::new(ErrorKind::InvalidInput, "no")),
                    Fault::Gone => double.fail_texts_with(text, down()),
                }
            }
        }
        let names = ["r0", "r1", "r2", "r3"];
        let policy = KINDS.iter().zip(names).fold(Policy::everything_to("r0"), |p, (kind, name)| p.with(*kind, name));
        let config = RouterConfig::default().with_policy(policy).with_cross_space(cross);
        let routes = names.iter().zip(&doubles).map(|(name, double)| Route::new(*name, double.clone()));
        let router = Router::new(routes, Arc::new(FirstLetter), config).unwrap();
        let by_name: HashMap<_, _> = names.iter().copied().zip(&doubles).collect();

        // Expected: the routes of its space in order, then the others if that is allowed.
        let expected = |row: usize| {
            let (kind, fault) = texts[row];
            if !gone[kind] && fault != Fault::Gone {
                return if fault == Fault::None { Ok(names[kind]) } else { Err(ErrorKind::InvalidInput) };
            }
            let twin = [3, 9, 9, 0][kind];
            let others = (0..4).filter(|other| *other != kind && *other != twin);
            let mut rungs = (0..4).filter(|other| *other == twin).chain(others.filter(|_| cross));
            rungs.find(|other| !gone[*other]).map(|other| names[other]).ok_or(ErrorKind::Unavailable)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        match runtime.block_on(router.embed(documents(&written))) {
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::Unavailable);
                for row in 0..texts.len() {
                    prop_assert_eq!(expected(row), Err(ErrorKind::Unavailable));
                }
            }
            Ok(response) => {
                prop_assert_eq!(response.len(), texts.len());
                for (row, text) in written.iter().enumerate() {
                    match (response.row(row), expected(row)) {
                        (Ok(is), Ok(name)) => {
                            prop_assert_eq!(is.info().route.as_deref(), Some(name));
                            prop_assert_eq!(is.vector(), by_name[name].vector(text, Role::Document));
                            prop_assert_eq!(is.space(), by_name[name].model().space());
                        }
                        (Err(is), Err(kind)) => prop_assert_eq!(is.kind(), kind),
                        (is, expected) => prop_assert!(false, "row {}: {:?}, not {:?}", row, is, expected),
                    }
                }
            }
        }
    }
}
