//! Plans: the vectors that a query asks with, and those that a document is stored with.

use std::collections::HashMap;
use std::sync::Arc;

use embed_core::{EmbedRequest, Embedding, Result, Role, Space};
use futures::future::join_all;

use super::Router;
use super::choose::Choices;
use super::serve::Job;
use crate::Detection;

/// The vectors of one text, at most one for each space in use.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// What was found of the text; `None` if its route was forced or pinned.
    pub detection: Option<Detection>,
    /// The vectors. The first is that of the route that the text is sent to.
    pub items: Vec<PlanItem>,
}

/// One vector of a plan.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlanItem {
    /// The route that was chosen for it.
    pub route: Arc<str>,
    /// The space that the vector is for; `None` if the route is absent.
    pub space: Option<Space>,
    /// The vector, or why there is none. A plan never leaves its spaces: another route stands in only inside of one.
    pub outcome: Result<Embedding>,
}

/// Which vectors of a text are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Coverage {
    /// The one that its route gives: the cheapest. **Queries in a language that this model doesn't read can't find the
    /// document**: an English document that is stored in the English model's space alone is lost for a Japanese query.
    Route,
    /// Also one for every other space in use whose model reads the text, so that every query finds every document.
    Reachable,
}

impl Router {
    /// The vectors to search with: one for each space in use whose model reads the query. Search each space with its
    /// own, and [`fuse`](crate::fuse) the ranked lists.
    ///
    /// # Errors
    ///
    /// As [`plan`](Self::plan).
    ///
    /// # Cancellation
    ///
    /// As [`plan`](Self::plan).
    pub async fn plan_query(&self, text: &str) -> Result<Plan> {
        self.plan_one(text, Role::Query, Coverage::Reachable).await
    }

    /// The vectors to store a document with.
    ///
    /// # Errors
    ///
    /// As [`plan`](Self::plan).
    ///
    /// # Cancellation
    ///
    /// As [`plan`](Self::plan).
    pub async fn plan_document(&self, text: &str, coverage: Coverage) -> Result<Plan> {
        self.plan_one(text, Role::Document, coverage).await
    }

    async fn plan_one(&self, text: &str, role: Role, coverage: Coverage) -> Result<Plan> {
        let mut plans = self.plan(EmbedRequest::new([text], role), coverage).await?;
        Ok(plans.swap_remove(0))
    }

    /// The vectors of each text of a request, in the order asked. Queries are planned with [`Coverage::Reachable`].
    ///
    /// Spaces in use are those of the routes of the policy. A text whose route is forced or pinned gets its one vector.
    /// A text that no model in use reads (under a policy that sends everything to one model) gets that of its route. In
    /// a partition that a rollout has moved to another space, a reachable document also keeps its vector of the old
    /// space, so that it is still found after a stop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) if the request or a pin names a route that isn't there.
    /// Failures of routes are in the items.
    ///
    /// # Cancellation
    ///
    /// As [`Embedder::embed`](embed_core::Embedder::embed).
    pub async fn plan(&self, request: EmbedRequest, coverage: Coverage) -> Result<Vec<Plan>> {
        let choices = self.choose(&request).await?;
        self.count(&choices, request.texts().len());
        let moved = self.is_moved(&request);
        let mut plans = Vec::with_capacity(request.texts().len());
        // For each route the places of the items that it is to give: (text, item).
        let mut places: Vec<Vec<(usize, usize)>> = vec![Vec::new(); self.stations.len()];
        for row in 0..request.texts().len() {
            let stations = self.stations_of(&choices, row, request.role(), coverage, moved);
            let items = stations.iter().enumerate().map(|(item, &station)| {
                places[station].push((row, item));
                let station = &self.stations[station];
                (Arc::clone(&station.name), station.space().cloned())
            });
            plans.push((choices.at(row).detection, items.collect::<Vec<_>>()));
        }
        let request = request.without_route();
        let jobs = places.iter().enumerate().filter(|(_, places)| !places.is_empty());
        let done = join_all(jobs.map(async |(station, places)| {
            let texts = places.iter().map(|&(row, _)| Arc::clone(&request.texts()[row]));
            let job = Job { station, request: request.with_texts(texts), choices: None };
            let rows = match self.serve(job).await {
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
        Ok(plans.into_iter().enumerate().map(plan).collect())
    }

    /// The routes that give a text its vectors, its own route first.
    fn stations_of(
        &self,
        choices: &Choices,
        row: usize,
        role: Role,
        coverage: Coverage,
        moved: bool,
    ) -> Vec<usize> {
        let choice = choices.at(row);
        let mut stations = vec![choice.station];
        let Some(detection) = choice.detection else {
            return stations;
        };
        if role == Role::Document && coverage == Coverage::Route {
            return stations;
        }
        let candidate = self.candidate.filter(|_| moved);
        let in_use =
            self.table.iter().map(|&station| self.taken_over(station)).flat_map(|station| match candidate {
                // What was stored is found in the old space after a stop, so documents go there too.
                Some(candidate) if candidate.from == station => {
                    let old = (role == Role::Document).then_some(candidate.from);
                    [Some(candidate.to), old]
                }
                _ => [Some(station), None],
            });
        for station in in_use.flatten() {
            let new = self.stations[station].space();
            let has = stations.iter().any(|&has| has == station || self.stations[has].space() == new);
            if !has && new.is_some() && self.stations[station].reads.covers(&detection) {
                stations.push(station);
            }
        }
        stations
    }
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
