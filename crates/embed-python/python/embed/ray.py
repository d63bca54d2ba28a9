"""Ray Data: a dataset of texts to one with their vectors, by a pool of actors with a model each.

>>> import ray
>>> from embed.ray import Embed
>>> rows = ray.data.read_parquet("passages/").repartition(target_num_rows_per_block=500).map_batches(
...     Embed, fn_constructor_args=("multilingual-e5-small",), batch_format="pyarrow", batch_size=500, concurrency=2, num_cpus=1
... )
>>> rows.write_parquet("vectors/")

An actor works on one block at a time, and does the whole block again if it dies; Ray makes one block of small files. So say how
many rows a block has.

`missing` leaves out what an earlier run has done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import ray

from ._adapter import LoadArguments, loaded
from ._arrow import HASH, embedded, finished, hashed
from ._embedder import Role, Truncate

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Embed:
    """The class for `Dataset.map_batches`, with ``batch_format="pyarrow"`` and a ``concurrency``: each actor loads the model
    once. It adds the columns ``vector``, ``space``, ``variant``, ``tokens``, ``error`` and ``hash`` to those of a batch; a row
    that can't be embedded is kept with its error. A vector doesn't depend on the batch, so a batch that Ray runs again gives the same
    rows.
    """

    def __init__(
        self,
        model: str = "multilingual-e5-small",
        *,
        column: str = "text",
        role: Role = "document",
        truncate: Truncate = "error",
        **arguments: Unpack[LoadArguments],
    ) -> None:
        """Loads the model in the actor, with a thread for each processor that Ray has given it.

        Args:
            model: The name of a model.
            column: The column with the texts.
            role: As for `Embedder.encode`.
            truncate: As for `Embedder.encode`.
            arguments: As for `Embedder.load`.

        Raises:
            EmbedError: As `Embedder.load`.
        """
        self.column = column
        self.role: Role = role
        self.truncate: Truncate = truncate
        processors = ray.get_runtime_context().get_assigned_resources().get("CPU", 0.0)
        if processors >= 1:
            arguments.setdefault("threads", int(processors))
        self.embedder = loaded(model, arguments)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The batch with the columns that are added.

        Raises:
            EmbedError: The whole batch has failed; Ray retries it as it is told.
        """
        return embedded(batch, self.embedder, self.column, self.role, self.truncate)


def missing(
    rows: ray.data.Dataset,
    done: ray.data.Dataset | None,
    variant: str,
    *,
    num_partitions: int,
    on: Sequence[str] = (),
    column: str = "text",
    role: Role = "document",
) -> ray.data.Dataset:
    """The rows that have no vector of this variant in the output of earlier runs; what becomes of them belongs into the same
    folder. A row is known by the hash of its text and role, and by more columns if there are several with one text:

    >>> done = ray.data.read_parquet("vectors/")
    >>> rows = missing(ray.data.read_parquet("passages/"), done, model.variant, num_partitions=64, on=["id"])
    >>> rows.map_batches(Embed, ...).write_parquet("vectors/")

    Ray compares them by polars, which must be installed on its machines.

    A row that has failed is missing, and is tried again; the row with its error stays where it was written.

    Args:
        rows: All rows.
        done: What earlier runs have written; nothing at the first.
        variant: That of the model, `Embedder.variant`.
        num_partitions: Into how many parts Ray divides both to compare them, as for `Dataset.join`.
        on: Columns of both that a row is known by besides its hash.
        column: The column with the texts.
        role: As for `Embed`.
    """
    rows = rows.map_batches(
        hashed, fn_kwargs={"column": column, "role": role}, batch_format="pyarrow", zero_copy_batch=True
    )
    if done is None:
        return rows
    keys = [*on, HASH]
    there = done.select_columns([*keys, "variant", "error"]).map_batches(
        finished, fn_kwargs={"variant": variant, "keys": keys}, batch_format="pyarrow", zero_copy_batch=True
    )
    return rows.join(there, "left_anti", num_partitions, on=tuple(keys))
