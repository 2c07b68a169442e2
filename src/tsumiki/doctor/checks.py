"""`diagnose`: all checks of a level, on any model, and on its data where that is given."""

from collections.abc import Sequence
from typing import Any

from tsumiki.doctor import classical, invariants, oracle, pipeline, statistical
from tsumiki.doctor.adapters import adapter_for, is_transformers
from tsumiki.doctor.pipeline import Pipeline
from tsumiki.doctor.receipt import describe_model, describe_setting
from tsumiki.doctor.subject import Adapter, Model, Subject
from tsumiki.doctor.verdict import Check, Diagnosis, Level
from tsumiki.errors import UserError
from tsumiki.models import LanguageModel

MODEL_CHECKS: tuple[Check, ...] = (
    invariants.determinism,
    invariants.causality,
    invariants.causality_everywhere,
    invariants.causality_gradient,
    invariants.past_is_used,
    invariants.length_independence,
    invariants.cache,
    invariants.documents,
    invariants.batch,
    invariants.padding,
    invariants.loss,
    invariants.accumulation,
    invariants.resume,
    invariants.backends,
    oracle.reference,
    statistical.noise_floor,
    classical.initial_loss,
    classical.gradient_reach,
    classical.gradient_is_derivative,
    classical.overfit_one_batch,
    classical.update_size,
)
"""In the order in which they run and are shown."""

PIPELINE_CHECKS: tuple[Check, ...] = (
    pipeline.round_trip,
    pipeline.byte_accounting,
    pipeline.targets,
    pipeline.held_out,
)
"""What is asked about the tokenizer and the data."""


def diagnose(
    model: Model,
    *,
    vocab_size: int | None = None,
    max_seq_len: int | None = None,
    windows: Sequence[int] | None = None,
    adapter: Adapter | None = None,
    tokenizer: Any = None,
    data: Any = None,
    level: Level = "quick",
    checks: Sequence[str] | None = None,
) -> Diagnosis:
    """Examine a model; it is copied, never changed.

    Args:
        model: a torch module, or a function, from token ids [B, T] to logits [B, T, V]. Models of tsumiki and of
            transformers need nothing more. A function gets its ids on the CPU.
        vocab_size: token ids are below this.
        max_seq_len: tokens a row may have; 64 where the model does not say.
        windows: widths of its sliding windows.
        adapter: how to ask the model for more than logits: its cache, its loss, packed documents, padding.
        tokenizer: its tokenizer, see `tsumiki.data.Tokenizer`.
        data: what it will be trained on: a `tsumiki.data.PreparedData`, or a `tsumiki.doctor.pipeline.Pipeline`.
        level: `quick` is what `train` runs before its first step; `full` takes a minute or two.
        checks: names of the checks to run; all of the level if left out.

    Raises:
        UserError: the model does not say its vocabulary, or does not give one row of logits a token.
    """
    facts = _facts(model)
    vocab_size = vocab_size or facts.get("vocab_size")
    if vocab_size is None:
        raise UserError(f"{type(model).__name__} does not say how many tokens it knows; pass vocab_size.")
    subject = Subject(
        model,
        adapter or adapter_for(model),
        vocab_size=vocab_size,
        max_seq_len=max_seq_len or facts.get("max_seq_len", 64),
        windows=facts.get("windows", ()) if windows is None else windows,
        level=level,
    )

    def wanted(check: Check) -> bool:
        return check.name in checks if checks is not None else level == "full" or check.level == "quick"

    verdicts = [check(subject) for check in MODEL_CHECKS if wanted(check)]
    if tokenizer is not None or data is not None:
        pipeline = data if isinstance(data, Pipeline) else Pipeline(tokenizer, data)
        verdicts += [check(pipeline) for check in PIPELINE_CHECKS if wanted(check)]
    return Diagnosis(describe_model(model), level, describe_setting(subject), tuple(verdicts))


def _facts(model: Model) -> dict[str, Any]:
    """What the model says about itself."""
    if isinstance(model, LanguageModel):
        config = model.config
        windows = [window for window in config.windows if window is not None]
        return {"vocab_size": config.vocab_size, "max_seq_len": config.max_seq_len, "windows": windows}
    if is_transformers(model):
        config = model.config.get_text_config()
        window = getattr(config, "sliding_window", None)
        return {
            "vocab_size": config.vocab_size,
            "max_seq_len": getattr(config, "max_position_embeddings", 64),
            "windows": [] if window is None else [window],
        }
    return {}
