//! Plans: the vectors to search a query with, or to store a document with.

use std::collections::HashMap;
use std::sync::Arc;

use embed_core::{Coverage, EmbedRequest, Embedding, Result, Role, Space};
use futures::future::join_all;

use super::choose::{Choice, Choices};
use super::routes::Routes;
use super::serve::RouteRequest;
use crate::detect::Detection;
use crate::stats::Counters;

/// The vectors of one text, at most one per space in use.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// The detected language; `None` if the route was forced or pinned.
    pub detection: Option<Detection>,
    /// The vectors. The first is that of the text's route.
    pub items: Vec<PlanItem>,
}

/// One vector of a plan.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlanItem {
    /// The chosen route.
    pub route: Arc<str>,
    /// The vector's space; `None` if the route is absent.
    pub space: Option<Space>,
    /// The vector, or why there is none. A plan never changes a space: a fallback is only used within it.
    pub outcome: Result<Embedding>,
}

/// What to plan for one text.
struct PlannedText<'c> {
    choice: &'c Choice,
    role: Role,
    coverage: Coverage,
    /// Whether a rollout includes its partition.
    moved: bool,
}

impl Plan {
    /// The items that have a vector.
    pub fn vectors(&self) -> impl Iterator<Item = &Embedding> {
        self.items.iter().filter_map(|item| item.outcome.as_ref().ok())
    }

    /// Whether every item has a vector.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.items.iter().all(|item| item.outcome.is_ok())
    }
}

/// Plans each text of a request whose routes are chosen.
pub(super) async fn plan(
    request: EmbedRequest,
    (choices, moved, coverage): (&Choices, bool, Coverage),
    routes: &Routes,
    counters: &Counters,
) -> Vec<Plan> {
    let of_row = |row| PlannedText { choice: choices.at(row), role: request.role(), coverage, moved };
    let mut plans = Vec::with_capacity(request.texts().len());
    // For each route, the items that it must provide: (text, item).
    let mut places: Vec<Vec<(usize, usize)>> = vec![Vec::new(); routes.upstreams.len()];
    for row in 0..request.texts().len() {
        let upstreams = upstreams_of(routes, &of_row(row));
        let items = upstreams.iter().enumerate().map(|(item, &upstream)| {
            places[upstream].push((row, item));
            let upstream = &routes.upstreams[upstream];
            (Arc::clone(&upstream.name), upstream.space().cloned())
        });
        plans.push((choices.at(row).detection.clone(), items.collect::<Vec<_>>()));
    }
    let jobs = places.iter().enumerate().filter(|(_, places)| !places.is_empty());
    let done = join_all(jobs.map(async |(upstream, places)| {
        let texts = places.iter().map(|&(row, _)| Arc::clone(&request.texts()[row]));
        let request = request.with_texts(texts);
        let job = RouteRequest { upstream, request: &request, detections: None, shadow: None };
        let rows = match job.serve(routes, counters).await {
            Ok(served) => served.into_rows(),
            Err(error) => vec![Err(error); places.len()],
        };
        places.iter().copied().zip(rows)
    }))
    .await;
    let mut outcomes: HashMap<_, _> = done.into_iter().flatten().collect();
    let plan = |(row, (detection, items)): (usize, (_, Vec<_>))| {
        let items = items.into_iter().enumerate().filter_map(|(item, (route, space))| {
            let outcome = outcomes.remove(&(row, item))?;
            Some(PlanItem { route, space, outcome })
        });
        Plan { detection, items: items.collect() }
    };
    plans.into_iter().enumerate().map(plan).collect()
}

/// The routes that provide a text's vectors, the chosen route first.
fn upstreams_of(routes: &Routes, wanted: &PlannedText<'_>) -> Vec<usize> {
    let &PlannedText { choice, role, coverage, moved } = wanted;
    let mut upstreams = vec![choice.upstream];
    let Some(detection) = &choice.detection else {
        return upstreams;
    };
    if role == Role::Document && coverage == Coverage::Route {
        return upstreams;
    }
    let candidate = routes.candidate.filter(|_| moved);
    let in_use =
        routes.in_policy().map(|upstream| routes.taken_over(upstream)).flat_map(|upstream| match candidate {
            // Documents are also stored in the old space, so that they are found after a stop.
            Some(candidate) if candidate.from == upstream => {
                let old = (role == Role::Document).then_some(candidate.from);
                [Some(candidate.to), old]
            }
            _ => [Some(upstream), None],
        });
    for upstream in in_use.flatten() {
        let new = routes.upstreams[upstream].space();
        let has = upstreams.iter().any(|&has| has == upstream || routes.upstreams[has].space() == new);
        if !has && new.is_some() && routes.upstreams[upstream].reads.covers(detection) {
            upstreams.push(upstream);
        }
    }
    upstreams
}
