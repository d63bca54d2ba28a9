//! Rows of an input through an embedder: in batches, several at once, answered in order and in bounded memory.

use std::pin::pin;
use std::sync::Arc;
use std::thread;

use embed_core::{EmbedRequest, EmbedResponse, Embedder, Error, Role, Truncation};
use futures::{StreamExt, stream};
use tokio::sync::mpsc;

use crate::input::{InputRow, Rows};

/// Texts of one request. A request is small enough that the first rows come soon, and several are in
/// flight, so that no thread of the engine waits for the next one.
const BATCH: usize = 32;
const IN_FLIGHT: usize = 4;

/// Rows that are embedded together.
pub(crate) struct Batch {
    pub(crate) rows: Vec<InputRow>,
    /// Bytes of the input that were read when its last row was.
    pub(crate) bytes: u64,
}

/// Embeds all rows, and hands each batch with its answer over in the order of the input. A row that isn't a text
/// has no row in the answer.
pub(crate) async fn embed_rows(
    rows: Rows,
    embedder: &dyn Embedder,
    (role, truncation): (Role, Truncation),
    each: impl FnMut(&Batch, &EmbedResponse) -> Result<(), Error>,
) -> Result<(), Error> {
    let request = EmbedRequest::new([""; 0], role).with_truncation(truncation);
    call_rows(rows, async |texts| embedder.embed(request.with_texts(texts)).await, each).await
}

/// The same for anything that answers the texts of a batch.
pub(crate) async fn call_rows<T>(
    rows: Rows,
    call: impl AsyncFn(Vec<Arc<str>>) -> Result<T, Error>,
    mut each: impl FnMut(&Batch, &T) -> Result<(), Error>,
) -> Result<(), Error> {
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    // Not a task of the runtime, which would wait for it at the end: a reader may never come back from a
    // terminal.
    thread::spawn(move || read_batches(rows, &sender));
    let batches = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|batch| (batch, receiver))
    });
    let answered = batches.map(|batch| async {
        let batch = batch?;
        let texts = batch.rows.iter().filter_map(|row| row.text.as_deref().ok()).map(Arc::from).collect();
        let answer = call(texts).await?;
        Ok::<_, Error>((batch, answer))
    });
    let mut answered = pin!(answered.buffered(IN_FLIGHT));
    while let Some(answered) = answered.next().await {
        let (batch, answer) = answered?;
        each(&batch, &answer)?;
    }
    Ok(())
}

/// Sends the rows in batches, and an error of reading after the rows before it. A batch goes off when it is
/// full or when the next row may be long in coming, so that a slow writer at the other end of a pipe gets
/// its answers.
fn read_batches(mut rows: Rows, sender: &mpsc::Sender<Result<Batch, Error>>) {
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
                // The writer ended, and says why.
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
