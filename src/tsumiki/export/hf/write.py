"""A model of ours as a directory that `transformers` loads."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from tsumiki.data.tokenizer import END_OF_TEXT, Tokenizer
from tsumiki.errors import UserError
from tsumiki.export.hf.architectures import ARCHITECTURES
from tsumiki.export.hf.parts import Architecture
from tsumiki.models import LanguageModel
from tsumiki.models.fingerprint import dtype_name
from tsumiki.models.language_model import DecoderConfig


def export_hf(model: LanguageModel, tokenizer: Tokenizer, directory: Path) -> str:
    """Write a directory for `AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained`.

    Args:
        directory: is made if it is not there.

    Returns:
        The name of the class that it loads as.

    Raises:
        UserError: no class of `transformers` can express the model; the sentence says what stands against each.
    """
    config = model.config
    architecture = architecture_for(config)
    tensors = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    weights = {
        part.theirs: part.join([tensors[name] for name in part.ours]).to(model.unembedding.dtype).contiguous()
        for part in architecture.parts(config)
    }
    end = tokenizer.end_of_text_id
    special = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    directory.mkdir(parents=True, exist_ok=True)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    description = {
        "architectures": [architecture.class_name],
        "model_type": architecture.model_type,
        "dtype": dtype_name(model.unembedding),
        **architecture.describe(config),
        **special,
    }
    _write(directory / "config.json", description)
    _write(directory / "generation_config.json", special)
    _write(directory / "tokenizer.json", _with_beginning(tokenizer))
    _write(
        directory / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "pad_token": END_OF_TEXT,
            "model_max_length": config.max_seq_len,
            "clean_up_tokenization_spaces": False,
        },
    )
    return architecture.class_name


def architecture_for(config: DecoderConfig) -> Architecture:
    """The class that can express a model.

    Raises:
        UserError: "No class of transformers can express this model. GPT2LMHeadModel: it has no 'gated' attention."
    """
    reasons = []
    for architecture in ARCHITECTURES[config.family]:
        objections = list(architecture.objections(config))
        if config.logit_softcap is not None:
            objections.append("it has no logit_softcap")
        if not objections:
            return architecture
        reasons.append(f"{architecture.class_name}: {', '.join(objections)}.")
    raise UserError(f"No class of transformers can express this model. {' '.join(reasons)}")


def _with_beginning(tokenizer: Tokenizer) -> dict[str, Any]:
    """The `tokenizer.json`, with the token that begins a text put in front of it, as the model was trained."""
    begin = {"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    token = {"id": END_OF_TEXT, "ids": [tokenizer.end_of_text_id], "tokens": [END_OF_TEXT]}
    post_processor = {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, second],
        "special_tokens": {END_OF_TEXT: token},
    }
    return {**json.loads(tokenizer.text), "post_processor": post_processor}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
