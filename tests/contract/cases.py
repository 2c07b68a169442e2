"""What the contract suite is run on: every family, attention variant and option, on small models with odd sizes.

Nothing here names a variant. Variants, families and backends are read from their registries, options from the fields of
their configurations: every choice is tried with no flag, with each flag alone and with all of them. A new variant is
tested as soon as it is registered.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch

from tsumiki.kernels import BackendConfig
from tsumiki.kernels.attention import BACKENDS
from tsumiki.models import FAMILIES, LanguageModel, build_model
from tsumiki.nn.attention import VARIANTS
from tsumiki.nn.feed_forward import FEED_FORWARDS
from tsumiki.nn.rope import RopeConfig, YarnScaling

VOCAB_SIZE, MAX_SEQ_LEN, NUM_TOKENS, WINDOW = 53, 31, 12, 3
SIZES = {"num_heads": 6, "num_kv_heads": 3, "head_dim": 10}
YARN = RopeConfig(theta=100.0, scaling=YarnScaling(factor=2.0, original_max_seq_len=16, beta_fast=8.0))
MODEL_OPTIONS = {"rope": YARN, "sliding_window": WINDOW}
"""Options of a model that concern its attention; used where a family has them."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One configuration of a model, with a name that says what it has."""

    name: str
    config: Any

    def model(self, backend: str = "eager", *, dtype: torch.dtype = torch.float64, config: Any = None) -> LanguageModel:
        """A model in eval mode, whose weights are large enough that a wrong mask shows."""
        return build_model(config or self.config, backend=_backend(backend), seed=3, dtype=dtype).eval()


def _backend(attention: str) -> BackendConfig:
    other = "eager" if attention == "eager" else "torch"
    return BackendConfig(attention=attention, activation=other, cross_entropy=other)


def cases() -> list[Case]:
    """Every family with every attention variant and every combination of options."""
    return [
        Case("-".join((family, variant, *names)), config)
        for family, variant in itertools.product(FAMILIES, VARIANTS)
        for names, config in _configs(family, variant)
    ]


def _configs(family: str, variant: str) -> Iterator[tuple[list[str], Any]]:
    """Each choice of the variant with no option, with every single option, and with all of them."""
    schema, attention = FAMILIES[family].Config, VARIANTS[variant].Config
    flags = [name for name, hint in get_type_hints(attention).items() if hint is bool and name != "bias"]
    known = {field.name for field in dataclasses.fields(schema)}
    options = [*flags, *(name for name in MODEL_OPTIONS if name in known)]
    for choices in _choices(attention):
        for chosen in ([], *([option] for option in options), options):
            model_options = {name: MODEL_OPTIONS[name] for name in chosen if name in MODEL_OPTIONS}
            # The other halves of the model take turns: biases, tied or untied, which feed-forward network.
            odd = len(chosen) % 2 == 1
            config = schema(
                vocab_size=VOCAB_SIZE,
                max_seq_len=MAX_SEQ_LEN,
                d_model=23,
                num_layers=3,
                attention=attention(**SIZES, **choices, **dict.fromkeys(set(chosen) & set(flags), True), bias=odd),
                feed_forward=FEED_FORWARDS["swiglu" if odd else "gelu"].Config(d_ff=29),
                tie_embeddings=not odd,
                init_std=0.3,
                **model_options,
            )
            yield [*map(str, choices.values()), *chosen], config


def _choices(schema: Any) -> Iterator[dict[str, Any]]:
    """All combinations of the values that a configuration's `Literal` fields may have."""
    values = {name: get_args(hint) for name, hint in get_type_hints(schema).items() if get_origin(hint) is Literal}
    several = {name: options for name, options in values.items() if len(options) > 1}
    for combination in itertools.product(*several.values()):
        yield dict(zip(several, combination, strict=True))


@functools.cache
def tokens(batch_size: int = 2, num_tokens: int = NUM_TOKENS) -> torch.Tensor:
    """Fixed random token ids."""
    generator = torch.Generator().manual_seed(batch_size * 100 + num_tokens)
    return torch.randint(0, VOCAB_SIZE, (batch_size, num_tokens), generator=generator)


CASES = cases()
BACKEND_NAMES = list(BACKENDS)
