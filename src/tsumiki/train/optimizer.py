"""Optimizers: how a gradient becomes a step. AdamW by hand and as `torch` fuses it, Muon, clipping by the global norm.

Every optimizer here is a class with a `Config`, built from named parameters, with the same four methods: `step`,
`zero_grad`, `state_tensors`, `load_state_tensors`. Its state is a flat mapping of named tensors, which is what a
checkpoint can hold without pickle.
"""

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn import Parameter

from tsumiki.errors import UserError
from tsumiki.spec import OneOf, spec
from tsumiki.train.distributed import like, own_part, whole

untyped_torch: Any = torch
"""PyTorch, whose `_foreach_*` functions (one kernel for many tensors) its type stubs leave out."""


@spec
class OptimizerConfig:
    """What every optimizer's `Config` has: the highest learning rate, which the schedule scales."""

    kind: str
    learning_rate: float

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate is {self.learning_rate}, but must be above 0.")


class Optimizer(ABC):
    """Turns gradients into new weights.

    Frozen parameters (`requires_grad` false) are left alone, and so is a parameter that has no gradient in some step.
    """

    parameters: dict[str, Parameter]

    @abstractmethod
    def step(self, scale: float | Tensor) -> None:
        """Update all parameters once, with the learning rate `scale * config.learning_rate`.

        On a GPU, with a `scale` that is a tensor there, nothing but the device decides what happens, so that a step can
        be recorded (`tsumiki.train.capture`).
        """

    @abstractmethod
    def state_tensors(self) -> dict[str, Tensor]:
        """The whole state, named `<parameter>.first_moment` and so on; on the parameters' device."""

    @abstractmethod
    def load_state_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_tensors` gave, here or in another optimizer of the same names."""

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None


@spec
class AdamWConfig(OptimizerConfig):
    """The numbers of AdamW; `AdamW` says what they mean."""

    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}, but each must be at least 0 and below 1.")
        if self.eps <= 0:
            raise ValueError(f"eps is {self.eps}, but must be above 0.")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay is {self.weight_decay}, but must be at least 0.")


@dataclass
class Moments:
    """What AdamW remembers of one parameter: running means of its gradient and its gradient's square, and how often."""

    first: Tensor
    second: Tensor
    steps: Tensor


class AdamW(Optimizer):
    """Adam with decoupled weight decay, arXiv 1711.05101 (Adam: arXiv 1412.6980).

    For a parameter p with gradient g, at its t-th step with learning rate η:

        m ← β₁ m + (1 - β₁) g          v ← β₂ v + (1 - β₂) g²
        p ← p - η λ p - η m̂ / (√v̂ + ε),    m̂ = m / (1 - β₁ᵗ),  v̂ = v / (1 - β₂ᵗ)

    m and v begin at 0, so their means are too small at first; the hats mend that. "Decoupled" means that the decay λ
    acts on p itself and is not divided by √v̂, as an L2 term in the loss would be. Only matrices decay: gains and
    biases (fewer than two dimensions) have nothing to gain from being near 0. Moments have their parameter's dtype,
    fp32 in training.
    """

    @spec
    class Config(AdamWConfig):
        """AdamW, written out."""

        kind: Literal["adamw"] = "adamw"

    def __init__(self, config: AdamWConfig, named_parameters: Iterable[tuple[str, Parameter]]) -> None:
        self.config = config
        self.parameters = trainable(named_parameters)
        self.moments = {
            name: Moments(
                first=torch.zeros_like(parameter),
                second=torch.zeros_like(parameter),
                steps=torch.zeros((), dtype=torch.float64, device=parameter.device),
            )
            for name, parameter in self.parameters.items()
        }

    @torch.no_grad()
    def step(self, scale: float | Tensor) -> None:
        """Update all parameters once, with the learning rate `scale * config.learning_rate`."""
        learning_rate = scale * self.config.learning_rate
        beta_1, beta_2 = self.config.betas
        for name, parameter in self.parameters.items():
            gradient, moments = parameter.grad, self.moments[name]
            if gradient is None:
                continue
            moments.steps += 1
            moments.first.mul_(beta_1).add_(gradient, alpha=1 - beta_1)
            moments.second.mul_(beta_2).addcmul_(gradient, gradient, value=1 - beta_2)
            mean = moments.first / (1 - beta_1**moments.steps)
            mean_square = moments.second / (1 - beta_2**moments.steps)
            if decays(parameter):
                parameter.mul_(1 - learning_rate * self.config.weight_decay)
            parameter.sub_(learning_rate * mean / (mean_square.sqrt() + self.config.eps))

    def state_tensors(self) -> dict[str, Tensor]:
        """The whole state: `<parameter>.first_moment`, `.second_moment`, `.steps`."""
        state = {}
        for name, moments in self.moments.items():
            state[f"{name}.first_moment"] = moments.first
            state[f"{name}.second_moment"] = moments.second
            state[f"{name}.steps"] = moments.steps.to(torch.int64)
        return state

    @torch.no_grad()
    def load_state_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_tensors` gave."""
        for name, moments in self.moments.items():
            moments.first.copy_(state[f"{name}.first_moment"])
            moments.second.copy_(state[f"{name}.second_moment"])
            moments.steps.copy_(state[f"{name}.steps"])


class FusedAdamW(Optimizer):
    """`AdamW` as `torch` computes it, all parameters in one launch. The same formula, state names and numbers.

    Raises:
        UserError: "train.optimizer: torch has no fused AdamW for the device 'xla'; use kind: adamw."
    """

    @spec
    class Config(AdamWConfig):
        """AdamW, fused."""

        kind: Literal["fused_adamw"] = "fused_adamw"

    def __init__(self, config: AdamWConfig, named_parameters: Iterable[tuple[str, Parameter]]) -> None:
        self.config = config
        self.parameters = trainable(named_parameters)
        matrices = [parameter for parameter in self.parameters.values() if decays(parameter)]
        vectors = [parameter for parameter in self.parameters.values() if not decays(parameter)]
        groups = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        on_gpu = all(parameter.is_cuda for parameter in self.parameters.values())
        try:
            self._torch = torch.optim.AdamW(
                groups, lr=config.learning_rate, betas=config.betas, eps=config.eps, fused=True, capturable=on_gpu
            )
        except RuntimeError as error:
            device = next(iter(self.parameters.values())).device.type
            raise UserError(
                f"train.optimizer: torch has no fused AdamW for the device '{device}'; use kind: adamw."
            ) from error
        for parameter in self.parameters.values():
            self._torch.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    def step(self, scale: float | Tensor) -> None:
        """Update all parameters once, with the learning rate `scale * config.learning_rate`."""
        for group in self._torch.param_groups:
            group["lr"] = scale * self.config.learning_rate
        self._torch.step()

    def state_tensors(self) -> dict[str, Tensor]:
        """The whole state, under `AdamW`'s names."""
        state = {}
        for name, parameter in self.parameters.items():
            moments = self._torch.state[parameter]
            state[f"{name}.first_moment"] = moments["exp_avg"]
            state[f"{name}.second_moment"] = moments["exp_avg_sq"]
            state[f"{name}.steps"] = moments["step"].to(torch.int64)
        return state

    @torch.no_grad()
    def load_state_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_tensors` gave."""
        for name, parameter in self.parameters.items():
            moments = self._torch.state[parameter]
            moments["exp_avg"].copy_(state[f"{name}.first_moment"])
            moments["exp_avg_sq"].copy_(state[f"{name}.second_moment"])
            moments["step"].copy_(state[f"{name}.steps"])


ADAMW: dict[str, type[Any]] = {"adamw": AdamW, "fused_adamw": FusedAdamW}
"""The two spellings of AdamW by `kind`."""


class Muon(Optimizer):
    """Momentum, orthogonalised: the update of a hidden matrix has all its singular values near 1 (Jordan 2024).

    For a matrix W [m, n] with gradient G and learning rate η:

        M ← μ M + G                        U = orthogonal(G + μ M)          (Nesterov's momentum)
        W ← W - η λ W - η · 0.2 √max(m, n) · U

    A gradient is dominated by a few directions. `orthogonalise` gives every direction that occurs in it the same
    weight, so that rare ones are learned, too. The factor gives the update the size that AdamW's typically has, a root
    mean square of 0.2, so both take similar learning rates and decays (arXiv 2502.16982, section 2.2).

    Only matrices between hidden states are such maps. Embedding, head, positions, gains and biases are left to AdamW.
    Where there are several matrices of one shape (in any direction) they are orthogonalised together.
    """

    @spec
    class Config(OptimizerConfig):
        """Muon's numbers, for the hidden matrices.

        Args:
            momentum: μ.
            weight_decay: λ.
            newton_schulz_steps: how often the iteration of `orthogonalise` is applied.
            rest: AdamW for all other parameters.
        """

        kind: Literal["muon"] = "muon"
        momentum: float = 0.95
        weight_decay: float = 0.1
        newton_schulz_steps: int = 5
        rest: Annotated[AdamWConfig, OneOf(ADAMW, tag="kind")]

        def __post_init__(self) -> None:
            super().__post_init__()
            if not 0 <= self.momentum < 1:
                raise ValueError(f"momentum is {self.momentum}, but must be at least 0 and below 1.")
            if self.weight_decay < 0:
                raise ValueError(f"weight_decay is {self.weight_decay}, but must be at least 0.")
            if self.newton_schulz_steps < 1:
                raise ValueError(f"newton_schulz_steps is {self.newton_schulz_steps}, but must be at least 1.")

    def __init__(self, config: Config, named_parameters: Iterable[tuple[str, Parameter]]) -> None:
        self.config = config
        self.parameters = trainable(named_parameters)
        self.matrices = {name: matrix for name, matrix in self.parameters.items() if is_hidden_matrix(name, matrix)}
        others = [(name, parameter) for name, parameter in self.parameters.items() if name not in self.matrices]
        self.rest: Optimizer = ADAMW[config.rest.kind](config.rest, others)
        self.momenta = {name: torch.zeros_like(matrix) for name, matrix in self.matrices.items()}

    @torch.no_grad()
    def step(self, scale: float | Tensor) -> None:
        """Update all parameters once, each with `scale` times its learning rate."""
        learning_rate = scale * self.config.learning_rate
        same_shape: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for name, matrix in self.matrices.items():
            if matrix.grad is not None:
                same_shape[tuple(sorted(matrix.shape))].append(name)
        for names in same_shape.values():
            matrices = [self.matrices[name] for name in names]
            gradients, momenta = [matrix.grad for matrix in matrices], [self.momenta[name] for name in names]
            untyped_torch._foreach_mul_(momenta, self.config.momentum)
            untyped_torch._foreach_add_(momenta, gradients)
            directions = untyped_torch._foreach_add(gradients, momenta, alpha=self.config.momentum)
            wide = torch.stack([lying(whole(direction)) for direction in directions])
            updates = orthogonalise(wide, steps=self.config.newton_schulz_steps)
            size = 0.2 * math.sqrt(max(matrices[0].shape))
            untyped_torch._foreach_mul_(matrices, 1 - learning_rate * self.config.weight_decay)
            turned = [
                like(lying(update, shape=matrix.shape), matrix)
                for update, matrix in zip(updates, matrices, strict=True)
            ]
            untyped_torch._foreach_sub_(matrices, untyped_torch._foreach_mul(turned, learning_rate * size))
        self.rest.step(scale)

    def state_tensors(self) -> dict[str, Tensor]:
        """The whole state: `<matrix>.momentum`, and that of AdamW for the rest."""
        return {f"{name}.momentum": momentum for name, momentum in self.momenta.items()} | self.rest.state_tensors()

    @torch.no_grad()
    def load_state_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_tensors` gave."""
        for name, momentum in self.momenta.items():
            momentum.copy_(state[f"{name}.momentum"])
        self.rest.load_state_tensors(state)


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a parameter maps hidden states to hidden states: a matrix, and none of the tables at the two ends."""
    return parameter.ndim == 2 and not name.startswith(("embedding.", "head.", "position."))


