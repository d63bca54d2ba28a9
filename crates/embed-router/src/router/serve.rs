//! A part of a request at its route, and at the ones that stand in for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use embed_core::{EmbedRequest, EmbedResponse, Embedding, EmbeddingRef, Error, Result};

use super::Router;
use super::choose::Choice;
use crate::guard::{is_of_route, now};

/// Texts that go to one route.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) station: usize,
    pub(crate) request: EmbedRequest,
    /// The decisions about these texts, if one of them may lead to another space. The policy's and a rollout's may; a
    /// forced or pinned text and an item of a plan are meant for one.
    pub(crate) choices: Option<Vec<&'a Choice>>,
}

/// What became of a job; no answer at all is an error instead.
#[derive(Debug)]
pub(crate) enum Served {
    /// The answer of the route itself.
    Whole(EmbedResponse),
    /// Answers of several routes.
    Pieces(Pieces),
}

#[derive(Debug)]
pub(crate) struct Pieces {
    /// For each text the answer and the row in it.
    rows: Vec<Result<(usize, usize), Error>>,
    answers: Vec<EmbedResponse>,
}

impl Router {
    /// Asks the route, and for the rows that it failed at, one after the other, the routes that stand in for it.
    pub(crate) async fn serve(&self, job: Job<'_>) -> Result<Served> {
        let Job { station: chosen, request, choices } = job;
        let (same_space, other_spaces) = self.neighbours(chosen, choices.is_some());
        let chosen = &self.stations[chosen];
        if same_space.is_empty() && other_spaces.is_empty() {
            return chosen.ask(request).await.map(Served::Whole);
        }
        let first = chosen.ask(request.clone()).await;
        let (mut pieces, failure) = match first {
            Ok(response) if !response.errors().any(|(_, error)| is_of_route(error)) => {
                return Ok(Served::Whole(response));
            }
            Ok(response) => (Pieces::of(response), None),
            Err(error) if is_of_route(&error) => {
                let rows = vec![Err(error.clone()); request.texts().len()];
                (Pieces { rows, answers: Vec::new() }, Some(error))
            }
            Err(error) => return Err(error),
        };
        for index in same_space {
            let lost = pieces.lost();
            self.stand_in(index, &request, lost, &mut pieces).await;
        }
        for index in other_spaces {
            let reads = &self.stations[index].reads;
            let may_leave = |row: &usize| {
                let choice = choices.as_ref().map(|choices| choices[*row]);
                // A vector that its model gives no meaning to is worse than an error.
                choice.and_then(|choice| choice.detection).is_some_and(|detection| reads.covers(&detection))
            };
            let lost = pieces.lost().into_iter().filter(may_leave).collect();
            let got = self.stand_in(index, &request, lost, &mut pieces).await;
            self.counters.cross_space.fetch_add(got, Ordering::Relaxed);
        }
        // Nobody answered: that is an error of the call.
        match failure {
            Some(error) if pieces.answers.is_empty() => Err(error),
            _ => Ok(Served::Pieces(pieces)),
        }
    }

    /// The other routes of a route's space, in the order to ask them, and those of other spaces if the texts may leave
    /// theirs. A candidate stands in for nobody: it is on trial.
    fn neighbours(&self, chosen: usize, may_leave: bool) -> (Vec<usize>, Vec<usize>) {
        let candidate = self.candidate.map(|candidate| candidate.to);
        let own = self.stations[chosen].space();
        let others = self.stations.iter().enumerate();
        let others = others.filter(|(index, _)| *index != chosen && Some(*index) != candidate);
        let (mut same, mut far) = (Vec::new(), Vec::new());
        for (index, station) in others {
            let space = station.space();
            if space.is_some() && space == own {
                same.push(index);
            } else if space.is_some() && may_leave {
                far.push(index);
            }
        }
        (same, far)
    }

    /// Asks another route for rows that were lost; how many it gave. What it fails at keeps the error of the route
    /// that was chosen.
    async fn stand_in(
        &self,
        index: usize,
        request: &EmbedRequest,
        lost: Vec<usize>,
        pieces: &mut Pieces,
    ) -> u64 {
        if lost.is_empty() || request.deadline().is_some_and(|deadline| now() >= deadline) {
            return 0;
        }
        let texts = lost.iter().map(|&row| Arc::clone(&request.texts()[row]));
        let Ok(response) = self.stations[index].ask(request.with_texts(texts)).await else {
            return 0;
        };
        let answer = pieces.answers.len();
        let mut got = 0;
        for (at, row) in lost.into_iter().enumerate() {
            if response.row(at).is_ok() {
                pieces.rows[row] = Ok((answer, at));
                got += 1;
            }
        }
        pieces.answers.push(response);
        self.counters.failovers.fetch_add(got, Ordering::Relaxed);
        got
    }

    /// The decisions, if they may lead texts out of their space.
    pub(crate) fn may_leave<'a>(
        &self,
        choices: impl IntoIterator<Item = &'a Choice>,
    ) -> Option<Vec<&'a Choice>> {
        self.allow_cross_space.then(|| choices.into_iter().collect())
    }
}

impl Pieces {
    fn of(response: EmbedResponse) -> Self {
        let rows = response.rows().enumerate();
        let rows = rows.map(|(at, row)| row.map(|_| (0, at)).map_err(Clone::clone)).collect();
        Self { rows, answers: vec![response] }
    }

    /// The rows that another route may still give.
    fn lost(&self) -> Vec<usize> {
        let is_lost = |(row, outcome): (usize, &Result<_, Error>)| {
            outcome.as_ref().err().is_some_and(is_of_route).then_some(row)
        };
        self.rows.iter().enumerate().filter_map(is_lost).collect()
    }
}

impl Served {
    /// Calls back with each row, in order.
    pub(crate) fn for_each(&self, mut row: impl FnMut(usize, Result<EmbeddingRef<'_>, &Error>)) {
        match self {
            Self::Whole(response) => {
                for (index, outcome) in response.rows().enumerate() {
                    row(index, outcome);
                }
            }
            Self::Pieces(pieces) => {
                for (index, outcome) in pieces.rows.iter().enumerate() {
                    match outcome {
                        Ok((answer, at)) => row(index, pieces.answers[*answer].row(*at)),
                        Err(error) => row(index, Err(error)),
                    }
                }
            }
        }
    }

    /// The rows, each on its own.
    pub(crate) fn into_rows(self) -> Vec<Result<Embedding>> {
        let mut rows = Vec::new();
        self.for_each(|_, row| rows.push(row.map(|row| row.to_owned()).map_err(Clone::clone)));
        rows
    }
}
