"""Threads that read, encode and decode slices ahead of their turn, and how much may wait for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from ._processors import processors

Item = TypeVar("Item")
Result = TypeVar("Result")

SLICE_BYTES = 2 * 2**20
"""Threads work on about so many bytes of a tensor at a time: few, since fresh memory is slow."""

MOST_THREADS = 16
"""SHA-256 of a file, one thread's work, is slower than what more of them encode."""


def default_threads() -> int:
    """The processors that this process may run on, within what is of use."""
    return min(MOST_THREADS, processors())


class Work:
    """A context manager that ends all work at its end.

    Args:
        threads: for slices; by default as many as there are processors for this process, 16 at most
        progress: is told of every so many bytes of input that are done
    """

    def __init__(self, threads: int | None = None, progress: Callable[[int], None] = lambda count: None) -> None:
        self.threads = default_threads() if threads is None else threads
        self.progress = progress
        self._pool = ThreadPoolExecutor(self.threads, "codecllm")
        # For who waits for slices, and so must not keep a thread from them.
        self._planners = ThreadPoolExecutor(self.threads + 1, "codecllm-planner")
        self._most = self.threads + 2

    @property
    def most_bytes(self) -> int:
        """What may wait in one order."""
        return self._most * SLICE_BYTES

    def submit(self, task: Callable[..., Result], *arguments: object) -> Future[Result]:
        """Runs a task that waits for no other."""
        return self._pool.submit(task, *arguments)

    def plan(self, task: Callable[..., Result], *arguments: object) -> Future[Result]:
        """Runs a task that waits for others that are submitted."""
        return self._planners.submit(task, *arguments)

    def in_order(
        self, items: Iterable[Item], weigh: Callable[[Item], int], start: Callable[[Item], Future[Result]]
    ) -> Iterator[Result]:
        """Starts work on items as they come, and yields the results in the same order.

        While the caller looks at one result, the next ones are under way: so many that no thread runs dry, and as many
        slices have at most. One always may be.

        Args:
            weigh: bytes that an item holds until its result is taken
        """
        started: deque[tuple[int, Future[Result]]] = deque()
        held = 0
        for item in items:
            weight = weigh(item)
            while started and (len(started) >= self._most or held + weight > self.most_bytes):
                done, future = started.popleft()
                held -= done
                yield future.result()
            started.append((weight, start(item)))
            held += weight
        while started:
            yield started.popleft()[1].result()

    def __enter__(self) -> Work:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._planners.shutdown(cancel_futures=True)


class Slice(NamedTuple):
    """Consecutive bands of a tensor."""

    first_band: int
    band_count: int
    start: int
    """Its bytes in the tensor: from here"""
    end: int
    """to before this."""

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.end - self.start


def slices_of(tensor_bytes: int, bands: int, band_bytes: int) -> Iterator[Slice]:
    """The slices of a tensor, in order."""
    most = max(1, SLICE_BYTES // max(1, band_bytes))
    for first in range(0, bands, most):
        count = min(most, bands - first)
        yield Slice(first, count, first * band_bytes, min(tensor_bytes, (first + count) * band_bytes))


def batches_of(
    items: Iterable[Item],
    size_of: Callable[[Item], int],
    follow: Callable[[Item, Item], bool] = lambda a, b: True,
    most: Callable[[Item], int] = lambda item: SLICE_BYTES,
) -> Iterator[list[Item]]:
    """Consecutive items that `follow` one another and have `most` together, or one that has more.

    Handing each small one from thread to thread would take longer than working on it.

    Args:
        most: bytes of a batch that begins with an item: by default those of a slice
    """
    waiting = deque(items)
    while waiting:
        yield take_batch(waiting, size_of, follow, most(waiting[0]))


def take_batch(
    waiting: deque[Item], size_of: Callable[[Item], int], follow: Callable[[Item, Item], bool], most: int
) -> list[Item]:
    """Takes the first batch of `batches_of` away from what is waiting, so that nothing else holds its items."""
    batch = [waiting.popleft()]
    size = size_of(batch[0])
    while waiting and follow(batch[-1], waiting[0]) and size + size_of(waiting[0]) <= most:
        batch.append(waiting.popleft())
        size += size_of(batch[-1])
    return batch
