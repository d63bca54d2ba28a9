//! Catches panics of operators. C++ calls them, and a panic that reached C++ would end the process.

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput, ShapeInferenceContext,
};
use ort::{Error, Result};

/// An operator or a kernel whose panics become errors.
pub(super) struct NoPanic<T>(pub(super) T);

/// Runs work that may panic.
pub(super) fn no_panic<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Error::new("an operator panicked")))
}

impl<O: Operator> Operator for NoPanic<O> {
    type Kernel<'attr> = NoPanic<O::Kernel<'attr>>;

    const INPLACES: &[(u32, u32)] = O::INPLACES;
    const ALIASES: &[(u32, u32)] = O::ALIASES;

    fn name(&self) -> &str {
        self.0.name()
    }

    fn versions(&self) -> RangeInclusive<u32> {
        self.0.versions()
    }

    fn execution_provider_type(&self) -> Option<&str> {
        self.0.execution_provider_type()
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        self.0.inputs()
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        self.0.outputs()
    }

    fn create_kernel<'attr>(&self, attributes: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        no_panic(|| self.0.create_kernel(attributes)).map(NoPanic)
    }

    fn infer_shape(&self, context: &mut ShapeInferenceContext) -> Result<()> {
        no_panic(|| self.0.infer_shape(context))
    }
}

impl<K: Kernel> Kernel for NoPanic<K> {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        no_panic(|| self.0.compute(context))
    }
}
