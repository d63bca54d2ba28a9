//! A router is put together: names become routes, and settings that can't work are refused.

use std::sync::Arc;

use embed_core::{Error, ErrorKind, Result, Space};

use super::choose::Table;
use super::station::{Part, Station};
use super::{Candidate, Router};
use crate::detect::Detector;
use crate::policy::KINDS;
use crate::rollout::Rollout;
use crate::route::{Route, Service};
use crate::shadow::Shadow;
use crate::stats::Counters;
use crate::{Kind, RouterConfig};

/// A route whose service isn't there when the router is built.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Absence {
    /// The name of the route.
    pub route: Arc<str>,
    /// Who takes over what the policy sends there; `None` if those texts fail.
    pub stand_in: Option<Arc<str>>,
    /// Why it isn't there.
    pub reason: Error,
    /// Whether it is [looked for](Route::connecting), and used when it comes.
    pub is_looked_for: bool,
}

impl Router {
    /// A router over routes. The order of the routes is that in which they stand in for each other.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if a name is there twice or names no route, if no route has a service, or if a setting of
    /// the rollout can't work.
    pub fn new(
        routes: impl IntoIterator<Item = Route>,
        detector: Arc<dyn Detector>,
        config: RouterConfig,
    ) -> Result<Self> {
        let routes: Vec<Route> = routes.into_iter().collect();
        let absences = absences(&routes)?;
        let RouterConfig { policy, allow_cross_space, breaker, pins, rollout } = config;
        let mut stations: Vec<_> = routes.into_iter().map(|route| Station::new(route, breaker)).collect();
        let rollout = rollout.map(Rollout::new).transpose()?.map(Arc::new);
        stand_ins(&mut stations, &absences)?;
        let table = table(&stations, |kind| policy.route(kind))?;
        for route in pins.routes() {
            find(&stations, "a pin", &route)?;
        }
        let candidate = match &rollout {
            Some(rollout) => Some(join(&mut stations, rollout)?),
            None => None,
        };
        let shadow = candidate.zip(rollout.as_ref()).and_then(|(candidate, rollout)| {
            Some(Shadow::new(Arc::clone(rollout), stations[candidate.to].shared()?))
        });
        let of_default = table[Kind::Other as usize];
        let stand_in = stations[of_default].stand_in;
        let mut candidates = [Some(of_default), stand_in].into_iter().flatten().chain(0..stations.len());
        let default = candidates.find(|&index| stations[index].model().is_some());
        Ok(Self {
            default: default.ok_or_else(|| nobody(&absences))?,
            stations,
            table,
            detector,
            allow_cross_space,
            pins,
            absences,
            candidate,
            rollout,
            shadow,
            counters: Counters::default(),
        })
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
        let (route, stand_in) = (Arc::clone(&route.name), route.stand_in.clone());
        absences.push(Absence { route, stand_in, reason, is_looked_for });
    }
    Ok(absences)
}

/// The policy with routes in place of names.
fn table<'p>(stations: &[Station], route: impl Fn(Kind) -> &'p str) -> Result<Table> {
    let mut table = [0; KINDS.len()];
    for kind in KINDS {
        table[kind as usize] = find(stations, "the policy", route(kind))?;
    }
    Ok(table)
}

/// Finds for each route that isn't there who takes over.
fn stand_ins(stations: &mut [Station], absences: &[Absence]) -> Result<()> {
    for absence in absences {
        let Some(name) = &absence.stand_in else { continue };
        let index = find(stations, "the stand-in of an absent route", name)?;
        if stations[index].shared().is_none() {
            return Err(Error::new(ErrorKind::Config, "the stand-in of an absent route is absent too")
                .with_context("route", &absence.route)
                .with_context("stand-in", name));
        }
        let route = find(stations, "an absence", &absence.route)?;
        stations[route].stand_in = Some(index);
    }
    Ok(())
}

/// The route of a name. An error says `what` named it, and lists those that are there.
pub(super) fn find(stations: &[Station], what: &str, name: &str) -> Result<usize> {
    stations.iter().position(|station| *station.name == *name).ok_or_else(|| {
        let names: Vec<&str> = stations.iter().map(|station| &*station.name).collect();
        Error::new(
            ErrorKind::Config,
            format!("{what} names a route that isn't there; take one of those that are"),
        )
        .with_context("named", name)
        .with_context("routes", names.join(", "))
    })
}

/// Tells the two routes of a rollout what they are.
fn join(stations: &mut [Station], rollout: &Arc<Rollout>) -> Result<Candidate> {
    let config = rollout.config();
    let from = find(stations, "`from` of the rollout", &config.from)?;
    let to = find(stations, "`to` of the rollout", &config.to)?;
    if stations[to].shared().is_none() {
        return Err(Error::new(ErrorKind::Config, "the candidate of the rollout is absent")
            .with_context("route", &config.to));
    }
    let (left, right) = (stations[from].space(), stations[to].space());
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
    stations[from].part = Some((Part::Current, Arc::clone(rollout)));
    stations[to].part = Some((Part::Candidate, Arc::clone(rollout)));
    Ok(Candidate { from, to })
}

fn nobody(absences: &[Absence]) -> Error {
    let error = Error::new(ErrorKind::Config, "no route has a service: at least one must be there");
    match absences.first() {
        Some(absence) => error.with_source(absence.reason.clone()),
        None => error,
    }
}
