"""What may be compared: arms are resolved first, and refused by name where they differ in what is not asked about."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tsumiki.compare import load_experiment, resolve
from tsumiki.compare.experiment import Arm
from tsumiki.config import dump_yaml, load_mapping
from tsumiki.errors import UserError

TINY = Path(__file__).with_name("tiny.yaml")
FEED_FORWARD = "model.feed_forward.d_ff"

Write = Callable[..., Path]


def arms_of(path: Path) -> list[Arm]:
    return resolve(load_experiment(path), path)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as refused:
        arms_of(path)
    return str(refused.value)


def test_an_arm_is_the_base_with_its_changes(write: Write) -> None:
    narrow, wide = arms_of(write({"narrow": {}, "wide": {FEED_FORWARD: 29, "model.attention.variant": "gated"}}))
    assert (narrow.config.model.feed_forward.d_ff, wide.config.model.feed_forward.d_ff) == (24, 29)
    assert wide.config.model.attention.variant == "gated"
    run = wide.run(seed=3, rate=0.5)
    assert (run.name, run.train.seed, run.train.optimizer.learning_rate) == ("experiment-wide-seed-3", 3, 0.5)


def test_what_is_common_holds_for_all_arms_and_gives_way_to_an_arms_own(write: Write) -> None:
    arms = arms_of(write({"a": {}, "b": {FEED_FORWARD: 29}}, common={FEED_FORWARD: 27, "train.steps": 30}))
    assert [(arm.config.model.feed_forward.d_ff, arm.config.train.steps) for arm in arms] == [(27, 30), (29, 30)]


def test_muons_other_rate_keeps_its_proportion(write: Write) -> None:
    muon = {"kind": "muon", "learning_rate": 0.01, "rest": {"kind": "adamw", "learning_rate": 0.004}}
    arm = arms_of(write({"a": {"train.optimizer": muon}, "b": {}}))[0]
    optimizer: Any = arm.run(seed=0, rate=0.02).train.optimizer
    assert (optimizer.learning_rate, optimizer.rest.learning_rate) == (0.02, 0.008)


def test_quantities_are_those_of_the_plan(write: Write) -> None:
    # Two layers: q 16x16, k and v 16x8 each, o 16x16 = 768; three 16x24 matrices = 1152; five norms of 16.
    arm = arms_of(write({"a": {}, "b": {}}))[0]
    matrices, head, scores = 2 * (768 + 1152), 400 * 16, 2 * 4 * 2 * 8 * 16.5
    assert arm.quantities["non_embedding_params"] == matrices + 80
    assert arm.quantities["tokens"] == 60 * 4 * 32
    assert arm.quantities["flops"] == 60 * 4 * 32 * 3 * (2 * (matrices + head) + scores)


def test_two_files_are_compared_if_they_differ_in_what_is_named_only(write: Write, tmp_path: Path) -> None:
    other = load_mapping(TINY)
    other["model"]["num_layers"] = 3
    (tmp_path / "other.yaml").write_text(dump_yaml(other), encoding="utf-8")
    vary = {"two": {}, "three": {"base": "other.yaml", "model.num_layers": 3}}
    assert [arm.config.model.num_layers for arm in arms_of(write(vary))] == [2, 3]

    other["train"]["batch_size"] = 8
    other["train"]["steps"] = 30
    (tmp_path / "other.yaml").write_text(dump_yaml(other), encoding="utf-8")
    assert refusal(write(vary)) == (
        "Arm 'three' differs from 'two' in train.steps (60 and 30), which neither of them varies: give both the same "
        "value, or name the key under `vary`."
    )


def test_options_of_another_variant_follow_from_it_but_shared_ones_do_not(write: Write, tmp_path: Path) -> None:
    other = load_mapping(TINY)
    other["model"]["attention"] |= {"variant": "gated", "qk_norm": True}
    (tmp_path / "other.yaml").write_text(dump_yaml(other), encoding="utf-8")
    message = refusal(write({"plain": {}, "gated": {"base": "other.yaml", "model.attention.variant": "gated"}}))
    assert "model.attention.qk_norm (false and true)" in message


def test_arms_that_are_not_matched_are_refused_with_their_figures(write: Write) -> None:
    vary = {"narrow": {}, "wide": {FEED_FORWARD: 28}}
    assert refusal(write(vary, match={"non_embedding_params": "2%"})) == (
        "The arms are not matched in non-embedding parameters: narrow has 3,920, wide has 4,304, which is 9.8% apart, "
        "and 2% is allowed; change an arm, or match.non_embedding_params."
    )
    assert len(arms_of(write(vary, match={"non_embedding_params": "10%"}))) == 2
    assert "training FLOPs" in refusal(write(vary, match={"flops": "0.5%"}))
    assert "training tokens" in refusal(write({"a": {}, "b": {"train.steps": 61}}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"vary": {"a": {}}}, "fewer than two arms"),
        ({"vary": {"a": {}, "../b": {}}}, "becomes a directory"),
        ({"vary": {"a": {}, "b": {"train.seed": 3}}}, "vary.b sets train.seed, which `seeds` decides"),
        ({"vary": {"a": {}, "b": {"name": "x"}}}, "vary.b sets name"),
        (
            {"vary": {"a": {}, "b": {"train.optimizer.learning_rate": 0.1}}, "learning_rates": [0.1, 0.2]},
            "`learning_rates` decides",
        ),
        ({"common": {"train.seed": 3}}, "common sets train.seed"),
        ({"match": {}}, "must name what is equal"),
        ({"match": {"tokens": "some"}}, "must be a percentage such as 2%"),
        ({"match": {"layers": "2%"}}, "unknown key 'match.layers'"),
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": [0, -1]}, "seeds must be between 0 and"),
        ({"seeds": [1, 1]}, "names a value twice"),
        ({"learning_rates": [0.0]}, "must be above 0"),
        ({"arms": 2}, "unknown key 'arms'"),
        ({"vary": {"a": {}, "b": {"model.depth": 2}}}, "arm 'b': unknown key 'model.depth'"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_said(write: Write, changes: dict[str, Any], sentence: str) -> None:
    vary = changes.pop("vary", {"a": {}, "b": {FEED_FORWARD: 25}})
    assert sentence in refusal(write(vary, **changes))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no experiment '.*none\.yaml'"):
        load_experiment(tmp_path / "none.yaml")


EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(EXPERIMENTS.rglob("*.yaml")) if path.name != "base.yaml"],
    ids=lambda path: path.relative_to(EXPERIMENTS).as_posix(),
)
def test_the_shipped_experiments_resolve(path: Path) -> None:
    arms = arms_of(path)
    assert len(arms) >= 2
    assert len(load_experiment(path).seeds) >= 3
