"""The exceptions: one hierarchy, a class for each kind of error."""

from __future__ import annotations

import builtins
from typing import Literal

Retry = Literal["permanent", "temporary", "exhausted"]


class EmbedError(Exception):
    """What went wrong with a call, or with a row. The message never holds a text, only lengths and digests.

    Attributes:
        kind: What went wrong, in snake case, such as ``"input_too_long"``; each kind has a class of its own.
        retry: ``"permanent"`` if the same call would fail again, ``"temporary"`` if it may succeed later, ``"exhausted"``
            if it was temporary and all retries have failed.
        retry_after: How long to wait before a retry, in seconds, where a server said so.
    """

    kind: str = "internal"

    def __init__(self, message: str, retry: Retry = "permanent", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry: Retry = retry
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type[EmbedError], tuple[str, Retry, float | None]]:
        return type(self), (str(self), self.retry, self.retry_after)


class InvalidInputError(EmbedError, ValueError):
    """The input can't be embedded: it is empty, or no text; or an argument makes no sense."""

    kind = "invalid_input"


class InputTooLongError(EmbedError, ValueError):
    """The text is too long for the model, and ``truncate="error"`` says not to cut it."""

    kind = "input_too_long"


class ModelNotFoundError(EmbedError):
    """There is no such model, or it isn't in the data folder; ``pull=True`` fetches it."""

    kind = "model_not_found"


class DimensionMismatchError(EmbedError, ValueError):
    """A vector doesn't have the dimension of its model."""

    kind = "dimension_mismatch"


class SpaceMismatchError(EmbedError, ValueError):
    """Vectors of two spaces were to be compared, or to be rows of one matrix."""

    kind = "space_mismatch"


class UnauthorizedError(EmbedError):
    """The server rejects the credentials, or there are none."""

    kind = "unauthorized"


class RateLimitedError(EmbedError):
    """The server gets too many requests."""

    kind = "rate_limited"


class OverloadedError(EmbedError):
    """There is too much to do already."""

    kind = "overloaded"


class TimeoutError(EmbedError, builtins.TimeoutError):
    """The timeout has passed."""

    kind = "timeout"


class UnavailableError(EmbedError):
    """The server doesn't answer, or a part of the system died."""

    kind = "unavailable"


class ProtocolError(EmbedError):
    """The server's answer violates its protocol."""

    kind = "protocol"


class ConfigError(EmbedError):
    """A setting, a file or the environment is wrong."""

    kind = "config"


class InternalError(EmbedError):
    """A bug in this software."""

    kind = "internal"


_CLASSES: dict[str, type[EmbedError]] = {
    error.kind: error
    for error in (
        InvalidInputError,
        InputTooLongError,
        ModelNotFoundError,
        DimensionMismatchError,
        SpaceMismatchError,
        UnauthorizedError,
        RateLimitedError,
        OverloadedError,
        TimeoutError,
        UnavailableError,
        ProtocolError,
        ConfigError,
        InternalError,
    )
}


def of_kind(kind: str, message: str, retry: Retry, retry_after: float | None) -> EmbedError:
    """The exception of a kind; the compiled half of the package calls this."""
    return _CLASSES.get(kind, EmbedError)(message, retry, retry_after)
