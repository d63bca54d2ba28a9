//! The router: an [`Embedder`] over several others.

mod choose;
mod health;
mod plan;
mod routes;
mod serve;
mod upstream;

use std::fmt;
use std::sync::Arc;

use embed_core::{
    Coverage, EmbedRequest, EmbedResponse, Embedder, Health, ModelInfo, Result, Role, async_trait,
};
use futures::future::join_all;

use crate::config::RouterConfig;
use crate::detect::{Detection, Detector};
use crate::rollout::Rollout;
use crate::route::{Route, Service};
use crate::shadow::Shadow;
use crate::stats::{Counters, RouterStats};

pub use choose::{DecidedBy, Decision};
pub use plan::{Plan, PlanItem};
pub use routes::Absence;

use choose::{Choices, Chooser};
use routes::Routes;
use serve::{RouteOutcome, RouteRequest};
use upstream::Upstream;

/// Sends each text to a model that supports its language.
///
/// A request is split by route, the parts are sent concurrently, and the rows are returned in the order of the request.
/// Each row names its route and its model, and with it its space: rows of one response may be of several spaces.
///
/// The route is decided, by precedence, by the route that the request names, the pin of its partition, a rollout that
/// includes its partition, or the policy for the text's kind. The first two apply to the whole request, and then no text
/// is inspected.
///
/// When a route fails, only its own rows are affected. Other routes of the same space are its fallbacks; a row goes to
/// another space only with [`RouterConfig::allow_cross_space`](crate::RouterConfig).
pub struct Router {
    routes: Routes,
    chooser: Chooser,
    allow_cross_space: bool,
    absences: Vec<Absence>,
    shadow: Option<Shadow>,
    counters: Counters,
}

impl Router {
    /// A router over routes. Their order is the order of fallbacks.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) if two routes have the same name, a name isn't that of a route,
    /// no route has a service, or a setting of the rollout is invalid.
    pub fn new(
        routes: impl IntoIterator<Item = Route>,
        detector: impl Detector,
        config: RouterConfig,
    ) -> Result<Self> {
        let RouterConfig { policy, allow_cross_space, breaker, pins, rollout } = config;
        let rollout = rollout.map(Rollout::new).transpose()?.map(Arc::new);
        let (routes, absences) =
            Routes::new(routes.into_iter().collect(), &policy, breaker, rollout.as_ref())?;
        for route in pins.routes() {
            routes.find("a pin", &route)?;
        }
        let shadow = routes.candidate.zip(rollout.as_ref()).and_then(|(candidate, rollout)| {
            Some(Shadow::new(Arc::clone(rollout), routes.upstreams[candidate.to].shared()?))
        });
        let chooser = Chooser { detector: Arc::new(detector), pins, rollout };
        Ok(Self { routes, chooser, allow_cross_space, absences, shadow, counters: Counters::default() })
    }

    /// Where each text of a request would go, and why. Nothing is embedded.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) if the request or a pin names a route that doesn't exist; it
    /// lists the routes.
    pub fn decide(&self, request: &EmbedRequest) -> Result<Vec<Decision>> {
        self.chooser.decide(&self.routes, request)
    }

    /// The vectors to search with: one for each space in use whose model supports the query. Search each space with its
    /// vector, and [`fuse`](crate::fuse) the ranked lists.
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

    /// The vectors of each text of a request, in the order of the request. Queries are planned with
    /// [`Coverage::Reachable`].
    ///
    /// Spaces in use are those of the policy's routes. A text whose route is forced or pinned gets only that route's
    /// vector, and so does a text that no model in use supports (if the policy sends everything to one model). In a
    /// partition that a rollout has moved to another space, a reachable document also keeps its vector of the old space,
    /// so that it is still found after a stop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) if the request or a pin names a route that doesn't exist.
    /// Failures of routes are in the items.
    ///
    /// # Cancellation
    ///
    /// As [`Embedder::embed`](embed_core::Embedder::embed).
    pub async fn plan(&self, request: EmbedRequest, coverage: Coverage) -> Result<Vec<Plan>> {
        let choices = self.chooser.choose(&self.routes, &request).await?;
        choices.count(request.texts().len(), &self.routes, &self.counters);
        let moved = self.chooser.is_moved(&request);
        Ok(plan::plan(request, (&choices, moved, coverage), &self.routes, &self.counters).await)
    }

    /// The routes whose service was unavailable when the router was built, to be reported once at the start. For their
    /// present state see [`stats`](Self::stats) and [`health`](Embedder::health).
    #[must_use]
    pub fn absences(&self) -> &[Absence] {
        &self.absences
    }

