//! The weights and constants of layers, the rows of positions and the word table, which all sessions of a model share.
//!
//! ONNX Runtime would map the file beside the graph once for each session. So where there are several, the weights are read
//! here, and each session is given the same values. The word table is [read row by row](WordTable). Everything else stays with
//! ONNX Runtime, which maps it.

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

use crate::assets::POSITIONS;
use crate::operators::{INPUTS_BEFORE_WEIGHTS, LAYER_KINDS, SharedLayers, UNPACK_ROWS, WordTable, layer_of};

/// A larger graph has its weights inside. Then nothing is shared, since reading it takes as much memory.
const LARGEST_GRAPH: u64 = 32 << 20;

/// The types of elements in ONNX.
const FLOAT: i32 = 1;
const UINT8: i32 = 2;
const INT8: i32 = 3;
const INT16: i32 = 5;
/// The location of an initializer whose bytes lie in another file.
const EXTERNAL: i32 = 1;

/// What the sessions of one model share. It lives as long as a session that has it.
#[derive(Debug, Default)]
pub(crate) struct SharedWeights {
    /// The weights of layers, by their names in the graph.
    pub(super) values: Vec<(String, Arc<DynValue>)>,
    /// Their constants.
    pub(super) layers: Arc<SharedLayers>,
    /// The table of an [`UNPACK_ROWS`].
    pub(super) table: Option<Arc<WordTable>>,
}

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
    /// Opens the word table of a graph, and reads the weights of its layers and its rows of positions if `layers` says so, as far
    /// as they lie beside it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if a file can't be read or isn't what the graph says.
    pub(super) fn read(path: &Path, layers: bool) -> Result<Self, Error> {
        let unreadable = |error: io::Error| {
            Error::new(ErrorKind::Config, "the weights of the model can't be read").with_source(error)
        };
        if fs::metadata(path).map_err(unreadable)?.len() > LARGEST_GRAPH {
            return Ok(Self::default());
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        let model = Model::decode(&*bytes).map_err(|error| unreadable(io::Error::other(error)))?;
        let graph = model.graph.unwrap_or_default();
        let inputs_of = |picked: &dyn Fn(&Node) -> bool, from: usize| -> HashSet<_> {
            let nodes = graph.nodes.iter().filter(|node| picked(node));
            nodes.flat_map(|node| node.inputs.iter().skip(from)).collect()
        };
        let mut weights = inputs_of(&|node| layers && node.is_layer(), INPUTS_BEFORE_WEIGHTS);
        weights.extend(inputs_of(&|node| layers && node.takes_rows_of_positions(), 0));
        let tables = inputs_of(&|node| WordTable::AVAILABLE && node.operator == UNPACK_ROWS, 1);
        let mut shared = Self::default();
        for initializer in &graph.initializers {
            // With a second one nobody would know whose rows are whose.
            if tables.len() == 1 && tables.contains(&initializer.name) {
                shared.table = initializer.table(path).map_err(unreadable)?.map(Arc::new);
            }
            if !weights.contains(&initializer.name) {
                continue;
            }
            let value = match initializer.element {
                FLOAT => initializer.value::<f32>(path),
                INT8 => initializer.value::<i8>(path),
                INT16 => initializer.value::<i16>(path),
                _ => Ok(None),
            };
            let value = value.map_err(unreadable)?;
            shared.values.extend(value.map(|value| (initializer.name.clone(), Arc::new(value))));
        }
        Ok(shared)
    }
}

impl Node {
    fn is_layer(&self) -> bool {
        LAYER_KINDS.into_iter().any(|kind| layer_of(kind) == self.operator)
    }

    fn takes_rows_of_positions(&self) -> bool {
        self.operator == "Gather" && self.inputs.get(1).is_some_and(|input| input == POSITIONS)
    }
}

