"""The classical check list: necessary, quick, and nearly blind to a model that sees the future."""

import math
import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tsumiki.doctor.subject import Model, Subject, mode
from tsumiki.doctor.verdict import Verdict, check, failed, passed, skipped
from tsumiki.nn.precision import at_least_fp32


@check("classical", needs=("fresh",))
def initial_loss(subject: Subject) -> Verdict:
    """A new model knows nothing: on random tokens its loss is about ln V, that of a uniform guess.

    Finds weights that start far too large, logits scaled wrongly, a loss that averages or sums in the wrong place.
    Misses nearly every other bug: a model that sees the future starts at ln V, too.
    """
    assert subject.adapter.fresh is not None
    fresh = subject.adapter.fresh(subject.model)
    with torch.no_grad(), mode(fresh, training=False):
        found = mean_loss(subject, fresh, subject.tokens(4, min(65, subject.context), seed=5)).item()
    guess = math.log(subject.vocab_size)
    if not 0.9 * guess < found < 1.3 * guess + 0.5:  # a tied head knows its input again, and starts above the guess
        return failed("initial_loss", loss=found, guess=guess)
    return passed(loss=found, guess=guess)


@check("classical", needs=("module",))
def gradient_reach(subject: Subject) -> Verdict:
    """Every trainable parameter receives a gradient that is finite and not all zero.

    Finds parts that are detached, unused, or behind a step without a derivative.
    Misses a part of a parameter, such as one head, that is cut off: see `gradient_is_derivative`.
    """
    loss = mean_loss(subject, subject.probe, subject.tokens(8, min(65, subject.context), seed=5))
    gradients = subject.gradients([loss])
    broken = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
    if broken:
        return failed("gradient_not_finite", parameters=broken[:3], count=len(broken))
    unreached = [name for name, gradient in gradients.items() if not gradient.any()]
    if unreached:
        return failed("gradient_missing", parameters=unreached[:3], count=len(unreached))
    return passed(parameters=len(gradients))


@check("classical", level="full", needs=("module",))
def gradient_is_derivative(subject: Subject) -> Verdict:
    """Moving the weights a little changes the loss as much as the gradient says: (L(w + εv) - L(w - εv)) / 2ε = ∇L · v.

    Along a random direction v through all parameters; where that fails, parameter by parameter.

    Finds one head or one layer that is detached, and custom backward passes that are wrong.
    Misses what changes the gradient by less than a thousandth. Needs a model that computes in float64.
    """
    if subject.precision is not torch.float64:
        return skipped("needs_float64")
    ids = subject.tokens(2, min(33, subject.context), seed=6)

    def loss() -> Tensor:
        return next_token_loss(subject.adapter.logits(subject.probe, ids[:, :-1]), ids)

    gradients = subject.gradients([loss()])
    scale = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients.values()))
    if _slope_error(subject.probe, loss, gradients, list(gradients)) <= 1e-3 * scale:
        return passed()
    errors = {name: _slope_error(subject.probe, loss, gradients, [name]) for name in gradients}
    worst = max(errors, key=lambda name: errors[name])
    return failed("gradient_wrong", parameter=worst, share=errors[worst] / scale)


def _slope_error(model: nn.Module, loss: Callable[[], Tensor], gradients: dict[str, Tensor], names: list[str]) -> float:
    """How far the loss's slope along a random direction through these parameters is from what the gradient says."""
    step = 1e-6
    generator = torch.Generator().manual_seed(7)
    direction = {name: torch.randn(gradients[name].shape, generator=generator).to(gradients[name]) for name in names}
    promised = sum((gradients[name] * direction[name]).sum().item() for name in names)
    losses = []
    with torch.no_grad():
        for move in (step, -2 * step, step):
            for name in names:
                model.get_parameter(name).add_(move * direction[name])
            losses.append(loss().item())
    return abs((losses[0] - losses[1]) / (2 * step) - promised)


@check("classical", level="full", needs=("module",))
def overfit_one_batch(subject: Subject) -> Verdict:
    """Sixty steps on the same thirty tokens lower the loss by a fifth at least.

    Finds a model that cannot learn: no gradient, a wrong sign, a loss that is not connected to the logits.
    Misses every bug that makes learning easier, first of all one that lets it see the future.
    """
    model = subject.trainable()
    ids = subject.tokens(2, min(16, subject.context), seed=8)
    rate = min(1e-2, 0.04 * width(model) ** -0.5)  # a wide model needs smaller steps
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    losses = []
    for _ in range(60):
        loss = mean_loss(subject, model, ids)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    if not min(losses[-5:]) < 0.8 * losses[0]:
        return failed("does_not_learn", before=losses[0], after=losses[-1])
    return passed(before=losses[0], after=losses[-1])


@check("classical", level="full", needs=("optimizer", "module"))
def update_size(subject: Subject) -> Verdict:
    """One step of the optimizer moves every parameter, by less than its own size, and lowers the batch's loss.

    Finds parameters that the optimizer was not given, a step against the gradient, a learning rate that is far off.
    Misses a wrong second step: moments, bias correction, schedules.
    """
    assert subject.adapter.optimizer is not None
    model = subject.trainable()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = subject.adapter.optimizer(model)
    ids = subject.tokens(4, min(33, subject.context), seed=9)
    first = mean_loss(subject, model, ids)
    first.backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        size = before[name].square().mean().sqrt().item()
        moved = (parameter.detach() - before[name]).square().mean().sqrt().item()
        if parameter.requires_grad and not 0 < moved < max(size, 0.02):
            return failed("update_size", parameter=name, moved=moved, size=size)
    with torch.no_grad():
        second = mean_loss(subject, model, ids).item()
    if not second < first.item():
        return failed("update_raises_loss", before=first.item(), after=second)
    return passed(before=first.item(), after=second)


def width(model: nn.Module) -> float:
    """The usual width of a model's layers."""
    return statistics.median(parameter.shape[-1] for parameter in model.parameters())


def mean_loss(subject: Subject, model: Model, ids: Tensor) -> Tensor:
    """Mean nats of the tokens after the first: by the model's own loss where it has one, else from its logits."""
    if subject.adapter.loss is None:
        return next_token_loss(subject.adapter.logits(model, ids[:, :-1]), ids)
    nats, count = subject.adapter.loss(model, ids[:, :-1], ids[:, 1:])
    return nats / count


def next_token_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """Mean of -log p(ids[t + 1]) under the logits at t."""
    log_p = at_least_fp32(logits).log_softmax(dim=-1)
    return -log_p.gather(2, ids[:, 1:, None]).mean()
