"""How a bug is planted: an object is given other methods, so that copies of it have them, too."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tsumiki.doctor.messages import Language
from tsumiki.doctor.patients import Patient
from tsumiki.doctor.subject import Adapter
from tsumiki.nn.attention import AttentionContext, Eager
from tsumiki.nn.kv_cache import KVCache
from tsumiki.nn.softmax import softmax


@dataclass(frozen=True)
class Mutation:
    """A planted bug.

    Args:
        plant: puts the bug into a patient. Its name is the mutation's.
        group: what kind of bug it is.
        found_by: the check that must find it; others may, too.
        patient: which of `tsumiki.doctor.patients.MODELS` it is planted in.
    """

    plant: Callable[[Patient], None]
    group: str
    found_by: str
    patient: str

    def what(self, language: Language) -> str:
        """What was done."""
        english, japanese = " ".join((self.plant.__doc__ or "").split()).split(" | ")
        return japanese if language == "ja" else english


MUTATIONS: dict[str, Mutation] = {}
"""All mutations, by name."""


def bug(group: str, *, found_by: str, patient: str = "modern") -> Callable[[Callable[[Patient], None]], None]:
    """Enter a function that breaks a patient into `MUTATIONS`; its docstring says what is broken, in two languages."""

    def enter(plant: Callable[[Patient], None]) -> None:
        MUTATIONS[plant.__name__] = Mutation(plant, group, found_by, patient)

    return enter


def model_bug(group: str, *, found_by: str, patient: str = "modern") -> Callable[[Callable[[Any], None]], None]:
    """The same for a function that breaks a model, and with it every new model and other backend made from it."""

    def enter(break_model: Callable[[Any], None]) -> None:
        def broken(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
            def make_broken(model: Any) -> Any:
                made = make(model)
                break_model(made)
                return made

            return make_broken

        @functools.wraps(break_model)
        def plant(patient: Patient) -> None:
            fresh, spellings = patient.adapter.fresh, patient.adapter.spellings
            assert fresh is not None
            assert spellings is not None
            break_model(patient.model)
            patient.adapter = replace(
                patient.adapter,
                fresh=broken(fresh),
                spellings=lambda model: {name: broken(make) for name, make in spellings(model).items()},
            )

        bug(group, found_by=found_by, patient=patient)(plant)

    return enter


def override(module: nn.Module, **methods: Callable[..., Any]) -> None:
    """Give one module other methods, by a class of its own, so that copies of it have them too."""
    module.__class__ = type(f"Broken{type(module).__name__}", (type(module),), dict(methods))


def attentions(model: Any) -> list[Any]:
    """The attention of every layer."""
    return [layer.attention for layer in model.layers]


def change_context(model: Any, change: Callable[[AttentionContext, KVCache | None], None]) -> None:
    """Change what the attention layers of a forward pass share."""

    def attention_context(self: Any, ids: Tensor, *, cache: KVCache | None, **options: Any) -> AttentionContext:
        context = sound(self, ids, cache=cache, **options)
        change(context, cache)
        return context

    sound = type(model).attention_context
    override(model, attention_context=attention_context)


class Steps(Eager):
    """Attention in small steps, of which a mutation replaces one."""

    def scale(self, scores: Tensor, head_dim: int) -> Tensor:
        """Divide by √D."""
        return scores / math.sqrt(head_dim)

    def hide(self, scores: Tensor, seen: Tensor) -> Tensor:
        """Take away what is not seen."""
        return scores.masked_fill(~seen, -math.inf)

    def share(self, x_BSKD: Tensor, group: int) -> Tensor:
        """Give every query head its key or value head."""
        return x_BSKD.repeat_interleave(group, dim=2)

    def weigh(self, scores: Tensor) -> Tensor:
        """From scores to weights."""
        return softmax(scores, dim=-1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, visibility: Any, *, sinks: Any, dropout: float) -> Tensor:
        """As `Eager`, without dropout."""
        group = q.shape[2] // k.shape[2]
        k, v = self.share(k, group), self.share(v, group)
        scores_BHTS = self.scale(torch.einsum("bthd,bshd->bhts", q, k), q.shape[-1])
        scores_BHTS = self.hide(scores_BHTS, visibility[:, None])
        if sinks is not None:
            sinks_BHT1 = sinks.to(q.dtype)[:, None, None].expand(*scores_BHTS.shape[:-1], 1)
            scores_BHTS = torch.cat([scores_BHTS, sinks_BHT1], dim=-1)
        weights_BHTS = self.weigh(scores_BHTS)[..., : k.shape[1]]
        return torch.einsum("bhts,bshd->bthd", weights_BHTS, v)


def attend(model: Any, **steps: Callable[..., Any]) -> None:
    """Let a model attend with some of the steps replaced."""
    backend = type("BrokenSteps", (Steps,), dict(steps))()

    def change(context: AttentionContext, cache: KVCache | None) -> None:
        context.backend = backend

    change_context(model, change)


def change_adapter(patient: Patient, **changes: Any) -> None:
    """Let the patient be asked in another way."""
    adapter: Adapter = replace(patient.adapter, **changes)
    patient.adapter = adapter
