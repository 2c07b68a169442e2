"""The classes of `transformers` that are known here."""

from tsumiki.export.hf.gpt2 import Gpt2
from tsumiki.export.hf.gpt_oss import GptOss
from tsumiki.export.hf.llama import Llama, Qwen3
from tsumiki.export.hf.parts import Architecture

ARCHITECTURES: dict[str, tuple[Architecture, ...]] = {
    "gpt2": (Gpt2(),),
    "gpt_oss": (GptOss(), Qwen3(), Llama()),
}
"""Our family -> the classes that its models can be."""

BY_MODEL_TYPE = {known.model_type: known for classes in ARCHITECTURES.values() for known in classes}
"""What `config.json` says -> the class."""
