"""The receipt: what was verified, for which architecture, and whether it still holds."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from tsumiki.doctor import check_receipt, diagnose, from_json, require_receipt, to_json
from tsumiki.doctor.mutations import MUTATIONS
from tsumiki.doctor.patients import MODERN, healthy
from tsumiki.errors import UserError
from tsumiki.models import build_model

CHECKS = ["determinism", "causality", "cache"]


def test_a_receipt_is_plain_json_and_comes_back() -> None:
    diagnosis = diagnose(build_model(MODERN))
    receipt = json.loads(json.dumps(to_json(diagnosis)))
    assert from_json(receipt).verdicts[1].check == "causality"
    assert [verdict.status for verdict in from_json(receipt).verdicts] == [v.status for v in diagnosis.verdicts]
    assert receipt["ok"] is True
    assert receipt["verdicts"][1]["sentence"] == "Nothing was found."


def test_a_receipt_says_what_it_holds_for() -> None:
    receipt = to_json(diagnose(build_model(MODERN), checks=CHECKS))
    setting = receipt["setting"]
    assert setting["verified"] == "at these lengths, dtypes and backends"
    assert (setting["context"], setting["windows"], setting["dtype"]) == (64, [8], "float64")
    assert setting["backend"]["attention"] == "sdpa"
    assert set(setting["versions"]) == {"tsumiki", "torch", "python"}
    assert receipt["model"]["name"] == "GPTOSS"
    assert receipt["model"]["architecture"]["attention"]["num_kv_heads"] == 2
    assert receipt["model"]["parameters"] == sum(p.numel() for p in build_model(MODERN).parameters())


def test_a_re_run_gives_the_same_receipt_but_for_the_time() -> None:
    def timeless(receipt: dict) -> dict:
        return {**receipt, "verdicts": [{**entry, "seconds": 0} for entry in receipt["verdicts"]]}

    receipts = [timeless(to_json(diagnose(build_model(MODERN, seed=3)))) for _ in range(2)]
    assert receipts[0] == receipts[1]


def test_other_weights_of_the_same_architecture_keep_the_receipt() -> None:
    receipt = to_json(diagnose(build_model(MODERN), checks=CHECKS))
    assert check_receipt(receipt, build_model(MODERN, seed=7)) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sliding_window": 9}, "sliding_window is 9, but 8 was verified: run the doctor again."),
        ({"norm_eps": 1e-6}, "norm_eps is 1e-06, but 1e-05 was verified: run the doctor again."),
        (
            {"attention": replace(MODERN.attention, num_kv_heads=4)},
            "attention.num_kv_heads is 4, but 2 was verified: run the doctor again.",
        ),
    ],
)
def test_a_changed_architecture_is_named(change: dict, reason: str) -> None:
    receipt = to_json(diagnose(build_model(MODERN), checks=CHECKS))
    assert check_receipt(receipt, build_model(replace(MODERN, **change))) == [reason]


def test_a_failed_receipt_holds_for_nothing() -> None:
    patient = healthy()
    MUTATIONS["no_mask"].plant(patient)
    receipt = to_json(diagnose(patient.model, checks=CHECKS))
    assert receipt["ok"] is False
    assert "The model sees the future" in check_receipt(receipt, patient.model)[0]


def test_a_module_without_a_configuration_is_known_by_its_shapes() -> None:
    receipt = to_json(diagnose(nn.Embedding(5, 5), vocab_size=5, checks=CHECKS))
    assert check_receipt(receipt, nn.Embedding(5, 5)) == []
    assert check_receipt(receipt, nn.Embedding(7, 5)) == [
        "weight is [7, 5], but [5, 5] was verified: run the doctor again."
    ]


def test_a_field_that_a_later_version_added_breaks_no_receipt() -> None:
    receipt = to_json(diagnose(build_model(MODERN), checks=CHECKS))
    del receipt["model"]["architecture"]["norm_eps"]  # as a version before it would have written
    assert check_receipt(receipt, build_model(MODERN)) == []


def test_a_model_goes_with_its_receipt_or_with_none(tmp_path: Path) -> None:
    model = build_model(MODERN)
    require_receipt(tmp_path, model)
    receipt = tmp_path / "doctor.json"
    receipt.write_text(json.dumps(to_json(diagnose(model, checks=CHECKS))), encoding="utf-8")
    require_receipt(tmp_path, model)
    with pytest.raises(UserError, match=r"no receipt for the model beside it: sliding_window is 9, but 8 was verified"):
        require_receipt(tmp_path, build_model(replace(MODERN, sliding_window=9)))
    receipt.write_text('{"ok": true}', encoding="utf-8")
    with pytest.raises(UserError, match=r"doctor.json' is damaged\. Write a new one with `tsumiki doctor"):
        require_receipt(tmp_path, model)


def test_a_receipt_for_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    receipt = to_json(diagnose(build_model(MODERN), checks=CHECKS))
    receipt["model"]["architecture"]["family"] = "unheard_of"
    (tmp_path / "doctor.json").write_text(json.dumps(receipt), encoding="utf-8")
    with pytest.raises(UserError, match="unheard_of"):
        require_receipt(tmp_path, build_model(MODERN))
