"""Model families, one file each, that read top-down.

To add a family: write a file with its `@spec Config` and its model, and name it in `FAMILIES`. The contract suite then
tests it with every attention variant, and configurations can choose it.
"""

from tsumiki.models.artefact import load_model, save_model
from tsumiki.models.build import FAMILIES, ModelConfig, build_model
from tsumiki.models.gpt2 import GPT2
from tsumiki.models.gpt_oss import GPTOSS
from tsumiki.models.language_model import LanguageModel
from tsumiki.models.plan import Plan, plan

__all__ = [
    "FAMILIES",
    "GPT2",
    "GPTOSS",
    "LanguageModel",
    "ModelConfig",
    "Plan",
    "build_model",
    "load_model",
    "plan",
    "save_model",
]