    /// The rollout, to control it; `None` if the settings have none.
    #[must_use]
    pub fn rollout(&self) -> Option<&Arc<Rollout>> {
        self.chooser.rollout.as_ref()
    }

    /// The statistics since the router was built.
    #[must_use]
    pub fn stats(&self) -> RouterStats {
        let shadow = self.shadow.as_ref().map(Shadow::status).unwrap_or_default();
        let rollout = self.chooser.rollout.as_ref().map(|rollout| rollout.status(shadow));
        self.counters.read(self.routes.upstreams.iter().map(Upstream::stats).collect(), rollout)
    }

    /// Sends each part of the request to its route, concurrently.
    async fn embed_split(&self, request: &EmbedRequest, choices: &Choices) -> Result<EmbedResponse> {
        let mut parts: Vec<Vec<usize>> = vec![Vec::new(); self.routes.upstreams.len()];
        for row in 0..request.texts().len() {
            parts[choices.at(row).upstream].push(row);
        }
        let parts = parts.iter().enumerate().filter(|(_, rows)| !rows.is_empty());
        let done = join_all(parts.map(async |(upstream, rows)| {
            let request = request.with_texts(rows.iter().map(|&row| Arc::clone(&request.texts()[row])));
            let detections = self.may_leave(choices, rows.iter().copied());
            let job =
                RouteRequest { upstream, request: &request, detections, shadow: self.shadow_of(upstream) };
            (rows, job.serve(&self.routes, &self.counters).await)
        }))
        .await;
        if done.iter().all(|(_, served)| served.is_err())
            && let Some(error) = done.iter().find_map(|(_, served)| served.as_ref().err())
        {
            return Err(error.clone());
        }
        let mut response = EmbedResponse::builder(request.texts().len(), 0);
        for (rows, served) in done {
            match served {
                Ok(served) => served.share_rows(&mut response, |at| rows[at]),
                Err(error) => rows.iter().for_each(|&row| response.fail(row, error.clone())),
            }
        }
        Ok(response.build())
    }

    /// The detections of texts, if they may leave their space.
    fn may_leave<'a>(
        &self,
        choices: &'a Choices,
        rows: impl Iterator<Item = usize>,
    ) -> Option<Vec<&'a Detection>> {
        if !self.allow_cross_space {
            return None;
        }
        rows.map(|row| choices.at(row).detection.as_ref()).collect()
    }

    /// The shadow that samples this route's answers, if it is the old route of a rollout.
    fn shadow_of(&self, upstream: usize) -> Option<&Shadow> {
        let candidate = self.routes.candidate?;
        self.shadow.as_ref().filter(|_| candidate.from == upstream)
    }
}

#[async_trait]
impl Embedder for Router {
    /// The model of the route for [`Kind::Other`](crate::Kind). Until that route's service has connected, it is the model
    /// described in advance.
    fn model(&self) -> &ModelInfo {
        match self.routes.upstreams[self.routes.default].model() {
            Some(model) => model,
            // `Routes::new` chose a default route with a model.
            None => unreachable!("the default route has no model"),
        }
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let choices = self.chooser.choose(&self.routes, &request).await?;
        if request.texts().is_empty() {
            return Ok(EmbedResponse::builder(0, 0).build());
        }
        choices.count(request.texts().len(), &self.routes, &self.counters);
        let Some(upstream) = choices.common_upstream() else {
            // Boxed because it is rare: otherwise it would enlarge the future of every call.
            return Box::pin(self.embed_split(&request, &choices)).await;
        };
        let detections = self.may_leave(&choices, 0..request.texts().len());
        let job = RouteRequest { upstream, request: &request, detections, shadow: self.shadow_of(upstream) };
        match job.serve(&self.routes, &self.counters).await? {
            RouteOutcome::Whole(response) => Ok(response),
            served => {
                let mut response = EmbedResponse::builder(served.len(), 0);
                served.share_rows(&mut response, |row| row);
                Ok(response.build())
            }
        }
    }

    async fn health(&self) -> Health {
        health::health_of(&self.routes).await
    }
}

/// Shows every route with its model.
impl fmt::Display for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Router(")?;
        for (index, upstream) in self.routes.upstreams.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", upstream.name)?;
            match (upstream.model().filter(|_| upstream.is_there()), &upstream.service) {
                (Some(model), _) => write!(f, " → {}/{}", model.service(), model.name())?,
                (None, Service::Absent(_)) => f.write_str(" absent")?,
                (None, _) => f.write_str(" looked for")?,
            }
        }
        f.write_str(")")
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("stack", &format_args!("{self}"))
            .field("detector", &self.chooser.detector)
            .field("rollout", &self.chooser.rollout)
            .finish_non_exhaustive()
    }
}
