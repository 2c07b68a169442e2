"""What a run's curves say: recorded runs of the demo's model, sound ones and planted mistakes, and single curves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tsumiki.doctor import Verdict, explain, read_history, sentence
from tsumiki.doctor.reference_curves import Curve, curves_of, expected
from tsumiki.errors import UserError

RUNS = Path(__file__).with_name("recorded")

Recorded = dict[str, Any]
Change = Callable[[Recorded], None]


def write_run(recorded: Recorded, directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "config.yaml").write_text(yaml.safe_dump(recorded["config"]), encoding="utf-8")
    (directory / "manifest.json").write_text(json.dumps(recorded["manifest"]), encoding="utf-8")
    lines = [json.dumps(line) + "\n" for line in recorded["metrics"]]
    (directory / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    return directory


def recorded(name: str) -> Recorded:
    return json.loads((RUNS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def findings(tmp_path: Path) -> Callable[..., dict[str, Verdict]]:
    """What is found in a recorded run, changed or not."""

    def find(name: str, change: Change = lambda run: None) -> dict[str, Verdict]:
        run = recorded(name)
        change(run)
        verdicts = explain(read_history(write_run(run, tmp_path / name)))
        return {verdict.check: verdict for verdict in verdicts if verdict.status in ("failed", "warned")}

    return find


Findings = Callable[..., dict[str, Verdict]]


def steady(run: Recorded) -> None:
    """The recording machine was shared, which is no matter here."""
    for line in updates(run):
        line["tokens_per_second"] = 8000.0


def updates(run: Recorded) -> list[dict[str, Any]]:
    return [line for line in run["metrics"] if line["kind"] == "train"]


def evaluations(run: Recorded) -> list[dict[str, Any]]:
    return [line for line in run["metrics"] if line["kind"] == "evaluation"]


def test_a_sound_run_is_normal(findings: Findings, tmp_path: Path) -> None:
    assert findings("normal", steady) == {}
    normal = next(verdict for verdict in explain(read_history(tmp_path / "normal")) if verdict.check == "normal")
    assert "gpt-oss-1m (1.0M) on sample-en" in sentence(normal)
    assert "正常です" in sentence(normal, "ja")


def test_a_learning_rate_a_hundred_times_too_high_is_named(findings: Findings) -> None:
    found = findings("rate-100x", steady)
    assert found["normal"].code == "worse_than_normal"
    assert "a learning rate that is far off (here 4e-01)" in sentence(found["normal"])


def test_a_learning_rate_of_a_millionth_learns_nothing(findings: Findings) -> None:
    found = findings("rate-1e-6", steady)
    assert found["learning"].code == "stuck_at_guess"
    assert "a learning rate that is far too low (here 1e-06)" in sentence(found["learning"])


def test_a_leaking_model_is_too_good_too_early(findings: Findings) -> None:
    found = findings("leaking", steady)
    assert next(iter(found)) == "examined"
    assert found["normal"].code == "better_than_normal"
    assert "a mask that shows the future" in sentence(found["normal"])


def test_validation_text_that_is_trained_on_is_told(findings: Findings) -> None:
    found = findings("validated-on-training", steady)
    assert found["held_out_is_held_out"].code == "held_out_seen"
    assert found["held_out_is_held_out"].status == "failed"


def test_held_out_text_that_is_easier_than_what_was_learnt_is_told(findings: Findings) -> None:
    def change(run: Recorded) -> None:
        evaluations(run)[-1]["loss"] = updates(run)[-1]["loss"] - 0.3

    assert findings("normal", change)["held_out_is_held_out"].code == "no_gap"


def test_a_model_that_knows_frequencies_only_is_told(findings: Findings) -> None:
    def change(run: Recorded) -> None:
        for line in updates(run):
            line["loss"] = max(line["loss"], run["manifest"]["data"]["tokenizer"]["unigram_nats"])

    assert findings("normal", change)["learning"].code == "stuck_at_unigram"


def test_divergence_is_told_with_the_step_before_it(findings: Findings) -> None:
    def change(run: Recorded) -> None:
        for line in updates(run)[-8:]:
            line["loss"] += 1.5

    found = findings("normal", change)["stable"]
    assert (found.code, found.values["warmup"], found.values["clip_norm"]) == ("diverges", 40, 1.0)
    assert found.values["at"] < 1000


def test_spikes_are_counted(findings: Findings) -> None:
    def change(run: Recorded) -> None:
        for line in updates(run)[10:30:5]:
            line["loss"] += 2

    found = findings("normal", change)["stable"]
    assert (found.status, found.code, found.values["count"]) == ("warned", "spikes", 4)


def test_overfitting_names_the_best_step(findings: Findings) -> None:
    def change(run: Recorded) -> None:
        evaluations(run)[-1]["loss"] = 1.1 * evaluations(run)[-2]["loss"]

    found = findings("normal", change)["overfitting"]
    assert (found.code, found.values["at"]) == ("overfits", 900)
    assert found.values["passes"] == pytest.approx(5.2, abs=0.1)


def until(run: Recorded, step: int) -> None:
    run["metrics"] = [line for line in run["metrics"] if line["step"] <= step]


@pytest.mark.parametrize("step", range(2300, 9201, 1150))
def test_a_step_that_trains_something_else_is_told_from_the_second_evaluation_on(findings: Findings, step: int) -> None:
    found = findings("foreign-evaluation", lambda run: until(run, step))
    assert "overfitting" not in found
    verdict = found["evaluated_is_trained"]
    assert (verdict.status, verdict.values["at"], verdict.values["step"]) == ("failed", 1150, 2300)
    text = sentence(verdict)
    assert "the validation loss rose from 3.52 to 4.83, while the training loss went from 3.71 to 3.61" in text
    if step > 2300:
        assert "The training loss jumped just after an evaluation (at step 1,150" in text


def test_before_the_second_evaluation_there_is_nothing_to_tell(findings: Findings) -> None:
    found = findings("foreign-evaluation", lambda run: until(run, 2200))
    assert found.keys() & {"evaluated_is_trained", "overfitting"} == set()


def test_a_jump_after_the_evaluation_is_evidence_after_many_passes_too(findings: Findings) -> None:
    def change(run: Recorded) -> None:
        until(run, 2300)
        for source in run["manifest"]["data"]["sources"]:
            source["train"]["tokens"] //= 10

    def without_jump(run: Recorded) -> None:
        change(run)
        next(line for line in updates(run) if line["step"] == 1200)["loss"] = 3.7

    found = findings("foreign-evaluation", change)["evaluated_is_trained"]
    assert found.values["passes"] > 10
    assert "（ステップ 1,150）に、訓練の損失も跳ねています" in sentence(found, "ja")
    assert findings("foreign-evaluation", without_jump)["overfitting"].code == "overfits"


@pytest.mark.parametrize("name", ["leaking", "normal", "rate-100x", "rate-1e-6", "validated-on-training"])
def test_other_runs_evaluate_what_they_train(findings: Findings, name: str) -> None:
    assert "evaluated_is_trained" not in findings(name)


@pytest.mark.parametrize("rise", [0.03, 0.15, 0.4])
def test_learning_by_heart_is_no_other_model(findings: Findings, rise: float) -> None:
    def change(run: Recorded) -> None:
        """From the second evaluation on the validation loss rises by a share, and the training loss falls."""
        lowest = evaluations(run)[2]["loss"]
        for number, line in enumerate(evaluations(run)[2:]):
            line["loss"] = lowest * (1 + rise) ** number

    found = findings("normal", change)
    assert "evaluated_is_trained" not in found
    assert found["overfitting"].code == "overfits"


def test_a_training_that_diverges_is_evaluated_as_it_is(findings: Findings) -> None:
    def change(run: Recorded) -> None:
        for line in (*updates(run)[-12:], evaluations(run)[-1]):
            line["loss"] += 2

    found = findings("normal", change)
    assert found["stable"].code == "diverges"
    assert "evaluated_is_trained" not in found


def test_a_language_behind_is_named(findings: Findings) -> None:
    def change(run: Recorded) -> None:
        for line in evaluations(run):
            line["bits_per_byte"]["ja"] *= 1.14 if line["step"] < 1200 else 1.16

    found = findings("normal", change)["balance"]
    assert (found.code, found.values["language"], found.values["other"]) == ("one_language_behind", "ja", "en")


def test_a_training_that_becomes_slower_is_told(findings: Findings) -> None:
    def change(run: Recorded) -> None:
        steady(run)
        for line in updates(run)[-10:]:
            line["tokens_per_second"] = 3000.0

    assert findings("normal", change)["throughput"].code == "slower"


def test_a_gradient_that_vanishes_is_told(findings: Findings) -> None:
    def change(run: Recorded) -> None:
        for line in updates(run)[-5:]:
            line["gradient_norm"] = 1e-5

    assert findings("normal", change)["gradient"].code == "gradient_vanishes"


def test_a_loss_that_was_no_number_is_told(tmp_path: Path) -> None:
    run = recorded("normal")
    run["metrics"] = run["metrics"][:-1]
    directory = write_run(run, tmp_path / "run")
    (directory / "not_finite.json").write_text("{}", encoding="utf-8")
    assert next(found for found in explain(read_history(directory)) if found.check == "finite").code == "not_finite"


def test_what_is_expected_lies_between_the_next_smaller_and_the_next_larger_model() -> None:
    def curve(run: str, parameters: int, bits: float, corpus: str = "tales") -> Curve:
        return Curve(run, parameters, "en", corpus, (1e5, 1e7), (bits, bits / 2))

    curves = [
        curve("xs", 500_000, 2.4),
        curve("s", 1_000_000, 2.0),
        curve("l", 3_000_000, 1.6),
        curve("xl", 4_000_000, 1.5),
    ]

    def ask(**changes: Any) -> Any:
        return expected(
            curves, **{"language": "en", "corpus": "tales", "tokens": 1e6, "parameters": 2_000_000, **changes}
        )

    found = ask()
    assert [one.run for one in found.runs] == ["s", "l"]
    assert (found.low, found.middle, found.high) == pytest.approx((0.85 * 1.2, 1.35, 1.15 * 1.5))
    assert ask(corpus="news").high == pytest.approx(1.4 * 1.5)  # another text, more tolerance
    assert ask(tokens=1e8) is ask(language="ja") is ask(parameters=90_000_000) is None


def test_a_run_becomes_reference_curves(tmp_path: Path) -> None:
    history = read_history(write_run(recorded("normal"), tmp_path / "run"))
    english, japanese = curves_of(history, {"ja": "お話"})
    assert (english["corpus"], japanese["corpus"], english["parameters"]) == ("sample-en", "お話", 988_544)
    assert english["tokens"] == sorted(english["tokens"])
    assert english["bits_per_byte"][-1] == round(history.evaluations[-1]["bits_per_byte"]["en"], 4)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no run: it has no manifest.json; name a directory"):
        read_history(tmp_path)
    directory = write_run(recorded("normal"), tmp_path / "run")
    metrics = directory / "metrics.jsonl"
    metrics.write_text(metrics.read_text(encoding="utf-8") + '{"kind": "tra', encoding="utf-8")
    assert read_history(directory).finished  # a line that a crash tore apart
    metrics.write_text("nonsense\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics.jsonl' is damaged: line 1 is no JSON"):
        read_history(directory)
    metrics.write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="tells of no update yet"):
        read_history(directory)
