"""The doctor examines itself: every mutation must be found, and nothing in a healthy patient.

`python -m tsumiki.doctor.selftest docs/en/doctor.md docs/ja/doctor.md` writes the tables of these pages anew.
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tsumiki.doctor.checks import MODEL_CHECKS, PIPELINE_CHECKS, diagnose
from tsumiki.doctor.messages import Language
from tsumiki.doctor.mutations import MUTATIONS, Mutation
from tsumiki.doctor.patients import MODELS, healthy
from tsumiki.doctor.verdict import Diagnosis

LEVELS = {check.name: check.level for check in (*MODEL_CHECKS, *PIPELINE_CHECKS)}
FAMILIES = {check.name: check.family for check in (*MODEL_CHECKS, *PIPELINE_CHECKS)}


@dataclass(frozen=True)
class Case:
    """A patient and what the doctor said.

    Args:
        name: of the mutation, or of a healthy patient.
        mutation: what was planted; None in a healthy patient.
        diagnosis: the doctor's.
    """

    name: str
    mutation: Mutation | None
    diagnosis: Diagnosis

    @property
    def found_by(self) -> list[str]:
        """The checks that failed."""
        return [verdict.check for verdict in self.diagnosis.failures]

    @property
    def right(self) -> bool:
        """Whether the doctor is right: the bug is found, or a healthy patient is left alone."""
        return bool(self.found_by) == (self.mutation is not None)


def self_test(
    names: Iterable[str] = (*MODELS, *MUTATIONS), *, progress: Callable[[str], None] = lambda name: None
) -> list[Case]:
    """Run the full set of checks on healthy patients and on mutations.

    Args:
        names: which of them.
        progress: called with the name of each before it is examined.
    """
    cases = []
    for name in names:
        progress(name)
        mutation = MUTATIONS.get(name)
        patient = healthy(name if mutation is None else mutation.patient)
        if mutation is not None:
            mutation.plant(patient)
        diagnosis = diagnose(patient.model, adapter=patient.adapter, data=patient.pipeline, level="full")
        cases.append(Case(name, mutation, diagnosis))
    return cases


def table(cases: Iterable[Case], language: Language = "en") -> str:
    """The cases as a Markdown table: what was planted, what the quick set found, and what only the full set found."""
    japanese = language == "ja"
    head = (
        ("名前", "壊し方", "すぐの検査", "全検査だけ")
        if japanese
        else ("Bug", "What was done", "Quick", "Full, besides")
    )
    lines = ["| " + " | ".join(head) + " |", "|---|---|---|---|"]
    for case in cases:
        if case.mutation is None:
            continue
        quick = [name for name in case.found_by if LEVELS[name] == "quick"]
        full = [name for name in case.found_by if LEVELS[name] == "full"]
        missed = "**見逃し**" if japanese else "**missed**"
        cells = (
            f"`{case.name}`",
            case.mutation.what(language),
            ", ".join(quick) or ("-" if full else missed),
            ", ".join(full) or "-",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(cases: Iterable[Case], language: Language = "en") -> str:
    """How many were found by everything, by the quick set and by each family, and the false alarms."""
    cases = list(cases)
    sick = [case for case in cases if case.mutation is not None]
    well = [case for case in cases if case.mutation is None]
    alarms = sum(len(case.found_by) for case in well)
    rows = [
        (("all checks", "全検査"), found(sick, lambda name: True)),
        (("the quick set", "すぐの検査"), found(sick, lambda name: LEVELS[name] == "quick")),
        (("invariants alone", "不変条件だけ"), found(sick, lambda name: FAMILIES[name] == "invariants")),
        (("the oracle alone", "参照だけ"), found(sick, lambda name: FAMILIES[name] == "oracle")),
        (("the statistical floor alone", "統計だけ"), found(sick, lambda name: FAMILIES[name] == "statistical")),
        (("the classical list alone", "古典的な検査だけ"), found(sick, lambda name: FAMILIES[name] == "classical")),
        (("data checks alone", "データの検査だけ"), found(sick, lambda name: FAMILIES[name] == "pipeline")),
    ]
    japanese = language == "ja"
    lines = [
        f"| {'見つけた検査' if japanese else 'Found by'} | {'件数' if japanese else 'Bugs'} |",
        "|---|---|",
        *(f"| {names[japanese]} | {count} / {len(sick)} |" for names, count in rows),
    ]
    false = "健康なモデルへの誤報" if japanese else "False alarms on healthy models"
    return "\n".join(lines) + f"\n\n{false}: {alarms} ({', '.join(case.name for case in well)})"


def found(cases: Iterable[Case], wanted: Callable[[str], bool]) -> int:
    """How many of these planted bugs were found by one of the wanted checks."""
    return sum(any(wanted(name) for name in case.found_by) for case in cases)


def in_short(cases: Iterable[Case], seconds: float, language: Language = "en") -> list[str]:
    """The same in four lines, for the end of a long output."""
    cases = list(cases)
    sick = [case for case in cases if case.mutation is not None]
    well = [case for case in cases if case.mutation is None]
    figures = {
        "sick": len(sick),
        "found": found(sick, lambda name: True),
        "quick": found(sick, lambda name: LEVELS[name] == "quick"),
        "missed": ", ".join(case.name for case in sick if not case.right),
        "well": len(well),
        "alarms": sum(not case.right for case in well),
        "seconds": seconds,
    }
    lines = [
        (
            "{found} of {sick} planted bugs were found, {quick} of them by the quick set.",
            "植え付けた {sick} 個のバグのうち {found} 個を見つけました。すぐの検査だけで {quick} 個です。",
        ),
        ("Missed: {missed}.", "見逃し：{missed}。"),
        ("{alarms} of {well} sound models gave a false alarm.", "健康なモデル {well} 個への誤報は {alarms} 個です。"),
        ("It took {seconds:.0f} s.", "{seconds:.0f} 秒かかりました。"),
    ]
    if not figures["missed"]:
        del lines[1]
    return [words[language == "ja"].format(**figures) for words in lines]


BEGIN, END = "<!-- self-test: begin -->", "<!-- self-test: end -->"


def write_page(page: Path, cases: Iterable[Case]) -> None:
    """Put summary and table between the two marks of a page, in the language of its directory."""
    language: Language = "ja" if page.parent.name == "ja" else "en"
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    generated = f"{summary(cases, language)}\n\n{table(cases, language)}"
    page.write_text(f"{before}{BEGIN}\n{generated}\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Run everything, and write the pages that were named."""
    cases = self_test(progress=lambda name: print(name, file=sys.stderr))
    for name in sys.argv[1:]:
        write_page(Path(name), cases)


if __name__ == "__main__":
    main()
