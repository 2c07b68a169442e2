"""The gate: a model is examined before an hour of compute is spent on it, and watched while it is."""

from collections.abc import Mapping

from tsumiki.data import PreparedData
from tsumiki.doctor import Diagnosis, diagnose, render, sentence, too_good
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


def alarms(bits_per_byte: Mapping[str, float], tokens: int) -> list[str]:
    """A sentence for each language whose held-out text is predicted better than it can be without a leak.

    Args:
        bits_per_byte: by language.
        tokens: seen in training so far.
    """
    if tokens < ALARM_AFTER:
        return []
    verdicts = (too_good(value, tokens=tokens, language=language) for language, value in bits_per_byte.items())
    return [sentence(verdict) for verdict in verdicts if verdict is not None]
