"""A corpus in Parquet, and the rows that one process makes of it, which those of a cluster must equal."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

import embed
from embed._arrow import COLUMNS, embedded

ROWS = int(os.environ.get("EMBED_TEST_ROWS", "600"))
"""More for a longer run."""

TEXTS = os.environ.get("EMBED_TEST_TEXTS")
"""A file of JSON lines with a field ``text``, of which the corpus is made; else articles of the tests."""

PART = max(50, min(1000, ROWS // 12))
"""Rows of a file, which is what a worker is given at a time."""


class Corpus:
    """Files of texts with an id, some of which can't be embedded."""

    def __init__(self, folder: Path, model: embed.Embedder, articles: list[str]) -> None:
        self.folder = folder
        self.model = model
        if TEXTS:
            articles = [json.loads(line)["text"] for line in Path(TEXTS).read_text("utf-8").splitlines()]
        # Where there are fewer than rows, a number makes each a text of its own.
        rounds = [f"{number // len(articles)}: " if number >= len(articles) else "" for number in range(ROWS)]
        texts: list[str | None] = [rounds[at] + articles[at % len(articles)] for at in range(ROWS)]
        texts[7], texts[11] = "", None
        self.files = []
        for first in range(0, ROWS, PART):
            ids = list(range(first, min(first + PART, ROWS)))
            path = folder / f"texts-{first:08}.parquet"
            pa.parquet.write_table(pa.table({"id": ids, "text": [texts[at] for at in ids]}), path)
            self.files.append(str(path))
        self.seconds = seconds(self._embed_here)

    def _embed_here(self) -> None:
        """The same job in this process: files in, files out."""
        made = self.folder / "here"
        made.mkdir()
        for file in self.files:
            table = embedded(pa.parquet.read_table(file), self.model, "text", "document", "end")
            pa.parquet.write_table(table, made / Path(file).name)

    def check(self, job: Callable[[str], None]) -> None:
        """Has a cluster do the job, and compares the rows that it writes into a folder."""
        out = self.folder / "there"
        took = seconds(lambda: job(str(out)))
        more = 100 * (took / self.seconds - 1)
        print(f"{ROWS} rows: one process {self.seconds:.1f} s, the cluster {took:.1f} s: {more:+.1f} %", flush=True)
        here, there = read(self.folder / "here"), read(out)
        assert there.column("id").to_pylist() == list(range(ROWS)), "a row is missing, or came twice"
        for column in COLUMNS[1:]:
            assert there.column(column).to_pylist() == here.column(column).to_pylist(), column
        assert vectors(there).tobytes() == vectors(here).tobytes()
        assert here.column("error").null_count == ROWS - 2


def check_runs_again(
    model: embed.Embedder, articles: list[str], folder: Path, run: Callable[[list[str], bool], list[int]]
) -> None:
    """A job that is run again does only what is missing. `run` embeds the texts that aren't in the folder yet, if it is there, and
    returns their places."""
    texts = articles[:40]
    texts[3] = ""
    assert run(texts, False) == list(range(40))
    # Again, with one text that is new, one that is another, and one that has failed before.
    texts[5], texts[3] = "another", texts[7]
    texts.append(texts[0])
    assert run(texts, True) == [3, 5, 40]
    assert run(texts, True) == []

    table = read(folder).filter(pa.dataset.field("error").is_null())
    made = {(row["id"], row["text"]): np.asarray(row["vector"], np.float32) for row in table.to_pylist()}
    assert len(made) == len(table) == 42
    for key, expected in zip(enumerate(texts), model.encode(texts), strict=True):
        assert made[key].tobytes() == expected.tobytes()


def seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def read(folder: Path) -> pa.Table:
    return pa.dataset.dataset(folder, format="parquet").to_table().sort_by("id")


def vectors(table: pa.Table) -> np.ndarray:
    """The numbers of all rows that have a vector, which `error` tells."""
    values: np.ndarray = table.column("vector").drop_null().combine_chunks().flatten().to_numpy()
    assert values.dtype == np.float32
    return values
