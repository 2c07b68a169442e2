"""What a check is and what it says: `@check`, `Verdict`, `Diagnosis`."""

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

Family = Literal["invariants", "oracle", "statistical", "classical", "pipeline", "curves"]
Level = Literal["quick", "full"]
Status = Literal["passed", "warned", "failed", "skipped"]


@dataclass(frozen=True)
class Verdict:
    """What one check found.

    Args:
        check: name of the check.
        family: which kind of check it is.
        status: `warned` is worth knowing and stops nothing; `skipped` means that the check does not apply to this
            model, and `code` says why.
        code: which sentence of `tsumiki.doctor.messages` says it.
        values: what that sentence is filled with, and the figures behind the verdict: plain numbers and strings.
        seconds: how long the check took.
    """

    status: Status
    code: str
    values: dict[str, Any] = field(default_factory=dict)
    check: str = ""
    family: Family = "invariants"
    seconds: float = 0.0


def passed(**figures: Any) -> Verdict:
    """Nothing was found."""
    return Verdict("passed", "passed", figures)


def warned(code: str, **values: Any) -> Verdict:
    """Something that a person should know, and that is no bug of the model."""
    return Verdict("warned", code, values)


def failed(code: str, **values: Any) -> Verdict:
    """The model has a bug. `code` names the sentence that says what, where, and what usually causes it."""
    return Verdict("failed", code, values)


def skipped(code: str, **values: Any) -> Verdict:
    """The check says nothing about this model, and why."""
    return Verdict("skipped", code, values)


class HasAdapter(Protocol):
    """Something that knows which questions can be asked."""

    def can(self, question: str) -> bool:
        """Whether the question can be asked."""
        ...


@dataclass(frozen=True)
class Check:
    """One check: a function from a subject to a verdict. Its docstring says what it finds and how it can miss.

    Args:
        run: the function.
        family: which kind of check it is.
        level: `quick` checks run before every training; `full` ones when asked for.
        needs: what the subject must be able to do, e.g. `cached`; where it cannot, the check is skipped.
    """

    run: Callable[[Any], Verdict]
    family: Family
    level: Level
    needs: tuple[str, ...]

    @property
    def name(self) -> str:
        """The function's name."""
        return self.run.__name__

    def __call__(self, subject: HasAdapter) -> Verdict:
        """Run the check. A model that raises fails it: the sentence says what was raised and where."""
        started = time.perf_counter()
        missing = [question for question in self.needs if not subject.can(question)]
        try:
            verdict = skipped(f"no_{missing[0]}") if missing else self.run(subject)
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError) as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            verdict = failed(
                "raised", error=type(error).__name__, text=str(error), file=frame.filename, line=frame.lineno
            )
        return replace(verdict, check=self.name, family=self.family, seconds=time.perf_counter() - started)


def check(
    family: Family, level: Level = "quick", needs: Sequence[str] = ()
) -> Callable[[Callable[[Any], Verdict]], Check]:
    """Make a function a check."""
    return lambda run: Check(run, family, level, tuple(needs))


@dataclass(frozen=True)
class Diagnosis:
    """All verdicts about one model, and what they were reached with. Printed as JSON it is the receipt.

    Args:
        model: what the model is: its name, architecture, parameters.
        level: which set of checks ran.
        setting: lengths, dtype, backend and versions that the verdicts hold for, and for no others.
        verdicts: in the order they were run.
    """

    model: dict[str, Any]
    level: Level
    setting: dict[str, Any]
    verdicts: tuple[Verdict, ...]

    @property
    def failures(self) -> list[Verdict]:
        """The verdicts that failed."""
        return [verdict for verdict in self.verdicts if verdict.status == "failed"]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.failures

    @property
    def seconds(self) -> float:
        """How long all checks took."""
        return sum(verdict.seconds for verdict in self.verdicts)
