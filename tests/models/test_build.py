"""Building models."""

import torch

from contract.cases import CASES
from tsumiki.models.build import build_model, twin


def test_a_twin_shares_the_memory_and_nothing_else() -> None:
    """Its weights take no gradients; those of the model, which may be in training, still do."""
    model = build_model(CASES[-1].config)
    other = twin(model)
    assert not any(weight.requires_grad for weight in other.parameters())
    assert all(weight.requires_grad for weight in model.parameters())
    own, others = (dict(each.named_parameters()) for each in (model, other))
    assert own.keys() == others.keys()
    assert all(own[name].data_ptr() == others[name].data_ptr() for name in own)
    other.embedding = torch.nn.Identity()
    assert "embedding.weight" in dict(model.named_parameters())
    with torch.no_grad():
        own["norm.weight"].mul_(2)
    torch.testing.assert_close(others["norm.weight"], own["norm.weight"].detach())
