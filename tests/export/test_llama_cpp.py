"""Exported GGUF files run in llama.cpp: the same tokens of a text, the same logits, the same greedy continuation.

Run with `pytest -m llama_cpp` after `pip install llama-cpp-python`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from export.conftest import GREEDY, VOCAB_SIZE, random_model
from export.test_gguf import EXPRESSIBLE
from export.test_hf import PROMPTS
from tsumiki.export.gguf import export_gguf

pytestmark = pytest.mark.llama_cpp


def run(path) -> Any:
    from llama_cpp import Llama

    return Llama(str(path), n_ctx=96, n_batch=96, logits_all=True, verbose=False)


def continuation(theirs: Any, prompt: Sequence[int]) -> list[int]:
    theirs.reset()
    theirs.eval(prompt)
    text: list[int] = []
    while len(text) < 64:
        text.append(int(np.argmax(theirs.scores[theirs.n_tokens - 1])))
        theirs.eval(text[-1:])
    return text


@pytest.mark.parametrize("name", EXPRESSIBLE)
def test_logits_and_tokens(name: str, tokenizer, tmp_path) -> None:
    """llama.cpp keeps keys and values in fp16 and reads GELU from a table, so logits agree to 0.02 only."""
    model = random_model(name)
    export_gguf(model, tokenizer, tmp_path / "model.gguf")
    theirs = run(tmp_path / "model.gguf")
    ids = torch.randint(0, VOCAB_SIZE, (1, 90), generator=torch.Generator().manual_seed(3))
    theirs.eval(ids[0].tolist())
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(theirs.scores[:90]), model(ids)[0], rtol=0, atol=0.05)
    for prompt in PROMPTS:
        tokens = theirs.tokenize(prompt.encode("utf-8"), add_bos=True, special=False)
        assert tokens == [tokenizer.end_of_text_id, *tokenizer.encode(prompt)]
    theirs.close()


@pytest.mark.parametrize("name", GREEDY)
def test_greedy_text_is_the_expected_one(name: str, tokenizer, tmp_path) -> None:
    golden = GREEDY[name]
    export_gguf(random_model(name, num_layers=golden["num_layers"]), tokenizer, tmp_path / "model.gguf")
    theirs = run(tmp_path / "model.gguf")
    assert continuation(theirs, golden["prompt"]) == golden["tokens"]
    theirs.close()
