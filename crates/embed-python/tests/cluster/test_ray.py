"""Ray Data on a cluster of two nodes: Parquet in, Parquet out, one worker killed in the middle."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray.data", reason="ray[data] is not installed")

import pyarrow as pa
import ray
from ray.cluster_utils import Cluster

import embed
from corpus import PART, ROWS, Corpus, check_runs_again
from embed.ray import Embed, missing

ACTORS = 2
# Several batches of a file. One of the actors dies when it has done half of its share.
BATCH = max(16, PART // 2)
LAST = max(2, ROWS // ACTORS // BATCH // 2)


class Mortal(Embed):
    """Kills its process, by its id: the first actor that comes to its `LAST` batch."""

    def __init__(self, died: str, model: str) -> None:
        super().__init__(model, truncate="end")
        self.died = Path(died)
        self.batches = 0

    def __call__(self, batch: pa.Table) -> pa.Table:
        self.batches += 1
        if self.batches == LAST:
            try:
                self.died.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    # A test reaches for no network.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # The workers import this file. Their nodes hand on this environment, so the workers that a node starts ahead of time can be used;
    # with a `runtime_env` the job would start workers of its own.
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ["PYTHONPATH"] = path
    # Two processors each, of which an actor takes one: what reads and writes needs one, too.
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    nodes.add_node(num_cpus=2)
    ray.init(address=nodes.address, log_to_driver=False)
    assert sum(node["Alive"] for node in ray.nodes()) == 2
    yield
    ray.shutdown()
    nodes.shutdown()


def test_each_row_comes_once_and_equal_to_the_bit(
    cluster: None, model: embed.Embedder, articles: list[str], tmp_path: Path
) -> None:
    corpus = Corpus(tmp_path, model, articles)
    died = tmp_path / "died"

    def job(out: str) -> None:
        data: Any = ray.data.read_parquet(corpus.files)
        # Or Ray makes one block of small files, and one actor works. An actor that dies does its block again, and at the end one
        # waits for the last block of the other, so blocks are small.
        data = data.repartition(target_num_rows_per_block=BATCH).map_batches(
            Mortal,
            fn_constructor_args=(str(died), "multilingual-e5-small"),
            batch_format="pyarrow",
            batch_size=BATCH,
            concurrency=ACTORS,
            num_cpus=1,
        )
        data.write_parquet(out)

    corpus.check(job)
    assert died.exists(), "no worker was killed"


def test_a_job_that_is_run_again_does_only_what_is_missing(
    cluster: None, model: embed.Embedder, articles: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "vectors"

    def run(texts: list[str], again: bool) -> list[int]:
        done = ray.data.read_parquet(str(folder)) if again else None
        rows = ray.data.from_arrow(pa.table({"id": list(range(len(texts))), "text": texts}))
        rows = missing(rows, done, model.variant, num_partitions=2, on=["id"]).materialize()
        made = rows.map_batches(
            Embed, fn_constructor_args=("multilingual-e5-small",), batch_format="pyarrow", concurrency=1, num_cpus=1
        )
        made.write_parquet(str(folder))
        return sorted(row["id"] for row in rows.take_all())

    check_runs_again(model, articles, folder, run)
