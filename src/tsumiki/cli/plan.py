"""`tsumiki presets` and `tsumiki plan`: what there is to train, and what it costs before it is trained."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from typer import Argument

if TYPE_CHECKING:
    from tsumiki.models import Plan
    from tsumiki.train import RunConfig

VOCABULARY_WARNING = 0.5
"""Share of all parameters above which the vocabulary is worth a warning."""


def presets() -> None:
    """List the shipped configurations."""
    from tsumiki import models
    from tsumiki.config import load, preset_names
    from tsumiki.train import RunConfig

    for name in preset_names():
        model = load(name, RunConfig).model
        figures = models.plan(model)
        print(
            f"{name:24}{figures.total / 1e6:6.1f} M parameters, {figures.vocabulary_share:4.0%} of them vocabulary, "
            f"{model.num_layers} layers, width {model.d_model}, context {model.max_seq_len}"
        )


def plan(
    config: Annotated[str, Argument(help="A preset's name or a YAML file.")],
    changes: Annotated[list[str] | None, Argument(help="Changes such as model.num_layers=8.")] = None,
) -> None:
    """Show what a model costs: parameters by part, compute, memory."""
    from tsumiki import models
    from tsumiki.config import load
    from tsumiki.train import RunConfig

    run = load(config, RunConfig, changes or ())
    for line in report(run, models.plan(run.model)):
        print(line)


def report(run: "RunConfig", figures: "Plan") -> Iterator[str]:
    """The lines of `tsumiki plan`."""
    model, train = run.model, run.train
    heads = model.attention
    yield f"{run.name}"
    yield f"  family          {model.family}"
    yield f"  layers          {model.num_layers} of width {model.d_model}"
    yield f"  heads           {heads.num_heads} of width {heads.head_dim}, {heads.num_kv_heads} for keys and values"
    yield f"  context         {model.max_seq_len:,} tokens"
    yield f"  vocabulary      {model.vocab_size:,} tokens"
    yield ""
    yield f"  parameters      {figures.total:>12,}"
    for part, count in sorted(figures.parameters.items(), key=lambda item: -item[1]):
        yield f"    {part:14}{count:>12,}  {count / figures.total:6.1%}"
    yield ""
    tokens = train.steps * train.batch_size * train.seq_len
    flops = tokens * figures.training_flops
    rows = train.micro_batch_size or train.batch_size
    logits = figures.logits_bytes * rows * train.seq_len // model.max_seq_len
    yield "  training"
    yield f"    tokens        {train.steps:,} steps x {train.batch_size} rows x {train.seq_len} = {tokens:,}"
    yield f"                  {tokens / figures.total:.1f} a parameter"
    yield f"    compute       {si(figures.training_flops)}FLOP a token, {si(flops)}FLOP in all"
    yield f"    memory        {si(figures.training_bytes)}B for weights, gradients and AdamW's moments"
    yield f"                  {si(logits)}B for the logits of {rows} rows; other activations come on top"
    yield "  generation"
    yield f"    compute       {si(figures.forward_flops)}FLOP a token"
    yield f"    memory        {si(figures.weight_bytes)}B of weights in fp32"
    yield f"                  {si(figures.cache_bytes)}B of KV cache for a full context in fp32"
    if figures.vocabulary_share > VOCABULARY_WARNING:
        yield ""
        yield (
            f"Warning: {100 * figures.vocabulary_share:.0f} % of the parameters are the vocabulary; "
            "a smaller one leaves more to the layers."
        )


def si(number: float) -> str:
    """A number with three digits and the prefix of its unit: 1234567 -> "1.23 M"."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if abs(number) < 999.5:
            return f"{number:.3g} {prefix}"
        number /= 1000
    return f"{number:.3g} E"
