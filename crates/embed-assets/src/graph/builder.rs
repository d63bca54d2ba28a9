//! Builds an ONNX graph of nodes and constants; large constants go to a separate data file.
//!
//! The data file makes the start fast and saves memory: ONNX Runtime maps it, so the word table is never copied and all
//! sessions of a process share its pages. With inline constants, the two sessions of a process would take 230 MB
//! instead of 107 MB after the start, and three times as long to open.

use std::io::{self, Write};

use embed_encoder::operators::DOMAIN as CUSTOM_DOMAIN;
use sha2::{Digest, Sha256};

use super::onnx::{
    ATTRIBUTE_FLOAT, ATTRIBUTE_FLOATS, ATTRIBUTE_INT, ATTRIBUTE_INTS, AttributeProto, EXTERNAL, ElementType,
    GraphProto, NodeProto, StringStringEntryProto, TensorProto, ValueInfoProto,
};
use crate::weights::Matrix;

/// Constants from this size on go to the data file.
const EXTERNAL_FROM: usize = 1024;
/// ONNX Runtime maps a constant only if it begins at a page boundary. Pages have 4 KiB on desktop and server systems;
/// on Windows, constants that can't be mapped are read.
const PAGE: u64 = 4096;

/// The name of a value: an output of a node, or a constant.
pub(super) type ValueName = String;

/// An attribute of a node.
pub(super) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Floats(Vec<f32>),
}

/// A graph that is being built.
pub(super) struct GraphBuilder<W: Write> {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    data: W,
    data_name: String,
    data_length: u64,
    digest: Sha256,
    named: usize,
}

impl<W: Write> GraphBuilder<W> {
    /// A graph whose large constants go to `data`, a file named `data_name` in the model's folder.
    pub(super) fn new(data: W, data_name: String) -> Self {
        Self {
            nodes: Vec::new(),
            constants: Vec::new(),
            data,
            data_name,
            data_length: 0,
            digest: Sha256::new(),
            named: 0,
        }
    }

    /// A node of the standard operators with one output.
    pub(super) fn node<const N: usize>(
        &mut self,
        op: &str,
        inputs: [&str; N],
        attributes: &[(&str, Attribute)],
    ) -> ValueName {
        self.put(op, "", &inputs, 1, attributes).swap_remove(0)
    }

    /// A node with a custom operator of `embed-encoder`.
    pub(super) fn custom(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: &[(impl AsRef<str>, Attribute)],
    ) -> ValueName {
        self.put(op, CUSTOM_DOMAIN, inputs, 1, attributes).swap_remove(0)
    }

    /// Cuts a value into equal parts.
    pub(super) fn split<const N: usize>(&mut self, value: &str, axis: i64) -> [ValueName; N] {
        let attributes = [
            ("axis", Attribute::Int(axis)),
            ("num_outputs", Attribute::Int(N.try_into().unwrap_or(i64::MAX))),
        ];
        let mut outputs = self.put("Split", "", &[value], N, &attributes).into_iter();
        std::array::from_fn(|_| outputs.next().unwrap_or_default())
    }

