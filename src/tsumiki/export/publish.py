"""The folder of a model for the Hugging Face hub, and pushing it there.

At its top lies what `transformers` loads, beside it `model.gguf` and `model.onnx`, in `tsumiki/` the model as it was
trained. The weights stand in it once for each tool, because each names and lays them out in its own way; a model that
a tool cannot express is published without that tool's file, and the card says why.
"""

import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tsumiki.errors import UserError
from tsumiki.export.card import Facts, model_card
from tsumiki.export.curve import loss_curve
from tsumiki.export.gguf import export_gguf
from tsumiki.export.hf import export_hf
from tsumiki.export.onnx import export_onnx
from tsumiki.export.records import read_records
from tsumiki.files import read_json
from tsumiki.generate import load
from tsumiki.generate.load import EVALUATION

NATIVE = "tsumiki"
CHECKPOINT_FILES = ("model.safetensors", "config.yaml", "fingerprint.json", "tokenizer.json", EVALUATION)
"""What is copied of a checkpoint: everything but the optimizer's state; `Records` adds the receipt."""


def write_folder(run_dir: Path, directory: Path, *, name: str, licence: str | None) -> dict[str, str]:
    """Write the folder of a run's best checkpoint, as it would be pushed.

    Args:
        directory: new, or empty.
        name: on the hub, `user/model`.
        licence: of the weights, as the hub calls it.

    Returns:
        Why there is no `hf`, `gguf` or `onnx` file, by the format's name; empty if all are there.

    Raises:
        UserError: the directory holds no run that was evaluated, the name is none, or an extra is missing.
    """
    check_name(name)
    if find_spec("gguf") is None or find_spec("onnxscript") is None:
        raise UserError("Publishing needs an extra; run: pip install 'tsumiki[export]'")
    text_model = load(run_dir, device="cpu")
    checkpoint = text_model.checkpoint
    records = read_records(run_dir, checkpoint)
    if not (checkpoint / EVALUATION).is_file():
        raise UserError(f"'{checkpoint / EVALUATION}' is missing; publish a run that `tsumiki train` has evaluated.")
    model, tokenizer = text_model.model, text_model.tokenizer
    native = directory / NATIVE
    native.mkdir(parents=True, exist_ok=True)
    refused: dict[str, str] = {}
    exports: dict[str, Callable[[], Any]] = {
        "hf": lambda: export_hf(model, tokenizer, directory),
        "gguf": lambda: export_gguf(model, tokenizer, directory / "model.gguf"),
        "onnx": lambda: export_onnx(model, directory / "model.onnx"),
    }
    for format, export in exports.items():
        try:
            export()
        except UserError as reason:
            refused[format] = str(reason)
    if "hf" in refused:
        tokenizer.save(directory / "tokenizer.json")  # onnxruntime's; otherwise that of transformers is there

    for file in CHECKPOINT_FILES:
        if (checkpoint / file).is_file():
            shutil.copy(checkpoint / file, native)
    records.save(native)
    (directory / "loss.svg").write_text(loss_curve(records.metrics), encoding="utf-8")
    facts = Facts(name, licence, records, read_json(checkpoint / EVALUATION), refused)
    (directory / "README.md").write_text(model_card(facts), encoding="utf-8")
    return refused


def check_name(name: str) -> None:
    """Raise a UserError unless a name is `user/model`."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name, re.ASCII):
        raise UserError(f"'{name}' is no name on the hub; write it as user/model.")


def check_may_push(licence: str | None) -> None:
    """Refuse to push what could not arrive, before anything is computed.

    Raises:
        UserError: no licence was named, an extra is missing, or nobody is logged in.
    """
    if licence is None:
        raise UserError("A model is published under a licence; name one with --licence, such as mit or cc-by-4.0.")
    if find_spec("huggingface_hub") is None:
        raise UserError("Pushing needs an extra; run: pip install 'tsumiki[hf]'")
    import huggingface_hub

    if huggingface_hub.get_token() is None:
        raise UserError("You are not logged in to the Hugging Face hub; run `hf auth login`, or try --dry-run.")


def push_folder(directory: Path, name: str) -> str:
    """Push a folder to the hub, into a repository that is private when it is made, and return its address.

    Raises:
        UserError: "The model could not be pushed: ..."
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    connection_error: Any = HfHubHTTPError.__bases__[0]  # of the HTTP library, which differs between the hub's versions
    api = huggingface_hub.HfApi()
    try:
        address = api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=directory, commit_message="Publish with tsumiki")
    except (OSError, connection_error) as error:
        first = str(error).strip().partition("\n")[0].rstrip(".")
        raise UserError(
            f"The model could not be pushed: {first}. The folder '{directory}' is complete; mend the cause, delete it, "
            "and try again."
        ) from error
    return str(address)
