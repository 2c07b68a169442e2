"""Invariants: what must hold for every causal language model, whatever its weights. No reference is needed.

All run on jittered copies of the weights, in float64 where the model can compute in it, so that a leak of a
ten-thousandth of one head stands far above rounding.
"""

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from tsumiki.doctor.localise import first_difference, record
from tsumiki.doctor.subject import OTHER_SHAPE, Subject, by_position, difference, jittered
from tsumiki.doctor.verdict import Verdict, check, failed, passed, skipped

CHUNKINGS = ([12], [5, 1, 1, 5], [1] * 12)
"""Ways through twelve tokens: all at once, odd chunks, one by one."""

MOST_LOGITS = 2_000_000_000
"""How many `causality_everywhere` computes for its long text, at most: minutes on a CPU."""


@check("invariants")
def determinism(subject: Subject) -> Verdict:
    """In evaluation mode the same tokens give the same logits.

    Finds dropout that stays on, and randomness in a router or a kernel.
    Misses randomness that is seeded anew in every call.
    """
    ids = subject.tokens(2, min(33, subject.context))
    change = difference(subject.logits(ids), subject.logits(ids))
    if change > subject.same_shape_tolerance:
        return failed("not_deterministic", change=change)
    return passed(change=change)


@check("invariants")
def causality(subject: Subject) -> Verdict:
    """Rewriting the tokens after position t leaves the logits up to t as they are.

    At the first, middle and last positions of the longest text and past every sliding window, in evaluation mode and
    in training mode. The lengths are equal, so the arithmetic up to t is too: the logits are bitwise equal, or differ
    by less than 1e-10 in float64 (1e-6 in float32), where mixtures of experts regroup their sums. A suspect is tried
    with three different futures: a leak shows in all of them, a rounding accident does not.

    Finds a mask that is missing, transposed, shifted by one, broken in one layer or head, from some position on, or
    while training only; norms, means and shifts over time.
    Misses a leak between neighbours that starts and ends between two cuts (`causality_everywhere` cuts more densely),
    and one that needs particular tokens.
    """
    cuts = _cuts(subject)
    verdict = _look_for_leaks(subject, subject.context, cuts)
    if verdict.status == "passed" and subject.can("module"):
        training = _look_for_leaks(subject, subject.context, cuts[:2], training=True)
        verdict = training if training.status == "failed" else verdict
    return verdict


