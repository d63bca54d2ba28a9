//! The weights of layers, which all sessions of a model share.
//!
//! ONNX Runtime would map the file beside the graph once for each session. So where there are several, the weights are read
//! here, and each session is given the same values; everything else stays with ONNX Runtime, which maps it.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use bytemuck::Pod;
use embed_core::{Error, ErrorKind};
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor};
use prost::Message;

use crate::operators::{INPUTS_BEFORE_WEIGHTS, LAYER_KINDS, layer_of};

/// A larger graph has its weights inside. Then nothing is shared, since reading it takes as much memory.
const LARGEST_GRAPH: u64 = 32 << 20;

/// The types of elements in ONNX.
const FLOAT: i32 = 1;
const INT8: i32 = 3;
const INT16: i32 = 5;
/// The location of an initializer whose bytes lie in another file.
const EXTERNAL: i32 = 1;

/// The weights of one model, by their names in the graph. They live as long as a session that has them.
#[derive(Debug, Default)]
pub(crate) struct SharedWeights(pub(super) Vec<(String, Arc<DynValue>)>);

/// What is read of a graph: see `onnx.proto`.
#[derive(Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
}

#[derive(Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    initializers: Vec<Initializer>,
}

#[derive(Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    inputs: Vec<String>,
    #[prost(string, tag = "4")]
    operator: String,
}

#[derive(Message)]
struct Initializer {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    element: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(message, repeated, tag = "13")]
    external: Vec<Entry>,
    #[prost(int32, tag = "14")]
    location: i32,
}

#[derive(Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

impl SharedWeights {
    /// Reads the weights that the layers of a graph use and that lie beside it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if a file can't be read or isn't what the graph says.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let unreadable = |error: io::Error| {
            Error::new(ErrorKind::Config, "the weights of the model can't be read").with_source(error)
        };
        if fs::metadata(path).map_err(unreadable)?.len() > LARGEST_GRAPH {
            return Ok(Self::default());
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        let model = Model::decode(&*bytes).map_err(|error| unreadable(io::Error::other(error)))?;
        let graph = model.graph.unwrap_or_default();
        let layers = graph.nodes.iter().filter(|node| node.is_layer());
        let weights: HashSet<_> =
            layers.flat_map(|node| node.inputs.iter().skip(INPUTS_BEFORE_WEIGHTS)).collect();
        let of_layers = |initializer: &&Initializer| weights.contains(&initializer.name);
        let mut values = Vec::new();
        for initializer in graph.initializers.iter().filter(of_layers) {
            let value = match initializer.element {
                FLOAT => initializer.value::<f32>(path),
                INT8 => initializer.value::<i8>(path),
                INT16 => initializer.value::<i16>(path),
                _ => Ok(None),
            };
            let value = value.map_err(unreadable)?;
            values.extend(value.map(|value| (initializer.name.clone(), Arc::new(value))));
        }
        Ok(Self(values))
    }
}

impl Node {
    fn is_layer(&self) -> bool {
        LAYER_KINDS.into_iter().any(|kind| layer_of(kind) == self.operator)
    }
}

impl Initializer {
    /// Its numbers, if they lie in a file beside the graph.
    fn value<T>(&self, graph: &Path) -> io::Result<Option<DynValue>>
    where
        T: Pod + PrimitiveTensorElementType + fmt::Debug,
    {
        let entry = |key| self.external.iter().find(|entry| entry.key == key).map(|entry| &*entry.value);
        let (EXTERNAL, Some(file)) = (self.location, entry("location")) else { return Ok(None) };
        let offset = entry("offset").unwrap_or("0").parse().map_err(io::Error::other)?;
        let mut file = File::open(graph.with_file_name(file))?;
        let left = file.metadata()?.len().saturating_sub(offset);
        let count = self.dims.iter().try_fold(1_u64, |count, &size| count.checked_mul(size.try_into().ok()?));
        let bytes = count.and_then(|count| count.checked_mul(size_of::<T>() as u64));
        let Some(count) = bytes.filter(|&bytes| bytes <= left).and(count) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        // No more than the file holds, so it fits.
        let mut numbers = vec![T::zeroed(); count as usize];
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(bytemuck::cast_slice_mut(&mut numbers))?;
        let tensor = Tensor::from_array((self.dims.clone(), numbers)).map_err(io::Error::other)?;
        Ok(Some(tensor.into_dyn()))
    }
}

#[cfg(test)]
mod tests {
    use embed_kernels::Kind;

    use super::*;

    /// A graph with one layer, whose weights have these dimensions and begin here in a file of a hundred bytes.
    fn graph(dims: &[i64], offset: &str, operator: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let entry = |key: &str, value: &str| Entry { key: key.to_owned(), value: value.to_owned() };
        let weights = Initializer {
            dims: dims.to_vec(),
            element: FLOAT,
            name: "weights".to_owned(),
            external: vec![entry("location", "data"), entry("offset", offset)],
            location: EXTERNAL,
        };
        let node = Node {
            inputs: ["state", "lengths", "weights"].map(str::to_owned).to_vec(),
            operator: operator.to_owned(),
        };
        let model = Model { graph: Some(Graph { nodes: vec![node], initializers: vec![weights] }) };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        fs::write(&path, model.encode_to_vec()).unwrap();
        fs::write(folder.path().join("data"), [0; 100]).unwrap();
        (folder, path)
    }

    #[test]
    fn weights_beyond_the_end_of_their_file_are_refused() {
        for (dims, offset) in [
            (&[5, 6][..], "0"),
            (&[5, 5], "4"),
            (&[1], "4000"),
            (&[i64::MAX, i64::MAX], "0"),
            (&[1 << 62, 1], "0"),
            (&[-1, 5], "0"),
            (&[5, 5], "no number"),
        ] {
            let (_folder, path) = graph(dims, offset, layer_of(Kind::Single));
            let error = SharedWeights::read(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{dims:?} at {offset}");
        }
    }

    #[test]
    fn a_graph_that_is_none_is_refused() {
        let (_folder, path) = graph(&[5, 5], "0", layer_of(Kind::Single));
        fs::write(&path, b"no graph").unwrap();
        assert_eq!(SharedWeights::read(&path).unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(SharedWeights::read(&path.with_file_name("none")).unwrap_err().kind(), ErrorKind::Config);
    }
}
