"""The studies' scripts: what they train and measure, and that their conclusions follow from the figures."""

import importlib
import re
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tsumiki.config import dump, load
from tsumiki.data import Document, PackedSource, Tokenizer, pack
from tsumiki.data.tokenizer import train_tokenizer
from tsumiki.generate import Sampling
from tsumiki.generate.engine import Generation
from tsumiki.models import build_model
from tsumiki.nn.attention import VARIANTS
from tsumiki.nn.rope import YarnScaling
from tsumiki.train import RunConfig

SCRIPTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    """Imports a script; what it registers is taken back in the end."""
    before, names = dict(VARIANTS), {path.stem for path in SCRIPTS.glob("*.py")}
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module
    sys.path.remove(str(SCRIPTS))
    for name in names:
        sys.modules.pop(name, None)
    VARIANTS.clear()
    VARIANTS.update(before)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    text = "The red fox met an old bear in the dark wood. A ship sailed over the wide blue sea to a far island."
    return train_tokenizer([Document(text * 9, "en", "a", "1")], vocab_size=290, train_bytes=9000)


RAN = {
    "started": "2026-01-02T03:04:05+00:00",
    "device": "cpu",
    "git": {"tsumiki": "0123abc"},
    "versions": {"torch": "2.11.0"},
}


def extension(**changes: Any) -> Namespace:
    """The arguments of a small study of the context."""
    given = {"config": "gpt-oss-1m", "changes": [], "tokens": 80_000, "seeds": 3, "trained": 64, "factors": [1, 2, 4]}
    return Namespace(**{**given, "tuning": 0.2, "rate": 0.5, "out": Path("out"), "figures": "svg", **changes})


def test_every_fine_tuning_reads_as_many_tokens(script: Any) -> None:
    study = script("context_extension")
    args = extension()
    base = study.base_config(args)
    assert (base.model.max_seq_len, base.train.seq_len, base.train.batch_size) == (64, 64, 16)
    assert base.train.steps * 64 * 16 == pytest.approx(80_000, rel=0.02)
    tuned = {
        method: study.tuning_config(base, base.data, method, 1, Path("origin"), args)
        for method in (study.CONTROL, *study.METHODS)
    }
    assert {run.train.steps * run.train.batch_size * run.train.seq_len for run in tuned.values()} == {15 * 1024}
    assert {method: run.model.max_seq_len for method, run in tuned.items()} == {
        **dict.fromkeys(study.METHODS, 256),
        study.CONTROL: 64,
    }
    assert tuned["yarn"].model.rope.scaling == YarnScaling(factor=4, original_max_seq_len=64)
    assert tuned["none"].model.rope == tuned[study.CONTROL].model.rope == base.model.rope
    assert all(run.start_from == "origin" and run.train.seed == 1 for run in tuned.values())
    assert tuned["ntk"].train.optimizer.learning_rate == pytest.approx(base.train.optimizer.learning_rate / 2)


def test_long_documents_are_made_of_what_is_alike(script: Any, tokenizer: Tokenizer, tmp_path: Path) -> None:
    woods = [f"The red fox number {number} met an old bear in the dark wood." for number in range(12)]
    seas = [f"A ship number {number} sailed over the wide blue sea to a far island." for number in range(12)]
    mixed = [text for pair in zip(woods, seas, strict=True) for text in pair]
    pack([Document(text, "en", "a", text) for text in mixed], tokenizer, tmp_path)
    source = PackedSource(tmp_path, name="a", language="en")
    size = 4 * max(source.lengths.tolist())
    found = list(script("long_documents").lay_end_to_end([source], tokenizer, shortest=3, size=size, limit=None))
    assert len(found) >= 4
    parts = [text.split("\n") for text in found]
    assert all(len(tokenizer.encode(text)) >= size for text in found)
    assert len({part for one in parts for part in one}) == sum(map(len, parts))
    assert all(part in mixed for one in parts for part in one)
    unmixed = [one for one in parts if set(one) <= set(woods) or set(one) <= set(seas)]
    assert len(unmixed) >= len(parts) - 1  # the last one takes what is left


