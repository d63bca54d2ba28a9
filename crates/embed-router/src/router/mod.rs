//! The router: an [`Embedder`] over several others.

mod build;
mod choose;
mod health;
mod plan;
mod serve;
mod station;

use std::fmt;
use std::sync::Arc;

use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Health, ModelInfo, ResponseBuilder, Result, async_trait,
};
use futures::future::join_all;

use crate::detect::Detector;
use crate::pins::PinBook;
use crate::rollout::Rollout;
use crate::route::Service;
use crate::shadow::Shadow;
use crate::stats::{Counters, RouterStats};

pub use build::Absence;
pub use choose::{DecidedBy, Decision};
pub use plan::{Coverage, Plan, PlanItem};

use choose::{Choice, Choices};
use serve::{Job, Served};
use station::{Part, Station};

/// Sends each text to the model that reads its language.
///
/// A request is split by route, the parts are sent at the same time, and the rows come back in the order asked. Each
/// row names its route and its model, and with it its space: rows of one response may be of several spaces.
///
/// What decides, from the strongest to the weakest: the route that the request names, the pin of its partition, a
/// rollout that its partition is in, the policy by the kind of the text. The first two are for the whole request, and
/// then no text is looked at.
///
/// A route that fails takes its own rows with it and no others. Where another route serves the same space, it is asked
/// instead; a row goes to another space only with [`RouterConfig::allow_cross_space`](crate::RouterConfig).
pub struct Router {
    stations: Vec<Station>,
    table: choose::Table,
    /// The route that [`Embedder::model`] describes.
    default: usize,
    detector: Arc<dyn Detector>,
    allow_cross_space: bool,
    pins: PinBook,
    absences: Vec<Absence>,
    candidate: Option<Candidate>,
    rollout: Option<Arc<Rollout>>,
    shadow: Option<Shadow>,
    counters: Counters,
}

/// The routes of a rollout.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    from: usize,
    to: usize,
}

impl Router {
    /// The routes whose service wasn't there when the router was built. To be said once, at the start; what has become
    /// of them since, [`stats`](Self::stats) and [`health`](Embedder::health) tell.
    #[must_use]
    pub fn absences(&self) -> &[Absence] {
        &self.absences
    }

    /// The rollout, to steer it; `None` if the settings have none.
    #[must_use]
    pub fn rollout(&self) -> Option<&Arc<Rollout>> {
        self.rollout.as_ref()
    }

    /// What was done since it was built.
    #[must_use]
    pub fn stats(&self) -> RouterStats {
        let shadow = self.shadow.as_ref().map(Shadow::status).unwrap_or_default();
        let rollout = self.rollout.as_ref().map(|rollout| rollout.status(shadow));
        self.counters.read(self.stations.iter().map(Station::stats).collect(), rollout)
    }

    /// The whole request at one route.
    async fn embed_at(&self, job: Job<'_>) -> Result<EmbedResponse> {
        let (station, request) = (job.station, job.request.clone());
        match self.serve(job).await? {
            Served::Whole(response) => {
                self.sample(station, &request, &response);
                Ok(response)
            }
            served => {
                let mut response = self.response(&request);
                served.for_each(|row, outcome| response.put_row(row, outcome));
                Ok(response.build())
            }
        }
    }

    /// Each part of the request at its own route, at the same time.
    async fn embed_split(&self, request: &EmbedRequest, choices: &[Choice]) -> Result<EmbedResponse> {
        let mut parts: Vec<Vec<usize>> = vec![Vec::new(); self.stations.len()];
        for (row, choice) in choices.iter().enumerate() {
            parts[choice.station].push(row);
        }
        let parts = parts.iter().enumerate().filter(|(_, rows)| !rows.is_empty());
        let done = join_all(parts.map(async |(station, rows)| {
            let request = request.with_texts(rows.iter().map(|&row| Arc::clone(&request.texts()[row])));
            let choices = self.may_leave(rows.iter().map(|&row| &choices[row]));
            let served = self.serve(Job { station, request: request.clone(), choices }).await;
            if let Ok(Served::Whole(response)) = &served {
                self.sample(station, &request, response);
            }
            (rows, served)
        }))
        .await;
        if done.iter().all(|(_, served)| served.is_err())
            && let Some(error) = done.iter().find_map(|(_, served)| served.as_ref().err())
        {
            return Err(error.clone());
        }
        let mut response = self.response(request);
        for (rows, served) in done {
            match served {
                Ok(served) => served.for_each(|at, outcome| response.put_row(rows[at], outcome)),
                Err(error) => rows.iter().for_each(|&row| response.fail(row, error.clone())),
            }
        }
        Ok(response.build())
    }

    fn response(&self, request: &EmbedRequest) -> ResponseBuilder {
        EmbedResponse::builder(request.texts().len(), self.model().dimension())
    }

    /// Lets the candidate try what the old route answered.
    fn sample(&self, station: usize, request: &EmbedRequest, response: &EmbedResponse) {
        if let (Some(shadow), Some(candidate)) = (&self.shadow, self.candidate)
            && candidate.from == station
        {
            shadow.offer(request, response);
        }
    }
}

#[async_trait]
impl Embedder for Router {
    /// The model of the route for texts of no particular kind. While that route's service is looked for, it is what was
    /// known of it beforehand.
    fn model(&self) -> &ModelInfo {
        match self.stations[self.default].model() {
            Some(model) => model,
            // A router has a default that has one.
            None => unreachable!("the default route has no model"),
        }
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let choices = self.choose(&request).await?;
        if request.texts().is_empty() {
            return Ok(EmbedResponse::builder(0, 0).build());
        }
        self.count(&choices, request.texts().len());
        let request = request.without_route();
        match &choices {
            Choices::All(choice) => {
                self.embed_at(Job { station: choice.station, request, choices: None }).await
            }
            Choices::Each(each) => {
                let station = each[0].station;
                if each.iter().any(|choice| choice.station != station) {
                    return self.embed_split(&request, each).await;
                }
                self.embed_at(Job { station, request, choices: self.may_leave(each) }).await
            }
        }
    }

    async fn health(&self) -> Health {
        self.health_of_routes().await
    }
}

/// The stack: every route with what stands behind it.
impl fmt::Display for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Router(")?;
        for (index, station) in self.stations.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match &station.service {
                Service::Here { stack, .. } => write!(f, "{comma}{} → {stack}", station.name)?,
                Service::Late(late) => match late.connected() {
                    Some(connected) => write!(f, "{comma}{} → {}", station.name, connected.stack)?,
                    None => write!(f, "{comma}{} looked for", station.name)?,
                },
                Service::Absent(_) => write!(f, "{comma}{} absent", station.name)?,
            }
        }
        f.write_str(")")
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("stack", &format_args!("{self}"))
            .field("detector", &self.detector)
            .field("rollout", &self.rollout)
            .finish_non_exhaustive()
    }
}
