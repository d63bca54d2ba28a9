//! The texts of a call, out of any iterable of Python.

use std::sync::Arc;

use embed::{EmbedOptions, EmbedRequest, EmbedResponse, Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::PyString;

/// Texts to embed, and the places of what is no text: those rows fail alone, as those of an empty text do.
pub(crate) struct Texts {
    texts: Vec<Arc<str>>,
    wrong: Vec<(usize, Error)>,
}

impl Texts {
    /// Reads an iterable to its end.
    pub(crate) fn read(iterable: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut read = Self { texts: Vec::with_capacity(iterable.len().unwrap_or(0)), wrong: Vec::new() };
        for item in iterable.try_iter()? {
            let item = item?;
            match item.cast::<PyString>().map(|text| text.to_str().map(Arc::from)) {
                Ok(Ok(text)) => read.texts.push(text),
                Ok(Err(_)) => read.fail("the text has half of a surrogate pair, which is no character"),
                Err(_) => read.fail(&format!("a text is a str, not {}", item.get_type().name()?)),
            }
        }
        Ok(read)
    }

    fn fail(&mut self, message: &str) {
        let row = self.texts.len() + self.wrong.len();
        self.wrong.push((row, Error::new(ErrorKind::InvalidInput, message)));
    }

    /// The request for the texts alone, and what puts the rows of its response in their places.
    pub(crate) fn request(self, options: EmbedOptions) -> (EmbedRequest, Places) {
        (EmbedRequest::new(self.texts, options), Places { wrong: self.wrong })
    }
}

/// Where the rows of a response belong.
pub(crate) struct Places {
    wrong: Vec<(usize, Error)>,
}

impl Places {
    /// The rows of the response, with those that failed before it among them.
    pub(crate) fn fill(self, response: EmbedResponse) -> EmbedResponse {
        if self.wrong.is_empty() {
            return response;
        }
        let rows = response.len() + self.wrong.len();
        let (response, mut builder) = (Arc::new(response), EmbedResponse::builder(rows, 0));
        let mut wrong = self.wrong.into_iter().peekable();
        let mut next = 0;
        for row in 0..rows {
            match wrong.next_if(|(at, _)| *at == row) {
                Some((_, error)) => builder.fail(row, error),
                None => {
                    builder.share_row(row, &response, next);
                    next += 1;
                }
            }
        }
        builder.build()
    }
}
