"""What the curves of a training say: whether they are normal for its size and step, and what is likely wrong if not.

The checks before a training look at a model; these look at what became of it, from `metrics.jsonl` and the manifest.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from tsumiki.doctor import pipeline
from tsumiki.doctor.history import History
from tsumiki.doctor.reference_curves import Expected, described, expected, shipped
from tsumiki.doctor.statistical import ALARM_AFTER, too_good
from tsumiki.doctor.verdict import Check, Verdict, check, failed, passed, skipped, warned

SPIKE = 1.0
"""Nats by which a spike stands above the lines around it."""

RISE = 0.1
"""By how much the validation loss rises, relatively, that did not rise by learning: between two evaluations of a sound
training it rises by a hundredth at most."""

FEW_PASSES = 2
"""Nobody learns a text by heart in so many passes over it."""


@check("curves")
def examined(history: History) -> Verdict:
    """The model was examined before it was trained.

    Finds a training that skipped the doctor, about whose figures nothing can be trusted.
    Misses nothing else, and says nothing about the model.
    """
    return failed("doctor_skipped") if history.unexamined else passed()


@check("curves")
def finite(history: History) -> Verdict:
    """No loss and no gradient was infinite or no number.

    Finds a training that stopped for that reason, and that nobody went on with.
    Misses a number that is finite and absurd, which `stable` finds.
    """
    reports = sorted(history.directory.glob("not_finite*.json"))
    return failed("not_finite", file=str(reports[-1])) if reports and not history.finished else passed()


@check("curves", needs=("languages", "from_scratch"))
def above_floor(history: History) -> Verdict:
    """At no evaluation is held-out text predicted better than small models can: see `too_good`.

    Finds a model that sees its targets, and held-out text that was trained on.
    Misses a leak that is weak or not yet made use of.
    """
    for line in history.evaluations:
        tokens = round(history.tokens(line["step"]))
        for language, value in line["bits_per_byte"].items():
            found = too_good(value, tokens=tokens, language=language) if tokens >= ALARM_AFTER else None
            if found is not None:
                return replace(found, status="failed")
    return passed()


@check("curves", needs=("languages", "from_scratch"))
def normal(history: History) -> Verdict:
    """Bits per byte of every language are those of real runs of about this size after as many tokens.

    On the same text a run may be 15 % off the reference runs of the next smaller and the next larger size, on another
    text 40 %.

    Finds what is too good too early, a leak or shifted labels, and what learns too slowly, whatever the reason.
    Misses what is wrong by less than the tolerance. Skipped where no reference run has a similar size.
    """
    seen = []
    for language in history.languages:
        for line in history.evaluations:
            reference = _reference(history, language, line)
            value = line["bits_per_byte"][language]
            if reference is None:
                continue
            figures = {
                "language": language,
                "bits_per_byte": value,
                "tokens": round(history.tokens(line["step"], language)),
                "low": reference.low,
                "high": reference.high,
                "runs": described(reference.runs),
                "text": history.corpus(language),
            }
            if value < reference.low:
                return failed("better_than_normal", **figures)
            if line is history.evaluations[-1]:
                if value > reference.high:
                    return failed("worse_than_normal", **figures, learning_rate=_learning_rate(history))
                seen.append(f"{language} {value:.3f} ({reference.low:.2f}-{reference.high:.2f}; {figures['runs']})")
    return passed_as("normal", figures=", ".join(seen)) if seen else skipped("no_reference_curve")


def passed_as(code: str, **values: Any) -> Verdict:
    """Nothing was found, and there is something to say."""
    return Verdict("passed", code, values)


@check("curves")
def learning(history: History) -> Verdict:
    """The loss leaves ln V, that of a uniform guess, and then that of a model that knows only how frequent tokens are.

    Finds a learning rate that is far too low or far too high, a part without gradient, inputs that do not reach the
    logits, data without order.
    Misses a training that learns too slowly, which `normal` finds. Needs a hundred updates.
    """
    if history.step < 100:
        return skipped("too_short")
    losses = smoothed(_losses(history))
    lowest, guess = min(losses), math.log(history.model.vocab_size)
    values = {"loss": losses[-1], "step": history.step, "learning_rate": _learning_rate(history)}
    if lowest > 0.9 * guess:
        return failed("stuck_at_guess", **values, guess=guess)
    unigram = history.manifest["data"]["tokenizer"].get("unigram_nats")
    if unigram is not None and lowest > 0.93 * unigram:
        return failed("stuck_at_unigram", **values, unigram=unigram)
    return passed(loss=losses[-1])


@check("curves")
def stable(history: History) -> Verdict:
    """The loss ends near its lowest, and does not jump.

    Finds a training that diverges, and one with spikes: single lines a nat above those around them.
    Misses spikes between two lines.
    """
    losses = _losses(history)
    smooth = smoothed(losses)
    train = history.config["train"]
    values = {
        "learning_rate": _learning_rate(history),
        "warmup": train["schedule"]["warmup_steps"],
        "clip_norm": train["clip_norm"] if train["clip_norm"] is not None else "-",
    }
    lowest = min(smooth)
    if smooth[-1] > lowest + max(0.3, 0.1 * lowest):
        step = history.updates[smooth.index(lowest)]["step"]
        return failed("diverges", lowest=lowest, at=step, loss=smooth[-1], step=history.step, **values)
    high = [
        line["step"] for line, loss, usual in zip(history.updates, losses, smooth, strict=True) if loss > usual + SPIKE
    ]
    if len(high) > max(1, len(losses) // 100):
        return warned("spikes", count=len(high), lines=len(losses), first=high[0], last=high[-1], **values)
    return passed(loss=smooth[-1], lowest=lowest)


@check("curves", needs=("languages",))
def held_out_is_held_out(history: History) -> Verdict:
    """Held-out text is no training text, and after several passes over the data it is harder to predict than that.

    Finds validation files that are training files, and passages that both share.
    Misses text that was trained on once, and shared text that is rephrased.
    """
    verdict = pipeline.compared(history.manifest["data"]["overlap"])
    if verdict.status == "failed":
        return verdict
    passes = _passes(history, history.step)
    last = history.evaluations[-1]
    training = smoothed(_losses(history))[-1]
    if passes >= 2 and history.finished and not getattr(history.model, "dropout", 0) and last["loss"] < training - 0.05:
        return warned("no_gap", passes=passes, validation=last["loss"], training=training)
    return verdict


@dataclass(frozen=True)
class Moment:
    """What is known when a model is evaluated.

    Args:
        step: after which that is.
        validation: the loss then, in nats a token.
        training: the loss of the updates just before.
        passes: over the training text so far.
    """

    step: int
    validation: float
    training: float
    passes: float


def parted(before: Moment, now: Moment) -> bool:
    """Whether the validation loss left the training loss between two evaluations, by more than a tenth of each."""
    rise = now.validation - before.validation
    far = now.validation > (1 + RISE) * now.training and rise > RISE * before.validation
    return far and now.training - before.training < rise / 2


def disagreement(before: Moment, now: Moment) -> Verdict | None:
    """That something else is evaluated than is trained, if these two evaluations alone show it.

    Misses what several passes over the text could explain, too, for which `evaluated_is_trained` looks at all of them.
    """
    return foreign(before, now) if now.passes <= FEW_PASSES and parted(before, now) else None


def foreign(before: Moment, now: Moment, jumps: Sequence[int] = ()) -> Verdict:
    """The verdict that what was evaluated was not what was trained.

    Args:
        jumps: the steps of the evaluations after which the training loss jumped.
    """
    return failed(
        "foreign_evaluation",
        at=before.step,
        before=before.validation,
        step=now.step,
        validation=now.validation,
        training_before=before.training,
        training=now.training,
        passes=now.passes,
        jumps=list(jumps),
    )


@check("curves", needs=("languages",))
def evaluated_is_trained(history: History) -> Verdict:
    """What is evaluated, and saved, is the model that is trained.

    The validation loss does not rise by a tenth from one evaluation to the next while the training loss stays, unless
    the text is learnt by heart. That takes many passes, is not forgotten by the next evaluation, and leaves the
    training loss as it is.

    Finds a step that trains with other tensors than the model has, by turns, and evaluations in another mode, with
    another mask or of other weights, if only some of them are.
    Misses what is the same at every evaluation, and what changes the loss by less than a tenth.
    """
    moments = _moments(history)
    jumps = [moment.step for moment in moments if _jumps_after(history, moment)]
    for number, (before, now) in enumerate(itertools.pairwise(moments), start=2):
        middle = (before.validation + now.validation) / 2
        comes_back = any(later.validation < middle for later in moments[number:])
        if parted(before, now) and (now.passes <= FEW_PASSES or comes_back or before.step in jumps):
            return foreign(before, now, jumps)
    return passed()


def _moments(history: History) -> list[Moment]:
    """The evaluations that have updates before them, since the one before."""
    moments, since = [], 0
    for line in history.evaluations:
        losses = [update["loss"] for update in history.updates if since < update["step"] <= line["step"]]
        if losses:
            passes = _passes(history, line["step"])
            moments.append(Moment(line["step"], line["loss"], median(losses[-3:]), passes))
            since = line["step"]
    return moments


def _jumps_after(history: History, moment: Moment) -> bool:
    """Whether the first loss after an evaluation stands a tenth, and far more than chance, above those before it."""
    after = next((line["loss"] for line in history.updates if line["step"] > moment.step), 0.0)
    losses = _losses(history)
    chance = median([abs(one - other) for one, other in itertools.pairwise(losses)] or [0.0])
    return after - moment.training > max(RISE * moment.training, 4 * chance)


@check("curves", needs=("languages",))
def overfitting(history: History) -> Verdict:
    """The last evaluation is about the best one.

    Finds a model that learns the training text by heart: its validation loss has risen again, by 2 % or more.
    Misses what the next evaluations would show. Skipped where something else was evaluated than was trained.
    """
    if evaluated_is_trained(history).status == "failed":
        return skipped("evaluations_are_foreign")
    losses = [line["loss"] for line in history.evaluations]
    best = losses.index(min(losses))
    if losses[-1] < 1.02 * losses[best]:
        return passed(validation=losses[-1])
    return warned(
        "overfits",
        best=losses[best],
        at=history.evaluations[best]["step"],
        validation=losses[-1],
        training=smoothed(_losses(history))[-1],
        passes=_passes(history, history.step),
    )


@check("curves", needs=("languages", "from_scratch"))
def balance(history: History) -> Verdict:
    """No language is behind the others, each compared with what is normal for it.

    Finds a language with too small a share of the training text, with poor text, or with a poor tokenizer.
    Misses what concerns all languages. Skipped without reference curves for two languages.
    """
    last = history.evaluations[-1]
    behind: dict[str, float] = {}
    for language in history.languages:
        reference = _reference(history, language, last, tokens=history.tokens(last["step"]) / len(history.languages))
        if reference is not None:
            behind[language] = last["bits_per_byte"][language] / reference.middle
    if len(behind) < 2:
        return skipped("no_reference_curve")
    worst, best = (chosen(behind, key=lambda language: behind[language]) for chosen in (max, min))
    if behind[worst] < 1.15 * behind[best]:
        return passed(**behind)
    return warned(
        "one_language_behind",
        language=worst,
        other=best,
        share=history.tokens(last["step"], worst) / history.tokens(last["step"]),
        behind=behind[worst] / behind[best] - 1,
        bytes_per_token=history.manifest["data"]["tokenizer"]["languages"][worst]["bytes_per_token"],
    )


@check("curves")
def throughput(history: History) -> Verdict:
    """The training does not become slower.

    Finds other programs on the machine, a device that gets hot, memory that runs out.
    Misses a training that is slow from the start.
    """
    rates = [line["tokens_per_second"] for line in history.updates][1:]  # the first line holds the warming up
    if len(rates) < 8:
        return skipped("too_short")
    before, after = median(rates[: len(rates) // 2]), median(rates[-(len(rates) // 4) :])
    if after < 0.7 * before:
        return warned("slower", before=before, after=after)
    return passed(before=before, after=after)


@check("curves")
def gradient(history: History) -> Verdict:
    """The gradient's norm does not vanish.

    Finds gates, activations and a softmax that have saturated, and weights that have died.
    Misses a part of the model that gets no gradient, which `gradient_reach` finds before training.
    """
    norms = [line["gradient_norm"] for line in history.updates]
    if len(norms) < 8:
        return skipped("too_short")
    before, after = median(norms[: len(norms) // 4]), median(norms[-(len(norms) // 10 or 1) :])
    if after < 0.01 * before:
        return failed("gradient_vanishes", before=before, after=after)
    return passed(before=before, after=after)


CURVE_CHECKS: tuple[Check, ...] = (
    examined,
    finite,
    above_floor,
    normal,
    learning,
    stable,
    held_out_is_held_out,
    evaluated_is_trained,
    overfitting,
    balance,
    throughput,
    gradient,
)
"""In the order in which they are shown: what makes all other figures worthless comes first."""


def explain(history: History) -> tuple[Verdict, ...]:
    """What a training's curves say; `sentence` puts each verdict into words."""
    return tuple(check(history) for check in CURVE_CHECKS)


def smoothed(values: Sequence[float], width: int = 5) -> list[float]:
    """The running median over so many values, of which fewer are there at the ends."""
    half = width // 2
    return [median(values[max(0, at - half) : at + half + 1]) for at in range(len(values))]


def _losses(history: History) -> list[float]:
    return [line["loss"] for line in history.updates]


def _learning_rate(history: History) -> float:
    return history.config["train"]["optimizer"]["learning_rate"]


def _passes(history: History, step: int) -> float:
    """How often the training text of the source that was seen most often was read, up to a step."""
    sources = history.manifest["data"]["sources"]
    total = history.tokens(step)
    return max(total * source["share"] / source["train"]["tokens"] for source in sources)


def _reference(history: History, language: str, line: Any, tokens: float | None = None) -> Expected | None:
    tokens = history.tokens(line["step"], language) if tokens is None else tokens
    if tokens == 0:
        return None
    return expected(
        shipped(), language=language, corpus=history.corpus(language), tokens=tokens, parameters=history.parameters
    )
