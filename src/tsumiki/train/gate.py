"""The gate: a model is examined before an hour of compute is spent on it, and watched while it is."""

from collections.abc import Iterable, Mapping

from tsumiki.data import PackedSource, PreparedData
from tsumiki.doctor import Diagnosis, Moment, diagnose, disagreement, render, sentence, too_good
from tsumiki.doctor.statistical import ALARM_AFTER
from tsumiki.errors import UserError
from tsumiki.models import LanguageModel
from tsumiki.train.display import Display


def examine(model: LanguageModel, data: PreparedData, display: Display) -> Diagnosis:
    """Let the doctor make the quick checks of the model and its data, and refuse to train it if one fails.

    The doctor works on copies: weights and random numbers stay as they are.

    Raises:
        UserError: "The doctor found that this model must not be trained (causality): The model sees the future: ..."
    """
    diagnosis = diagnose(model, data=data, level="quick")
    render(diagnosis, display.console)
    if not diagnosis.ok:
        failure = diagnosis.failures[0]
        raise UserError(
            f"The doctor found that this model must not be trained ({failure.check}): {sentence(failure)} "
            "Nothing was trained; --skip-doctor trains it nevertheless."
        )
    return diagnosis


def moment(step: int, validation: float, training: float, tokens: int, sources: Iterable[PackedSource]) -> Moment:
    """What is known at an evaluation.

    Args:
        validation, training: the losses, in nats a token; that of the last update.
        tokens: seen in training so far.
        sources: what they are of; the one that was read most often decides how many passes that is.
    """
    sources = list(sources)
    weights = sum(source.weight for source in sources)
    passes = max(tokens * source.weight / weights / source.num_tokens for source in sources)
    return Moment(step, validation, training, passes)


def alarms(
    bits_per_byte: Mapping[str, float], tokens: int, before: Moment | None = None, now: Moment | None = None
) -> list[str]:
    """What a person must know of an evaluation, a sentence each.

    Held-out text of a language is predicted better than it can be without a leak; or the validation loss has left the
    training loss, as if another model was evaluated than is trained.

    Args:
        bits_per_byte: by language.
        tokens: seen in training so far.
        before: the evaluation before; None if there was none with updates before it.
        now: this one.
    """
    verdicts = []
    if tokens >= ALARM_AFTER:
        verdicts = [too_good(value, tokens=tokens, language=language) for language, value in bits_per_byte.items()]
    if before is not None and now is not None:
        verdicts.append(disagreement(before, now))
    return [sentence(verdict) for verdict in verdicts if verdict is not None]