@check("invariants", level="full")
def causality_everywhere(subject: Subject) -> Verdict:
    """As `causality`, with a cut after every position of a short text and after every sixteenth of the longest.

    Of a large model the long text is cut less often, so that no more than two billion logits are computed.

    Finds masks that are wrong at some positions only, such as the edges of blocks in a kernel.
    Misses a leak of fewer positions than that which starts and ends between two cuts of the long text.
    """
    short = min(65, subject.context)
    verdict = _look_for_leaks(subject, short, range(short - 1))
    if verdict.status != "passed":
        return verdict
    every = max(16, subject.context**2 * subject.vocab_size // MOST_LOGITS)
    verdict = _look_for_leaks(subject, subject.context, range(every - 1, subject.context - 1, every))
    return replace(verdict, values={**verdict.values, "every": every})


def _cuts(subject: Subject) -> list[int]:
    """Positions after which the future is rewritten: middle, last, first, and both sides of every window."""
    last = subject.context - 2
    edges = [edge for window in subject.windows for edge in (window - 1, window, window + 1)]
    return [cut for cut in dict.fromkeys((subject.context // 2, last, 0, 1, *edges)) if 0 <= cut <= last]


def _look_for_leaks(subject: Subject, length: int, cuts: Iterable[int], *, training: bool = False) -> Verdict:
    ids = subject.tokens(1, length)
    before = subject.logits(ids, training=training)
    worst = 0.0
    for cut in cuts:
        kept = slice(0, cut + 1)
        change = torch.full((cut + 1,), math.inf, dtype=before.dtype, device=before.device)
        for future in range(3):
            after = subject.logits(subject.rewritten(ids, kept, seed=future), training=training)
            change = torch.minimum(change, by_position(before[:, kept], after[:, kept]))
            if change.max() <= subject.same_shape_tolerance:
                break
        else:
            leaking = (change > subject.same_shape_tolerance).nonzero().flatten().tolist()
            return failed(
                "future_seen_in_training" if training else "future_seen",
                first=leaking[0],
                last=leaking[-1],
                cut=cut,
                length=length,
                change=change.max().item(),
                where=_where(
                    subject,
                    lambda: subject.logits(ids, training=training),
                    lambda kept=kept: subject.logits(subject.rewritten(ids, kept), training=training),
                    position=leaking[-1],
                    tolerance=subject.same_shape_tolerance,
                ),
            )
        worst = max(worst, change.max().item())
    return passed(length=length, change=worst)


def _where(
    subject: Subject,
    run: Callable[[], Tensor],
    other: Callable[[], Tensor],
    *,
    position: int,
    tolerance: float,
) -> str:
    """The submodule where two runs part; "" for a function."""
    if not isinstance(subject.probe, nn.Module):
        return ""
    before = record(subject.probe, run, position=position)
    after = record(subject.probe, other, position=position)
    return first_difference(before, after, tolerance=tolerance)


@check("invariants", needs=("module",))
def causality_gradient(subject: Subject) -> Verdict:
    """The gradient of position t's logits with respect to the embedding of every later token is zero.

    Finds a leak by another road than `causality`: through the derivative, for every later token at once.
    Misses a leak through what carries no gradient, which `causality` finds, and is skipped where tokens do not pass a
    submodule of their own on their way in.
    """
    length = min(subject.context, max(128, *(window + 16 for window in subject.windows), 0))
    for position in sorted({0, length // 2, length - 2}):
        gradients = subject.embedding_gradients(subject.tokens(1, length), position)
        if not gradients:
            return skipped("no_embedding")
        for gradient in gradients:
            size = gradient[0].norm(dim=-1)
            future = size[position + 1 :]
            if future.max() > 1e-14 * size.max():  # a masked weight is an exact zero, and so is all it multiplies
                return failed(
                    "gradient_from_future",
                    position=position,
                    source=position + 1 + int(future.argmax()),
                    share=(future.max() / size.max()).item(),
                    length=length,
                )
    return passed(length=length)


@check("invariants")
def past_is_used(subject: Subject) -> Verdict:
    """Rewriting earlier tokens moves the logits of the last position: all of them, and the nearest one alone.

    Finds a mask that hides the past, an inverted mask, an attention whose result is thrown away. A model that ignores
    the past passes every test of causality.
    Misses a past that is used but too short, which the oracle finds.
    """
    length = min(33, subject.context)
    ids = subject.tokens(1, length)
    before = subject.logits(ids)[:, -1:]
    rewritten_all = subject.rewritten(ids, slice(length - 1, length))
    rewritten_nearest = ids.clone()
    rewritten_nearest[:, -2] = rewritten_all[:, -2]
    for code, other in (("past_ignored", rewritten_all), ("previous_token_ignored", rewritten_nearest)):
        change = difference(before, subject.logits(other)[:, -1:])
        if change <= 10 * subject.same_shape_tolerance:
            return failed(code, change=change, length=length)
    return passed(length=length)


@check("invariants")
def length_independence(subject: Subject) -> Verdict:
    """A text's logits are the same whether or not more text follows: the row cut after t gives the same logits at t.

    Finds means and scales over the length of the row, positions counted from its end, masks built for another length.
    Misses what is equally wrong for every length.
    """
    ids = subject.tokens(1, subject.context)
    full = subject.logits(ids)
    for length in sorted({1, 2, subject.context // 2}):
        change = by_position(full[:, :length], subject.logits(ids[:, :length]))
        if change.max() > subject.tolerance:
            position = _first(change, subject.tolerance)
            where = _where(
                subject,
                lambda: subject.logits(ids),
                lambda length=length: subject.logits(ids[:, :length]),
                position=position,
                tolerance=subject.tolerance,
            )
            values = {"position": position, "cut": length, "length": subject.context, "change": change.max().item()}
            return failed("length_matters", where=where, **values)
    return passed(length=subject.context)


def _first(change: Tensor, tolerance: float) -> int:
    return int((change > tolerance).nonzero()[0])


@check("invariants", needs=("cached",))
def cache(subject: Subject) -> Verdict:
    """Computed through the KV cache, the logits are those computed without: prefill, single steps and odd chunks.

    Two rows over twelve tokens, and past the end of every sliding window.

    Finds a cache that forgets, shifts or repeats tokens, positions that restart in every step, a mask that is skipped
    in the prefill or wrong for a chunk, rows that share
    their keys, a window that a ring buffer cuts one token too short.
    Misses a cache that goes wrong after more tokens than were tried.
    """
    chunkings = [*CHUNKINGS, *([window - 1, 1, 1, 1, 6, 1] for window in subject.windows if window > 1)]
    for chunks in chunkings:
        length = sum(chunks)
        if length > subject.context:
            continue
        ids = subject.tokens(2, length)
        change = by_position(subject.logits(ids), subject.cached(ids, chunks))
        if change.max() > subject.tolerance:
            position = _first(change, subject.tolerance)
            where = _where(
                subject,
                lambda ids=ids: subject.logits(ids),
                lambda ids=ids, chunks=chunks: subject.cached(ids, chunks),
                position=position,
                tolerance=subject.tolerance,
            )
            return failed("cache_differs", position=position, chunks=chunks, change=change.max().item(), where=where)
    return passed(chunks=chunkings)


@check("invariants", needs=("packed",))
def documents(subject: Subject) -> Verdict:
    """In a row that holds several documents, each has the logits that it has alone.

    Finds attention that crosses from one document into the next, and positions that do not restart.
    Misses a mixing that needs more documents, or longer ones, than the row has.
    """
    lengths = [5, 1, 7, *(window + 3 for window in subject.windows)]
    while sum(lengths) > subject.context:
        lengths.pop()
    ids = subject.tokens(1, sum(lengths))
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(ids.device)[None]
    packed = subject.packed(ids, owner)
    start = 0
    for number, length in enumerate(lengths):
        part = slice(start, start + length)
        change = by_position(subject.logits(ids[:, part]), packed[:, part])
        if change.max() > subject.tolerance:
            position = _first(change, subject.tolerance)
            return failed(
                "documents_meet", document=number, position=position, lengths=lengths, change=change.max().item()
            )
        start += length
    return passed(lengths=lengths)


@check("invariants")
def batch(subject: Subject) -> Verdict:
    """A row's logits do not depend on the other rows of the batch.

    Finds norms over the batch, reshapes that mix rows, state kept from one row to the next.
    Misses a mixing that needs more than three rows.
    """
    ids = subject.tokens(3, min(17, subject.context))
    together = subject.logits(ids)
    for row in range(len(ids)):
        change = by_position(subject.logits(ids[row : row + 1]), together[row : row + 1])
        if change.max() > subject.tolerance:
            return failed("rows_meet", row=row, position=_first(change, subject.tolerance), change=change.max().item())
    return passed(rows=len(ids))


@check("invariants", needs=("padded",))
def padding(subject: Subject) -> Verdict:
    """Padding changes nothing: rows of different lengths, padded to one, keep the logits of their real tokens.

    Finds attention to padding, and positions that count it.
    Misses padding that the model is not told of: then nobody can know what is real.
    """
    lengths = [13, 5, 9]
    width = min(max(lengths), subject.context)
    ids = subject.tokens(len(lengths), width)
    for side in ("right", "left") if subject.adapter.pads_left else ("right",):
        counts = torch.tensor([min(length, width) for length in lengths], device=ids.device)[:, None]
        real = torch.arange(width, device=ids.device)[None] < counts
        real = real.flip(1) if side == "left" else real
        padded = subject.padded(ids, real)
        for row in range(len(lengths)):
            alone = subject.logits(ids[row : row + 1, real[row]])
            change = by_position(alone, padded[row : row + 1, real[row]])
            if change.max() > subject.tolerance:
                return failed("padding_matters", side=side, row=row, change=change.max().item())
    return passed(lengths=lengths)


@check("invariants", needs=("loss",))
def loss(subject: Subject) -> Verdict:
    """The model's loss is the sum of -log p(next token) over the real targets, and it counts them.

    Finds labels shifted once too often or not at all, a mean where a sum is due, padding that is counted, a loss over
    the wrong axis.
    Misses what happens to the loss after the model returned it.
    """
    ids, targets = _texts_with_gaps(subject)
    with torch.no_grad():
        nats, count = subject.loss(subject.probe, ids, targets)
        log_p = subject.logits(ids).double().log_softmax(dim=-1)
    real = targets >= 0
    expected = -log_p[real].gather(1, targets[real][:, None]).sum().item()
    change = abs(nats.item() - expected) / expected
    if int(count) != int(real.sum()) or change > max(1e-5, subject.tolerance):
        return failed("wrong_loss", loss=nats.item(), expected=expected, count=int(count), targets=int(real.sum()))
    return passed(change=change)


def _texts_with_gaps(subject: Subject) -> tuple[Tensor, Tensor]:
    """Sixteen rows of random tokens and their next tokens, with fewer targets in every row than in the one before."""
    length = min(19, subject.context)
    ids = subject.tokens(16, length + 1)
    targets = ids[:, 1:].clone()
    for row in range(len(ids)):
        targets[row, length - 1 - row % (length - 1) :] = -100
    return ids[:, :-1], targets


@check("invariants", level="full", needs=("loss", "module"))
def accumulation(subject: Subject) -> Verdict:
    """The gradient of sixteen rows is the same in one batch of 16, in 4 batches of 4, and in 16 of 1.

    The rows hold different numbers of targets, so that a loss that averages within a batch is found.

    Misses an averaging that the training loop does by itself.
    """
    ids, targets = _texts_with_gaps(subject)
    gradients = []
    for size in (16, 4, 1):
        losses = [subject.loss(subject.probe, *rows) for rows in zip(ids.split(size), targets.split(size), strict=True)]
        count = sum(int(count) for _, count in losses)
        gradients.append(subject.gradients([nats / count for nats, _ in losses]))
    for size, other in zip((4, 1), gradients[1:], strict=True):
        name, change = largest_difference(gradients[0], other)
        if change > max(1e-5, subject.tolerance):
            return failed("accumulation_differs", size=size, parameter=name, change=change)
    return passed()


@check("invariants", level="full", needs=("train", "module"))
def resume(subject: Subject) -> Verdict:
    """Two steps, a checkpoint, and two steps more give the same weights as four steps, on a CPU bit for bit.

    Finds a state that is not saved: the optimizer's moments, the schedule's step, the order of the data.
    Misses what goes wrong later, and what a crash leaves half-written.
    """
    assert subject.adapter.train is not None
    straight, first, second = (subject.trainable() for _ in range(3))
    subject.adapter.train(straight, None, 4)
    saved = subject.adapter.train(first, None, 2)
    subject.adapter.train(second, saved, 2)
    weights = second.state_dict()
    for name, weight in straight.state_dict().items():
        change = (weight - weights[name]).abs().max().item()
        if change > (0 if subject.device.type == "cpu" else 1e-5):
            return failed("resume_differs", parameter=name, change=change)
    return passed(steps=4)


@check("invariants", level="full", needs=("spellings", "module"))
def backends(subject: Subject) -> Verdict:
    """Every other backend gives the same logits and the same gradients.

    Finds a fused kernel that is given another mask, scale or sink than the specification, and a wrong backward pass.
    Misses what depends on a device or dtype other than the one the check ran on.
    """
    assert subject.adapter.spellings is not None
    on_cpu = subject.device.type == "cpu"
    own = subject.probe if on_cpu else jittered(subject.model, torch.float32)  # fused kernels of GPUs have no float64
    tolerance = max(subject.tolerance, OTHER_SHAPE[torch.float32]) * (1 if on_cpu else 10)
    ids = subject.tokens(2, min(subject.context, max(33, *(window + 5 for window in subject.windows), 0)))
    logits, gradients = subject.logits(ids, model=own), _gradients_of_logits(subject, own, ids)
    compared = []
    for name, build in subject.adapter.spellings(own).items():
        other = build(own)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # FlexAttention warns that it is slow here, and it is only checked
            change = by_position(logits, subject.logits(ids, model=other))
        if change.max() > tolerance:
            position = _first(change, tolerance)
            return failed("backend_differs", backend=name, position=position, change=change.max().item())
        try:
            theirs = _gradients_of_logits(subject, other, ids)
        except ValueError:  # a backend without a backward pass on this device says so
            compared.append(f"{name} (no gradient)")
            continue
        parameter, change = largest_difference(gradients, theirs)
        if change > 10 * tolerance:
            return failed("backend_gradient_differs", backend=name, parameter=parameter, change=change)
        compared.append(name)
    return passed(backends=compared)


def _gradients_of_logits(subject: Subject, model: nn.Module, ids: Tensor) -> dict[str, Tensor]:
    """Gradients of a random combination of the logits."""
    logits = subject.adapter.logits(model, ids)
    weights = torch.randn(logits.shape[-1], generator=torch.Generator().manual_seed(4)).to(logits)
    return subject.gradients([(logits @ weights).mean()], model=model)


def largest_difference(gradients: dict[str, Tensor], others: dict[str, Tensor]) -> tuple[str, float]:
    """Name of the parameter whose two gradients differ most, and by how much of the largest gradient's norm."""
    scale = max(gradient.norm().item() for gradient in gradients.values())
    changes = {name: (gradient - others[name]).norm().item() / scale for name, gradient in gradients.items()}
    name = max(changes, key=lambda name: changes[name])
    return name, changes[name]
