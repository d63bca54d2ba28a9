"""What the machine can do at all: the matrix products of the encoder's layers and nothing else.

Speaks the worker's protocol; `batch` answers how long as many tokens take as the texts have, at a number of rows that
suits the products best. One single-threaded session for each core.

    limits.py int8|f32
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

LAYERS, HIDDEN = 12, 384
# Inputs and outputs: queries, keys and values in one; the output of attention; both of the feed-forward part.
SHAPES = ((HIDDEN, 3 * HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 4 * HIDDEN), (4 * HIDDEN, HIDDEN))
# Enough rows that the products alone count.
ROWS = 256


def graph(precision: str) -> bytes:
    """All products of a layer beside each other. Only their shapes are asked for, so that no result is copied."""
    random = np.random.default_rng(7)
    nodes, constants, outputs = [], [], []
    inputs: dict[int, str] = {}
    kind = TensorProto.UINT8 if precision == "int8" else TensorProto.FLOAT
    for layer in range(LAYERS):
        for number, (rows, columns) in enumerate(SHAPES):
            name = f"{layer}_{number}"
            inputs.setdefault(rows, f"input_{rows}")
            weights = random.integers(-127, 128, (rows, columns)).astype(np.int8)
            if precision == "f32":
                weights = weights.astype(np.float32)
            constants.append(numpy_helper.from_array(weights, f"w{name}"))
            product = "MatMulInteger" if precision == "int8" else "MatMul"
            nodes.append(helper.make_node(product, [inputs[rows], f"w{name}"], [f"product_{name}"]))
            nodes.append(helper.make_node("Shape", [f"product_{name}"], [f"shape_{name}"]))
            outputs.append(f"shape_{name}")
    graph_ = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info(name, kind, ["rows", rows]) for rows, name in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.INT64, [2]) for name in outputs],
        constants,
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph_, opset_imports=opsets, ir_version=9).SerializeToString()


class Limit:
    def __init__(self, precision: str) -> None:
        self.cores = len(os.sched_getaffinity(0))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        # Or it would leave the products out, of which only the shape is asked for.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        model = graph(precision)
        self.sessions = [onnxruntime.InferenceSession(model, options) for _ in range(self.cores)]
        kind = np.uint8 if precision == "int8" else np.float32
        random = np.random.default_rng(8)
        self.feed: dict[str, NDArray[np.generic]] = {
            f"input_{rows}": random.integers(0, 255, (ROWS, rows)).astype(kind) for rows in (HIDDEN, 4 * HIDDEN)
        }
        self.pool = ThreadPoolExecutor(self.cores)

    def seconds(self, tokens: int) -> float:
        """How long so many tokens take, measured over a whole number of runs on every core."""
        runs = max(1, round(tokens / (ROWS * self.cores)))

        def work(session: onnxruntime.InferenceSession) -> None:
            for _ in range(runs):
                session.run(None, self.feed)

        began = time.perf_counter()
        list(self.pool.map(work, self.sessions))
        return (time.perf_counter() - began) * tokens / (runs * ROWS * self.cores)


def main(precision: str) -> None:
    limit = Limit(precision)
    print(json.dumps({"setting": f"{ROWS} rows a product, {limit.cores} cores"}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        with open(order["texts"], encoding="utf-8") as texts:
            tokens = sum(json.loads(text)["tokens"] for text in texts)
        print(json.dumps({"seconds": limit.seconds(tokens)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
