"""Exported GGUF files run in llama.cpp: the same tokens of a text, the same greedy continuation.

llama.cpp keeps keys and values in fp16 and reads GELU from a table, so logits agree to 0.02 only.

Run with `pytest -m llama_cpp` after `pip install llama-cpp-python`.
"""

import numpy as np
import pytest
import torch

from export.conftest import VOCAB_SIZE, random_model
from export.test_gguf import EXPRESSIBLE
from export.test_hf import PROMPTS
from tsumiki.export.gguf import export_gguf
from tsumiki.generate import Sampling
from tsumiki.generate.engine import Generation

pytestmark = pytest.mark.llama_cpp


@pytest.mark.parametrize("name", EXPRESSIBLE)
def test_llama_cpp_writes_the_same(name: str, tokenizer, tmp_path) -> None:
    from llama_cpp import Llama

    model = random_model(name)
    export_gguf(model, tokenizer, tmp_path / "model.gguf")
    theirs = Llama(str(tmp_path / "model.gguf"), n_ctx=96, n_batch=96, logits_all=True, verbose=False)

    ids = torch.randint(0, VOCAB_SIZE, (1, 90), generator=torch.Generator().manual_seed(3))
    theirs.eval(ids[0].tolist())
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(theirs.scores[:90]), model(ids)[0], rtol=0, atol=0.05)

    for prompt in PROMPTS:
        tokens = theirs.tokenize(prompt.encode("utf-8"), add_bos=True, special=False)
        assert tokens == [tokenizer.end_of_text_id, *tokenizer.encode(prompt)]
        theirs.reset()
        theirs.eval(tokens)
        text: list[int] = []
        while len(text) < 64:
            text.append(int(np.argmax(theirs.scores[theirs.n_tokens - 1])))
            theirs.eval(text[-1:])
        assert text == list(Generation(model, tokens, Sampling(temperature=0.0), max_tokens=64))
    theirs.close()
