"""Stopping between two steps instead of inside one: Ctrl-C and SIGTERM while training."""

import signal
from types import FrameType, TracebackType


class Interrupted(Exception):
    """The user or the machine asked the training to stop, and it did so in good order.

    The message is the sentence the user will see; it says how to go on. The command line exits with `exit_code`, which
    is 130 after Ctrl-C and 143 after SIGTERM, as shells count.
    """

    def __init__(self, sentence: str, number: int) -> None:
        super().__init__(sentence)
        self.exit_code = 128 + number


class StopSignals:
    """While open, remembers the first Ctrl-C or SIGTERM in `received`. A second one acts as it always does.

    It can be opened in the main thread only, which is where Python delivers signals.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    def __enter__(self) -> "StopSignals":
        self._before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
