//! Embeds the texts of a batch, and retries those whose error may pass.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, Retry, Role, Space, Truncation,
};
use tokio::time::{Instant, sleep};

use super::row::{RowUnit, TextToEmbed};
use crate::io::row_progress::RowProgress;

/// The backoff: each pause is twice as long as the one before, within these bounds.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);

/// A text that fails this often in a row while the back end answers others is itself the cause.
const TRIES: usize = 3;

/// Embeds with a back end, and waits for it while it is unavailable.
pub(super) struct RetryingEmbedder<'a> {
    pub(super) embedder: &'a dyn Embedder,
    pub(super) space: &'a Space,
    pub(super) truncation: Truncation,
    /// How long it waits, for each batch.
    pub(super) patience: Duration,
    pub(super) progress: &'a RowProgress,
}

/// What an error means for a row.
enum RetryDecision {
    /// The error is the row's result: the text can't be embedded.
    Answer,
    /// The error is the row's result if the back end answers other rows.
    AnswerAmongOthers,
    /// Another call may succeed.
    Retry,
    /// Nothing can be embedded until something is fixed.
    Stop,
}

impl RetryingEmbedder<'_> {
    /// Returns a row for each text. Fails if the back end is unavailable for longer than the patience lasts or is set up
    /// wrongly; the error has the line number of the first text without an answer.
    pub(super) async fn embed(&self, texts: &[&TextToEmbed]) -> Result<EmbedResponse, Error> {
        let mut answers = EmbedResponse::builder(texts.len(), self.space.dimension());
        let mut backoff = backoff();
        let (started, mut tries) = (Instant::now(), 0);
        let mut open: Vec<usize> = (0..texts.len()).collect();
        loop {
            let mut failed: Vec<(usize, Error)> = Vec::new();
            for role in [Role::Document, Role::Query] {
                let pending: Vec<usize> =
                    open.iter().copied().filter(|&row| texts[row].role == role).collect();
                if pending.is_empty() {
                    continue;
                }
                let request =
                    EmbedRequest::new(pending.iter().map(|&row| Arc::clone(&texts[row].text)), role);
                match self.embedder.embed(request.with_truncation(self.truncation)).await {
                    Err(error) => failed.extend(pending.into_iter().map(|row| (row, error.clone()))),
                    Ok(response) => {
                        for (row, answer) in pending.into_iter().zip(response.rows()) {
                            match answer {
                                Ok(vector) if vector.space() != self.space => {
                                    return Err(stopped(&other_space(vector.space()), texts[row].place));
                                }
                                Err(error) if !matches!(RetryDecision::on(error), RetryDecision::Answer) => {
                                    failed.push((row, error.clone()));
                                }
                                answer => answers.put_row(row, answer),
                            }
                        }
                    }
                }
            }
            failed.sort_by_key(|&(row, _)| row);
            let Some((first, error)) = failed.first() else { return Ok(answers.build()) };
            let stop = stopped(error, texts[*first].place);
            let others_answered = failed.len() < texts.len();
            tries += 1;
            if failed.iter().any(|(_, error)| matches!(RetryDecision::on(error), RetryDecision::Stop)) {
                return Err(stop);
            }
            let lasting = failed
                .iter()
                .all(|(_, error)| matches!(RetryDecision::on(error), RetryDecision::AnswerAmongOthers));
            if others_answered && (lasting || tries >= TRIES) && self.is_there().await {
                for (row, error) in failed {
                    answers.fail(row, error);
                }
                return Ok(answers.build());
            }
            let pause = backoff.next().unwrap_or(LONGEST_BACKOFF);
            if lasting || started.elapsed() + pause > self.patience {
                return Err(stop);
            }
            self.progress.say(&format!("waiting for the back end: {error}"));
            sleep(pause).await;
            open = failed.into_iter().map(|(row, _)| row).collect();
        }
    }

    async fn is_there(&self) -> bool {
        Health::is_available(&self.embedder.health().await)
    }
}

impl RetryDecision {
    fn on(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidInput | ErrorKind::InputTooLong => Self::Answer,
            ErrorKind::Config
            | ErrorKind::ModelNotFound
            | ErrorKind::Unauthorized
            | ErrorKind::SpaceMismatch
            | ErrorKind::Internal => Self::Stop,
            _ if error.retry() == Retry::Permanent => Self::AnswerAmongOthers,
            _ => Self::Retry,
        }
    }
}

fn backoff() -> impl Iterator<Item = Duration> {
    let backoff = ExponentialBuilder::new().with_min_delay(FIRST_BACKOFF).with_max_delay(LONGEST_BACKOFF);
    backoff.with_factor(2.0).with_jitter().without_max_times().build()
}

