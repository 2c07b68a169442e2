"""How models of tsumiki and of transformers are asked for more than logits."""

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tsumiki.doctor.foreign import config_of, renamed, weights_of
from tsumiki.doctor.reference import knows, reference_outputs
from tsumiki.doctor.subject import Adapter, Model
from tsumiki.kernels import BackendConfig
from tsumiki.kernels.attention import BACKENDS
from tsumiki.models import LanguageModel, build_model
from tsumiki.nn.position import positions_in_documents


def adapter_for(model: Model) -> Adapter:
    """What the doctor knows about this kind of model."""
    if isinstance(model, LanguageModel):
        return TSUMIKI
    if is_transformers(model):
        known = inspect.signature(model.forward).parameters
        return replace(
            TRANSFORMERS,
            cached=_hf_cached if _CACHE_NAMES & known.keys() else None,
            padded=_hf_padded if {"attention_mask", "position_ids"} <= known.keys() else None,
        )
    return Adapter()


def is_transformers(model: Model) -> bool:
    """Whether the model is one of transformers' (asked without importing transformers)."""
    return any(base.__name__ == "PreTrainedModel" for base in type(model).__mro__)


def _cached(model: LanguageModel, ids: Tensor, chunks: Sequence[int]) -> Tensor:
    cache = model.new_cache(len(ids))
    return torch.cat([model(chunk, cache=cache) for chunk in ids.split(list(chunks), dim=1)], dim=1)


def _packed(model: LanguageModel, ids: Tensor, documents: Tensor) -> Tensor:
    return model(ids, documents=documents)


def _padded(model: LanguageModel, ids: Tensor, real: Tensor) -> Tensor:
    return model(ids, positions=torch.where(real, real.cumsum(dim=1) - 1, -1))


def _loss(model: LanguageModel, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return model.loss(ids, targets)


def _fresh(model: LanguageModel) -> LanguageModel:
    return build_model(model.config, backend=model.backend, device=model.unembedding.device)


def _spellings(model: LanguageModel) -> Mapping[str, Callable[[LanguageModel], LanguageModel]]:
    def spelled(backend: BackendConfig) -> Callable[[LanguageModel], LanguageModel]:
        def build(model: LanguageModel) -> LanguageModel:
            weight = model.unembedding
            other = build_model(model.config, backend=backend, device=weight.device, dtype=weight.dtype)
            other.load_state_dict(model.state_dict())
            return other.eval()

        return build

    backends = {name: BackendConfig(attention=name) for name in BACKENDS}
    backends["eager"] = BackendConfig(attention="eager", activation="eager", experts="eager", cross_entropy="eager")
    return {name: spelled(backend) for name, backend in backends.items() if backend != model.backend}


def _reference(model: LanguageModel, ids: Tensor) -> Mapping[str, Tensor] | None:
    return _by_reference(model.config, model.state_dict(), ids) if knows(model.config) else None


def _by_reference(config: Any, weights: Mapping[str, Tensor], ids: Tensor) -> dict[str, Tensor]:
    arrays = {name: value.detach().cpu().double().numpy() for name, value in weights.items()}
    outputs = reference_outputs(config, arrays, ids.cpu().numpy())
    return {name: torch.from_numpy(output).to(ids.device) for name, output in outputs.items()}


TSUMIKI = Adapter(
    logits=lambda model, ids: model(ids),
    cached=_cached,
    packed=_packed,
    padded=_padded,
    pads_left=True,
    loss=_loss,
    fresh=_fresh,
    spellings=_spellings,
    reference=_reference,
)
"""A `LanguageModel` of tsumiki."""


def _hf_logits(model: Model, ids: Tensor) -> Tensor:
    return model(input_ids=ids, use_cache=False).logits


_CACHE_NAMES = {"cache", "past_key_values"}
"""What transformers calls the argument that holds a KV cache, since version 5.24 and before."""


def _hf_cached(model: Model, ids: Tensor, chunks: Sequence[int]) -> Tensor:
    from transformers import DynamicCache

    (name,) = _CACHE_NAMES & inspect.signature(model.forward).parameters.keys()
    cache = DynamicCache(config=model.config)
    parts = ids.split(list(chunks), dim=1)
    return torch.cat([model(input_ids=part, use_cache=True, **{name: cache}).logits for part in parts], dim=1)


def _hf_padded(model: Model, ids: Tensor, real: Tensor) -> Tensor:
    positions = (real.cumsum(dim=1) - 1).clamp(min=0)
    return model(input_ids=ids, attention_mask=real.long(), position_ids=positions, use_cache=False).logits


def _hf_loss(model: Model, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    # transformers shifts by itself: the label of a token is the target of the one before it.
    labels = torch.cat([torch.full_like(targets[:, :1], -100), targets[:, :-1]], dim=1)
    loss = model(input_ids=ids, labels=labels, use_cache=False, num_items_in_batch=1).loss
    return loss, (labels >= 0).sum()


def _hf_fresh(model: Model) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return type(model)(copy.deepcopy(model.config)).to(model.device)


def _hf_spellings(model: Model) -> Mapping[str, Callable[[Model], Model]]:
    def spelled(name: str) -> Callable[[Model], Model]:
        def build(model: Model) -> Model:
            other = copy.deepcopy(model)
            other.set_attn_implementation(name)
            return other

        return build

    names = ["eager"] + ["sdpa"] * model._supports_sdpa
    return {name: spelled(name) for name in names if name != model.config._attn_implementation}


def packed_by_positions(model: Model, ids: Tensor, documents: Tensor) -> Tensor:
    """Logits of packed rows from a model of transformers that tells documents apart by positions that restart at 0."""
    return model(input_ids=ids, position_ids=positions_in_documents(documents), use_cache=False).logits


def _hf_reference(model: Model, ids: Tensor) -> Mapping[str, Tensor] | None:
    config = config_of(model)
    if config is None:
        return None
    return renamed(model, _by_reference(config, weights_of(model), ids))


def _hf_finest(model: Model) -> torch.dtype:
    # Eager attention masks with the lowest number of the weights' dtype and takes the softmax in float32, where
    # float64's lowest number is -inf and a row of padding becomes NaN.
    return torch.float32 if model.config._attn_implementation == "eager" else torch.float64


TRANSFORMERS = Adapter(
    logits=_hf_logits,
    cached=_hf_cached,
    padded=_hf_padded,
    pads_left=True,
    loss=_hf_loss,
    fresh=_hf_fresh,
    spellings=_hf_spellings,
    finest=_hf_finest,
    reference=_hf_reference,
)
"""A causal language model of transformers. Not all of its models keep packed documents apart, and none has to: pass
`packed=packed_by_positions` to `diagnose` where a model is trained on packed rows."""


def with_compiled(adapter: Adapter) -> Adapter:
    """The same, with one more backend to compare: the model compiled by `torch.compile`."""

    def spellings(model: Model) -> Mapping[str, Callable[[Model], Model]]:
        others = {} if adapter.spellings is None else adapter.spellings(model)
        return {**others, "compiled": _compiled}

    return replace(adapter, spellings=spellings)


def _compiled(model: Model) -> Model:
    other = copy.deepcopy(model)
    other.compile()
    return other
