//! What embeds, as Python holds it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use embed::stack::{Stack, StackBuilder, settings};
use embed::{
    EmbedResponse, Embedder, Encoder, EncoderConfig, Error, ErrorKind, ModelInfo, Profile, Pull, Result,
    vector,
};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;

use crate::answer::{Answer, Form};
use crate::failure::raised;
use crate::options::{CallOptions, LoadOptions};
use crate::texts::Texts;
use crate::wait::{future, wait};

/// A model, or a stack from settings, loaded and ready.
#[pyclass(frozen, module = "embed._embed")]
pub(crate) struct Engine(Loaded);

enum Loaded {
    Model(Arc<Encoder>),
    Stack(Arc<Stack>),
}

#[pymethods]
impl Engine {
    /// A model in this process, by its name.
    #[staticmethod]
    fn model(py: Python<'_>, name: &str, options: LoadOptions) -> PyResult<Self> {
        let load = async || {
            let config = options.apply(EncoderConfig::default().with_profile(Profile::by_name(name)?))?;
            let config = config.with_home(options.home()?);
            match options.pull {
                true => options.fetching(config)?.load().await,
                false => Encoder::load(config).await.map_err(with_fix),
            }
        };
        let model = wait(py, load())?.map_err(|error| raised(py, &error))?;
        Ok(Self(Loaded::Model(Arc::new(model))))
    }

    /// A whole stack: of a service, or else of a file of settings; without either, of the environment.
    #[staticmethod]
    fn stack(
        py: Python<'_>,
        service: Option<String>,
        file: Option<PathBuf>,
        options: LoadOptions,
    ) -> PyResult<Self> {
        let load = async || {
            let flags = BTreeMap::from_iter(service.map(|service| ("service", service)));
            let mut settings = settings::read(file.as_deref(), &flags)?;
            settings.e5 = options.apply(settings.e5)?;
            let home = options.home()?;
            match options.pull {
                false => Stack::build(&settings, &home).await.map_err(with_fix),
                true => {
                    let builder = StackBuilder::from(settings).home(home.root()).pull(Pull::Missing);
                    builder.pull_options(options.pull_options()?).load().await
                }
            }
        };
        let stack = wait(py, load())?.map_err(|error| raised(py, &error))?;
        Ok(Self(Loaded::Stack(Arc::new(stack))))
    }

    /// Embeds texts into one array; the calling thread waits.
    fn matrix<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        options: CallOptions,
    ) -> PyResult<Bound<'py, PyAny>> {
        wait(py, self.call(texts, &options, Form::Matrix { gaps: options.gaps })?)?.into_pyobject(py)
    }

    /// Embeds texts into rows; the calling thread waits.
    fn rows<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        options: CallOptions,
    ) -> PyResult<Bound<'py, PyAny>> {
        wait(py, self.call(texts, &options, Form::Rows)?)?.into_pyobject(py)
    }

    /// As `matrix`; a future of the running loop of asyncio has the result. If it is cancelled, the call is dropped.
    fn amatrix<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        options: CallOptions,
    ) -> PyResult<Bound<'py, PyAny>> {
        future(py, self.call(texts, &options, Form::Matrix { gaps: options.gaps })?)
    }

    /// As `rows`, and as `amatrix`.
    fn arows<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        options: CallOptions,
    ) -> PyResult<Bound<'py, PyAny>> {
        future(py, self.call(texts, &options, Form::Rows)?)
    }

    /// Waits for what the cache still has to store.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        match &self.0 {
            Loaded::Model(_) => Ok(()),
            Loaded::Stack(stack) => wait(py, stack.finish())?.map_err(|error| raised(py, &error)),
        }
    }

    /// Name, space, variant, dimension and the most tokens of the default model.
    fn info(&self) -> (String, String, String, usize, Option<usize>) {
        let model = self.model_info();
        let [name, space, variant] =
            [model.name(), model.space().id(), model.variant().id()].map(str::to_owned);
        (name, space, variant, model.dimension(), model.max_tokens())
    }
}

impl Engine {
    fn model_info(&self) -> &ModelInfo {
        match &self.0 {
            Loaded::Model(model) => model.model(),
            Loaded::Stack(stack) => stack.model(),
        }
    }

    /// The call as a future that holds nothing of Python.
    fn call(
        &self,
        texts: &Bound<'_, PyAny>,
        options: &CallOptions,
        form: Form,
    ) -> PyResult<impl Future<Output = Answer> + Send + use<>> {
        let embed_options = options.embed_options().map_err(|error| raised(texts.py(), &error))?;
        let (request, places) = Texts::read(texts)?.request(embed_options);
        let dimension = self.model_info().dimension();
        let embedder: Arc<dyn Embedder> = match &self.0 {
            Loaded::Model(model) => Arc::<Encoder>::clone(model),
            Loaded::Stack(stack) => Arc::<Stack>::clone(stack),
        };
        Ok(async move {
            let outcome: Result<EmbedResponse> = match request.texts().is_empty() {
                // No text is left to ask a back end for.
                true => Ok(EmbedResponse::builder(0, 0).build()),
                false => embedder.embed(request).await,
            };
            Answer { outcome: outcome.map(|response| places.fill(response)), form, dimension }
        })
    }
}

/// The cosine of two vectors of one space.
#[pyfunction]
pub(crate) fn similarity(
    py: Python<'_>,
    left: (PyReadonlyArray1<'_, f32>, String),
    right: (PyReadonlyArray1<'_, f32>, String),
) -> PyResult<f32> {
    let ((left, left_space), (right, right_space)) = (left, right);
    if left_space != right_space {
        let error = Error::new(ErrorKind::SpaceMismatch, "vectors of two spaces can't be compared")
            .with_context("left", left_space)
            .with_context("right", right_space);
        return Err(raised(py, &error));
    }
    vector::cosine(left.as_slice()?, right.as_slice()?).map_err(|error| raised(py, &error))
}

/// What fetches a model that isn't there.
fn with_fix(error: Error) -> Error {
    match error.kind() {
        ErrorKind::ModelNotFound => error.with_context("fix", "`pull=True` fetches it"),
        _ => error,
    }
}
