"""Comparisons from the file to the page: equal arms show nothing, a planted difference is found, nothing is lost."""

import json
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tsumiki import report
from tsumiki.cli import app
from tsumiki.compare import Comparison, comparison_report, jobs, measure, read_experiment, runs, summarise
from tsumiki.compare.conditions import check_conditions, conditions_of
from tsumiki.compare.page_measured import judged, places
from tsumiki.compare.verdict import headline, reservations, sentences
from tsumiki.errors import UserError
from tsumiki.report import LANGUAGES, Figures, Table
from tsumiki.report.html import to_html
from tsumiki.train import Interrupted
from tsumiki.train.metrics import METRICS

Write = Callable[..., Path]
Compare = Callable[..., Comparison]

BRIEF = {"train.steps": 4, "train.evaluate_every": 4, "train.samples.max_tokens": 2}
FEED_FORWARD = "model.feed_forward.d_ff"
RATE = "train.optimizer.learning_rate"


def brief(**arms: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Arms of four steps."""
    return {name: {**BRIEF, **changes} for name, changes in arms.items()}


def told(summary: dict[str, Any]) -> str:
    return "\n".join(
        one.text for one in (headline(summary, "en"), *sentences(summary, "en"), *reservations(summary, "en"))
    )


def test_equal_arms_show_no_difference(write: Write, compare: Compare) -> None:
    """A/A, once to the last bit and once with the documents in another order, which hangs on the sources' names."""
    vary = brief(a={}, b={}, other_order={"data.sources.0.name": "x", "data.sources.1.name": "y"})
    summary = summarise(compare(write({name: {**arm, "train.steps": 20} for name, arm in vary.items()})))
    first, same, other = (figures["seeds"] for figures in summary["figures"]["bits_per_byte"].values())
    assert first == same
    assert all(one != another for one, another in zip(first, other, strict=True))
    assert not any(arm["shown"] for figure in summary["differences"].values() for arm in figure.values())
    assert headline(summary, "en").text == "No difference shown between 'a', 'b' and 'other_order'."
    assert headline(summary, "ja").text == "差は示されませんでした。"
    assert summary["interval_level"] == 0.975


def test_a_planted_difference_is_found(planted: Comparison) -> None:
    summary = summarise(planted)
    found = summary["differences"]["bits_per_byte"]["tuned"]
    assert found["shown"]
    assert found["low"] < found["mean"] < found["high"] < 0
    assert headline(summary, "en").text == "'tuned' is better than 'low'."
    assert "Every run passed the doctor's checks" in told(summary)
    assert summary["varied"] == {RATE: {"low": 0.002, "tuned": 0.02}}
    assert [summary["conditions"][name]["apart"] for name in summary["conditions"]] == [0.0, 0.0, 0.0]


def test_the_first_arm_may_be_the_better_one(planted: Comparison) -> None:
    summary = summarise(replace(planted, arms=planted.arms[::-1]))
    assert headline(summary, "en").text == "'tuned' is better than 'low'."
    assert sentences(summary, "en")[0].text.endswith("worse.")


def test_one_seed_shows_nothing(planted: Comparison) -> None:
    arms = tuple(replace(arm, histories={0: arm.histories[0]}) for arm in planted.arms)
    summary = summarise(replace(planted, arms=arms, experiment=replace(planted.experiment, seeds=(0,))))
    assert summary["differences"]["bits_per_byte"]["tuned"]["low"] is None
    assert not summary["differences"]["bits_per_byte"]["tuned"]["shown"]
    assert headline(summary, "en").text.startswith("One seed only")


def test_each_arm_gets_the_learning_rate_that_suits_it(write: Write, compare: Compare, tmp_path: Path) -> None:
    vary = brief(a={}, b={FEED_FORWARD: 25})
    summary = summarise(compare(write(vary, learning_rates=[1e-6, 0.02], seeds=[0, 1])))
    for arm in summary["arms"].values():
        assert arm["learning_rate"] == 0.02
        assert arm["tried"]["0.02"] < arm["tried"]["1e-06"]
    assert sorted(path.name for path in (tmp_path / "runs/a").glob("*/*")) == ["seed-0", "seed-0", "seed-1"]
    assert "a better one may lie beyond" in told(summary)


def test_losses_of_different_tokenizers_are_not_compared(write: Write, compare: Compare) -> None:
    small = {"model.vocab_size": 350, "tokenizer.vocab_size": 350}
    summary = summarise(compare(write(brief(large={}, small=small), seeds=[0])))
    assert "loss" not in summary["differences"]
    assert summary["arms"]["large"]["text_bytes"] > summary["arms"]["small"]["text_bytes"] > 4 * 4 * 32, "bytes a token"
    assert "bits_per_byte.ja" in summary["differences"]
    assert "The tokenizers differ" in told(summary)


def test_other_held_out_text_is_refused(write: Write, compare: Compare) -> None:
    one_language = [{"kind": "sample", "language": "en"}]
    with pytest.raises(UserError, match="'b' is evaluated on other held-out text than 'a'"):
        compare(write(brief(a={}, b={"data.sources": one_language})))


def test_other_text_or_another_order_is_refused(write: Write) -> None:
    path = write({"a": {}, "b": {FEED_FORWARD: 25}})
    first, arm = runs.resolve(runs.load_experiment(path), path)
    seen = conditions_of(first, (0, 1), lambda what, done: None)
    check_conditions(first, arm, seen, seen)
    with pytest.raises(UserError, match="'b' has another tokenizer than 'a', though neither varies `tokenizer`"):
        check_conditions(first, arm, seen, replace(seen, tokenizer="x"))
    with pytest.raises(UserError, match="'b' sees other tokens than 'a' in its first steps"):
        check_conditions(first, arm, seen, replace(seen, order={0: "x"}))
    longer = replace(arm, keys=("train.seq_len",))
    check_conditions(first, longer, seen, replace(seen, order={0: "x"}))


def test_finished_runs_are_kept_and_stopped_ones_go_on(
    write: Write, compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(brief(a={}, b={FEED_FORWARD: 25}), seeds=[0, 1])
    train, trained = jobs.train, []

    def stop_third(config: Any, run_dir: Path, **options: Any) -> Any:
        trained.append(run_dir)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return train(config, run_dir, **options)

    monkeypatch.setattr(jobs, "train", stop_third)
    with pytest.raises(KeyboardInterrupt):
        compare(path)
    before = (tmp_path / "runs/a/seed-0" / METRICS).read_bytes()
    comparison = compare(path)
    assert [run.relative_to(tmp_path / "runs").as_posix() for run in trained] == [
        "a/seed-0", "b/seed-0", "a/seed-1", "a/seed-1", "b/seed-1",
    ]  # fmt: skip
    assert (tmp_path / "runs/a/seed-0" / METRICS).read_bytes() == before
    assert [list(arm.histories) for arm in comparison.arms] == [[0, 1], [0, 1]]


def test_compiled_runs_begin_with_a_compiler_that_remembers_none(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write({"eager": {}, "compiled": {"train.compile": True}})
    resets: list[bool] = []
    monkeypatch.setattr("torch.compiler.reset", lambda: resets.append(True))
    for arm in runs.resolve(runs.load_experiment(path), path):
        jobs.forget_earlier_runs(arm.config)
    assert resets == [True]


def test_several_processes_are_refused(write: Write, compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="without torchrun"):
        compare(write(brief(a={}, b={})))


def test_a_run_from_earlier_that_was_another_one_is_refused(write: Write, compare: Compare) -> None:
    compare(write(brief(a={}, b={FEED_FORWARD: 25}), seeds=[0]))
    changed = brief(a={}, b={FEED_FORWARD: 26})
    with pytest.raises(
        UserError, match=r"Arm 'b': '.*seed-0' holds a run with model\.feed_forward\.d_ff = 25, and now"
    ):
        compare(write(changed, seeds=[0]))


def test_an_arm_that_breaks_down_costs_the_others_nothing(
    write: Write, compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = jobs.train

    def break_b(config: Any, run_dir: Path, **options: Any) -> Any:
        if "/b/" in run_dir.as_posix():
            raise UserError("Step 3 gave a loss of nan.")
        return train(config, run_dir, **options)

    monkeypatch.setattr(jobs, "train", break_b)
    comparison = compare(write(brief(a={}, b={FEED_FORWARD: 25}, c={FEED_FORWARD: 26}), seeds=[0]))
    assert [arm.arm.name for arm in comparison.arms] == ["a", "c"]
    assert comparison.broken == {"b": "Step 3 gave a loss of nan."}
    assert "'b' is left out: Step 3 gave a loss of nan." in told(summarise(comparison))
    with pytest.raises(UserError, match="Fewer than two arms could be trained"):
        compare(write(brief(a={}, b={FEED_FORWARD: 25}), seeds=[0]))


def test_the_page_says_first_who_wins_and_whether_to_believe_it(planted: Comparison) -> None:
    summary = summarise(planted)
    report = comparison_report(planted, summary)
    short, differs, held_out, curves, positions, texts, attention, cost, writing, doctor, repeat = report.sections
    page = to_html({language: comparison_report(planted, summary, language) for language in LANGUAGES}, "en")
    assert page.index("is better than") < page.index("Whether to believe it") < page.index("What differs")
    assert "「tuned」は「low」より良い結果でした。" in page
    assert not re.search(r"<script|<img|https?://(?!www\.w3\.org)", page)
    assert short.title == "In short"

    (table, _) = differs.blocks
    assert isinstance(table, Table)
    key, tokenizer, order = table.rows
    assert key == (RATE, "0.002", "0.02")
    assert tokenizer[1] == tokenizer[2]
    assert order[1] == order[2]
    (table, _) = held_out.blocks
    assert isinstance(table, Table)
    assert len(table.rows) == 6 * 2
    (figures, _) = curves.blocks
    assert isinstance(figures, Figures)
    for figure in figures.figures:
        assert [curve.name for curve in figure.curves] == ["low", "tuned"]
        for curve in figure.curves:
            assert curve.band is not None
            low, high = curve.band
            assert all(a <= y <= b for a, y, b in zip(low, curve.y, high, strict=True))
            assert len(curve.x) == 3
    assert {"bits_per_byte-time", "loss-steps"} <= {figure.name for figure in figures.figures}
    assert len({figure.name for figure in figures.figures}) == len(figures.figures)

    (cost_table,) = cost.blocks
    assert isinstance(cost_table, Table)
    assert ("parameters", "10,320", "10,320") in cost_table.rows
    tables = [block for block in texts.blocks if isinstance(block, Table)]
    assert [table.headings for table in tables[:2]] == [("temperature", "low", "tuned")] * 2
    assert [row[0] for row in tables[0].rows] == ["0", "1", "1"]
    assert "No figures of texts (ja): no held-out story's opening fits into half" in str(texts.blocks)

    (figures, _) = positions.blocks
    assert isinstance(figures, Figures)
    assert [figure.name for figure in figures.figures] == ["position-en", "position-ja"]
    (_, scores, _, maps) = attention.blocks
    assert isinstance(scores, Table)
    assert [row[0] for row in scores.rows][:2] == ["previous token", "induction"]
    assert isinstance(maps, Figures)
    assert [one.name for one in maps.figures] == ["attention-low", "attention-tuned"]
    (_, times) = writing.blocks
    assert isinstance(times, Table)
    assert [row[1:3] for row in times.rows] == [("32", "with"), ("32", "without")]
    (receipts,) = doctor.blocks
    assert isinstance(receipts, Table)
    assert all(row[2].startswith("Verified: ") for row in receipts.rows)
    assert "learning_rate: 0.02" in str(repeat.blocks)


def test_texts_are_judged_beside_the_stories(planted: Comparison) -> None:
    summary = summarise(planted)
    for number, arm in enumerate(summary["arms"].values()):
        figures = {"repetition_4": 0.25 * number, "distinct_2": 0.5}
        generated, real = {**figures, "ended": 0.75, "invalid_utf8": None}, {"repetition_4": 0.0, "distinct_2": 0.875}
        arm["measured"] = {**arm["measured"], "texts": {"en": {"samples": 9, "generated": generated, "real": real}}}
    _, table = judged(summary, "en", ja=False)
    assert isinstance(table, Table)
    assert table.headings == ("", "low", "tuned", "the stories")
    assert table.rows == [
        ("… of two", "0.5", "0.5", "0.875"),
        ("repetition within a text", "0.0%", "25.0%", "0.0%"),
        ("texts that end by themselves", "75.0%", "75.0%", "-"),
        ("bytes that are no UTF-8", "-", "-", "-"),
    ]


def test_times_of_runs_beside_each_other_are_not_drawn(planted: Comparison) -> None:
    """They waited for each other."""
    summary = summarise(planted)
    summary["arms"]["tuned"]["side_by_side"] = True
    sections = {section.title: section.blocks for section in comparison_report(planted, summary).sections}
    (figures, note) = sections["While training"]
    assert isinstance(figures, Figures)
    assert not any("time" in figure.name for figure in figures.figures)
    assert "waited for each other" in str(note)
    assert "beside others" in str(sections["Size and cost"])


def test_what_was_measured_is_kept(planted: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    low = planted.arms[0]
    monkeypatch.setattr(measure, "load", None)
    assert measure.measure(low.arm.config, low.histories[0].directory, (), "cpu") == low.measured
    assert [sample["temperature"] for sample in low.measured["samples"]] == [0.0, 1.0, 1.0] * 2
    assert all(line["samples"] == [] for history in low.histories.values() for line in history.evaluations)
    for buckets in low.measured["positions"].values():
        assert [bucket["start"] for bucket in buckets] == list(range(0, 32, 2))
    weights = low.measured["attention"]["weights"]
    assert all(sum(row) == pytest.approx(1.0, abs=1e-5) for row in weights)
    assert len(weights) == len(low.measured["attention"]["labels"]) == 31
    assert all(line["seconds"] > 0 for line in low.measured["generation"])


def test_unexamined_arms_are_told_in_red(planted: Comparison) -> None:
    low, tuned = planted.arms
    histories = {seed: replace(history, receipt=None) for seed, history in tuned.histories.items()}
    summary = summarise(replace(planted, arms=(low, replace(tuned, histories=histories))))
    (red,) = [one for one in reservations(summary, "en") if one.tone == "bad"]
    assert red.text == "NOT EXAMINED by the doctor: 'tuned'. This comparison cannot be trusted."


def test_the_command_writes_figures_page_and_markdown(write: Write, tmp_path: Path) -> None:
    path = write(brief(a={}, b={FEED_FORWARD: 25}), seeds=[0, 1])
    arguments = [
        "compare",
        str(path),
        "--run-dir",
        str(tmp_path / "out"),
        "--device",
        "cpu",
        "--skip-doctor",
        "--workers",
        "1",
    ]
    result = CliRunner().invoke(app, [*arguments, "--lang", "ja"])
    assert result.exit_code == 0, result.output
    assert "この比較は信用できません" in result.stdout
    assert json.loads((tmp_path / "out/comparison.json").read_text(encoding="utf-8"))["seeds"] == [0, 1]
    assert "comparison-figures/bits_per_byte-tokens.svg" in (tmp_path / "out/comparison.md").read_text(encoding="utf-8")
    assert (tmp_path / "out/comparison.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    kept = read_experiment(path, tmp_path / "out")
    assert summarise(kept) == json.loads((tmp_path / "out/comparison.json").read_text(encoding="utf-8"))
    again = CliRunner().invoke(app, [*arguments, "--lang", "en"])
    assert "step" not in again.stdout
    assert "against 'a'" in again.stdout


def test_figures_without_a_font_are_refused_before_training(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> str:
        raise UserError("No font with Japanese glyphs is installed.")

    monkeypatch.setattr(report, "japanese_font", none)
    arguments = ["compare", str(write(brief(a={}, b={}))), "--run-dir", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--lang", "ja", "--figures", "png"])
    assert result.exit_code == 2
    assert "No font with Japanese glyphs" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_comparison_that_was_not_made_cannot_be_read(write: Write, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no comparison\.json; make the comparison first"):
        read_experiment(write(brief(a={}, b={})), tmp_path)


def test_maps_of_attention_show_no_text() -> None:
    assert places(7) == ["·", "1", "2", "3", "1", "2", "3"]


def test_a_stopped_command_says_how_to_go_on(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: Any, **options: Any) -> Any:
        raise Interrupted("Stopped after step 2.", signal.SIGINT)

    monkeypatch.setattr(jobs, "train", stopped)
    path = write(brief(a={}, b={}))
    result = CliRunner().invoke(app, ["compare", str(path), "--run-dir", str(tmp_path / "out")])
    assert result.exit_code == 130
    assert f"Go on with: tsumiki compare {path} --run-dir {tmp_path / 'out'}" in result.stderr


def test_the_command_refuses_in_a_sentence(write: Write, tmp_path: Path) -> None:
    path = write({"a": {}, "b": {"train.steps": 61}})
    result = CliRunner().invoke(app, ["compare", str(path), "--run-dir", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "not matched in training tokens: a has 7,680, b has 7,808" in result.stderr
    assert not (tmp_path / "out").exists()
