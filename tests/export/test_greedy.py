"""The expected greedy texts, in tsumiki however it computes, and in transformers."""

import pytest
import torch

from export.conftest import GREEDY, random_model
from export.test_hf import load_theirs
from tsumiki.export.hf import export_hf
from tsumiki.generate import Sampling
from tsumiki.generate.engine import Generation
from tsumiki.kernels import BackendConfig
from tsumiki.models.build import model_of

EAGER = BackendConfig(attention="eager", activation="eager", experts="eager", cross_entropy="eager")


@pytest.mark.parametrize("name", GREEDY)
@pytest.mark.parametrize("backend", [EAGER, BackendConfig()], ids=["eager", "fast"])
@pytest.mark.parametrize("use_cache", [True, False], ids=["cache", "no-cache"])
def test_tsumiki(name: str, backend: BackendConfig, use_cache: bool) -> None:
    golden = GREEDY[name]
    model = random_model(name, num_layers=golden["num_layers"])
    model = model_of(model.config, model.state_dict(), backend=backend)
    text = Generation(model, golden["prompt"], Sampling(temperature=0.0), max_tokens=64, use_cache=use_cache)
    assert list(text) == golden["tokens"]


@pytest.mark.parametrize("name", GREEDY)
def test_transformers(name: str, tokenizer, tmp_path) -> None:
    golden = GREEDY[name]
    export_hf(random_model(name, num_layers=golden["num_layers"]), tokenizer, tmp_path)
    prompt = torch.tensor([golden["prompt"]])
    everything = torch.ones_like(prompt)
    text = load_theirs(tmp_path).generate(
        prompt, attention_mask=everything, max_new_tokens=64, do_sample=False, eos_token_id=None
    )
    assert text[0].tolist() == golden["prompt"] + golden["tokens"]