def lying(matrix: Tensor, *, shape: torch.Size | None = None) -> Tensor:
    """The matrix or its transpose: the one that is not higher than wide, or that has this shape."""
    fits = matrix.shape[0] <= matrix.shape[1] if shape is None else matrix.shape == shape
    return matrix if fits else matrix.T


def orthogonalise(matrices: Tensor, *, steps: int) -> Tensor:
    """For each G = U S Vᵀ of a stack of matrices, about U Vᵀ: the singular values come near 1, the vectors stay.

    The Newton-Schulz iteration X ← a X + (b A + c A²) X with A = X Xᵀ acts on each singular value as
    s ← a s + b s³ + c s⁵. Its coefficients are Jordan's (2024): after five steps s lies between 0.68 and 1.13, whatever
    it was (from about 0.002 of the largest on), which is as good as 1 for an update and takes fewer steps. On a GPU the
    products are bf16.

    Args:
        matrices: [N, m, n] with m <= n.
        steps: how often to iterate.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.to(torch.bfloat16) if matrices.is_cuda else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.to(matrices.dtype)


OPTIMIZERS: dict[str, type[Any]] = {**ADAMW, "muon": Muon}
"""Every optimizer by the `kind` that a configuration names it with."""


def build_optimizer(config: OptimizerConfig, named_parameters: Iterable[tuple[str, Parameter]]) -> Optimizer:
    """The optimizer that `config` describes, for these parameters."""
    return OPTIMIZERS[config.kind](config, named_parameters)


def trainable(named_parameters: Iterable[tuple[str, Parameter]]) -> dict[str, Parameter]:
    """The parameters that learn, by name. `Module.named_parameters` names a shared (tied) parameter once."""
    return {name: parameter for name, parameter in named_parameters if parameter.requires_grad}


def decays(parameter: Parameter) -> bool:
    """Whether weight decay acts on `parameter`: matrices yes, gains and biases no."""
    return parameter.ndim >= 2


@torch.no_grad()
def clip_gradients(
    parameters: Iterable[Parameter], max_norm: float, *, total: Callable[[Tensor], Tensor] = lambda part: part
) -> Tensor:
    """Scale all gradients together so that their common norm is at most `max_norm`, arXiv 1211.5063.

        g ← g · min(1, max_norm / ‖g‖),   ‖g‖² = Σ over all parameters of ‖gᵢ‖²

    Args:
        total: adds up what processes that hold parts of the gradients have found.

    Returns:
        ‖g‖ before clipping, fp32, a tensor on the gradients' device.
    """
    gradients = [own_part(parameter.grad) for parameter in parameters if parameter.grad is not None]
    norm = total(torch.stack([gradient.float().square().sum() for gradient in gradients]).sum()).sqrt()
    factor = (max_norm / norm).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor)
    return norm
