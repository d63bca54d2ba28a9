"""Ray Data: a dataset of texts to one with their vectors, by a pool of actors with a model each.

>>> import ray
>>> from embed.ray import Embed
>>> rows = ray.data.read_parquet("passages/").map_batches(
...     Embed, fn_constructor_args=("multilingual-e5-small",), batch_format="pyarrow", batch_size=1024, concurrency=2, num_cpus=1
... )
>>> rows.write_parquet("vectors/")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import ray

from ._adapter import LoadArguments, loaded
from ._arrow import embedded
from ._embedder import Role, Truncate

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Embed:
    """The class for `Dataset.map_batches`, with ``batch_format="pyarrow"`` and a ``concurrency``: each actor loads the model
    once. It adds the columns ``vector``, ``space``, ``variant``, ``tokens`` and ``error`` to those of a batch; a row that can't
    be embedded is kept with its error. A vector doesn't depend on the batch, so a batch that Ray runs again gives the same
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
