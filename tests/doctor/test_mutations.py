"""Every check catches the bugs that it is there for, and is silent on healthy patients."""

from collections import Counter
from dataclasses import replace

import pytest
from torch import nn

from tsumiki.doctor.checks import MODEL_CHECKS, PIPELINE_CHECKS, diagnose
from tsumiki.doctor.messages import sentence
from tsumiki.doctor.mutations import MUTATIONS
from tsumiki.doctor.patients import MODELS, healthy
from tsumiki.doctor.selftest import self_test, summary, table

CHECKS = {check.name: check for check in (*MODEL_CHECKS, *PIPELINE_CHECKS)}


@pytest.mark.parametrize("name", MODELS)
def test_a_healthy_patient_passes_every_check(name: str) -> None:
    patient = healthy(name)
    diagnosis = diagnose(patient.model, adapter=patient.adapter, data=patient.pipeline, level="full")
    assert [(verdict.check, sentence(verdict)) for verdict in diagnosis.failures] == []
    assert {verdict.check for verdict in diagnosis.verdicts if verdict.status == "passed"} == set(CHECKS)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_planted_bug_is_found_by_its_check(name: str) -> None:
    mutation = MUTATIONS[name]
    patient = healthy(mutation.patient)
    mutation.plant(patient)
    diagnosis = diagnose(
        patient.model,
        adapter=patient.adapter,
        data=patient.pipeline,
        level=CHECKS[mutation.found_by].level,
        checks=[mutation.found_by],
    )
    (verdict,) = diagnosis.verdicts
    assert verdict.status == "failed", mutation.what("en")
    assert verdict.code != "raised", sentence(verdict)


def test_every_check_has_a_bug_of_its_own() -> None:
    # Two checks look at what others look at, in another way; these find it, too.
    shared = {"causality_gradient", "overfit_one_batch"}
    assert {mutation.found_by for mutation in MUTATIONS.values()} | shared == set(CHECKS)


def test_there_are_many_bugs_of_many_kinds() -> None:
    groups = Counter(mutation.group for mutation in MUTATIONS.values())
    assert len(MUTATIONS) >= 80
    assert set(groups) >= {"mask", "positions", "attention", "layers", "cache", "loss", "gradient", "data"}


@pytest.mark.parametrize(
    ("name", "check", "where"),
    [
        ("last_layer_only", "causality", "layers.1.attention"),
        ("one_head_a_little", "causality", "layers.1.attention"),
        ("norm_over_time", "causality", "layers.1.attention_norm"),
        ("row_mean_added", "causality", "layers.0.feed_forward"),
        ("values_shifted", "cache", "layers.0.attention"),
        ("centred_norm", "reference", "norm"),
        ("gate_and_up_swapped", "reference", "layers.0.feed_forward"),
        ("no_residual", "reference", "layers.0.feed_forward_norm"),
    ],
)
def test_the_place_of_a_bug_is_named(name: str, check: str, where: str) -> None:
    mutation = MUTATIONS[name]
    patient = healthy(mutation.patient)
    mutation.plant(patient)
    diagnosis = diagnose(patient.model, adapter=patient.adapter, checks=[check])
    assert diagnosis.verdicts[0].values["where"] == where
    assert f"`{where}`" in sentence(diagnosis.verdicts[0])


def test_a_leak_past_position_300_is_found_with_its_positions() -> None:
    mutation = MUTATIONS["from_position_300"]
    patient = healthy(mutation.patient)
    mutation.plant(patient)
    diagnosis = diagnose(patient.model, adapter=patient.adapter, checks=["causality"])
    assert "positions 301 to 510" in sentence(diagnosis.verdicts[0])


def test_overfitting_notices_a_model_that_cannot_learn() -> None:
    def fresh(model: nn.Module) -> nn.Module:
        made = healthy("classic").model
        for parameter in made.parameters():
            parameter.requires_grad_(parameter.ndim == 1)  # norms and biases alone cannot remember a batch
        return made

    patient = healthy("classic")
    adapter = replace(patient.adapter, fresh=fresh)
    diagnosis = diagnose(patient.model, adapter=adapter, checks=["overfit_one_batch"])
    assert "Sixty steps on one small batch" in sentence(diagnosis.verdicts[0])


def test_the_self_test_reports_what_was_found_and_what_was_missed() -> None:
    seen: list[str] = []
    cases = self_test(["long", "no_scale", "labels_shifted_twice"], progress=seen.append)
    assert seen == ["long", "no_scale", "labels_shifted_twice"]
    assert all(case.right for case in cases)
    assert "| `no_scale` | Scores are not scaled. | reference | - |" in table(cases)
    assert "| `no_scale` | スコアを割っていない。 | reference | - |" in table(cases, "ja")
    assert "| the oracle alone | 1 / 2 |" in summary(cases)
    assert "False alarms on healthy models: 0" in summary(cases)
    missed = replace(cases[0], mutation=MUTATIONS["no_scale"])
    assert not missed.right
    assert "**missed**" in table([missed])
