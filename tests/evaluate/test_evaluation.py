"""The whole evaluation of a small run: the file describes itself and can be repeated; mistakes are sentences."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tsumiki.data import SampleSource
from tsumiki.generate import released

Command = Callable[..., Any]
Evaluated = tuple[dict[str, Any], str]

SMALL = ["--samples", "6", "--max-tokens", "30", "--max-bytes", "3000"]


@pytest.fixture(scope="module")
def evaluated(run: Path, invoke: Command) -> Evaluated:
    result = invoke("evaluate", run, *SMALL, "--lang", "ja", "--device", "cpu")
    assert result.exit_code == 0, result.output
    return json.loads((run / "evaluation.json").read_text(encoding="utf-8")), result.stdout


def test_the_file_says_what_was_measured_and_how(evaluated: Evaluated, run: Path) -> None:
    figures, _ = evaluated
    assert figures["format"] == 1
    assert figures["settings"]["samples"] == 6
    assert figures["settings"]["seed"] == 0
    assert figures["checkpoint"]["path"].endswith("run/checkpoints/step-000004")
    assert len(figures["checkpoint"]["weights_sha256"]) == 64
    assert [source["name"] for source in figures["held_out"]] == ["sample-en", "sample-ja"]


def test_figures_are_by_language_source_and_position(evaluated: Evaluated) -> None:
    bits = evaluated[0]["bits_per_byte"]
    assert bits["languages"]["en"] == bits["sources"]["sample-en"]
    assert [bucket["stop"] for bucket in bits["positions"]["sample-ja"]] == [32, 64, 96, 128]
    assert bits["languages"]["en"]["bits_per_byte"] > bits["languages"]["ja"]["bits_per_byte"]


def test_texts_stand_beside_real_ones(evaluated: Evaluated) -> None:
    for texts in evaluated[0]["texts"].values():
        assert texts["samples"] == 6
        assert texts["generated"].keys() - texts["real"].keys() == {"ended", "invalid_utf8"}
        assert texts["real"]["unclosed"] == 0
        assert 0 <= texts["told_apart"]["low"] <= texts["told_apart"]["value"] <= texts["told_apart"]["high"] <= 1
    held_out = {document.text for document in SampleSource(SampleSource.Config(language="ja")).documents("validation")}
    assert {sample["opening"] + sample["real"] for sample in evaluated[0]["samples"]["ja"]} <= held_out


def test_minimal_pairs_are_there_for_both_languages(evaluated: Evaluated) -> None:
    pairs = evaluated[0]["minimal_pairs"]
    assert len(pairs["paradigms"]) == 25
    for language, total in pairs["languages"].items():
        mine = [row for row in pairs["paradigms"] if row["language"] == language]
        assert total["pairs"] == 200 * len(mine)
        assert total["accuracy"] == pytest.approx(sum(row["accuracy"] for row in mine) / len(mine))
        assert total["accuracy"] == pytest.approx(0.5, abs=0.1)  # nobody taught it any grammar


def test_the_tables_are_in_the_language_that_was_asked_for(evaluated: Evaluated, run: Path) -> None:
    assert "最小対" in evaluated[1]
    assert "Minimal pairs" not in evaluated[1]
    assert evaluated[1].rstrip().endswith("evaluation.json")


def test_the_same_seed_gives_the_same_figures(evaluated: Evaluated, run: Path, invoke: Command) -> None:
    result = invoke(
        "evaluate", run, *SMALL, "--no-minimal-pairs", "--lang", "en", "-o", run / "again.json", "--device", "cpu"
    )
    again = json.loads((run / "again.json").read_text(encoding="utf-8"))
    assert result.exit_code == 0
    assert "Minimal pairs" not in result.stdout
    for key in ("bits_per_byte", "texts", "samples", "checkpoint", "held_out"):
        assert again[key] == evaluated[0][key]


def test_a_model_by_itself_needs_text_and_takes_files(run: Path, tmp_path: Path, invoke: Command) -> None:
    model = tmp_path / "model"
    shutil.copytree(run / "checkpoints/step-000004", model)
    refused = invoke("evaluate", model, *SMALL)
    assert refused.exit_code == 2
    assert "name some with --data en=FILE" in refused.stderr
    story = "The moth came to the lamp, and the lamp was warm. " * 4
    lines = [json.dumps({"story": f"Day {number}. {story}"}) for number in range(3)]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines), encoding="utf-8")
    result = invoke("evaluate", model, "--data", f"en={tmp_path / 'mine.jsonl'}", "--field", "story", *SMALL)
    assert result.exit_code == 0, result.output
    figures = json.loads((model / "evaluation.json").read_text(encoding="utf-8"))
    assert figures["bits_per_byte"]["languages"].keys() == {"en"}
    assert figures["bits_per_byte"]["languages"]["en"]["documents"] == 3
    assert "memorised" not in figures["texts"]["en"]["generated"]
    assert {row["language"] for row in figures["minimal_pairs"]["paradigms"]} == {"en"}


def test_a_checkpoint_s_own_figures_are_left_alone(run: Path, invoke: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training's `evaluation.json`, by which the best checkpoint is known, stands beside the weights."""
    training = run / "checkpoints/step-000004/evaluation.json"
    training.write_text('{"loss": 3.5}', encoding="utf-8")
    monkeypatch.chdir(training.parent)
    result = invoke("evaluate", ".", "--samples", "0", "--no-minimal-pairs", "--lang", "en")
    assert result.exit_code == 0, result.output
    assert training.read_text(encoding="utf-8") == '{"loss": 3.5}'
    assert Path(result.stdout.split()[-1]) == run / "evaluation.json"


