"""Training that begins with the weights of a trained model: fine-tuning, and a longer context."""

import json
import re
from pathlib import Path

from tsumiki.config import differences, dump
from tsumiki.data import Tokenizer
from tsumiki.errors import UserError
from tsumiki.files import sha256
from tsumiki.generate import load
from tsumiki.models import LanguageModel
from tsumiki.models.artefact import WEIGHTS

CHANGEABLE = re.compile(r"(dropout|max_seq_len|rope)(\..*)?")
"""What the model may have otherwise than the one whose weights it takes. Everything else says what the weights are."""


def start_from(path: Path, model: LanguageModel, tokenizer: Tokenizer) -> dict[str, str]:
    """Give a model the weights of a trained one.

    Args:
        path: a run, whose best checkpoint is taken, or a checkpoint.
        model: freshly made; only its context, its RoPE and its dropout may be otherwise than the trained one's.
        tokenizer: the trained one's, so that a token means what it meant.

    Returns:
        Where the weights are from, for the manifest.

    Raises:
        UserError: "start_from: 'runs/a' has model.d_model = 128, and here it is 256: ...", the tokenizer is another, or
            nothing can be loaded from there.
    """
    trained = load(path, device="cpu")
    for key, before, now in differences(dump(trained.model.config), dump(model.config)):
        if not CHANGEABLE.fullmatch(key):
            raise UserError(
                f"start_from: '{path}' has model.{key} = {json.dumps(before)}, and here it is {json.dumps(now)}: its "
                "weights fit no other model. Set it to that; max_seq_len, rope and dropout may change."
            )
    if trained.tokenizer.sha256 != tokenizer.sha256:
        raise UserError(
            f"start_from: '{path}' was trained with another tokenizer; set "
            f"tokenizer={{kind: file, path: {trained.checkpoint / 'tokenizer.json'}}}."
        )
    weights = trained.model.state_dict()
    for name, fresh in model.state_dict().items():
        if weights[name].shape != fresh.shape:
            raise UserError(
                f"start_from: '{path}' has a '{name}' of {list(weights[name].shape)}, and here it is "
                f"{list(fresh.shape)}: a model with learned positions keeps its max_seq_len, "
                f"{trained.model.config.max_seq_len}."
            )
    model.load_state_dict(weights)
    return {"checkpoint": trained.checkpoint.as_posix(), "weights_sha256": sha256(trained.checkpoint / WEIGHTS)}
