"""Both directions with Hugging Face's `transformers`, without needing it: its files are JSON and safetensors.

A class of `transformers` is one file here that says which of our models it can express, and where each weight is. What
no class can express is refused with the reason. Nothing is unpickled: only safetensors are read.
"""

from tsumiki.export.hf.read import import_hf, import_model
from tsumiki.export.hf.write import architecture_for, export_hf

__all__ = ["architecture_for", "export_hf", "import_hf", "import_model"]
