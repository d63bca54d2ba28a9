//! Errors as exceptions of the hierarchy in `embed._errors`.

use std::error::Error as _;

use embed::{Error, Retry};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// The exception for an error: its message, kind and advice on a retry, and what caused it as its causes.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    match exception(py, error) {
        Ok(exception) => {
            let raised = PyErr::from_value(exception);
            raised.set_cause(py, cause(py, error.source()));
            raised
        }
        Err(problem) => problem,
    }
}

/// The exception as a value, for a row that has it.
pub(crate) fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let (retry, after) = match error.retry() {
        Retry::Permanent => ("permanent", None),
        Retry::Temporary { after } => ("temporary", after.map(|after| after.as_secs_f64())),
        Retry::Exhausted => ("exhausted", None),
    };
    let arguments = (error.kind().as_str(), error.to_string(), retry, after);
    py.import("embed._errors")?.call_method1("of_kind", arguments)
}

fn cause(py: Python<'_>, source: Option<&(dyn std::error::Error + 'static)>) -> Option<PyErr> {
    let source = source?;
    let raised = PyRuntimeError::new_err(source.to_string());
    raised.set_cause(py, cause(py, source.source()));
    Some(raised)
}
