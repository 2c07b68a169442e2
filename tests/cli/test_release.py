"""`tsumiki release`: a small folder that works by itself, and a card whose figures stand in the files beside it."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from cli.conftest import TINY, invoke
from tsumiki import load
from tsumiki.config import load as load_config
from tsumiki.export.release import portable
from tsumiki.export.release_card import About
from tsumiki.train import RunConfig

Command = Callable[..., Any]

ROOT = Path(__file__).parents[2]

SMALL = ("--samples", "6", "--max-bytes", "2000")
ABOUT = """\
licence: mit
terms: {en: For lessons., ja: 授業用です。}
origin: {en: We wrote it., ja: 自作です。}
limits: {en: It is tiny., ja: とても小さいです。}
baseline: {model: {en: a coin, ja: コイン}, bits_per_byte: {sample-ja: 8.0}}
"""


@pytest.fixture(scope="module")
def about(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("about") / "about.yaml"
    path.write_text(ABOUT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(environment: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose context holds the sentences of the minimal pairs."""
    run_dir = tmp_path_factory.mktemp("release") / "tiny"
    result = invoke("train", TINY, "model.max_seq_len=256", "--run-dir", run_dir)
    assert result.exit_code == 0, result.output
    return run_dir


@pytest.fixture(scope="module")
def released(trained: Path, about: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("released") / "tiny-en-ja"
    result = invoke("release", trained, "--about", about, *SMALL, "-o", directory)
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith(f"{directory}: try it with tsumiki generate {directory}\n")
    return directory


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_folder_is_the_model_in_half_the_bytes(released: Path, trained: Path) -> None:
    assert {path.name for path in released.iterdir()} == {
        *("model.safetensors", "config.yaml", "fingerprint.json", "tokenizer.json", "run.yaml", "manifest.json"),
        *("metrics.jsonl", "doctor.json", "evaluation.json", "README.md", "loss.svg", "bits.svg"),
    }
    before = load_file(trained / "checkpoints/step-000004/model.safetensors")
    after = load_file(released / "model.safetensors")
    assert all(after[name].equal(tensor.bfloat16()) for name, tensor in before.items())
    assert load(released, device="cpu").generate("むかし", temperature=0, max_tokens=3)
    assert "command" not in read(released / "manifest.json")["sessions"][0]


def test_the_run_can_be_repeated_in_the_folder(
    released: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(released)
    run, original = load_config("run.yaml", RunConfig), load_config(trained / "config.yaml", RunConfig)
    assert (run.model, run.train, run.data) == (original.model, original.train, original.data)
    files = {"kind": "local", "train": ["/home/me/a.txt", "b.txt"], "validation": "/home/me/c.txt"}
    sources = portable({"data": {"sources": [files], "cache": "/home/me"}})["data"]["sources"]
    assert sources == [{"kind": "local", "train": ["a.txt", "b.txt"], "validation": "c.txt"}]


def test_the_card_says_what_the_files_say(released: Path) -> None:
    text = (released / "README.md").read_text(encoding="utf-8")
    english, japanese = text.split("# 日本語\n")
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "mit"
    assert english.count("\n## ") == japanese.count("\n## ") == 6
    figures = read(released / "evaluation.json")
    assert figures["checkpoint"]["path"] == "tiny-en-ja"
    assert {language: len(texts) for language, texts in figures["samples"].items()} == {"en": 5, "ja": 5}
    for name, row in figures["bits_per_byte"]["sources"].items():
        assert text.count(f"| {name} | {row['bits_per_byte']:.3f} | {row['bits_per_character']:.3f} | ") == 2
    generated = figures["texts"]["en"]["generated"]
    assert f"| distinct-1 | {generated['distinct_1']:.3f} |" in english
    assert f"| bytes that are no UTF-8 | {generated['invalid_utf8']:.2%} | - |" in english
    assert f"(ja: characters) | {generated['longest_copied']} |" in english
    assert f"| en | {figures['minimal_pairs']['languages']['en']['accuracy']:.1%} |" in english
    assert english.count(" >>> ") - 1 == japanese.count(" >>> ") == 10  # one is in the sentence that explains it
    assert "| causality | passed |" in english
    for words in ("For lessons.", "We wrote it.", "It is tiny.", "The baseline is a coin.", "| 8.000 |"):
        assert words in english
    for words in ("授業用です。", "自作です。", "とても小さいです。", "比較対象はコインです。", "| 8.000 |"):
        assert words in japanese


def test_the_curves_have_a_line_for_each_language(released: Path) -> None:
    svg = ElementTree.parse(released / "bits.svg").getroot()
    lines = list(svg.iter("{http://www.w3.org/2000/svg}polyline"))
    assert [len(line.attrib["points"].split()) for line in lines] == [2, 2]  # evaluated before and after
    assert {"en", "ja"} <= {text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")}


def test_a_card_is_made_again_without_evaluating(
    released: Path, trained: Path, tsumiki: Command, refused: Command, tmp_path: Path
) -> None:
    evaluation = released / "evaluation.json"
    tsumiki("release", trained, "--evaluation", evaluation, "-o", tmp_path / "again")
    assert (tmp_path / "again/evaluation.json").read_bytes() == evaluation.read_bytes()
    assert (tmp_path / "again/model.safetensors").read_bytes() == (released / "model.safetensors").read_bytes()
    assert "For lessons." not in (tmp_path / "again/README.md").read_text(encoding="utf-8")
    other = ("release", trained, "--dtype", "fp32", "--evaluation", evaluation, "-o", tmp_path / "other")
    assert refused(*other).startswith("The evaluation is not of the weights in")


def test_refusals(refused: Command, trained: Path, about: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    checkpoint = trained / "checkpoints/step-000004"
    assert "is there already" in refused("release", trained, "-o", trained)
    assert "belongs to no run" not in refused("release", trained, "data.sources.0.train=a.txt", "-o", out)
    assert "manifest.json' is missing" in refused("release", checkpoint, "-o", out)
    misspelt = tmp_path / "misspelt.yaml"
    misspelt.write_text("licens: mit\n", encoding="utf-8")
    assert "unknown key 'licens'" in refused("release", trained, "--about", misspelt, "-o", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_a_person_says_can_be_read(tmp_path: Path) -> None:
    for page in ROOT.glob("docs/*/release.md"):
        (example,) = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        (tmp_path / "example.yaml").write_text(example, encoding="utf-8")
        baseline = load_config(tmp_path / "example.yaml", About).baseline
        assert baseline is not None
        assert baseline.bits_per_byte == {"stories-ja": 1.5}
    for path in ROOT.glob("models/*.yaml"):
        terms = load_config(path, About).terms
        assert terms is not None
        assert "research and education" in terms.en