def extension_rows(gain: dict[str, float]) -> list[dict[str, Any]]:
    """Figures of three seeds: each method changes bits per byte by its gain, with a little noise."""
    rows = []
    for seed in range(3):
        for language in ("en", "ja"):
            for tuned in (False, True):
                for method in ("none", "linear", "ntk", "yarn", *(["short"] if tuned else [])):
                    for context in (64, 128, 256) if method != "short" else (64,):
                        change = gain.get(method, 0.0) * (context > 64)
                        noise = 0.001 * ((seed * 7 + context // 64 + len(method)) % 3)
                        bits, found = 1.5 + 0.1 * seed + change + noise, 0.1 + 0.01 * (seed - 1)
                        figures = {"bits_per_byte": bits, "passkey": found}
                        what = {"tuned": tuned, "method": method, "seed": seed, "language": language}
                        rows.append({**what, "context": context, **figures})
    return rows


def extension_study(script: Any, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """As the script writes it."""
    study, args = script("context_extension"), extension()
    base = study.base_config(args)
    tuning = study.tuning_config(base, base.data, "yarn", 0, Path("origin"), args)
    return {
        "settings": script("study").settings(args),
        "config": dump(base),
        "tuning_config": dump(tuning),
        "rows": rows,
        "differences": study.compare(rows, args),
        "trained_on": RAN,
    }


def write(script: Any, name: str, study: dict[str, Any], out: Path) -> None:
    """Write the report of a script, as pages that are called `page`."""
    script("study").write_reports("page", out, "svg", lambda language: script(name).report(study, language))


def test_the_conclusion_names_the_method_that_helps(script: Any, tmp_path: Path) -> None:
    study = extension_study(script, extension_rows({"yarn": -0.2, "none": 0.4}))
    write(script, "context_extension", study, tmp_path)
    english, japanese = ((tmp_path / language / "page.md").read_text(encoding="utf-8") for language in ("en", "ja"))
    assert (
        "**✓ Shown to predict better with 256 tokens than with 64: fine-tuned, YaRN; without fine-tuning, YaRN.**"
        in english
    )
    assert "| fine-tuned, against the control | 256 | worse: plain RoPE; no difference shown: position inter" in english
    assert "| fine-tuned, YaRN against each of the others | 256 | better: plain RoPE, position inter" in english
    assert "secrets found, against chance (10 %) | 256 | no difference shown: plain RoPE" in english
    assert "微調整後：YaRN。微調整なし：YaRN。**" in japanese
    for language in ("en", "ja"):
        pictures = sorted(path.name for path in (tmp_path / language / "page-figures").iterdir())
        assert len(pictures) == 8
        assert all(f"(page-figures/{name})" in {"en": english, "ja": japanese}[language] for name in pictures)
    assert re.search(r"\| YaRN \| -0\.\d{4} \[.*\]: better \| -0\.\d{4} \[.*\]: better \| 10% \|", english)
    assert (
        "python experiments/context_extension.py \\\n  --out runs/context-extension \\\n  --config gpt-oss-1m"
        in english
    )
    assert "Seeds 0, 1, 2. Trained on cpu, begun 2026-01-02; commit: 0123abc; torch 2.11.0." in english


def test_no_difference_is_a_conclusion(script: Any) -> None:
    study = extension_study(script, extension_rows({}))
    _, banner, _, secrets, _, table = script("context_extension").report(study, "en").sections[0].blocks
    assert (
        banner.text == "No method is shown to predict better with 256 tokens than with 64, with or without fine-tuning."
    )
    assert secrets.text.startswith("The secrets tell nothing about the length: even with 64 tokens")
    assert banner.tone == "note"
    assert all(row[-1].startswith("no difference shown: ") for row in table.rows)


def test_the_doctor_refuses_the_leaking_model_and_only_that(script: Any) -> None:
    leak = script("leak")
    changes = ["model.num_layers=1", "model.d_model=32", "model.max_seq_len=64", "train.seq_len=64"]
    sound = load("gpt-oss-1m", RunConfig, changes).model
    leaking = leak.with_attention(sound, leak.Leaking)
    assert leak.examine(sound) == {"ok": True, "failures": []}
    found = leak.examine(leaking)
    assert not found["ok"]
    assert "The model sees the future" in found["failures"][0]["en"]
    assert leak.with_attention(leaking, type(build_model(sound).layers[0].attention)) == sound  # pyright: ignore


def test_texts_are_written_as_by_the_library_but_for_their_end(script: Any, tokenizer: Tokenizer) -> None:
    changes = [f"model.vocab_size={tokenizer.vocab_size}", "model.num_layers=1", "model.init_std=0.3"]
    model = build_model(load("gpt-oss-1m", RunConfig, changes).model).eval()
    with torch.no_grad():
        model.unembedding[tokenizer.end_of_text_id] = 0  # the library may write it, and with this does not
    prompt = [tokenizer.end_of_text_id, *tokenizer.encode("The red fox")]
    prompts = torch.tensor([prompt, [tokenizer.end_of_text_id, *tokenizer.encode("The old bear")][: len(prompt)]])
    texts = script("leak").write(model, tokenizer, prompts, 12, temperature=0, seed=0)
    for row, text in zip(prompts.tolist(), texts, strict=True):
        ids = list(Generation(model, row, Sampling(temperature=0.0), max_tokens=12))
        assert tokenizer.end_of_text_id not in ids
        assert script("leak").decode(tokenizer, ids) == text


def test_the_leaks_conclusion_follows_from_the_figures(script: Any, tmp_path: Path) -> None:
    leak = script("leak")
    worth = {"sound": (2.0, 2.0, 2.0, 0.1), "leaking": (0.2, 5.0, 4.0, 0.8)}
    rows = [
        {
            **{"arm": arm, "seed": seed, "language": language, "alarm": arm == "leaking"},
            **dict(zip(("shown", "masked", "written"), (value + 0.01 * seed**2 for value in values), strict=False)),
            **{f"{name}_{temperature}": values[3] for name in ("repetition", "mixing") for temperature in (0, 1)},
        }
        for arm, values in worth.items()
        for seed in range(3)
        for language in ("en", "ja")
    ]
    arms = [{"arm": arm, "seed": seed} for arm in worth for seed in range(3)]
    study = {
        "settings": {"config": "gpt-oss-1m", "changes": [], "tokens": 1000, "seeds": 3, "read": 64},
        "config": {},
        "doctor": {
            "sound": {"ok": True, "failures": []},
            "leaking": {"ok": False, "failures": [{"en": "It sees the future.", "ja": "未来が見えています。"}]},
        },
        "rows": rows,
        "texts": [{"arm": arm, "prompt": "Once", "temperature": 0, "text": "upon|a\ntime"} for arm in worth],
        "curves": [{**what, "tokens": tokens, "loss": 5.0} for what in arms for tokens in (10, 20)],
        "differences": leak.compare(rows),
        "trained_on": RAN,
    }
    write(script, "leak", study, tmp_path)
    english = (tmp_path / "en/page.md").read_text(encoding="utf-8")
    assert (
        "**✗ Without the mask, the loss looks better (2.017 → 0.217 bits per byte), and the model predicts worse"
        in english
    )
    assert "| bits per byte, as training shows it | 2.017 | 0.217 | -1.8000 [-1.8000, -1.8000] | better |" in english
    assert "| passes the doctor, before training | yes | no |" in english
    assert "| alarms after training: predicted too well | 0 / 6 | 6 / 6 |" in english
    assert "**✗ マスクがないと、損失は良く見え（ビット／バイトで 2.017 → 0.217）、" in (
        tmp_path / "ja/page.md"
    ).read_text(encoding="utf-8")


def test_a_study_that_is_begun_stays_what_it_is(script: Any, tmp_path: Path) -> None:
    study = script("study")
    study.check(extension(out=tmp_path, workers=1))
    study.check(extension(out=tmp_path, workers=8))
    with pytest.raises(study.UserError, match=r"with tokens = 80000, and now it is 90000; choose another --out"):
        study.check(extension(out=tmp_path, workers=1, tokens=90_000))


def test_a_study_whose_figures_have_no_font_does_not_begin(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = script("study")

    def none() -> str:
        raise study.UserError("No font with Japanese glyphs is installed.")

    monkeypatch.setattr(study, "japanese_font", none)
    with pytest.raises(study.UserError, match="No font"):
        study.check(extension(out=tmp_path, figures="png"))
    study.check(extension(out=tmp_path, figures="svg"))


def test_a_finished_study_is_only_written_anew(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From `study.json`, without text and weights."""
    study = extension_study(script, extension_rows({"yarn": -0.2}))
    script("study").write_json(tmp_path / "study.json", {**study, "differences": []})
    script("study").write_json(tmp_path / "runs/trained/seed-0/manifest.json", {"sessions": [RAN]})
    given = ["--config", "gpt-oss-1m", "--trained", "64", "--factors", "1", "2", "4"]
    monkeypatch.setattr(sys, "argv", ["context_extension.py", "--out", str(tmp_path), *given])
    script("context_extension").main()
    assert "fine-tuned, YaRN" in (tmp_path / "en/context-extension.md").read_text(encoding="utf-8")
