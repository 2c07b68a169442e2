"""`tsumiki publish`: the folder, its card whose commands are true, and what stands in the way of a push."""

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import yaml

from tsumiki import load

Command = Callable[..., Any]

NAME = "somebody/tiny-stories"


@pytest.fixture(scope="module")
def published(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds the folder as `model`, as the card's download leaves it."""
    from cli.conftest import invoke

    directory = tmp_path_factory.mktemp("published")
    result = invoke("publish", trained, "--to", NAME, "--dry-run", "--licence", "mit", "-o", directory / "model")
    assert result.exit_code == 0, result.output
    assert f"This is what --push would send to {NAME}" in result.stdout
    return directory


def card(directory: Path) -> str:
    return (directory / "README.md").read_text(encoding="utf-8")


def test_the_folder(published: Path) -> None:
    model = published / "model"
    found = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert found == {
        *("README.md", "loss.svg", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"),
        *("tokenizer_config.json", "model.gguf", "model.onnx"),
        *(f"tsumiki/{name}" for name in ("model.safetensors", "config.yaml", "fingerprint.json", "tokenizer.json")),
        *(f"tsumiki/{name}.json" for name in ("doctor", "evaluation", "manifest")),
        "tsumiki/metrics.jsonl",
    }
    manifest = json.loads((model / "tsumiki/manifest.json").read_text(encoding="utf-8"))
    assert "command" not in manifest["sessions"][0]
    assert [source["licence"] for source in manifest["data"]["sources"]] == ["CC0-1.0", "CC0-1.0"]


def test_the_card(published: Path, trained: Path) -> None:
    text = card(published / "model")
    header = yaml.safe_load(text.split("---\n")[1])
    assert header == {
        "language": ["en", "ja"],
        "license": "mit",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["tsumiki"],
    }
    evaluation = json.loads((trained / "checkpoints/step-000004/evaluation.json").read_text(encoding="utf-8"))
    for language, value in evaluation["bits_per_byte"].items():
        row = f"| {language} | {value:.3f} | {evaluation['bits_per_character'][language]:.3f} |"
        assert text.count(row) == 2  # once in each language of the card
    assert text.count("| causality | passed |") == 2
    assert text.count("| sample-ja | ja | CC0-1.0 | 50.0% |") == 2
    assert "For research and education" not in text
    english, japanese = text.split("# 日本語\n")
    assert english.count("\n## ") == japanese.count("\n## ") == 6


def test_the_curve(published: Path) -> None:
    svg = ElementTree.parse(published / "model/loss.svg").getroot()
    (line,) = svg.iter("{http://www.w3.org/2000/svg}polyline")
    assert len(line.attrib["points"].split()) == 4  # the run has four steps
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}circle"))) == 2


def test_what_the_card_says_loads_it(
    published: Path, tsumiki: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(published)
    text = card(Path("model"))
    command = re.findall(r"^tsumiki (.*)$", text, re.MULTILINE)[0]
    assert command == 'generate model/tsumiki --prompt "Once upon a time"'
    tsumiki("generate", "model/tsumiki", "--prompt", "Once upon a time", "--max-tokens", "3")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 4
    assert examples[:2] == examples[2:]
    written = []
    for example in examples[:2]:
        exec(compile(example, "README.md", "exec"), {})
        written.append(capsys.readouterr().out.strip().replace("\ufffd", ""))
    expected = load("model/tsumiki", device="cpu").generate("Once upon a time", temperature=0, max_tokens=20)
    assert written == [f"Once upon a time{expected}".strip()] * 2
    assert "llama-cli -m model/model.gguf" in text


def test_what_a_tool_cannot_express_is_left_out_and_said(tsumiki: Command, tiny: Path, tmp_path: Path) -> None:
    run_dir, out = tmp_path / "gated", tmp_path / "out"
    gated = "model.attention={variant: gated, num_heads: 2, num_kv_heads: 1, head_dim: 8}"
    stories = tmp_path / "stories.jsonl"
    stories.write_text("".join(f'{{"text": "Story {number} is short."}}\n' for number in range(300)), encoding="utf-8")
    source = f"data.sources=[{{kind: local, language: en, train: '{stories}', validation_fraction: 0.1}}]"
    changes = (gated, source, "tokenizer.vocab_size=270", "model.vocab_size=270")
    tsumiki("train", tiny, *changes, "--run-dir", run_dir, "--skip-doctor")
    result = tsumiki("publish", run_dir, "--to", NAME, "-o", out)
    assert "No class of transformers can express this model" in result.stdout
    assert not (out / "config.json").exists()
    assert not (out / "model.gguf").exists()
    text = card(out)
    assert text.count("\nNot available: No class of transformers can express this model.") == 2
    assert "The doctor was skipped." in text
    assert "not stated by the publisher" in text
    assert "| local-en | en | not stated | 100.0% |" in text
    assert "For research and education" in text
    assert "license" not in yaml.safe_load(text.split("---\n")[1])
    assert load(out / "tsumiki", device="cpu").model.config.attention.variant == "gated"


def test_refusals(refused: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    assert refused("publish", trained, "--to", "tiny", "-o", out).startswith("'tiny' is no name on the hub")
    checkpoint = trained / "checkpoints/step-000004"
    assert "manifest.json' is missing" in refused("publish", checkpoint, "--to", NAME, "-o", out)
    assert "name one with --licence" in refused("publish", trained, "--to", NAME, "--push", "-o", out)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    push = ("publish", trained, "--to", NAME, "--push", "--licence", "mit", "-o", out)
    assert refused(*push).startswith("You are not logged in to the Hugging Face hub")
    assert not out.exists()


def test_a_push(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tsumiki.errors import UserError
    from tsumiki.export.publish import push_folder

    calls: list[tuple[str, Any]] = []

    class Hub:
        def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> str:
            calls.append((name, private))
            return f"address of {name}"

        def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
            calls.append((repo_id, folder_path))

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    assert push_folder(published / "model", NAME) == f"address of {NAME}"
    assert calls == [(NAME, True), (NAME, published / "model")]

    def offline(self: Any, **arguments: Any) -> None:
        raise ConnectionError("the hub cannot be reached.")

    monkeypatch.setattr(Hub, "upload_folder", offline)
    with pytest.raises(UserError, match=r"could not be pushed: the hub cannot be reached\. The folder"):
        push_folder(published / "model", NAME)


def test_a_run_that_was_not_evaluated(refused: Command, trained: Path, tmp_path: Path) -> None:
    run_dir = Path(shutil.copytree(trained, tmp_path / "run"))
    (run_dir / "checkpoints/step-000004/evaluation.json").unlink()
    assert "evaluation.json' is missing" in refused("publish", run_dir, "--to", NAME, "-o", tmp_path / "out")
