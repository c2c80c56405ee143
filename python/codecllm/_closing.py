"""What holds memory of the library: it lets go of it at the end of a `with`, or when nobody has it any more."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

_Kind = TypeVar("_Kind", bound="Closing")


class Closing:
    """Something with a `close` that may be called again."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self: _Kind) -> _Kind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
