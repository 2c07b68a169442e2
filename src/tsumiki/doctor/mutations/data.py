"""Tokenizer, batches, held-out text."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from tsumiki.doctor.mutations.planting import bug
from tsumiki.doctor.patients import ByteTokenizer, Patient, SmallData, SmallSource
from tsumiki.doctor.pipeline import TEXTS


@bug("data", found_by="targets")
def targets_not_shifted(patient: Patient) -> None:
    """Targets are the inputs. | 正解が入力と同じ。"""
    change_batches(patient, lambda batch, step: replace(batch, targets=batch.ids))


@bug("data", found_by="targets")
def targets_two_ahead(patient: Patient) -> None:
    """Targets are two tokens ahead. | 正解が二つ先。"""
    change_batches(patient, lambda batch, step: replace(batch, targets=batch.targets.roll(-1, dims=1)))


@bug("data", found_by="targets")
def document_ids_late(patient: Patient) -> None:
    """Document ids change one token late. | 文書番号の切り替わりが一つ遅い。"""
    change_batches(
        patient,
        lambda batch, step: replace(
            batch, documents=torch.cat([batch.documents[:, :1], batch.documents[:, :-1]], dim=1)
        ),
    )


@bug("data", found_by="targets")
def steps_not_repeatable(patient: Patient) -> None:
    """A step asked for again gives other tokens. | 同じステップが別のトークンになる。"""
    stream, asked = patient.pipeline.stream, []

    class Forgetful:
        def batch(self, step: int, batch_size: int) -> Any:
            asked.append(step)
            return stream.batch(step + len(asked), batch_size)

    patient.pipeline.stream = Forgetful()


def change_batches(patient: Patient, change: Callable[[Any, int], Any]) -> None:
    """Let the training stream give other batches."""
    stream = patient.pipeline.stream

    class Changed:
        def batch(self, step: int, batch_size: int) -> Any:
            return change(stream.batch(step, batch_size), step)

    patient.pipeline.stream = Changed()


@bug("data", found_by="round_trip")
def lower_casing(patient: Patient) -> None:
    """The tokenizer lower-cases. | トークナイザーが小文字にする。"""

    class LowerCasing(ByteTokenizer):
        def encode(self, text: str) -> list[int]:
            return super().encode(text.lower())

    patient.pipeline.tokenizer = LowerCasing()


@bug("data", found_by="byte_accounting")
def special_tokens_counted(patient: Patient) -> None:
    """Special tokens count as bytes. | 特殊トークンもバイト数に数える。"""

    class Counting(ByteTokenizer):
        def token_bytes(self, id: int) -> bytes:
            return super().token_bytes(id) or b"<|endoftext|>"

    patient.pipeline.tokenizer = Counting()


@bug("data", found_by="held_out")
def validated_on_training(patient: Patient) -> None:
    """The validation text is the training text. | 検証用の文が訓練用と同じ。"""
    patient.pipeline.data = SmallData(
        validation=(SmallSource(TEXTS),),
        manifest={"overlap": [{"source": "small", "documents": 3, "copies": 3, "sharing": 3, "passage": "13 words"}]},
    )
