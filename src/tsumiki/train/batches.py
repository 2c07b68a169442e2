"""The batches of a training, made by a thread while the steps before them are computed."""

from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from time import perf_counter

from tsumiki.data import Batch, TrainingStream
from tsumiki.train.distributed import World

AHEAD = 4
"""How many batches are kept ready."""


@dataclass(frozen=True)
class StepBatch:
    """What a step trains on.

    Args:
        rows: this process's part of the batch, in the CPU's memory; pinned, if a GPU is to fetch it without waiting.
        tokens: how many targets of each language the whole batch has.
    """

    rows: Batch
    tokens: Mapping[str, int]

    @property
    def num_targets(self) -> int:
        """Targets of the whole batch."""
        return sum(self.tokens.values())


class Batches:
    """The batches from a step on, one after the other.

    A batch is a pure function of (seed, step), so making it ahead changes nothing, and a resumed training needs nothing
    but its step. What goes wrong while a batch is made is raised by the `next` that would have returned it.

    Args:
        stream: where the rows come from.
        batch_size: rows a step, of all processes.
        first: the step that the first batch is for.
        world: the processes that share each batch.
        pin: copy the tensors to pinned memory, from where a GPU fetches them while it computes.
    """

    def __init__(self, stream: TrainingStream, batch_size: int, *, first: int, world: World, pin: bool) -> None:
        self._stream = stream
        self._batch_size = batch_size
        self._world = world
        self._pin = pin
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._ahead: deque[Future[StepBatch]] = deque()
        self._next_step = first
        self._waited = 0.0

    def next(self) -> StepBatch:
        """The next step's batch, which is ready unless the thread is too slow."""
        while len(self._ahead) < AHEAD:
            self._ahead.append(self._thread.submit(self._of_step, self._next_step))
            self._next_step += 1
        started = perf_counter()
        batch = self._ahead.popleft().result()
        self._waited += perf_counter() - started
        return batch

    def _of_step(self, step: int) -> StepBatch:
        whole = range(step * self._batch_size, (step + 1) * self._batch_size)
        rows = self._stream.rows(self._world.share(whole))
        tokens = Counter(self._stream.languages(whole))
        return StepBatch(
            rows=pinned(rows) if self._pin else rows,
            tokens={language: count * self._stream.seq_len for language, count in tokens.items()},  # no padding
        )

    def waited(self) -> float:
        """For how many seconds `next` has waited since this was last asked."""
        waited, self._waited = self._waited, 0.0
        return waited

    def close(self) -> None:
        """End the thread, and forget the batches that it made."""
        self._thread.shutdown(cancel_futures=True)


def pinned(rows: Batch) -> Batch:
    """The batch in memory that stays where it is, so that a GPU can fetch it by itself."""
    return replace(
        rows, ids=rows.ids.pin_memory(), targets=rows.targets.pin_memory(), documents=rows.documents.pin_memory()
    )
