"""Many processes that train one model: `torchrun --nproc-per-node 2 $(which tsumiki) train ...`.

Every process computes the gradient of its rows of the batch, and the gradients are added up. As each process divides
its nats by the number of targets of the *whole* batch, the sum is the gradient of the whole batch's mean loss, however
many processes share it: the same batch gives the same update, but for rounding and dropout's random numbers.

There are two ways to hold the model:

* `Replicas` (`ddp`): every process holds all weights, and the gradients are added up by one all-reduce a step. It is
  our own and not `torch.nn.parallel.DistributedDataParallel`, because the model is called through `loss` and not
  `forward`, and because after several micro-batches there is still one sum to make and nothing to be told about
  it. The price is that the sum does not overlap with the backward pass.
* `Shards` (`fsdp`): every process holds a part of each weight, of its gradient and of the optimizer's state. A layer's
  weights are put together when it is computed and dropped afterwards: `torch.distributed.fsdp.fully_shard` (FSDP2),
  after ZeRO, arXiv 1910.02054. For a model that is too large for one device.

The processes also talk on the CPU, through gloo, where nobody waits for a GPU: whether one was asked to stop, and
whether one has failed. So one that dies is noticed at once by those that wait for its word.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn import Parameter

from tsumiki.errors import UserError
from tsumiki.generate.load import choose_device
from tsumiki.models import LanguageModel
from tsumiki.models.build import model_of

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others, such as for the first one's evaluation, before it takes them for lost."""


class PeerFailed(UserError):
    """Another process failed and says why itself, so this one ends without a word."""


@dataclass(frozen=True)
class World:
    """The processes of a training, of which this is number `rank` of `size`. Without `torchrun` it is the only one."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and prints for all of them."""
        return self.rank == 0

    def share(self, rows: range) -> range:
        """This process's part of the rows of a batch."""
        return rows[self.rank :: self.size]

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up the processes' tensors, in place. On a GPU nobody waits for the result."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any process. All of them must ask."""
        return self._first(flag) is not None

    @contextmanager
    def together(self) -> Iterator[None]:
        """What all processes do or none: where one fails, the others raise `PeerFailed`. It ends when all are done."""
        try:
            yield
        except PeerFailed:
            raise
        except (UserError, OSError, SafetensorError) as error:
            if self._first(True) != self.rank:
                raise PeerFailed("Another process failed.") from error  # the same way: it is said once
            raise
        if self.any(False):
            raise PeerFailed("Another process failed.")

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The leading process does it, then the others do, who find what it left on the disk."""
        if not self.leads:
            with self.together():
                pass
            yield
        else:
            with self.together():
                yield

    @contextmanager
    def losing_nobody(self, way_out: str) -> Iterator[None]:
        """Turn the errors that PyTorch raises where a process is gone into a sentence.

        Raises:
            UserError: "Another process of this training is gone, or was not heard of for 30 minutes. ..."
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not (isinstance(error, dist.DistError) or "/gloo/" in str(error)):
                raise
            minutes = int(PATIENCE.total_seconds() / 60)
            raise UserError(
                f"Another process of this training is gone, or was not heard of for {minutes} minutes; if it could "
                f"say why, it did so above. {way_out}"
            ) from error

    def least(self, number: int) -> int:
        """The least of the processes' numbers. All of them must ask."""
        least = torch.tensor(number)
        if self.size > 1:
            dist.all_reduce(least, dist.ReduceOp.MIN)
        return int(least)

    def _first(self, flag: bool) -> int | None:
        """The lowest rank whose `flag` is true."""
        rank = self.least(self.rank if flag else self.size)
        return rank if rank < self.size else None