    fn put(
        &mut self,
        op: &str,
        domain: &str,
        inputs: &[&str],
        outputs: usize,
        attributes: &[(impl AsRef<str>, Attribute)],
    ) -> Vec<ValueName> {
        let name = self.fresh(op);
        let outputs: Vec<ValueName> = (0..outputs).map(|output| format!("{name}.{output}")).collect();
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: outputs.clone(),
            name: Some(name),
            op_type: Some(op.to_owned()),
            attribute: attributes.iter().map(|(name, value)| attribute(name.as_ref(), value)).collect(),
            domain: Some(domain.to_owned()),
        });
        outputs
    }

    /// Makes the value `from` an output of the model with this name.
    pub(super) fn output(&mut self, from: &str, name: &str) {
        let node = self.fresh("Identity");
        self.nodes.push(NodeProto {
            input: vec![from.to_owned()],
            output: vec![name.to_owned()],
            name: Some(node),
            op_type: Some("Identity".to_owned()),
            attribute: Vec::new(),
            domain: Some(String::new()),
        });
    }

    /// A constant of f32 numbers.
    pub(super) fn f32s(&mut self, dims: &[usize], values: &[f32]) -> io::Result<ValueName> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(ElementType::F32, dims, &bytes)
    }

    /// A table in f32, row after row.
    pub(super) fn f32_rows(&mut self, table: &Matrix) -> io::Result<ValueName> {
        let dims = [table.rows(), table.columns()];
        let mut row = vec![0.0; table.columns()];
        let rows = (0..table.rows()).map(|index| {
            table.read_row(index, &mut row);
            row.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()
        });
        self.streamed(ElementType::F32, &dims, rows)
    }

    /// A value as f32.
    pub(super) fn cast_to_f32(&mut self, value: &str) -> ValueName {
        let to = Attribute::Int(ElementType::F32 as i64);
        self.node("Cast", [value], &[("to", to)])
    }

    /// A constant of i64 numbers: sizes, axes, bounds.
    pub(super) fn i64s(&mut self, values: &[i64]) -> io::Result<ValueName> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(ElementType::I64, &[values.len()], &bytes)
    }

    /// A constant from its bytes.
    pub(super) fn constant(
        &mut self,
        kind: ElementType,
        dims: &[usize],
        bytes: &[u8],
    ) -> io::Result<ValueName> {
        if bytes.len() < EXTERNAL_FROM {
            return Ok(self.declare(kind, dims, Some(bytes.to_vec()), Vec::new()));
        }
        self.streamed(kind, dims, std::iter::once(bytes))
    }

    /// A constant that is too large to be in memory twice: it is written to the data file piece by piece.
    pub(super) fn streamed<B: AsRef<[u8]>>(
        &mut self,
        kind: ElementType,
        dims: &[usize],
        pieces: impl Iterator<Item = B>,
    ) -> io::Result<ValueName> {
        let padding = self.data_length.next_multiple_of(PAGE) - self.data_length;
        let zeros = [0; PAGE as usize];
        self.append(&zeros[..usize::try_from(padding).unwrap_or_default()])?;
        let offset = self.data_length;
        for piece in pieces {
            self.append(piece.as_ref())?;
        }
        let length = self.data_length - offset;
        let place = vec![
            StringStringEntryProto::new("location", &self.data_name),
            StringStringEntryProto::new("offset", offset.to_string()),
            StringStringEntryProto::new("length", length.to_string()),
        ];
        Ok(self.declare(kind, dims, None, place))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.data.write_all(bytes)?;
        self.digest.update(bytes);
        self.data_length += bytes.len() as u64;
        Ok(())
    }

    fn declare(
        &mut self,
        kind: ElementType,
        dims: &[usize],
        raw_data: Option<Vec<u8>>,
        external_data: Vec<StringStringEntryProto>,
    ) -> ValueName {
        let name = self.fresh("constant");
        self.constants.push(TensorProto {
            dims: dims.iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX)).collect(),
            data_type: Some(kind as i32),
            name: Some(name.clone()),
            data_location: (!external_data.is_empty()).then_some(EXTERNAL),
            raw_data,
            external_data,
        });
        name
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.named += 1;
        format!("{kind}_{}", self.named)
    }

    /// The graph, the data file and the SHA-256 of what went there.
    pub(super) fn finish(
        self,
        name: &str,
        inputs: Vec<ValueInfoProto>,
        output: ValueInfoProto,
    ) -> (GraphProto, W, String) {
        let graph = GraphProto {
            node: self.nodes,
            name: Some(name.to_owned()),
            initializer: self.constants,
            input: inputs,
            output: vec![output],
        };
        let digest = self.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        (graph, self.data, digest)
    }
}

fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let mut attribute = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    attribute.r#type = Some(match value {
        Attribute::Int(value) => {
            attribute.i = Some(*value);
            ATTRIBUTE_INT
        }
        Attribute::Ints(values) => {
            attribute.ints.clone_from(values);
            ATTRIBUTE_INTS
        }
        Attribute::Float(value) => {
            attribute.f = Some(*value);
            ATTRIBUTE_FLOAT
        }
        Attribute::Floats(values) => {
            attribute.floats.clone_from(values);
            ATTRIBUTE_FLOATS
        }
    });
    attribute
}

/// A size as an attribute of ONNX.
pub(super) fn to_i64(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
