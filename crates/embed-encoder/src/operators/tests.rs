//! An operator that panics, under ONNX Runtime itself: on the thread that calls it, on the session's other threads,
//! and while its kernel is made. Where a panic crossed into C++, this process would end.

use std::num::NonZeroUsize;
use std::sync::Mutex;

use embed_kernels::Executor as _;
use ort::operator::{ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::session::Session;
use ort::value::Tensor;
use ort::value::TensorElementType::Float32;

use super::no_panic::NoPanic;
use super::threads::SessionThreads;
use super::{OperatorDomain, open};
use crate::RuntimeLibrary;
use crate::assets::DataHome;

/// Where the operator of this test panics.
#[derive(Clone, Copy, PartialEq)]
enum Panics {
    Nowhere,
    WhenMade,
    /// For inputs above this, in as many pieces as the input has values.
    Above(f32),
}

/// Copies its input.
struct Copying(Panics);

impl Operator for Copying {
    type Kernel<'attr> = ort::operator::BoxedKernel<'attr>;

    fn name(&self) -> &str {
        "Copy"
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> ort::Result<Self::Kernel<'attr>> {
        let panics = self.0;
        assert!(panics != Panics::WhenMade, "as the test says");
        Ok(Box::new(move |context: &ComputeContext| {
            let input = super::values::input(context, 0)?;
            let (_, input) = input.try_extract_tensor::<f32>()?;
            let Some(mut output) = context.output(0, [input.len()])? else { return Ok(()) };
            let (_, output) = output.try_extract_tensor_mut::<f32>()?;
            let output: Vec<_> = output.iter_mut().map(Mutex::new).collect();
            let threads = SessionThreads::new(context, 2);
            threads.each(input.len(), &|piece| {
                assert!(!matches!(panics, Panics::Above(most) if input[piece] > most), "as the test says");
                **output[piece].lock().unwrap() = input[piece];
            });
            threads.finish()
        }))
    }
}

/// A field of a protocol buffer: bytes of a known length.
fn field(number: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

/// A field that is a small number.
fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

/// A model of one node: `y = Copy(x)`, in a domain of its own.
fn model(domain: &str) -> Vec<u8> {
    let dimension = field(1, field(2, "n"));
    let tensor = [number(1, 1), field(2, dimension)].concat();
    let value = |name| [field(1, name), field(2, field(1, &tensor))].concat();
    let node = [field(1, "x"), field(2, "y"), field(4, "Copy"), field(7, domain)].concat();
    let graph = [field(1, node), field(2, "g"), field(11, value("x")), field(12, value("y"))].concat();
    let opset = [field(1, domain), number(2, 1)].concat();
    let standard = [field(1, ""), number(2, 17)].concat();
    [number(1, 8), field(7, graph), field(8, opset), field(8, standard)].concat()
}

static OPENING: Mutex<()> = Mutex::new(());

fn session(domain: &str, panics: Panics) -> Option<Result<Session, String>> {
    let library = DataHome::from_env().and_then(|home| RuntimeLibrary::find(&home, None));
    let environment = library.and_then(|library| library.environment());
    let environment = embed_testkit::require("ONNX Runtime", environment)?;
    let operators = OperatorDomain::new(domain).unwrap().add(NoPanic(Copying(panics))).unwrap();
    let threads = NonZeroUsize::new(2).unwrap();
    let builder = Session::builder(&environment).unwrap().with_intra_threads(threads.get()).unwrap();
    let mut builder = builder.with_operators(operators).unwrap();
    // Each domain is new to the process, and is added to a table of it.
    let _one_at_a_time = OPENING.lock().unwrap();
    Some(open(|| builder.commit_from_memory(&model(domain))).map_err(|error| error.to_string()))
}

fn run(session: &mut Session, values: &[f32]) -> Result<Vec<f32>, String> {
    let input = Tensor::from_array(([values.len()], values.to_vec())).unwrap();
    let outputs = session.run(ort::inputs!["x" => input]).map_err(|error| error.to_string())?;
    Ok(outputs["y"].try_extract_tensor::<f32>().unwrap().1.to_vec())
}

#[test]
fn a_panic_on_any_thread_of_a_session_is_an_error() {
    let Some(session) = session("test.panics", Panics::Above(9.0)) else { return };
    let mut session = session.unwrap();
    let good = [1.0, 2.0, 3.0, 4.0];
    assert_eq!(run(&mut session, &good).unwrap(), good);
    let all = [10.0; 64];
    let one = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 10.0];
    // One value is one piece, which the calling thread does.
    for values in [&all[..], &one, &[10.0]] {
        let error = run(&mut session, values).unwrap_err();
        assert!(error.contains("an operator panicked"), "{error}");
        assert_eq!(run(&mut session, &good).unwrap(), good);
    }
}

#[test]
fn a_panic_while_a_kernel_is_made_is_an_error() {
    let Some(session) = session("test.made", Panics::WhenMade) else { return };
    let error = session.unwrap_err();
    assert!(error.contains("an operator panicked"), "{error}");
    assert!(self::session("test.whole", Panics::Nowhere).unwrap().is_ok());
}
