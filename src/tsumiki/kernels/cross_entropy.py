"""Cross-entropy computed by PyTorch. `tsumiki.nn.loss` says what it must compute."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tsumiki.nn.loss import IGNORE, cross_entropy
from tsumiki.nn.precision import at_least_fp32


def torch_cross_entropy_sum(logits: Float[Tensor, "N V"], targets: Int[Tensor, " N"]) -> Float[Tensor, ""]:
    """The sum of -log softmax(logits)[target] over the targets that are not IGNORE, in nats and fp32."""
    return functional.cross_entropy(at_least_fp32(logits), targets, ignore_index=IGNORE, reduction="sum")


def eager_cross_entropy_sum(logits: Float[Tensor, "N V"], targets: Int[Tensor, " N"]) -> Float[Tensor, ""]:
    """The same, as `tsumiki.nn` spells it."""
    return cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum")


CROSS_ENTROPIES = {"eager": eager_cross_entropy_sum, "torch": torch_cross_entropy_sum}
"""Name in a configuration -> the summed loss."""
