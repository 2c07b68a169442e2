"""A model's fingerprint: what it is and what it answers, written beside the weights when they are saved.

Weights fit into every architecture with the same shapes, so shapes alone do not show that a configuration was changed:
YaRN's weights load into plain RoPE without a word, and the model is another one. The fingerprint holds the
configuration that the weights belong to, their dtype, and the logits of three fixed prompts.
"""

import json
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tsumiki.config import differences, dump, parse
from tsumiki.errors import UserError
from tsumiki.kernels import BackendConfig
from tsumiki.models.build import ModelConfig, model_of
from tsumiki.models.language_model import DecoderConfig
from tsumiki.nn.precision import at_least_fp32

FINGERPRINT = "fingerprint.json"
EAGER = BackendConfig(attention="eager", activation="eager", experts="eager", cross_entropy="eager")
PROMPT_STEPS = (1, 7, 31)
PROMPT_TOKENS = 24
NUM_LOGITS = 64
TOLERANCE = 1e-3
"""How far a logit may be off, in units of the logits' spread.

Two machines add in another order: fp32 keeps 24 bits, and the differences seen are below 1e-5. A changed formula or a
damaged weight that matters moves logits by more than 1e-2. What is smaller, the configuration's comparison and the
checkpoint's SHA-256 find.
"""


def fingerprint(config: DecoderConfig, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Compute the fingerprint: on the CPU, in fp32 (fp64 for fp64 weights) and with the eager backend.

    So it depends on the weights as they are saved, and not on where or how a model runs.
    """
    prompts = fixed_prompts(config)
    some = torch.arange(NUM_LOGITS) * config.vocab_size // NUM_LOGITS
    model = model_of(config, {name: at_least_fp32(weight) for name, weight in weights.items()}, backend=EAGER)
    with torch.inference_mode():
        logits = model(prompts)[:, -1, some]
    return {"prompts": prompts.tolist(), "tokens": some.tolist(), "logits": logits.tolist()}


def fixed_prompts(config: DecoderConfig) -> Int[Tensor, "3 T"]:
    """Three runs through the vocabulary, in steps of 1, 7 and 31 tokens, as long as the context allows."""
    places = torch.arange(min(PROMPT_TOKENS, config.max_seq_len))
    return torch.stack([places * step % config.vocab_size for step in PROMPT_STEPS])


def save_fingerprint(config: DecoderConfig, weights: Mapping[str, Tensor], directory: Path) -> None:
    """Write `fingerprint.json` into a model's directory."""
    content = {
        "config": dump(config),
        "dtype": dtype_name(next(iter(weights.values()))),
        **fingerprint(config, weights),
    }
    (directory / FINGERPRINT).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def load_fingerprint(directory: Path) -> dict[str, Any]:
    """Read `fingerprint.json`.

    Raises:
        UserError: "'DIR' holds no fingerprint.json, so nothing says what its weights are; ..."
    """
    path = directory / FINGERPRINT
    if not path.is_file():
        raise UserError(
            f"'{directory}' holds no {FINGERPRINT}, so nothing says what its weights are; take the whole directory."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        logits = torch.tensor(content["logits"], dtype=torch.float64)
        return {"config": content["config"], "dtype": content["dtype"], "logits": logits}
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"'{path}' is damaged; use another copy or an earlier checkpoint.") from error


def check_config(config: DecoderConfig, stored: Mapping[str, Any], directory: Path) -> None:
    """Compare the configuration with the one that the weights were saved with, field by field.

    Raises:
        UserError: "DIR/config.yaml: model.attention.sinks is false, but the weights were saved with true; ..."
    """
    # Parsed, so that a field which a later version adds has its default on both sides.
    saved = dump(parse(stored["config"], ModelConfig, where=f"{directory / FINGERPRINT}, config"))  # type: ignore[arg-type]
    changed = sorted(differences(saved, dump(config)), key=itemgetter(0))
    if changed:
        field, expected, found = changed[0]
        raise UserError(
            f"{directory}/config.yaml: model.{field} is {json.dumps(found)}, but the weights were saved with "
            f"{json.dumps(expected)}; with another value they would be another model, so set it back."
        )


def check_logits(
    config: DecoderConfig, weights: Mapping[str, Tensor], stored: Mapping[str, Any], directory: Path
) -> None:
    """Compare what the model answers with what it answered when it was saved.

    Raises:
        UserError: "'DIR': the model answers otherwise than when it was saved ..."
    """
    expected = stored["logits"]
    found = torch.tensor(fingerprint(config, weights)["logits"], dtype=torch.float64)
    if not _close(found, expected):
        raise UserError(
            f"'{directory}': the model answers otherwise than when it was saved, so its weights or {FINGERPRINT} were "
            "changed, or this version of tsumiki computes it differently; use another copy, or the version that saved "
            "it."
        )


def _close(found: Float[Tensor, "3 N"], expected: Float[Tensor, "3 N"]) -> bool:
    if found.shape != expected.shape:
        return False
    same = (found == expected) | (found.isnan() & expected.isnan())
    return bool((same | ((found - expected).abs() <= TOLERANCE * expected.std())).all())


def dtype_name(tensor: Tensor) -> str:
    """float32, bfloat16, ..."""
    return str(tensor.dtype).removeprefix("torch.")
