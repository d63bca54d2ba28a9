//! A response as what Python takes: a matrix, or rows.

use embed::{EmbedResponse, Error, ErrorKind, ModelInfo, Result};
use numpy::{PyArray1, PyArrayMethods as _};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::failure::{exception, raised};

/// What a call returns.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    /// An array of `float32` with a row for each text, in the buffer of the response.
    Matrix { gaps: bool },
    /// A flat array, and for each text what `Row` is made of: its place in the array, or its error.
    Rows,
}

/// The outcome of a call, which becomes an object of Python, or an exception.
pub(crate) struct Answer {
    pub(crate) outcome: Result<EmbedResponse>,
    pub(crate) form: Form,
    /// Of the default model, for a matrix without vectors.
    pub(crate) dimension: usize,
}

impl<'py> IntoPyObject<'py> for Answer {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        let dimension = self.dimension;
        let made = self.outcome.and_then(|response| match self.form {
            Form::Matrix { gaps } => matrix(py, response, dimension, gaps),
            Form::Rows => Ok(rows(py, &response)),
        });
        made.unwrap_or_else(|error| Err(raised(py, &error)))
    }
}

fn matrix(
    py: Python<'_>,
    response: EmbedResponse,
    default: usize,
    gaps: bool,
) -> Result<PyResult<Bound<'_, PyAny>>> {
    let rows = response.len();
    let (values, dimension) = match gaps && response.failed() > 0 {
        true => with_gaps(&response, default)?,
        false => response.into_matrix()?,
    };
    let dimension = if rows == 0 { default } else { dimension };
    Ok(PyArray1::from_vec(py, values).reshape([rows, dimension]).map(Bound::into_any))
}

/// The matrix of a response with failed rows, which are not-a-number.
fn with_gaps(response: &EmbedResponse, default: usize) -> Result<(Vec<f32>, usize)> {
    let dimension = match response.space() {
        Some(space) => space.dimension(),
        None if response.failed() == response.len() => default,
        None => {
            return Err(Error::new(ErrorKind::SpaceMismatch, "rows of several spaces can't be one matrix"));
        }
    };
    let mut values = Vec::with_capacity(response.len() * dimension);
    for row in response {
        match row {
            Ok(row) => values.extend_from_slice(row.vector()),
            Err(_) => values.resize(values.len() + dimension, f32::NAN),
        }
    }
    Ok((values, dimension))
}

fn rows<'py>(py: Python<'py>, response: &EmbedResponse) -> PyResult<Bound<'py, PyAny>> {
    let mut values = Vec::new();
    let mut rows = Vec::with_capacity(response.len());
    let mut names = Names::default();
    for row in response {
        let row = match row {
            Ok(row) => {
                let (start, info) = (values.len(), row.info());
                values.extend_from_slice(row.vector());
                let place = (start, values.len());
                let tokens = info.tokens.map(|tokens| (tokens.used, tokens.total));
                let model = names.of(py, &info.model)?;
                let origin = (info.route.as_deref(), info.tier.as_deref());
                (place, tokens, info.truncated, model, origin).into_pyobject(py)?.into_any()
            }
            Err(error) => exception(py, error)?,
        };
        rows.push(row);
    }
    let flat = PyArray1::from_vec(py, values);
    Ok((flat, rows).into_pyobject(py)?.into_any())
}

/// The names of the models of a response, as one object of Python for all rows of a model.
#[derive(Default)]
struct Names<'py> {
    known: Vec<(ModelInfo, Bound<'py, PyTuple>)>,
}

impl<'py> Names<'py> {
    fn of(&mut self, py: Python<'py>, model: &ModelInfo) -> PyResult<Bound<'py, PyTuple>> {
        if let Some((_, names)) = self.known.iter().find(|(known, _)| known == model) {
            return Ok(names.clone());
        }
        let names = PyTuple::new(py, [model.name(), model.space().id(), model.variant().id()])?;
        self.known.push((model.clone(), names.clone()));
        Ok(names)
    }
}
