//! Waits for a future without the GIL, so that other threads of Python run and Ctrl-C is obeyed.

use std::pin::pin;
use std::process;
use std::sync::OnceLock;
use std::time::Duration;

use embed::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3_async_runtimes::tokio as bridge;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::failure::raised;

/// How often a waiting call asks Python for signals.
const SIGNALS: Duration = Duration::from_millis(50);

/// The process that has the threads of the runtime: a fork copies none of them.
static OWNER: OnceLock<u32> = OnceLock::new();

/// The runtime of the module. Its one thread waits for servers and timers and completes the futures of asyncio; models have
/// threads of their own, and a blocking call works on that of its caller.
///
/// # Errors
///
/// That this process was forked from one that has used the module, whose threads it doesn't have.
fn runtime(py: Python<'_>) -> PyResult<&'static Runtime> {
    let owner = *OWNER.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        // Results are handed to Python on threads for blocking work, which wait for the GIL: more of them don't help.
        builder.worker_threads(1).max_blocking_threads(4).thread_name("embed-python").enable_all();
        bridge::init(builder);
        process::id()
    });
    if owner != process::id() {
        let error = Error::new(
            ErrorKind::Config,
            "a process forked from one that has loaded a model can't embed; start processes with `spawn`, or load the \
             model only in them",
        );
        return Err(raised(py, &error));
    }
    Ok(bridge::get_runtime())
}

/// The output of a future that the calling thread works on, without the GIL. If a signal's handler raises meanwhile, as that
/// of Ctrl-C does, the future is dropped and the exception goes on.
pub(crate) fn wait<F>(py: Python<'_>, work: F) -> PyResult<F::Output>
where
    F: Future<Output: Send> + Send,
{
    let runtime = runtime(py)?;
    py.detach(|| {
        runtime.block_on(async {
            let mut work = pin!(work);
            loop {
                match timeout(SIGNALS, &mut work).await {
                    Ok(output) => return Ok(output),
                    Err(_) => Python::attach(|py| py.check_signals())?,
                }
            }
        })
    })
}

/// A future of the running loop of asyncio with the output of a future, which the runtime works on. If it is cancelled there,
/// the future is dropped.
pub(crate) fn future<'py, T>(
    py: Python<'py>,
    work: impl Future<Output = T> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>>
where
    T: for<'any> IntoPyObject<'any> + Send + 'static,
{
    runtime(py)?;
    bridge::future_into_py(py, async { Ok(work.await) })
}
