//! The routes of a router: resolves names to indices and validates the settings.

use std::sync::Arc;

use embed_core::{BreakerConfig, Error, ErrorKind, Result, Space};

use super::upstream::{RolloutSide, Upstream};
use crate::detect::{Detection, Kind};
use crate::policy::{KINDS, Policy};
use crate::rollout::Rollout;
use crate::route::{Route, Service};

/// A route whose service is unavailable when the router is built.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Absence {
    /// The name of the route.
    pub route: Arc<str>,
    /// The route for the texts that the policy sends to it; `None` if those texts fail.
    pub fallback: Option<Arc<str>>,
    /// Why the service is unavailable.
    pub reason: Error,
    /// Whether the route [keeps connecting](crate::RouteBuilder::connecting).
    pub is_looked_for: bool,
}

/// The routes in service, and those that the policy names.
#[derive(Debug)]
pub(super) struct Routes {
    pub(super) upstreams: Vec<Upstream>,
    /// The route of each kind of text.
    by_kind: [usize; KINDS.len()],
    /// The routes of languages that have one of their own, sorted by language.
    by_language: Vec<(String, usize)>,
    pub(super) candidate: Option<Candidate>,
    /// The route whose model is the router's default.
    pub(super) default: usize,
}

/// The routes of a rollout.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Routes {
    /// Puts routes into service, including those whose service is unavailable.
    pub(super) fn new(
        routes: Vec<Route>,
        policy: &Policy,
        breaker: BreakerConfig,
        rollout: Option<&Arc<Rollout>>,
    ) -> Result<(Self, Vec<Absence>)> {
        let absences = absences(&routes)?;
        let mut upstreams: Vec<_> = routes.into_iter().map(|route| Upstream::new(route, breaker)).collect();
        fallbacks(&mut upstreams, &absences)?;
        let by_kind = table(&upstreams, |kind| policy.route(kind))?;
        let by_language = policy
            .languages()
            .map(|(language, route)| Ok((language.to_owned(), find(&upstreams, "the policy", route)?)))
            .collect::<Result<Vec<_>>>()?;
        let candidate = match rollout {
            Some(rollout) => Some(join(&mut upstreams, rollout)?),
            None => None,
        };
        let of_default = by_kind[Kind::Other as usize];
        let fallback = upstreams[of_default].fallback;
        let mut candidates = [Some(of_default), fallback].into_iter().flatten().chain(0..upstreams.len());
        let default = candidates.find(|&index| upstreams[index].model().is_some());
        let default = default.ok_or_else(|| nobody(&absences))?;
        Ok((Self { upstreams, by_kind, by_language, candidate, default }, absences))
    }

    /// The route with a name. The error contains `what` named it, and the existing routes.
    pub(super) fn find(&self, what: &str, name: &str) -> Result<usize> {
        find(&self.upstreams, what, name)
    }

    /// The route that the policy names for a text.
    pub(super) fn of_policy(&self, detection: &Detection) -> usize {
        let of_kind = self.by_kind[detection.kind as usize];
        if self.by_language.is_empty() || detection.kind != Kind::Other {
            return of_kind;
        }
        let found = self.by_language.binary_search_by(|(language, _)| (**language).cmp(&*detection.language));
        found.map_or(of_kind, |at| self.by_language[at].1)
    }

    /// Every route that the policy names, some of them several times.
    pub(super) fn in_policy(&self) -> impl Iterator<Item = usize> {
        self.by_kind.into_iter().chain(self.by_language.iter().map(|(_, route)| *route))
    }

    /// The route itself, or its fallback while its service is unavailable.
    pub(super) fn taken_over(&self, upstream: usize) -> usize {
        let of_policy = &self.upstreams[upstream];
        of_policy.fallback.filter(|_| !of_policy.is_there()).unwrap_or(upstream)
    }

    /// The same for texts that are meant for one space.
    pub(super) fn taken_over_in_space(&self, upstream: usize) -> usize {
        if self.upstreams[upstream].is_same_space { self.taken_over(upstream) } else { upstream }
    }
}