fn other_space(space: &Space) -> Error {
    Error::new(ErrorKind::SpaceMismatch, "the back end answered in another space than it began with")
        .with_context("space", space)
}

fn stopped(error: &Error, (unit, number): (RowUnit, u64)) -> Error {
    Error::new(error.kind(), "the back end can't embed the rows now; once it can, the same command goes on")
        .with_context(unit.name(), number)
        .with_source(error.clone())
}

#[cfg(test)]
mod tests {
    use embed_testkit::{Scripted, VirtualTime};
    use serde_json::json;

    use super::super::row::{MigrationPlan, MigrationRow};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    async fn embed(back_end: &Scripted, texts: &[(&str, Role)]) -> Result<EmbedResponse, Error> {
        let plan =
            MigrationPlan { from: "a".to_owned(), to: "b".to_owned(), dimension: 2, role: Role::Document };
        let rows = texts.iter().zip(7..).map(|((text, role), line)| {
            let row = json!({ "space": "a", "text": text, "role": role }).to_string();
            plan.read(row.into_bytes(), line).unwrap()
        });
        let rows: Vec<MigrationRow> = rows.collect();
        let texts: Vec<_> = rows.iter().filter_map(MigrationRow::text).collect();
        let (space, progress) = (back_end.model().space(), &RowProgress::of_rows(1, 0, true));
        let retrying = RetryingEmbedder {
            embedder: back_end,
            space,
            truncation: Truncation::Error,
            patience: PATIENCE,
            progress,
        };
        retrying.embed(&texts).await
    }

    const TEXTS: [(&str, Role); 3] =
        [("one", Role::Document), ("two", Role::Query), ("poison", Role::Document)];

    fn gone() -> Error {
        Error::new(ErrorKind::Unavailable, "gone").with_retry(Retry::Exhausted)
    }

    #[tokio::test(start_paused = true)]
    async fn each_text_is_embedded_in_its_role() {
        let back_end = Scripted::new("b", 8);
        let response = embed(&back_end, &TEXTS).await.unwrap();
        for (row, (text, role)) in TEXTS.iter().enumerate() {
            assert_eq!(response.row(row).unwrap().vector(), back_end.vector(text, *role));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_back_end_that_comes_back_is_waited_for() {
        let back_end = Scripted::new("b", 8);
        back_end.fail_calls(Some(gone()));
        let returns = async {
            sleep(PATIENCE / 2).await;
            back_end.fail_calls(None);
        };
        let (response, ()) = tokio::join!(embed(&back_end, &TEXTS), returns);
        assert_eq!(response.unwrap().rows().flatten().count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_back_end_that_stays_away_ends_it_and_the_line_is_named() {
        let back_end = Scripted::new("b", 8);
        back_end.fail_calls(Some(gone()));
        let time = VirtualTime::start().await;
        let error = embed(&back_end, &TEXTS).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("line: 7"), "{error}");
        assert!((PATIENCE / 2..=PATIENCE).contains(&time.passed()), "{:?}", time.passed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_text_that_breaks_the_back_end_fails_alone_if_that_answers_others() {
        for error in [gone(), gone().with_retry(Retry::Permanent), gone().temporary()] {
            let back_end = Scripted::new("b", 8);
            back_end.fail_texts_with("poison", error);
            let response = embed(&back_end, &TEXTS).await.unwrap();
            assert_eq!(response.errors().map(|(row, _)| row).collect::<Vec<_>>(), [2]);

            // A single text that fails can't be distinguished from an unavailable back end, or the back end says that
            // it is unavailable.
            assert!(embed(&back_end, &TEXTS[2..]).await.is_err());
            back_end.set_health(Health::unavailable(gone()));
            assert!(embed(&back_end, &TEXTS).await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wrong_with_a_text_is_its_answer_and_what_is_wrong_with_the_set_up_is_not() {
        let back_end = Scripted::new("b", 8);
        let time = VirtualTime::start().await;
        back_end.fail_texts_with("poison", Error::new(ErrorKind::InputTooLong, "too long"));
        assert_eq!(embed(&back_end, &TEXTS[2..]).await.unwrap().errors().count(), 1);
        for kind in [ErrorKind::Config, ErrorKind::ModelNotFound, ErrorKind::Unauthorized] {
            back_end.fail_texts_with("poison", Error::new(kind, "fix it"));
            let error = embed(&back_end, &TEXTS).await.unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().contains("line: 9"), "{error}");
        }
        assert_eq!(time.passed(), Duration::ZERO);
    }
}
