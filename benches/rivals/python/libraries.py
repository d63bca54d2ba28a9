"""What a user of Python installs: the wheel of this workspace, fastembed, and sentence-transformers on ONNX Runtime.

Their models are `hidden-<precision>.onnx` of export.py, which pools nothing, as the hub's: these libraries pool by themselves.
"""

import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import worker
from contenders import DIMENSION, MAX_TOKENS, PREFIX, Contender, Rows

CORES = len(os.sched_getaffinity(0))


class Ours:
    """The module as its README shows it."""

    def __init__(self, precision: str) -> None:
        import embed

        self.model = embed.Embedder.load("multilingual-e5-small", precision=precision)  # type: ignore[arg-type]
        self.setting = "Embedder.load"

    def embed(self, texts: list[str], role: str) -> Rows:
        return self.model.encode(texts, role="query" if role == "query" else "document", truncate="end")

    def choices(self) -> list[str]:
        return []

    def choose(self, choice: str) -> None:
        raise ValueError(f"there is no choice {choice}")


class OursInThreads(Ours):
    """So many threads of Python, each with a model of one thread. The texts are dealt out by length, so that none waits."""

    def __init__(self, precision: str, threads: int) -> None:
        import embed

        load = embed.Embedder.load
        self.models = [load("multilingual-e5-small", precision=precision, threads=1) for _ in range(threads)]  # type: ignore[arg-type]
        self.pool = ThreadPoolExecutor(threads)
        self.setting = f"threads of Python: {threads}, each with Embedder.load(threads=1)"

    def embed(self, texts: list[str], role: str) -> Rows:
        order = by_length(texts)
        rows = np.empty((len(texts), DIMENSION), np.float32)

        def work(at: int) -> None:
            mine = order[at :: len(self.models)]
            own = "query" if role == "query" else "document"
            rows[mine] = self.models[at].encode([texts[i] for i in mine], role=own, truncate="end")

        list(self.pool.map(work, range(len(self.models))))
        return rows


class Fastembed:
    """Sorted by length, since it pads. One model on all cores, or a model of one thread for each core on threads of Python;
    its own `parallel` starts processes in each call, and would be measured loading models."""

    batches = (1, 2, 4, 8, 16, 32, 256)

    def __init__(self, folder: Path, precision: str) -> None:
        from fastembed import TextEmbedding
        from fastembed.common.model_description import ModelSource, PoolingType

        self.load = TextEmbedding
        self.arguments: dict[str, Any] = {"model_name": f"local/e5-{precision}", "specific_model_path": str(folder)}
        TextEmbedding.add_custom_model(
            model=self.arguments["model_name"],
            pooling=PoolingType.MEAN,
            normalization=True,
            sources=ModelSource(hf="none/none"),
            dim=DIMENSION,
            model_file="onnx/model.onnx",
        )
        self.choose("one model, 256")

    @property
    def setting(self) -> str:
        return f"sorted, {self.chosen}"

    def embed(self, texts: list[str], role: str) -> Rows:
        order = by_length(texts)
        prefixed = [PREFIX[role] + texts[i] for i in order]
        rows = np.empty((len(texts), DIMENSION), np.float32)
        if len(self.models) == 1:
            rows[order] = np.stack(list(self.models[0].embed(prefixed, batch_size=self.batch)))
            return rows
        starts = range(0, len(order), self.batch)
        # Whichever thread is free takes the next batch, with the model of its own.
        free = list(self.models)

        def work(start: int) -> None:
            model = free.pop()
            batch = prefixed[start : start + self.batch]
            rows[order[start : start + self.batch]] = np.stack(list(model.embed(batch, batch_size=self.batch)))
            free.append(model)

        list(self.pool.map(work, starts))
        return rows

    def choices(self) -> list[str]:
        return [f"{models}, {batch}" for models in ("one model", "a model a core") for batch in self.batches]

    def choose(self, choice: str) -> None:
        models, batch = choice.split(", ")
        self.batch, self.chosen = int(batch), choice
        wanted = 1 if models == "one model" else CORES
        threads = CORES if wanted == 1 else 1
        self.models = [self.load(**self.arguments, threads=threads) for _ in range(wanted)]
        self.pool = ThreadPoolExecutor(wanted)


class SentenceTransformers:
    """With its ONNX back end. It sorts by length itself."""

    batches = (1, 2, 4, 8, 16, 32, 64)

    def __init__(self, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer

        options = {"provider": "CPUExecutionProvider", "file_name": "onnx/model.onnx"}
        self.model = SentenceTransformer(str(folder), backend="onnx", device="cpu", model_kwargs=options)
        self.model.max_seq_length = MAX_TOKENS
        self.batch = 32

    @property
    def setting(self) -> str:
        return f'backend="onnx", batches of {self.batch}'

    def embed(self, texts: list[str], role: str) -> Rows:
        prefixed = [PREFIX[role] + text for text in texts]
        made = self.model.encode(prefixed, batch_size=self.batch, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(made, np.float32)

    def choices(self) -> list[str]:
        return [str(batch) for batch in self.batches]

    def choose(self, choice: str) -> None:
        self.batch = int(choice)


def by_length(texts: list[str]) -> list[int]:
    return sorted(range(len(texts)), key=lambda i: -len(texts[i]))


def model_folder(models: Path, tokenizer: Path, precision: str) -> Path:
    """A folder as the hub has it for both libraries: the graph, the tokenizer, and what says which is which."""
    folder = models / f"hub-{precision}"
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    for source, name in ((models / f"hidden-{precision}.onnx", "onnx/model.onnx"), (tokenizer, "tokenizer.json")):
        link = folder / name
        link.unlink(missing_ok=True)
        shutil.copyfile(source, link)
    special = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    special |= {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}
    part = "sentence_transformers.models."
    files: dict[str, object] = {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_size": DIMENSION,
            "intermediate_size": 4 * DIMENSION,
            "num_attention_heads": 12,
            "num_hidden_layers": 12,
            "max_position_embeddings": MAX_TOKENS,
            "pad_token_id": 1,
            "vocab_size": 250_037,
        },
        "special_tokens_map.json": special,
        "tokenizer_config.json": special
        | {"model_max_length": MAX_TOKENS, "tokenizer_class": "XLMRobertaTokenizerFast"},
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": part + "Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": part + "Pooling"},
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": DIMENSION, "pooling_mode_mean_tokens": True},
        "sentence_bert_config.json": {"max_seq_length": MAX_TOKENS, "do_lower_case": False},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), "utf-8")
    return folder


def load(name: str, models: Path, tokenizer: Path) -> Contender:
    """`ours-<precision>`, `ours-<precision>-<threads>`, `fastembed-<precision>` or `sentence_transformers-<precision>`."""
    library, precision, *threads = name.split("-")
    match library, threads:
        case "ours", []:
            return Ours(precision)
        case "ours", [number]:
            return OursInThreads(precision, int(number))
        case "fastembed", []:
            return Fastembed(model_folder(models, tokenizer, precision), precision)
        case "sentence_transformers", []:
            return SentenceTransformers(model_folder(models, tokenizer, precision))
    raise SystemExit(f"there is no contender called {name}")


if __name__ == "__main__":
    worker.main(load, *sys.argv[1:])
