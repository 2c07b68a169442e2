"""The gate: a model is proven sound before an hour of compute is spent on it."""

from tsumiki.data import PreparedData
from tsumiki.doctor import Diagnosis, diagnose, render, sentence
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
