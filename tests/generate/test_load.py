import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tsumiki
from tsumiki.data.tokenizer import Tokenizer
from tsumiki.errors import UserError
from tsumiki.generate import load
from tsumiki.generate.load import choose_device, find_checkpoint, newest_run


def test_the_api_that_a_person_guesses(run: Path) -> None:
    model = tsumiki.load(run)
    pieces = list(model.stream("むかし", temperature=0.8, max_tokens=12, seed=3))
    assert len(pieces) > 1
    assert "".join(pieces) == model.generate("むかし", temperature=0.8, max_tokens=12, seed=3)
    assert model.generate("むかし", temperature=0.8, max_tokens=12, seed=4) != "".join(pieces)


def test_logits_are_the_model_s_of_the_text_after_end_of_text(run: Path) -> None:
    model = load(run)
    ids = [model.tokenizer.end_of_text_id, *model.tokenizer.encode("Once")]
    with torch.no_grad():
        expected = model.model(torch.tensor([ids]))[0]
    torch.testing.assert_close(model.logits("Once"), expected, rtol=0, atol=0)
    assert model.logits("").shape == (1, model.tokenizer.vocab_size)


def test_generate_begins_a_story_of_its_own_without_a_prompt(run: Path) -> None:
    model = load(run)
    completion = model.stream(max_tokens=5, temperature=0)
    assert completion.generation.prompt_tokens == 1
    assert "".join(completion) == "".join(model.stream("", max_tokens=5, temperature=0, use_cache=False))


def test_a_misspelt_setting_is_an_error(run: Path) -> None:
    with pytest.raises(TypeError, match="temprature"):
        load(run).generate("Once", temprature=0.8)  # type: ignore[call-arg]


def test_a_run_means_its_best_checkpoint_and_a_checkpoint_itself(run: Path) -> None:
    checkpoints = run / "checkpoints"
    assert load(run).checkpoint == checkpoints / "step-000020"
    assert load(str(checkpoints / "step-000030")).checkpoint == checkpoints / "step-000030"


def test_the_last_checkpoint_while_none_was_evaluated(run: Path) -> None:
    for evaluation in run.glob("checkpoints/*/evaluation.json"):
        evaluation.unlink()
    assert find_checkpoint(run).name == "step-000030"


def test_steps_count_as_numbers(run: Path) -> None:
    for evaluation in run.glob("checkpoints/*/evaluation.json"):
        evaluation.unlink()
    (run / "checkpoints" / "step-000020").rename(run / "checkpoints" / "step-200000")
    (run / "checkpoints" / "step-000030").rename(run / "checkpoints" / "step-1000000")
    assert find_checkpoint(run).name == "step-1000000"


def test_newest_run_is_the_one_with_the_newest_checkpoint(run: Path) -> None:
    other = run.with_name("another")
    checkpoint = other / "checkpoints" / "step-000001"
    checkpoint.mkdir(parents=True)
    os.utime(checkpoint, (0, 0))
    assert newest_run(run.parent) == run
    os.utime(checkpoint)
    os.utime(run / "checkpoints" / "step-000030", (0, 0))
    os.utime(run / "checkpoints" / "step-000020", (0, 0))
    os.utime(run / "checkpoints" / "step-000010", (0, 0))
    assert newest_run(run.parent) == other


def test_a_place_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere' holds no checkpoint"):
        load(tmp_path / "nowhere")
    assert newest_run(tmp_path) is None


def test_a_tokenizer_that_does_not_fit_is_refused(run: Path, small_tokenizer: Tokenizer) -> None:
    path = run / "checkpoints" / "step-000020" / "tokenizer.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace('"added_tokens":[', '"added_tokens":[' + ADDED_TOKEN % small_tokenizer.vocab_size),
        encoding="utf-8",
    )
    with pytest.raises(UserError, match="has 264 tokens, but the model beside it knows 263"):
        load(run)


ADDED_TOKEN = (
    '{"id":%d,"content":"<|extra|>","special":true,'
    '"single_word":false,"lstrip":false,"rstrip":false,"normalized":false},'
)


@pytest.mark.parametrize("device", ["cuda:99", "nonsense", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(UserError, match=f"The device '{device}' is not there; this machine has cpu"):
        choose_device(device)


def test_importing_tsumiki_costs_no_torch() -> None:
    code = "import sys, tsumiki; assert 'torch' not in sys.modules; tsumiki.load; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tsumiki.nothing  # noqa: B018
