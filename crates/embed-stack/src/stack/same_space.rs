//! Proves that models whose spaces have one name give the same vectors, since a router lets them stand in for each other.

use std::sync::{Arc, Mutex, PoisonError};

use embed_core::{EmbedRequest, Embedder, Error, ErrorKind, Role};

use super::backend::Backend;

/// The least cosine between the vectors of two models of a space. Eight-bit weights stay above it; four-bit weights, and any
/// other model, don't.
const SAME_SPACE: f32 = 0.99;

/// Texts that two models of a space must agree on: of several lengths, with figures and signs.
const PROBES: [&str; 4] = [
    "A cat sits on the mat.",
    "How do I optimise a database query that joins three tables?",
    "The committee adopted the resolution by 12 votes to 3, with 2 abstentions, on 14 May 1998.",
    "error: could not open file /etc/hosts (permission denied)",
];

/// The models of a stack that are there.
#[derive(Debug, Clone, Default)]
pub struct Members(Arc<Mutex<Vec<Backend>>>);

impl Members {
    /// Admits a model whose vectors agree with those of the others of its space; no texts are embedded where there is none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if they don't, and what the models give.
    pub async fn admit(&self, model: &Backend) -> Result<(), Error> {
        let others: Vec<_> = {
            let mut members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Before the check, so that of two at the same time the later one sees the earlier one.
            members.push(model.clone());
            let is_other =
                |member: &&Backend| !member.is(model) && member.model().space() == model.model().space();
            members.iter().filter(is_other).cloned().collect()
        };
        for other in others {
            if let Err(error) = check(model, &other).await {
                let mut members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                members.retain(|member| !member.is(model));
                return Err(error);
            }
        }
        Ok(())
    }
}

async fn check(new: &Backend, known: &Backend) -> Result<(), Error> {
    let request = || EmbedRequest::new(PROBES, Role::Document);
    let (theirs, ours) = (new.embed(request()).await?, known.embed(request()).await?);
    for (theirs, ours) in theirs.rows().zip(ours.rows()) {
        let (theirs, ours) = (theirs.map_err(Clone::clone)?, ours.map_err(Clone::clone)?);
        let cosine = theirs.similarity(ours)?;
        if cosine < SAME_SPACE {
            let (new, known) = (new.model(), known.model());
            let what = format!(
                "{} of {} and {} of {} have one space by their names and give other vectors, so that they can't stand in for \
                 each other; declare another `space` for one of them, or leave it out (router.english_model = \"none\")",
                new.name(),
                new.service(),
                known.name(),
                known.service()
            );
            return Err(Error::new(ErrorKind::Config, what).with_context("cosine", format!("{cosine:.3}")));
        }
    }
    Ok(())
}
