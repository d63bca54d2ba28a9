//! Rows of an input through an embedder: in batches, several at once, answered in order and in bounded memory.

use std::pin::pin;
use std::sync::Arc;
use std::thread;

use embed_core::{Error, Role};
use futures::{StreamExt, stream};
use tokio::sync::mpsc;

use super::rows::{Batch, InputRow, RowSource};

/// Texts per request: few enough that the first rows come soon. Several requests are in flight, so that no thread of the
/// engine waits for the next one.
const BATCH: usize = 32;
const IN_FLIGHT: usize = 4;

/// The answers to the texts of a batch, which are embedded in one call for each role.
pub(crate) struct AnswersByRole<A> {
    query: Option<A>,
    document: Option<A>,
}

impl<A> AnswersByRole<A> {
    /// The answer to the texts of this role, in their order; `None` if there were none.
    pub(crate) fn of(&self, role: Role) -> Option<&A> {
        match role {
            Role::Query => self.query.as_ref(),
            Role::Document => self.document.as_ref(),
        }
    }
}

/// Answers the texts of all rows, and passes on each batch with its answers in the order of the input. A row without a
/// text has no row in an answer.
pub(crate) async fn call_rows<A>(
    rows: impl RowSource<Row = InputRow>,
    call: impl AsyncFn(Vec<Arc<str>>, Role) -> Result<A, Error>,
    each: impl FnMut(&Batch<InputRow>, &AnswersByRole<A>) -> Result<(), Error>,
) -> Result<(), Error> {
    let call_role = async |batch: &Batch<InputRow>, role| {
        let of_role = batch.rows.iter().filter(|row| row.role == role);
        let texts: Vec<_> = of_role.filter_map(|row| row.text.as_deref().ok()).map(Arc::from).collect();
        if texts.is_empty() { Ok(None) } else { call(texts, role).await.map(Some) }
    };
    let answer = async |batch: &Batch<InputRow>| {
        let (query, document) =
            futures::try_join!(call_role(batch, Role::Query), call_role(batch, Role::Document))?;
        Ok(AnswersByRole { query, document })
    };
    in_batches(rows, answer, each).await
}

/// Answers all rows, and passes on each batch with its answer in the order of the input. An error comes after the batches
/// before it. Dropping the future ends it between two batches.
pub(crate) async fn in_batches<S: RowSource, A>(
    source: S,
    answer: impl AsyncFn(&Batch<S::Row>) -> Result<A, Error>,
    mut each: impl FnMut(&Batch<S::Row>, &A) -> Result<(), Error>,
) -> Result<(), Error> {
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    // Not a task of the runtime, which would wait for it at the end: reading from a terminal may never return.
    thread::spawn(move || read_batches(source, &sender));
    let batches = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|batch| (batch, receiver))
    });
    let answered = batches.map(|batch| async {
        let batch = batch?;
        let answer = answer(&batch).await?;
        Ok::<_, Error>((batch, answer))
    });
    let mut answered = pin!(answered.buffered(IN_FLIGHT));
    while let Some(answered) = answered.next().await {
        let (batch, answer) = answered?;
        each(&batch, &answer)?;
    }
    Ok(())
}

/// Sends the rows in batches, and a reading error after the rows before it. A batch is sent when it is full or when the
/// next row may take long, so that a slow writer at the other end of a pipe gets its answers.
fn read_batches<S: RowSource>(mut rows: S, sender: &mpsc::Sender<Result<Batch<S::Row>, Error>>) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let row = rows.next();
        let ended = !matches!(row, Ok(Some(_)));
        let error = row.map(|row| batch.extend(row)).err();
        if !batch.is_empty() && (batch.len() == BATCH || rows.would_wait() || ended) {
            let bytes = rows.bytes();
            let rows = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
            let batch = Batch { rows, bytes };
            if sender.blocking_send(Ok(batch)).is_err() {
                // The writer has ended and reports why.
                return;
            }
        }
        if let Some(error) = error {
            let _ = sender.blocking_send(Err(error));
        }
        if ended {
            return;
        }
    }
}
