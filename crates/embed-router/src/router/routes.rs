//! The routes of a router: names become indices, and settings that can't work are refused.

use std::sync::Arc;

use embed_core::{BreakerConfig, Error, ErrorKind, Result, Space};

use super::upstream::{RolloutSide, Upstream};
use crate::detect::Kind;
use crate::policy::{KINDS, Policy};
use crate::rollout::Rollout;
use crate::route::{Route, Service};

/// A route whose service isn't there when the router is built.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Absence {
    /// The name of the route.
    pub route: Arc<str>,
    /// Who takes over what the policy sends there; `None` if those texts fail.
    pub fallback: Option<Arc<str>>,
    /// Why it isn't there.
    pub reason: Error,
    /// Whether it is [looked for](crate::RouteBuilder::connecting), and used when it comes.
    pub is_looked_for: bool,
}

/// The routes in service, and which of them the policy names.
#[derive(Debug)]
pub(super) struct Routes {
    pub(super) upstreams: Vec<Upstream>,
    /// The route of each kind of text.
    pub(super) by_kind: [usize; KINDS.len()],
    pub(super) candidate: Option<Candidate>,
    /// The route that the router's own model is of.
    pub(super) default: usize,
}

/// The routes of a rollout.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Routes {
    /// Puts routes into service; also those whose service isn't there.
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
        let candidate = match rollout {
            Some(rollout) => Some(join(&mut upstreams, rollout)?),
            None => None,
        };
        let of_default = by_kind[Kind::Other as usize];
        let fallback = upstreams[of_default].fallback;
        let mut candidates = [Some(of_default), fallback].into_iter().flatten().chain(0..upstreams.len());
        let default = candidates.find(|&index| upstreams[index].model().is_some());
        let default = default.ok_or_else(|| nobody(&absences))?;
        Ok((Self { upstreams, by_kind, candidate, default }, absences))
    }

    /// The route of a name. An error says `what` named it, and lists those that are there.
    pub(super) fn find(&self, what: &str, name: &str) -> Result<usize> {
        find(&self.upstreams, what, name)
    }

    /// The route itself, or who takes over while its service isn't there.
    pub(super) fn taken_over(&self, upstream: usize) -> usize {
        let of_policy = &self.upstreams[upstream];
        of_policy.fallback.filter(|_| !of_policy.is_there()).unwrap_or(upstream)
    }
}

fn absences(routes: &[Route]) -> Result<Vec<Absence>> {
    let mut absences = Vec::new();
    for (index, route) in routes.iter().enumerate() {
        if routes[..index].iter().any(|other| other.name == route.name) {
            return Err(Error::new(ErrorKind::Config, "two routes have one name; give each its own")
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

/// The policy with routes in place of names.
fn table<'p>(upstreams: &[Upstream], route: impl Fn(Kind) -> &'p str) -> Result<[usize; KINDS.len()]> {
    let mut table = [0; KINDS.len()];
    for kind in KINDS {
        table[kind as usize] = find(upstreams, "the policy", route(kind))?;
    }
    Ok(table)
}

/// Finds for each route that isn't there who takes over.
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
            format!("{what} names a route that isn't there; take one of those that are"),
        )
        .with_context("named", name)
        .with_context("routes", names.join(", "))
    })
}

/// Tells the two routes of a rollout what they are.
fn join(upstreams: &mut [Upstream], rollout: &Arc<Rollout>) -> Result<Candidate> {
    let config = rollout.config();
    let from = find(upstreams, "`from` of the rollout", &config.from)?;
    let to = find(upstreams, "`to` of the rollout", &config.to)?;
    if upstreams[to].shared().is_none() {
        return Err(Error::new(ErrorKind::Config, "the candidate of the rollout is absent")
            .with_context("route", &config.to));
    }
    let (left, right) = (upstreams[from].space(), upstreams[to].space());
    // Of a route that isn't there yet nobody knows the space.
    if left != right && !config.cross_space {
        let name = |space: Option<&Space>| space.map_or("not known yet".to_owned(), ToString::to_string);
        return Err(Error::new(
            ErrorKind::Config,
            "the candidate of the rollout is of another space, where partitions find nothing until they are embedded \
             anew; set `cross_space` if they are",
        )
        .with_context("from", name(left))
        .with_context("to", name(right)));
    }
    upstreams[from].side = Some((RolloutSide::Current, Arc::clone(rollout)));
    upstreams[to].side = Some((RolloutSide::Candidate, Arc::clone(rollout)));
    Ok(Candidate { from, to })
}

fn nobody(absences: &[Absence]) -> Error {
    let error = Error::new(ErrorKind::Config, "no route has a service: at least one must be there");
    match absences.first() {
        Some(absence) => error.with_source(absence.reason.clone()),
        None => error,
    }
}
