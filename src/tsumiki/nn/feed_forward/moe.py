"""Mixture of experts: many feed-forward layers, of which each token uses a few."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Module, ModuleList

from tsumiki.nn.activation import EAGER, Activations
from tsumiki.nn.feed_forward.config import FeedForwardConfig
from tsumiki.nn.feed_forward.swiglu import SwiGLUFeedForward
from tsumiki.nn.linear import Linear
from tsumiki.nn.precision import at_least_fp32
from tsumiki.nn.softmax import softmax
from tsumiki.spec import spec


@dataclass(frozen=True)
class Routing:
    """Where a router sent each of N tokens: to A of X experts.

    ルーターが各トークンをどの専門家に送ったかの記録です。

    Args:
        logits: every expert's score, in fp32.
        chosen: the numbers of the A experts with the highest scores, the highest first.
        weights: what share of the token's update each of them gives; they add up to 1.
    """

    logits: Float[Tensor, "N X"]
    chosen: Int[Tensor, "N A"]
    weights: Float[Tensor, "N A"]

    @property
    def tokens_per_expert(self) -> Int[Tensor, " X"]:
        """How many tokens chose each expert; N · A altogether."""
        experts_X = torch.arange(self.logits.shape[1], device=self.chosen.device)
        return (self.chosen[:, :, None] == experts_X).sum(dim=(0, 1))


RunExperts = Callable[[Float[Tensor, "N E"], Routing, ModuleList], Float[Tensor, "N E"]]
"""How a mixture computes Σ p_x expert_x(h): `each_expert_in_turn`, or a faster spelling of it."""


def each_expert_in_turn(x: Float[Tensor, "N E"], routing: Routing, experts: ModuleList) -> Float[Tensor, "N E"]:
    """y_n = Σ_x p_nx expert_x(x_n): every expert takes the tokens that chose it, and adds its share to their updates.

    専門家を一つずつ順に、選ばれたトークンだけに適用します。
    """
    y_NE = torch.zeros_like(x)
    for number, expert in enumerate(experts):
        token, rank = torch.where(routing.chosen == number)
        share = routing.weights[token, rank, None] * expert(x[token])
        y_NE = y_NE.index_add(0, token, share.to(y_NE.dtype))
    return y_NE


class MixtureOfExperts(Module):
    """y = Σ_{x ∈ top} p_x expert_x(h), top = the A largest of r = W_r h + b_r, p = softmax(r_top).

    As in GPT-OSS (arXiv 2508.10925): the softmax is over the chosen experts, so their shares add up to 1, and each
    expert is a SwiGLU layer. Routed layers are arXiv 1701.06538's idea. A token costs A experts' computation, while
    the layer has X experts' parameters. The router's logits and the softmax are computed in fp32. One expert is the
    dense layer.

    一つの大きな層の代わりに多数の専門家を持ち、トークンごとに少数だけを使う層です。

    Args:
        config: experts and options, see `Config`.
        d_model: width of the residual stream.
        std: standard deviation of the initial weights.
        residual_std: the same for the down projections, which write into the residual stream.
        activations: how the activation is computed.
        run_experts: how the experts are computed.
    """

    @spec
    class Config(FeedForwardConfig):
        """`d_ff` is the width of one expert; `bias`, `limit` and `alpha` are the experts' own, as for `swiglu`.

        Args:
            num_experts: feed-forward layers to choose from, X.
            experts_per_token: how many of them a token uses, A.
            bias: biases in the router and in the experts (GPT-OSS has them).
            balance_coefficient: weight of the load-balancing loss, see `balance_loss`; 0 for none. Switch Transformer
                used 0.01.
        """

        variant: Literal["moe"] = "moe"
        num_experts: int
        experts_per_token: int
        bias: bool = True
        limit: float | None = 7.0
        alpha: float = 1.702
        balance_coefficient: float = 0.0

        def __post_init__(self) -> None:
            if self.num_experts < 1:
                raise ValueError(f"num_experts is {self.num_experts}, but must be 1 or more.")
            if not 1 <= self.experts_per_token <= self.num_experts:
                raise ValueError(
                    f"experts_per_token is {self.experts_per_token}, but must be from 1 to num_experts, "
                    f"{self.num_experts}."
                )
            if self.balance_coefficient < 0:
                raise ValueError(f"balance_coefficient is {self.balance_coefficient}, but must be 0 or more.")
            SwiGLUFeedForward.Config.__post_init__(self.expert)

        @property
        def expert(self) -> SwiGLUFeedForward.Config:
            """One expert by itself."""
            return SwiGLUFeedForward.Config(d_ff=self.d_ff, bias=self.bias, limit=self.limit, alpha=self.alpha)

    def __init__(
        self,
        config: Config,
        *,
        d_model: int,
        std: float,
        residual_std: float,
        activations: Activations = EAGER,
        run_experts: RunExperts = each_expert_in_turn,
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.experts_per_token = config.experts_per_token
        self.router = Linear(d_model, config.num_experts, bias=config.bias, std=std)
        self.experts = ModuleList(
            SwiGLUFeedForward(
                config.expert, d_model=d_model, std=std, residual_std=residual_std, activations=activations
            )
            for _ in range(config.num_experts)
        )
        self.run_experts = run_experts

    def forward(
        self, x: Float[Tensor, "*batch {self.d_model}"], routings: list[Routing] | None = None
    ) -> Float[Tensor, "*batch {self.d_model}"]:
        """The update of every token.

        Args:
            routings: the caller's list, to which this layer adds where it sent the tokens.
        """
        x_NE = x.reshape(-1, self.d_model)
        routing = self.route(x_NE)
        if routings is not None:
            routings.append(routing)
        return self.run_experts(x_NE, routing, self.experts).reshape(x.shape)

    def route(self, x: Float[Tensor, "N {self.d_model}"]) -> Routing:
        """Choose every token's experts. Autocast is off here: in bf16 near-equal scores would change places."""
        with torch.autocast(x.device.type, enabled=False):
            logits_NX = at_least_fp32(x) @ at_least_fp32(self.router.weight).T
            if self.router.bias is not None:
                logits_NX = logits_NX + self.router.bias
        top_NA, chosen_NA = logits_NX.topk(self.experts_per_token, dim=-1)
        return Routing(logits_NX, chosen_NA, softmax(top_NA, dim=-1).to(x.dtype))