def join(device: str | torch.device | None) -> tuple[World, torch.device]:
    """Meet the processes that `torchrun` started, if it did, and choose this one's device: a GPU for each.

    Raises:
        UserError: "4 processes were started here, but there are only 2 GPUs: ..."
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World(), choose_device(device)
    number = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpu = choose_device(device).type == "cuda"
    if on_gpu and number >= torch.cuda.device_count():
        raise UserError(
            f"{os.environ.get('LOCAL_WORLD_SIZE')} processes were started here, but there are only "
            f"{torch.cuda.device_count()} GPUs: start one for each with --nproc-per-node, or train with --device cpu."
        )
    if on_gpu:
        torch.cuda.set_device(number)
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    return World(dist.get_rank(), dist.get_world_size()), torch.device(f"cuda:{number}" if on_gpu else "cpu")


def speaks() -> bool:
    """Whether this process prints for those that `torchrun` started with it; known before they have met."""
    return int(os.environ.get("RANK", "0")) == 0


def leave() -> None:
    """Part from the other processes in good order."""
    if dist.is_initialized():
        dist.destroy_process_group()


@dataclass(frozen=True)
class Replicas:
    """Every process holds all weights. With a single process there is nothing to do."""

    world: World = World()

    def spread(self, model: LanguageModel) -> None:
        """Give this process its part of a model: all of it, as the same seed gave every process the same weights."""

    @torch.no_grad()
    def sum_gradients(self, parameters: Iterable[Parameter]) -> None:
        """After the backward passes: add up all processes' gradients, in one message. A missing one counts as 0."""
        if self.world.size == 1:
            return
        learning = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in learning:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in learning if parameter.grad is not None]
        message = self.world.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = message.split([gradient.numel() for gradient in gradients])
        for gradient, summed in zip(gradients, parts, strict=True):
            gradient.copy_(summed.view_as(gradient))

    def sum_parts(self, tensor: Tensor) -> Tensor:
        """Add up what was computed from each process's part of the weights: here, the part is the whole."""
        return tensor

    def gather(self, model: LanguageModel) -> LanguageModel:
        """The model with its whole weights: itself."""
        return model


@dataclass(frozen=True)
class Shards:
    """Every process holds some rows of each weight: its `DTensor`s are sharded along their first dimension."""

    world: World

    def spread(self, model: LanguageModel) -> None:
        """Cut a model that this process holds whole. A layer is what is put together at once; the rest is another such.

        FSDP would divide the gradients by the number of processes; they are summed instead, since the loss has already
        been divided by the whole batch's number of targets.
        """
        mesh = init_device_mesh(model.unembedding.device.type, (self.world.size,))
        for layer in (*model.get_submodule("layers").children(), model):
            part = fully_shard(layer, mesh=mesh)
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)
        register_fsdp_forward_method(model, "loss")

    def sum_gradients(self, parameters: Iterable[Parameter]) -> None:
        """Nothing to do: FSDP has summed them in the backward passes."""

    def sum_parts(self, tensor: Tensor) -> Tensor:
        """The sum over all parts."""
        return self.world.sum(tensor)

    def gather(self, model: LanguageModel) -> LanguageModel | None:
        """A copy with whole weights, on the CPU of the process that leads; the others, who must ask too, get None."""
        weights = {}
        for name, part in model.state_dict().items():
            weight = whole(part)
            if self.world.leads:
                weights[name] = weight.cpu()
        return model_of(model.config, weights, backend=model.backend) if self.world.leads else None


Parallel = Replicas | Shards
"""How the processes hold the model; both answer the same questions."""


def build_parallel(kind: Literal["ddp", "fsdp"], world: World) -> Parallel:
    """What `train.parallel` names; for a single process there is nothing to cut."""
    return Shards(world) if kind == "fsdp" and world.size > 1 else Replicas(world)


def own_part(tensor: Tensor) -> Tensor:
    """What of a tensor this process holds."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor. If it is sharded, all processes must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(complete: Tensor, tensor: Tensor) -> Tensor:
    """A whole tensor, cut as `tensor` is."""
    if not isinstance(tensor, DTensor):
        return complete
    return distribute_tensor(complete.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None)
