"""Loss, gradient, initial weights, backends, optimizer, checkpoints."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tsumiki.doctor.mutations.planting import attend, attentions, bug, change_adapter, model_bug, override
from tsumiki.doctor.patients import Patient, train


def change_loss(model: Any, change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    """Let a model compute its loss on other ids and targets."""
    sound = type(model).loss
    override(model, loss=lambda self, ids, targets, **options: sound(self, *change(ids, targets), **options))


@model_bug("loss", found_by="loss")
def labels_shifted_twice(model: Any) -> None:
    """Labels are shifted twice. | ラベルを二重にずらす。"""
    change_loss(model, lambda ids, targets: (ids, targets.roll(-1, dims=1)))


@model_bug("loss", found_by="loss")
def labels_not_shifted(model: Any) -> None:
    """Labels are not shifted. | ラベルをずらしていない。"""
    change_loss(model, lambda ids, targets: (ids, ids.where(targets >= 0, targets)))


@model_bug("loss", found_by="loss")
def padding_is_target(model: Any) -> None:
    """Padding counts as a target. | パディングも正解に数える。"""
    change_loss(model, lambda ids, targets: (ids, targets.clamp(min=0)))


@model_bug("loss", found_by="accumulation")
def mean_of_micro_batch(model: Any) -> None:
    """A mean within the micro-batch. | マイクロバッチ内の平均。"""

    def loss(self: Any, ids: Tensor, targets: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        nats, count = sound(self, ids, targets, **options)
        return nats / count, torch.ones_like(count)

    sound = type(model).loss
    override(model, loss=loss)


@model_bug("loss", found_by="noise_floor")
def targets_fed_in(model: Any) -> None:
    """The targets are fed in. | 正解を入力に混ぜる。"""
    change_loss(model, lambda ids, targets: (targets.where(targets >= 0, ids), targets))


@model_bug("gradient", found_by="gradient_reach")
def layer_detached(model: Any) -> None:
    """A layer is detached. | ある層が切り離されている。"""
    sound = type(model.layers[0].feed_forward).forward
    override(model.layers[0].feed_forward, forward=lambda self, x: sound(self, x).detach())


@model_bug("gradient", found_by="gradient_is_derivative")
def head_detached(model: Any) -> None:
    """One head is detached. | 一つのヘッドが切り離されている。"""

    def heads(self: Any, *args: Any) -> Tensor:
        out_BTHD = sound(self, *args)
        return torch.cat([out_BTHD[:, :, :1].detach(), out_BTHD[:, :, 1:]], dim=2)

    sound = type(attentions(model)[0]).heads
    override(attentions(model)[0], heads=heads)


@model_bug("gradient", found_by="gradient_reach")
def queries_detached(model: Any) -> None:
    """Queries are detached. | クエリが切り離されている。"""
    sound = type(attentions(model)[0].q_proj).forward
    override(attentions(model)[0].q_proj, forward=lambda self, x: sound(self, x).detach())


@model_bug("gradient", found_by="gradient_is_derivative")
def wrong_backward(model: Any) -> None:
    """A custom backward pass has the wrong sign. | 自作の逆伝播の符号が逆。"""

    def forward(self: Any, x: Tensor) -> Tensor:
        y = sound(self, x)
        return 2 * y.detach() - y

    sound = type(model.layers[0].feed_forward).forward
    override(model.layers[0].feed_forward, forward=forward)


@bug("gradient", found_by="gradient_reach")
def unused_parameter(patient: Patient) -> None:
    """A parameter is not used. | 使われないパラメータ。"""
    patient.model.register_parameter("extra", nn.Parameter(torch.ones(3)))
    change_adapter(patient, spellings=None)


@bug("initialisation", found_by="initial_loss")
def weights_too_large(patient: Patient) -> None:
    """Initial weights fifty times too large. | 初期値が 50 倍。"""
    make = patient.adapter.fresh
    assert make is not None

    def fresh(model: Any) -> Any:
        large = make(model)
        with torch.no_grad():
            for parameter in large.parameters():
                parameter.mul_(50)
        return large

    change_adapter(patient, fresh=fresh)


@bug("backend", found_by="backends")
def backend_without_scale(patient: Patient) -> None:
    """Another backend does not scale. | 別のバックエンドが割らない。"""
    spellings = patient.adapter.spellings
    assert spellings is not None

    def unscaled(model: Any) -> Any:
        other = spellings(model)["eager"](model)
        attend(other, scale=lambda self, scores, head_dim: scores)
        return other

    change_adapter(patient, spellings=lambda model: {"eager": unscaled})


@bug("backend", found_by="backends")
def backend_without_gradient(patient: Patient) -> None:
    """Another backend loses gradients. | 別のバックエンドが勾配を失う。"""
    spellings = patient.adapter.spellings
    assert spellings is not None

    def detached(model: Any) -> Any:
        other = spellings(model)["eager"](model)
        override(attentions(other)[0].k_proj, forward=lambda self, x: (x @ self.weight.T).detach())
        return other

    change_adapter(patient, spellings=lambda model: {"eager": detached})


@bug("optimizer", found_by="update_size")
def parameters_forgotten(patient: Patient) -> None:
    """The optimizer was not given the norms. | オプティマイザーに渡し忘れ。"""
    change_adapter(
        patient,
        optimizer=lambda model: torch.optim.AdamW([p for p in model.parameters() if p.ndim > 1], lr=1e-3),
    )


@bug("optimizer", found_by="update_size")
def step_uphill(patient: Patient) -> None:
    """Steps go up the gradient. | 勾配を登る。"""
    change_adapter(patient, optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3, maximize=True))


@bug("training", found_by="resume")
def moments_not_saved(patient: Patient) -> None:
    """A checkpoint does not hold the optimizer's moments. | チェックポイントにオプティマイザーの状態がない。"""

    def forgetful(model: Any, saved: Any, steps: int) -> Any:
        kept = train(model, saved, steps)
        return {**kept, "optimizer": {**kept["optimizer"], "state": {}}}

    change_adapter(patient, train=forgetful)


@bug("training", found_by="resume")
def step_not_saved(patient: Patient) -> None:
    """A resumed training counts its steps from 0, and so does its schedule. |
    再開した訓練がステップを 0 から数え直す。
    """
    change_adapter(patient, train=lambda model, saved, steps: {**train(model, saved, steps), "step": 0})