def balance_loss(routings: Sequence[Routing]) -> Float[Tensor, ""]:
    """X Σ_x f_x P_x over the tokens of all layers: f_x the share that chose expert x, P_x its mean probability.

    Here P is a softmax over all experts. Only P has a gradient; it pushes tokens away from the experts that have many.
    Where all experts are equally busy the loss is A, experts_per_token, and where all tokens choose the same A experts
    with certainty it is X. Switch Transformer's loss (arXiv 2101.03961, equations 4 to 6), as transformers computes it.

    専門家の負荷が偏るほど大きくなる補助損失です。
    """
    probabilities_NX = softmax(torch.cat([routing.logits for routing in routings]), dim=-1)
    num_tokens, num_experts = probabilities_NX.shape
    share_X = expert_load(routings).sum(dim=0) / num_tokens
    return num_experts * (share_X * probabilities_NX.mean(dim=0)).sum()


def expert_load(routings: Sequence[Routing]) -> Int[Tensor, "L X"]:
    """How many tokens each expert of each layer had. The loads of several batches may be added.

    層ごと、専門家ごとのトークン数です。
    """
    return torch.stack([routing.tokens_per_expert for routing in routings])


def effective_experts(load: Int[Tensor, "L X"]) -> Float[Tensor, " L"]:
    """exp(H) of each layer, H the entropy of its load: the number of equally busy experts that would be as uneven.

    X where all are equally busy, A where every token chooses the same A experts: the router has collapsed.

    負荷の偏りを「実質的に何人の専門家が働いているか」で表します。
    """
    share_LX = load / load.sum(dim=1, keepdim=True)
    return torch.special.entr(share_LX).sum(dim=1).exp()


def collapsed_layers(load: Int[Tensor, "L X"], experts_per_token: int) -> list[int]:
    """The layers whose router has collapsed: less than a tenth of the way from A effective experts to X.

    ルーターがほぼ同じ専門家ばかり選ぶようになった層の番号です。
    """
    spare = load.shape[1] - experts_per_token
    if spare == 0:
        return []
    used = (effective_experts(load) - experts_per_token) / spare
    return torch.where(used < 0.1)[0].tolist()