impl Initializer {
    /// Its numbers, if they lie in a file beside the graph.
    fn value<T>(&self, graph: &Path) -> io::Result<Option<DynValue>>
    where
        T: Pod + PrimitiveTensorElementType + fmt::Debug,
    {
        let Some((mut file, offset, count)) = self.open(graph, size_of::<T>())? else { return Ok(None) };
        // No more than the file holds, so it fits.
        let mut numbers = vec![T::zeroed(); count as usize];
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(bytemuck::cast_slice_mut(&mut numbers))?;
        let tensor = Tensor::from_array((self.dims.clone(), numbers)).map_err(io::Error::other)?;
        Ok(Some(tensor.into_dyn()))
    }

    /// The table that it is, if it is one of bytes in a file beside the graph.
    fn table(&self, graph: &Path) -> io::Result<Option<WordTable>> {
        let (&[rows, row_bytes], UINT8) = (&self.dims[..], self.element) else { return Ok(None) };
        let Some((file, offset, _)) = self.open(graph, 1)? else { return Ok(None) };
        let (rows, row_bytes) =
            (rows.try_into().map_err(io::Error::other)?, row_bytes.try_into().map_err(io::Error::other)?);
        Ok(Some(WordTable { file, offset, rows, row_bytes }))
    }

    /// The file beside the graph that its numbers of so many bytes lie in, if they do, where they begin there, and how many
    /// there are.
    fn open(&self, graph: &Path, size: usize) -> io::Result<Option<(File, u64, u64)>> {
        let entry = |key| self.external.iter().find(|entry| entry.key == key).map(|entry| &*entry.value);
        let (EXTERNAL, Some(file)) = (self.location, entry("location")) else { return Ok(None) };
        let offset = entry("offset").unwrap_or("0").parse().map_err(io::Error::other)?;
        let file = File::open(graph.with_file_name(file))?;
        let left = file.metadata()?.len().saturating_sub(offset);
        let count = self.dims.iter().try_fold(1_u64, |count, &size| count.checked_mul(size.try_into().ok()?));
        let bytes = count.and_then(|count| count.checked_mul(size as u64));
        let Some(count) = bytes.filter(|&bytes| bytes <= left).and(count) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        Ok(Some((file, offset, count)))
    }
}

#[cfg(test)]
mod tests {
    use embed_kernels::Kind;

    use super::*;

    /// A graph with one operator, whose weights have these dimensions and begin here in a file of a hundred bytes.
    fn graph(dims: &[i64], offset: &str, operator: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let element = if operator == UNPACK_ROWS { UINT8 } else { FLOAT };
        let entry = |key: &str, value: &str| Entry { key: key.to_owned(), value: value.to_owned() };
        let weights = Initializer {
            dims: dims.to_vec(),
            element,
            name: "weights".to_owned(),
            external: vec![entry("location", "data"), entry("offset", offset)],
            location: EXTERNAL,
        };
        let node = Node {
            inputs: if operator == UNPACK_ROWS {
                &["ids", "weights"][..]
            } else {
                &["state", "lengths", "weights"]
            }
            .iter()
            .map(|&name| name.to_owned())
            .collect(),
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
            let error = SharedWeights::read(&path, true).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{dims:?} at {offset}");
        }
    }

    #[test]
    fn a_word_table_is_opened_where_it_lies() {
        let (_folder, path) = graph(&[9, 10], "10", UNPACK_ROWS);
        let table = SharedWeights::read(&path, false).unwrap().table;
        if WordTable::AVAILABLE {
            let table = table.unwrap();
            assert_eq!((table.offset, table.rows, table.row_bytes), (10, 9, 10));
            let (_folder, path) = graph(&[9, 10], "11", UNPACK_ROWS);
            assert_eq!(SharedWeights::read(&path, false).unwrap_err().kind(), ErrorKind::Config);
        }
    }

    #[test]
    fn a_graph_that_is_none_is_refused() {
        let (_folder, path) = graph(&[5, 5], "0", layer_of(Kind::Single));
        fs::write(&path, b"no graph").unwrap();
        assert_eq!(SharedWeights::read(&path, true).unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(
            SharedWeights::read(&path.with_file_name("none"), true).unwrap_err().kind(),
            ErrorKind::Config
        );
    }
}
