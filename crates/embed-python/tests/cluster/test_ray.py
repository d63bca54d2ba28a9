"""Ray Data on a cluster of two nodes: Parquet in, Parquet out, one worker killed in the middle."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ray.data", reason="ray[data] is not installed")

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import ray
from ray.cluster_utils import Cluster

import embed
from embed.ray import Embed, missing

# More for a longer run: each is a distinct text.
ROWS = int(os.environ.get("EMBED_TEST_ROWS", "600"))


class Mortal(Embed):
    """Kills its process, by its id, on the second batch of the first actor that comes so far."""

    def __init__(self, died: str, model: str) -> None:
        super().__init__(model)
        self.died = Path(died)
        self.batches = 0

    def __call__(self, batch: pa.Table) -> pa.Table:
        self.batches += 1
        if self.batches == 2:
            try:
                self.died.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    # Two processors each, of which an actor takes one: what reads and writes needs one, too.
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    nodes.add_node(num_cpus=2)
    # The workers import this file.
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    ray.init(address=nodes.address, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": path}})
    assert sum(node["Alive"] for node in ray.nodes()) == 2
    yield
    ray.shutdown()
    nodes.shutdown()


def test_each_row_comes_once_and_equal_to_the_bit(
    cluster: None, model: embed.Embedder, articles: list[str], tmp_path: Path
) -> None:
    texts: list[str | None] = [f"{number}: {articles[number % len(articles)]}" for number in range(ROWS)]
    texts[7], texts[11] = "", None
    for part in range(4):
        mine = range(part, ROWS, 4)
        table = pa.table({"id": list(mine), "text": [texts[at] for at in mine]})
        pa.parquet.write_table(table, tmp_path / f"texts-{part}.parquet")

    died = tmp_path / "died"
    data: Any = ray.data.read_parquet([str(tmp_path / f"texts-{part}.parquet") for part in range(4)])
    data = data.map_batches(
        Mortal,
        fn_constructor_args=(str(died), "multilingual-e5-small"),
        batch_format="pyarrow",
        batch_size=32,
        concurrency=2,
        num_cpus=1,
    )
    data.write_parquet(str(tmp_path / "vectors"))
    assert died.exists(), "no worker was killed"

    table = pa.dataset.dataset(tmp_path / "vectors").to_table().sort_by("id")
    assert table.column("id").to_pylist() == list(range(ROWS))
    assert table.column_names == ["id", "text", "vector", "space", "variant", "tokens", "error", "hash"]
    for row, expected in zip(table.to_pylist(), model.encode_rows(texts), strict=True):  # type: ignore[arg-type]
        if expected.vector is None:
            assert row["vector"] is None and row["error"] == f"invalid_input: {expected.error}"
            continue
        assert np.asarray(row["vector"], np.float32).tobytes() == expected.vector.tobytes()
        assert (row["space"], row["variant"], row["tokens"]) == (expected.space, expected.variant, expected.tokens)


def test_a_job_that_is_run_again_does_only_what_is_missing(
    cluster: None, model: embed.Embedder, articles: list[str], tmp_path: Path
) -> None:
    folder = str(tmp_path / "vectors")

    def run(texts: list[str], done: Any) -> list[int]:
        rows = ray.data.from_arrow(pa.table({"id": list(range(len(texts))), "text": texts}))
        rows = missing(rows, done, model.variant, num_partitions=2, on=["id"]).materialize()
        made = rows.map_batches(
            Embed, fn_constructor_args=("multilingual-e5-small",), batch_format="pyarrow", concurrency=1, num_cpus=1
        )
        made.write_parquet(folder)
        return sorted(row["id"] for row in rows.take_all())

    texts = articles[:40]
    texts[3] = ""
    assert run(texts, None) == list(range(40))
    # Again, with one text that is new, one that is another, and one that has failed before.
    texts[5], texts[3] = "another", texts[7]
    texts.append(texts[0])
    assert run(texts, ray.data.read_parquet(folder)) == [3, 5, 40]
    assert run(texts, ray.data.read_parquet(folder)) == []

    table = pa.dataset.dataset(folder).to_table().filter(pa.dataset.field("error").is_null())
    vectors = {(row["id"], row["text"]): np.asarray(row["vector"], np.float32) for row in table.to_pylist()}
    assert len(vectors) == len(table) == 42
    for key, expected in zip(enumerate(texts), model.encode(texts), strict=True):
        assert vectors[key].tobytes() == expected.tobytes()
