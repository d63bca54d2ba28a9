//! The operator of a whole layer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use embed_kernels::{AddNorm, Kind, Layer, LayerParts, LayerWeights, Linear, Outliers, Weights};
use ort::operator::{BoxedKernel, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::{Float32, Int8, Int16, Int64};
use ort::value::ValueRef;
use ort::{Error, Result};

use super::kernels::{kernel, norm};
use super::names::{
    BIAS, COLUMN_SCALES, COLUMN_SUMS, FACTORS, HEADS, INPUTS_BEFORE_WEIGHTS, JOINT, NARROW, NORM_BIAS,
    NORM_SCALE, OUTLIERS_BIAS, OUTLIERS_INTO, OUTLIERS_OUT, OUTPUT, PRODUCTS, WIDE, attribute_of, layer_of,
};
use super::threads::SessionThreads;
use super::values::{floats, input, lengths, size};
use crate::kernels::processor;

/// The constants of the layers of a model, which its sessions share, by the names of their first weights.
#[derive(Debug, Default)]
pub(crate) struct SharedLayers(Mutex<HashMap<String, Arc<Layer>>>);

impl SharedLayers {
    /// The layer with these weights, made if no session has it yet.
    fn get(&self, weights: &str, make: impl FnOnce() -> Result<Layer>) -> Result<Arc<Layer>> {
        let mut layers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layer) = layers.get(weights) {
            return Ok(Arc::clone(layer));
        }
        let layer = Arc::new(make()?);
        layers.insert(weights.to_owned(), Arc::clone(&layer));
        Ok(layer)
    }
}

/// See [`layer_of`].
pub(super) struct LayerOperator {
    pub(super) kind: Kind,
    pub(super) threads: usize,
    /// `None` for layers of its own, where it isn't known that all sessions are those of one model.
    pub(super) shared: Option<Arc<SharedLayers>>,
}

impl Operator for LayerOperator {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        layer_of(self.kind)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let weights = PRODUCTS.map(|_| match self.kind {
            Kind::Single => Float32,
            Kind::Words => Int16,
            Kind::Integer => Int8,
        });
        [Float32, Int64].into_iter().chain(weights).map(OperatorInput::required)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, attributes: &KernelContext<'attr>) -> Result<BoxedKernel<'attr>> {
        let Self { kind, threads, ref shared } = *self;
        let make =
            || Layer::new(processor().map_err(Error::wrap)?, parts(attributes, kind)?).map_err(Error::wrap);
        let layer = match (shared, attributes.inputs()?.get(INPUTS_BEFORE_WEIGHTS)) {
            (Some(shared), Some(weights)) => shared.get(weights.name(), make)?,
            _ => Arc::new(make()?),
        };
        Ok(kernel(move |context| {
            let state = input(context, 0)?;
            let (shape, state) = state.try_extract_tensor::<f32>()?;
            let lengths = lengths(&input(context, 1)?, state, layer.width())?;
            let weights = |product| input(context, INPUTS_BEFORE_WEIGHTS + product);
            let (joint, output, wide, narrow) = (weights(0)?, weights(1)?, weights(2)?, weights(3)?);
            let weights = LayerWeights {
                joint: packed(&joint, kind)?,
                output: packed(&output, kind)?,
                wide: packed(&wide, kind)?,
                narrow: packed(&narrow, kind)?,
            };
            let Some(mut out) = context.output(0, shape.clone())? else { return Ok(()) };
            let (_, out) = out.try_extract_tensor_mut::<f32>()?;
            let threads = SessionThreads::new(context, threads);
            layer.run(&threads, &weights, (&lengths, state), out).map_err(Error::wrap)?;
            threads.finish()
        }))
    }
}

/// The weights of a product.
fn packed<'v>(value: &'v ValueRef<'_>, kind: Kind) -> Result<Weights<'v>> {
    Ok(match kind {
        Kind::Single => Weights::Single(value.try_extract_tensor::<f32>()?.1),
        Kind::Words => Weights::Words(value.try_extract_tensor::<i16>()?.1),
        Kind::Integer => Weights::Integer(value.try_extract_tensor::<i8>()?.1),
    })
}

/// The constants of a layer.
fn parts(attributes: &KernelContext<'_>, kind: Kind) -> Result<LayerParts> {
    let of = |product, name| floats(attributes, &attribute_of(product, name));
    let linear = |product| {
        let bias = of(product, BIAS)?;
        let linear = match kind {
            Kind::Single => Linear::single(&bias),
            Kind::Words => Linear::words(&bias, &of(product, COLUMN_SCALES)?),
            Kind::Integer => Linear::integer(&bias, &of(product, COLUMN_SCALES)?, &of(product, COLUMN_SUMS)?),
        };
        linear.map_err(Error::wrap)
    };
    let norm = |product| -> Result<AddNorm> {
        norm(attributes, &of(product, NORM_SCALE)?, &of(product, NORM_BIAS)?)
    };
    let factors = |product| attributes.get(attribute_of(product, FACTORS)).unwrap_or_default();
    let outliers = |into: Vec<f32>| {
        let (bias, out) = (floats(attributes, OUTLIERS_BIAS)?, floats(attributes, OUTLIERS_OUT)?);
        Outliers::new(&into, &bias, &out).map_err(Error::wrap)
    };
    Ok(LayerParts {
        heads: size(attributes, HEADS)?,
        joint: linear(JOINT)?,
        output: linear(OUTPUT)?,
        wide: linear(WIDE)?,
        narrow: linear(NARROW)?,
        attention_norm: norm(OUTPUT)?,
        output_norm: norm(NARROW)?,
        attention_factors: factors(JOINT),
        feed_forward_factors: factors(WIDE),
        outliers: attributes.get(OUTLIERS_INTO).map(outliers).transpose()?,
    })
}
