//! Sends texts to their route, and to its fallbacks if it fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use embed_core::{EmbedRequest, EmbedResponse, Embedding, Error, ResponseBuilder, Result};

use super::routes::Routes;
use super::upstream::Upstream;
use crate::detect::Detection;
use crate::guard::{has, is_of_route, now};
use crate::shadow::Shadow;
use crate::stats::Counters;

/// The texts of a request that go to one route.
#[derive(Debug)]
pub(super) struct RouteRequest<'a> {
    pub(super) upstream: usize,
    pub(super) request: &'a EmbedRequest,
    /// The detections of these texts, if the texts may leave their space. Those sent by the policy or a rollout may;
    /// forced and pinned texts and the items of a plan may not.
    pub(super) detections: Option<Vec<&'a Detection>>,
    /// What samples the answers for the candidate of a rollout.
    pub(super) shadow: Option<&'a Shadow>,
}

/// The rows of a [`RouteRequest`]; if no route answered, that is an error instead.
#[derive(Debug)]
pub(super) enum RouteOutcome {
    /// The response of the chosen route.
    Whole(EmbedResponse),
    /// Responses of several routes.
    Pieces(Pieces),
}

#[derive(Debug)]
pub(super) struct Pieces {
    /// For each text, the response and the row in it.
    rows: Vec<Result<(usize, usize), Error>>,
    answers: Vec<Arc<EmbedResponse>>,
}

impl RouteRequest<'_> {
    /// Calls the route, and for rows that it failed, its fallbacks one after the other.
    pub(super) async fn serve(&self, routes: &Routes, counters: &Counters) -> Result<RouteOutcome> {
        let answer = routes.upstreams[self.upstream].ask(self.request.clone()).answer().await;
        let outcome = if has(&answer, is_of_route) {
            // Boxed because it is rare: otherwise it would enlarge the future of every call.
            Box::pin(self.take_over(answer, routes, counters)).await?
        } else {
            RouteOutcome::Whole(answer?)
        };
        if let (Some(shadow), RouteOutcome::Whole(response)) = (self.shadow, &outcome) {
            shadow.offer(self.request, response);
        }
        Ok(outcome)
    }

    /// Calls the fallbacks for the lost rows.
    async fn take_over(
        &self,
        answer: Result<EmbedResponse>,
        routes: &Routes,
        counters: &Counters,
    ) -> Result<RouteOutcome> {
        let &Self { upstream, request, ref detections, .. } = self;
        let Neighbours { same_space, other_spaces } = Neighbours::of(routes, upstream, detections.is_some());
        if same_space.is_empty() && other_spaces.is_empty() {
            return answer.map(RouteOutcome::Whole);
        }
        let (mut pieces, failure) = match answer {
            Ok(response) => (Pieces::of(response), None),
            Err(error) => {
                let rows = vec![Err(error.clone()); request.texts().len()];
                (Pieces { rows, answers: Vec::new() }, Some(error))
            }
        };
        for index in same_space {
            let lost = pieces.lost();
            pieces.ask_another(&routes.upstreams[index], request, lost, counters).await;
        }
        for index in other_spaces {
            let reads = &routes.upstreams[index].reads;
            // A vector from a model that doesn't support the text is worse than an error.
            let may_leave = |row: &usize| detections.as_ref().is_some_and(|found| reads.covers(found[*row]));
            let lost = pieces.lost().into_iter().filter(may_leave).collect();
            let got = pieces.ask_another(&routes.upstreams[index], request, lost, counters).await;
            counters.cross_space.fetch_add(got, Ordering::Relaxed);
        }
        // If no route answered, the call fails.
        match failure {
            Some(error) if pieces.answers.is_empty() => Err(error),
            _ => Ok(RouteOutcome::Pieces(pieces)),
        }
    }
}

/// The fallbacks of a route, in order: the other routes of its space, and those of other spaces if texts may leave theirs.
struct Neighbours {
    same_space: Vec<usize>,
    other_spaces: Vec<usize>,
}

impl Neighbours {
    /// Finds them. A candidate isn't a fallback, because it is on trial.
    fn of(routes: &Routes, chosen: usize, may_leave: bool) -> Self {
        let candidate = routes.candidate.map(|candidate| candidate.to);
        let space_of_chosen = routes.upstreams[chosen].space();
        let others = routes.upstreams.iter().enumerate();
        let others = others.filter(|(index, _)| *index != chosen && Some(*index) != candidate);
        let (mut same_space, mut other_spaces) = (Vec::new(), Vec::new());
        for (index, upstream) in others {
            let space = upstream.space();
            if space.is_some() && space == space_of_chosen {
                same_space.push(index);
            } else if space.is_some() && may_leave {
                other_spaces.push(index);
            }
        }
        Self { same_space, other_spaces }
    }
}

impl Pieces {
    fn of(response: EmbedResponse) -> Self {
        let rows = response.rows().enumerate();
        let rows = rows.map(|(at, row)| row.map(|_| (0, at)).map_err(Clone::clone)).collect();
        Self { rows, answers: vec![Arc::new(response)] }
    }

    /// Calls another route for lost rows; returns how many it answered. The others keep the chosen route's error.
    async fn ask_another(
        &mut self,
        upstream: &Upstream,
        request: &EmbedRequest,
        lost: Vec<usize>,
        counters: &Counters,
    ) -> u64 {
        if lost.is_empty() || request.deadline().is_over(now()) {
            return 0;
        }
        let texts = lost.iter().map(|&row| Arc::clone(&request.texts()[row]));
        let Ok(response) = upstream.ask(request.with_texts(texts)).answer().await else {
            return 0;
        };
        let answer = self.answers.len();
        let mut got = 0;
        for (at, row) in lost.into_iter().enumerate() {
            if response.row(at).is_ok() {
                self.rows[row] = Ok((answer, at));
                got += 1;
            }
        }
        self.answers.push(Arc::new(response));
        counters.failovers.fetch_add(got, Ordering::Relaxed);
        got
    }

    /// The rows that another route may still answer.
    fn lost(&self) -> Vec<usize> {
        let is_lost = |(row, outcome): (usize, &Result<_, Error>)| {
            outcome.as_ref().err().is_some_and(is_of_route).then_some(row)
        };
        self.rows.iter().enumerate().filter_map(is_lost).collect()
    }
}

impl RouteOutcome {
    /// The number of texts.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Whole(response) => response.len(),
            Self::Pieces(pieces) => pieces.rows.len(),
        }
    }

    /// Shares the rows with a response, each at its index there.
    pub(super) fn share_rows(self, response: &mut ResponseBuilder, place: impl Fn(usize) -> usize) {
        match self {
            Self::Whole(whole) => {
                let whole = Arc::new(whole);
                (0..whole.len()).for_each(|row| response.share_row(place(row), &whole, row));
            }
            Self::Pieces(Pieces { rows, answers }) => {
                for (row, outcome) in rows.into_iter().enumerate() {
                    match outcome {
                        Ok((answer, at)) => response.share_row(place(row), &answers[answer], at),
                        Err(error) => response.fail(place(row), error),
                    }
                }
            }
        }
    }

    /// The rows as owned vectors.
    pub(super) fn into_rows(self) -> Vec<Result<Embedding>> {
        let mut response = EmbedResponse::builder(self.len(), 0);
        self.share_rows(&mut response, |row| row);
        response.build().into_iter().collect()
    }
}