fn absences(routes: &[Route]) -> Result<Vec<Absence>> {
    let mut absences = Vec::new();
    for (index, route) in routes.iter().enumerate() {
        if routes[..index].iter().any(|other| other.name == route.name) {
            return Err(Error::new(ErrorKind::Config, "two routes have the same name; give each its own")
                .with_context("name", &route.name));
        }
        if route.guard.is_some() && (route.breaker.is_some() || route.timeout.is_some()) {
            let message = "a route with a guard has its breaker and its timeout there; set them on the guard";
            return Err(Error::new(ErrorKind::Config, message).with_context("name", &route.name));
        }
        let (reason, is_looked_for) = match &route.service {
            Service::Here { .. } => continue,
            Service::Late(late) => (late.reason(), true),
            Service::Absent(reason) => (reason.clone(), false),
        };
        let (route, fallback) = (Arc::clone(&route.name), route.fallback.clone());
        absences.push(Absence { route, fallback, reason, is_looked_for });
    }
    Ok(absences)
}

/// The policy's routes as indices.
fn table<'p>(upstreams: &[Upstream], route: impl Fn(Kind) -> &'p str) -> Result<[usize; KINDS.len()]> {
    let mut table = [0; KINDS.len()];
    for kind in KINDS {
        table[kind as usize] = find(upstreams, "the policy", route(kind))?;
    }
    Ok(table)
}

/// Resolves the fallback of each absent route.
fn fallbacks(upstreams: &mut [Upstream], absences: &[Absence]) -> Result<()> {
    for absence in absences {
        let Some(name) = &absence.fallback else { continue };
        let index = find(upstreams, "the fallback of an absent route", name)?;
        if upstreams[index].shared().is_none() {
            return Err(Error::new(
                ErrorKind::Config,
                "the fallback of an absent route is absent too; start one of them",
            )
            .with_context("route", &absence.route)
            .with_context("fallback", name)
            .with_source(absence.reason.clone()));
        }
        let route = find(upstreams, "an absence", &absence.route)?;
        upstreams[route].fallback = Some(index);
    }
    Ok(())
}

fn find(upstreams: &[Upstream], what: &str, name: &str) -> Result<usize> {
    upstreams.iter().position(|upstream| *upstream.name == *name).ok_or_else(|| {
        let names: Vec<&str> = upstreams.iter().map(|upstream| &*upstream.name).collect();
        Error::new(
            ErrorKind::Config,
            format!("{what} names a route that doesn't exist; use one of the existing routes"),
        )
        .with_context("named", name)
        .with_context("routes", names.join(", "))
    })
}

/// Marks the two routes of a rollout.
fn join(upstreams: &mut [Upstream], rollout: &Arc<Rollout>) -> Result<Candidate> {
    let config = rollout.config();
    let from = find(upstreams, "`from` of the rollout", &config.from)?;
    let to = find(upstreams, "`to` of the rollout", &config.to)?;
    if upstreams[to].shared().is_none() {
        return Err(Error::new(ErrorKind::Config, "the candidate of the rollout is absent")
            .with_context("route", &config.to));
    }
    let (left, right) = (upstreams[from].space(), upstreams[to].space());
    // The space of a route that isn't connected yet is unknown.
    if left != right && !config.cross_space {
        let name = |space: Option<&Space>| space.map_or("not known yet".to_owned(), ToString::to_string);
        return Err(Error::new(
            ErrorKind::Config,
            "the candidate of the rollout is of another space, where partitions find nothing until they are embedded \
             again; set `cross_space` if they are",
        )
        .with_context("from", name(left))
        .with_context("to", name(right)));
    }
    upstreams[from].side = Some((RolloutSide::Current, Arc::clone(rollout)));
    upstreams[to].side = Some((RolloutSide::Candidate, Arc::clone(rollout)));
    Ok(Candidate { from, to })
}

fn nobody(absences: &[Absence]) -> Error {
    let error = Error::new(ErrorKind::Config, "no route has a service; at least one must have one");
    match absences.first() {
        Some(absence) => error.with_source(absence.reason.clone()),
        None => error,
    }
}
