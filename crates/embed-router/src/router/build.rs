//! A router is put together: names become routes, and settings that can't work are refused.

use std::sync::Arc;

use embed_core::{Error, ErrorKind, Result};

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

/// A route whose service wasn't there when the router was built.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Absence {
    /// The name of the route.
    pub route: Arc<str>,
    /// Who takes over what the policy sends there; `None` if those texts fail.
    pub stand_in: Option<Arc<str>>,
    /// Why it isn't there.
    pub reason: Error,
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
        let table = table(&stations, &absences, |kind| policy.route(kind))?;
        for route in pins.routes() {
            find(&stations, "a pin", &route)?;
        }
        let candidate = match &rollout {
            Some(rollout) => Some(join(&mut stations, rollout)?),
            None => None,
        };
        let shadow = candidate.zip(rollout.as_ref()).and_then(|(candidate, rollout)| {
            let embedder = stations[candidate.to].embedder().ok()?;
            Some(Shadow::new(Arc::clone(rollout), Arc::clone(embedder)))
        });
        order_stand_ins(&mut stations, candidate.map(|candidate| candidate.to));
        let of_default = stations[table[Kind::Other as usize]].model();
        let default_model = of_default.or_else(|| stations.iter().find_map(Station::model)).cloned();
        Ok(Self {
            default_model: default_model.ok_or_else(|| nobody(&absences))?,
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
        if let Service::Absent(reason) = &route.service {
            let (route, stand_in) = (Arc::clone(&route.name), route.stand_in.clone());
            absences.push(Absence { route, stand_in, reason: reason.clone() });
        }
    }
    Ok(absences)
}

/// The policy with routes in place of names, and stand-ins in place of absent routes.
fn table<'p>(stations: &[Station], absences: &[Absence], route: impl Fn(Kind) -> &'p str) -> Result<Table> {
    let mut table = [0; KINDS.len()];
    for kind in KINDS {
        let name = route(kind);
        let station = find(stations, "the policy", name)?;
        let absence = absences.iter().find(|absence| *absence.route == *name);
        let stand_in = absence.and_then(|absence| absence.stand_in.as_ref());
        table[kind as usize] = match stand_in {
            Some(stand_in) => {
                let index = find(stations, "the stand-in of an absent route", stand_in)?;
                if stations[index].embedder().is_err() {
                    return Err(Error::new(
                        ErrorKind::Config,
                        "the stand-in of an absent route is absent too",
                    )
                    .with_context("route", name)
                    .with_context("stand-in", stand_in));
                }
                index
            }
            None => station,
        };
    }
    Ok(table)
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
    if stations[to].embedder().is_err() {
        return Err(Error::new(ErrorKind::Config, "the candidate of the rollout is absent")
            .with_context("route", &config.to));
    }
    if let (Some(left), Some(right)) = (stations[from].space(), stations[to].space())
        && left != right
        && !config.cross_space
    {
        return Err(Error::new(
            ErrorKind::Config,
            "the candidate of the rollout is of another space, where partitions find nothing until they are embedded \
             anew; set `cross_space` if they are",
        )
        .with_context("from", left)
        .with_context("to", right));
    }
    stations[from].part = Some((Part::Current, Arc::clone(rollout)));
    stations[to].part = Some((Part::Candidate, Arc::clone(rollout)));
    Ok(Candidate { from, to })
}

/// Finds for each route who stands in for it. A candidate stands in for nobody: it is on trial.
fn order_stand_ins(stations: &mut [Station], candidate: Option<usize>) {
    for index in 0..stations.len() {
        let Some(own) = stations[index].space().cloned() else {
            continue;
        };
        let others =
            stations.iter().enumerate().filter(|(other, _)| *other != index && Some(*other) != candidate);
        let with_space = others.filter_map(|(other, station)| Some((other, *station.space()? == own)));
        let (same, far): (Vec<_>, Vec<_>) = with_space.partition(|(_, same)| *same);
        stations[index].same_space = same.into_iter().map(|(other, _)| other).collect();
        stations[index].other_spaces = far.into_iter().map(|(other, _)| other).collect();
    }
}

fn nobody(absences: &[Absence]) -> Error {
    let error = Error::new(ErrorKind::Config, "no route has a service: at least one must be there");
    match absences.first() {
        Some(absence) => error.with_source(absence.reason.clone()),
        None => error,
    }
}
