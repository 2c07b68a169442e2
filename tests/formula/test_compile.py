"""The blocks compile as they stand: into one graph, with the same outputs and gradients."""

import torch
from torch import Tensor
from torch.nn import Module, ModuleList

from tsumiki.nn.embedding import Embedding
from tsumiki.nn.feed_forward import GeluFeedForward, SwiGLUFeedForward
from tsumiki.nn.linear import Linear
from tsumiki.nn.loss import cross_entropy
from tsumiki.nn.norm import LayerNorm, RMSNorm
from tsumiki.nn.position import positions_in_documents, sinusoidal
from tsumiki.nn.rope import Rope, RopeConfig, YarnScaling, rotate
from tsumiki.nn.softmax import softmax

SIZES = {"d_model": 6, "std": 0.5, "residual_std": 0.5}


class Everything(Module):
    """Every block once; it models nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = Embedding(13, 6), Linear(6, 13, bias=True)
        self.norms = ModuleList([RMSNorm(6), LayerNorm(6)])
        self.rope = Rope(6, RopeConfig(scaling=YarnScaling(factor=4.0, original_max_seq_len=256)))
        self.gelu = GeluFeedForward(GeluFeedForward.Config(d_ff=11), **SIZES)
        self.swiglu = SwiGLUFeedForward(SwiGLUFeedForward.Config(d_ff=11, limit=7.0, alpha=1.702), **SIZES)

    def forward(self, ids: Tensor, documents: Tensor, targets: Tensor) -> Tensor:
        positions = positions_in_documents(documents)
        x = self.embedding(ids) + sinusoidal(positions, 6)
        x = rotate(self.norms[0](x).unsqueeze(2), self.rope.rotation(positions)).squeeze(2)
        x = softmax(self.swiglu(x) + self.gelu(self.norms[1](x)), dim=-1)
        return cross_entropy(self.head(x).flatten(0, 1), targets.flatten(), reduction="sum")


def test_all_blocks_compile_into_one_graph():
    model = Everything()
    ids, targets = torch.randint(13, (2, 3, 7))
    targets[0, :2] = -100
    documents = torch.tensor([[0, 0, 1, 1, 1, 2, 2]] * 3)
    # "aot_eager" traces forward and backward as for a GPU, but leaves out the minutes of generating code.
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    expected, found = model(ids, documents, targets), compiled(ids, documents, targets)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    parameters = list(model.parameters())
    gradients = [torch.autograd.grad(loss, parameters) for loss in (found, expected)]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)