def test_a_language_without_pairs_is_measured_without_them(run: Path, tmp_path: Path, invoke: Command) -> None:
    (tmp_path / "mine.txt").write_text("Die Motte kam zur Lampe, und die Lampe war warm. " * 9, encoding="utf-8")
    result = invoke(
        "evaluate", run, "--data", f"de={tmp_path / 'mine.txt'}", *SMALL, "--lang", "en", "-o", tmp_path / "de.json"
    )
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "de.json").read_text(encoding="utf-8"))
    assert figures["texts"]["de"]["samples"] == 1
    assert "told_apart" not in figures["texts"]["de"]
    assert "minimal_pairs" not in figures


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--data", "mine.txt"], "must name languages and files: en=FILE"),
        (["--data", "en=nowhere.txt"], "There is no file 'nowhere.txt'"),
        (["--window", "999"], "the model's context holds 128"),
        (["--samples", "-1"], "samples is -1, but must be 0 or more"),
        (["--temperature", "-1"], "temperature is -1.0, but must be 0 (greedy)"),
        (["--output", "nowhere/mine.json"], "there is no directory 'nowhere'; make it first"),
        (["--judge"], "TSUMIKI_JUDGE_URL"),
    ],
)
def test_mistakes(
    run: Path, invoke: Command, arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TSUMIKI_JUDGE_URL", raising=False)
    result = invoke("evaluate", run, *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1


QUICK = ["--samples", "6", "--max-tokens", "30", "--no-minimal-pairs", "--max-bytes", "1000", "--lang", "en"]


@pytest.fixture
def moved(run: Path, tmp_path: Path) -> Path:
    """A run whose text has moved since it was trained, and whose configuration names a cache."""
    run_dir = Path(shutil.copytree(run, tmp_path / "moved"))
    config = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    source = {"kind": "local", "language": "en", "name": "mine", "train": "train.txt", "validation": "valid.txt"}
    config["data"] = {"sources": [{**source, "separator": "#"}], "cache": str(tmp_path / "own-cache")}
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    story = "The moth came to the lamp, and the lamp was warm and the night was long, said the old moth to the young. "
    (tmp_path / "there.txt").write_text("#".join(f"{number} {story * 3}" for number in range(9)), encoding="utf-8")
    (tmp_path / "then.txt").write_text("#".join(f"{story * 3} {number}" for number in range(9)), encoding="utf-8")
    return run_dir


def test_text_that_has_moved_is_found_by_changes(moved: Path, invoke: Command, tmp_path: Path) -> None:
    assert "There is no file 'train.txt'" in invoke("evaluate", moved, *QUICK).stderr
    changes = [f"data.sources.0.train={tmp_path}/there.txt", f"data.sources.0.validation={tmp_path}/then.txt"]
    result = invoke("evaluate", moved, *changes, *QUICK)
    assert result.exit_code == 0, result.output
    figures = json.loads((moved / "evaluation.json").read_text(encoding="utf-8"))
    assert figures["texts"]["en"]["real"]["longest_copied"] > 0  # every story says the same
    assert len(list((tmp_path / "own-cache").glob("packed-*"))) == 1


def test_text_that_was_not_held_out_is_refused(moved: Path, invoke: Command, tmp_path: Path) -> None:
    known = [{"name": "mine", "validation": {"content_sha256": "0" * 64}}]
    (moved / "manifest.json").write_text(json.dumps({"data": {"sources": known}}), encoding="utf-8")
    changes = [f"data.sources.0.train={tmp_path}/there.txt", f"data.sources.0.validation={tmp_path}/then.txt"]
    result = invoke("evaluate", moved, *changes, *QUICK)
    assert result.exit_code == 2
    assert result.stderr.startswith("tsumiki: The held-out text of 'mine' is not what it was in training")


def test_a_released_model_is_read_on_the_stories_that_come_with_it(
    run: Path, invoke: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run / "checkpoints/step-000004", tmp_path / "models/small")
    monkeypatch.setattr(released, "FOLDER", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    result = invoke("evaluate", "small", *QUICK)
    assert result.exit_code == 0, result.output
    figures = json.loads(Path("exports/small/evaluation.json").read_text(encoding="utf-8"))
    assert figures["bits_per_byte"]["sources"].keys() == {"sample-en", "sample-ja"}
    refused = invoke("evaluate", "small", "data.cache=here")
    assert refused.exit_code == 2
    assert "belongs to no run that 'data.cache=here' could change" in refused.stderr
