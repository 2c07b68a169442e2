"""The doctor examines itself: every mutation must be found, and nothing in a healthy patient."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tsumiki.doctor.checks import examine
from tsumiki.doctor.mutations import MUTATIONS, Mutation
from tsumiki.doctor.patients import MODELS, Patient, healthy
from tsumiki.doctor.verdict import Diagnosis


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


def self_test(names: Iterable[str] | None = None, *, progress: Callable[[str], None] = lambda name: None) -> list[Case]:
    """Run the full set of checks on every healthy patient and on every mutation.

    Args:
        names: mutations to try; all if left out.
        progress: called with the name of each case before it is examined.
    """
    cases = []
    for name in MODELS:
        progress(name)
        cases.append(Case(name, None, _examined(healthy(name))))
    for name in MUTATIONS if names is None else names:
        progress(name)
        mutation = MUTATIONS[name]
        patient = healthy(mutation.patient)
        mutation.plant(patient)
        cases.append(Case(name, mutation, _examined(patient)))
    return cases


def _examined(patient: Patient) -> Diagnosis:
    return examine(patient.model, adapter=patient.adapter, pipeline=patient.pipeline, level="full")
