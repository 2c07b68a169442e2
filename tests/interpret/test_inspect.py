"""The command, and what it writes: a page that needs nothing else, figures, tensors."""

import base64
import io
import json
import re
import struct
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from interpret.conftest import build
from tsumiki.cli import app
from tsumiki.data import Tokenizer
from tsumiki.interpret import Trace, load_trace, record
from tsumiki.interpret.figure import all_heads_figure, head_figure, head_png, png
from tsumiki.interpret.findings import examine, highest_scores
from tsumiki.interpret.page import page
from tsumiki.interpret.terminal import render

SVG = "{http://www.w3.org/2000/svg}"
PROMPT = "むかし、猫がいた。"


def invoke(*arguments: str | Path) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def trace(tokenizer: Tokenizer) -> Trace:
    ids = [tokenizer.end_of_text_id, *tokenizer.encode(PROMPT)]
    return record(build("gated"), ids, tokenizer)


def embedded(html: str) -> dict[str, Any]:
    """The data that a page carries."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_command_writes_everything_and_says_where(run: Path) -> None:
    result = invoke("inspect", run, "--prompt", PROMPT, "--lang", "ja")
    assert result.exit_code == 0, result.output
    written = [Path(line) for line in result.stdout.splitlines() if line.startswith(str(run))]
    assert len(written) == 7
    assert all(path.stat().st_size > 100 for path in written)
    assert "先頭のトークンに頼るヘッド" in result.stdout
    trace = load_trace(run / "inspect")
    assert trace.labels[0] == "‹end›"
    assert trace.attention.shape[-1] == len(trace.labels) > 3
    findings = json.loads((run / "inspect/inspect.json").read_text(encoding="utf-8"))
    assert findings["prompt"] == PROMPT
    assert findings["scores"].keys() == {"previous", "induction", "first", "sink"}


def test_scores_by_checkpoint(run: Path, tokenizer: Tokenizer) -> None:
    result = invoke("inspect", run, "--checkpoints", "--lang", "en")
    assert result.exit_code == 0, result.output
    rows = json.loads((run / "inspect/checkpoints.json").read_text(encoding="utf-8"))["highest"]
    assert list(rows) == ["10", "200"]
    assert rows["200"] == pytest.approx(highest_scores(build("sinks", seed=2), tokenizer))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Say what to look at"),
        (["--prompt", "むかし" * 99], "but the model's context holds 67: shorten it"),
        (["--prompt", "f"], "is a single token; give a longer one"),
    ],
)
def test_mistakes(run: Path, arguments: list[str], sentence: str) -> None:
    result = invoke("inspect", run, *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_checkpoints_are_those_of_a_run(tmp_path: Path) -> None:
    result = invoke("inspect", tmp_path, "--checkpoints")
    assert result.exit_code == 2
    assert "holds no checkpoints" in result.stderr


def test_the_page_needs_no_network_and_holds_the_weights(trace: Trace, tokenizer: Tokenizer) -> None:
    findings = examine(build("gated"), tokenizer, trace)
    html = page(trace, findings, where="</script><b>runs/mine", language="ja")
    assert not re.search(r"""(src|href)\s*=|url\(|https?://|@import|fetch\(""", html)
    data = embedded(html)
    assert data["where"] == "</script><b>runs/mine"
    assert html.count("</script>") == 2
    weights = np.frombuffer(base64.b64decode(data["attention"]), dtype=np.uint8).reshape(trace.attention.shape) / 255
    torch.testing.assert_close(torch.from_numpy(weights).float(), trace.attention, rtol=0, atol=0.5 / 255 + 1e-6)
    assert data["tokens"] == list(trace.labels)
    assert next(label for label, partial in zip(data["tokens"], data["partial"], strict=True) if partial) == "‹end›"
    assert "‹E7›" in data["tokens"]
    assert data["scores"].keys() == {"previous", "induction", "first", "gate", "shut"}


def test_the_page_says_everything_in_both_languages(trace: Trace, tokenizer: Tokenizer) -> None:
    html = page(trace, examine(build("gated"), tokenizer, trace), where="x")
    words = re.search(r"const WORDS = \{\n  en: \{(.*?)\n  \},\n  ja: \{(.*?)\n  \},", html, re.DOTALL)
    assert words is not None
    english, japanese = (re.findall(r"(?:^|, |\s)(\w+): (?=[\"(]|share)", part) for part in words.groups())
    assert english == japanese
    assert set(re.findall(r'data-say="(\w+)"', html)) <= set(english)


def test_experts_are_found_and_shown(tokenizer: Tokenizer) -> None:
    model = build("moe")
    trace = record(model, [tokenizer.end_of_text_id, *tokenizer.encode(PROMPT)], tokenizer)
    findings = examine(model, tokenizer, trace)
    assert findings.experts is not None
    assert [sum(shares) for shares in findings.experts] == pytest.approx([1, 1, 1])
    console = Console(record=True, width=100, file=io.StringIO())
    render(trace, findings, console, "en")
    shown = " ".join(f"{share:.0%}" for share in findings.experts[0])
    assert f"1      {shown}" in console.export_text()


def pixels(image: bytes) -> np.ndarray:
    """The grey values of a PNG whose lines have no filter, after its checksums have been looked at."""
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, rest = {}, image[8:]
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        name, data, checksum = rest[4:8], rest[8 : 8 + length], rest[8 + length : 12 + length]
        assert struct.unpack(">I", checksum)[0] == zlib.crc32(name + data)
        chunks[name], rest = data, rest[12 + length :]
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height = struct.unpack(">2I", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), dtype=np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:]


def test_a_png_by_hand() -> None:
    assert pixels(png(torch.tensor([[0.0, 1.0, 0.2]]))).tolist() == [[255, 0, 204]]


def test_a_head_is_a_picture_of_its_weights(trace: Trace) -> None:
    grey = pixels(head_png(trace, layer=1, head=2))
    scale = len(grey) // len(trace.ids)
    assert len(grey) >= 512
    np.testing.assert_allclose(1 - grey[::scale, ::scale] / 255, trace.attention[1, 2], atol=0.5 / 255 + 1e-6)


def test_figures_are_svg_with_the_tokens_and_the_pictures(trace: Trace) -> None:
    figure = ET.fromstring(head_figure(trace, layer=1, head=2))
    texts = [element.text for element in figure.iter(f"{SVG}text")]
    assert texts[::2] == texts[1::2] == list(trace.labels)
    (image,) = figure.iter(f"{SVG}image")
    data = (image.get("href") or "").removeprefix("data:image/png;base64,")
    assert base64.b64decode(data) == head_png(trace, layer=1, head=2)
    grid = ET.fromstring(all_heads_figure(trace))
    assert [element.text for element in grid.iter(f"{SVG}text")][:5] == ["1.1", "1.2", "1.3", "1.4", "2.1"]
    assert len(list(grid.iter(f"{SVG}image"))) == 3 * 4
