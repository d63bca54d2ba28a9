//! Reciprocal rank fusion.

use std::collections::BTreeSet;

use embed_router::{RECIPROCAL_RANK_CONSTANT, fuse};
use proptest::prelude::*;

fn ids<Id: std::hash::Hash + Eq + Clone>(lists: Vec<Vec<Id>>) -> Vec<Id> {
    fuse(lists).into_iter().map(|found| found.id).collect()
}

#[test]
fn scores_are_those_of_the_paper() {
    let fused = fuse([vec!["a", "b"], vec!["b"]]);
    assert_eq!((fused[0].id, fused[1].id), ("b", "a"));
    assert_eq!(fused[0].score, 1.0 / 62.0 + 1.0 / 61.0);
    assert_eq!(fused[1].score, 1.0 / (RECIPROCAL_RANK_CONSTANT + 1.0));
}

#[test]
fn ties_keep_the_order_of_first_occurrence() {
    assert_eq!(ids(vec![vec!["x", "y"], vec!["z", "w"]]), ["x", "z", "y", "w"]);
    assert_eq!(ids(vec![vec!["z", "w"], vec!["x", "y"]]), ["z", "x", "w", "y"]);
}

#[test]
fn nothing_gives_nothing() {
    assert!(ids(Vec::<Vec<u8>>::new()).is_empty());
    assert!(ids(vec![Vec::<u8>::new(), Vec::new()]).is_empty());
}

fn lists() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(0..30_u8, 0..20), 0..5)
}

proptest! {
    #[test]
    fn every_document_is_there_once_and_the_best_comes_first(lists in lists()) {
        let fused = fuse(lists.clone());
        let expected: BTreeSet<_> = lists.into_iter().flatten().collect();
        let is: BTreeSet<_> = fused.iter().map(|found| found.id).collect();
        prop_assert_eq!(is.len(), fused.len());
        prop_assert_eq!(is, expected);
        prop_assert!(fused.windows(2).all(|pair| pair[0].score >= pair[1].score));
    }

    /// A single list stays as it is, except for repeated documents.
    #[test]
    fn one_list_keeps_its_order(list in prop::collection::vec(any::<u16>(), 0..50)) {
        let mut seen = BTreeSet::new();
        let expected: Vec<_> = list.iter().copied().filter(|id| seen.insert(*id)).collect();
        prop_assert_eq!(ids(vec![list]), expected);
    }

    /// A document that is before another in every list is before it in the result.
    #[test]
    fn agreement_is_kept(lists in lists()) {
        let fused = ids(lists.clone());
        let place = |list: &[u8], id| list.iter().position(|other| *other == id).unwrap_or(usize::MAX);
        for &a in &fused {
            for &b in &fused {
                if lists.iter().all(|list| place(list, a) < place(list, b)) {
                    prop_assert!(place(&fused, a) < place(&fused, b));
                }
            }
        }
    }

    /// The order of the lists only decides ties.
    #[test]
    fn the_order_of_lists_changes_no_score(lists in lists()) {
        let score = |lists: Vec<Vec<u8>>| {
            let mut fused: Vec<_> = fuse(lists).into_iter().map(|found| (found.id, found.score)).collect();
            fused.sort_by_key(|(id, _)| *id);
            fused
        };
        let turned = lists.iter().rev().cloned().collect();
        for ((a, left), (b, right)) in score(lists).into_iter().zip(score(turned)) {
            prop_assert_eq!(a, b);
            prop_assert!((left - right).abs() < 1e-12);
        }
    }
}
