"""Tensors that several processes hold parts of, in safetensors files that any number of processes can read.

What every process holds whole, the first one writes: `optimizer.safetensors`. Of a sharded tensor each process writes
its own rows, into `optimizer-00001-of-00002.safetensors`, whose metadata says where they belong:

    "embedding.weight.first_moment": "{"shape": [8192, 384], "first_row": 4096}"
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard

from tsumiki.train.distributed import World, own_part

END = ".safetensors"


@dataclass(frozen=True)
class Place:
    """Where a part belongs: in a tensor of this shape, from this row on."""

    shape: list[int]
    first_row: int


def write_part(tensors: Mapping[str, Tensor], directory: Path, name: str, world: World) -> Path | None:
    """Write what this process is to write of `tensors`. Every process calls it, with its parts of the same names.

    Returns:
        The file; None if there is nothing for this process to write.
    """
    sharded = {key: tensor for key, tensor in tensors.items() if isinstance(tensor, DTensor)}
    if not sharded and not world.leads:
        return None
    path = directory / (f"{name}-{world.rank + 1:05d}-of-{world.size:05d}{END}" if sharded else f"{name}{END}")
    parts = {key: own_part(tensor).contiguous() for key, tensor in tensors.items() if world.leads or key in sharded}
    places = {key: Place(list(tensor.shape), first_row(tensor, world)) for key, tensor in sharded.items()}
    save_file(parts, path, metadata={key: json.dumps(asdict(place)) for key, place in places.items()})
    return path


def first_row(tensor: DTensor, world: World) -> int:
    """Where this process's rows of a sharded tensor begin. FSDP cuts the first dimension as `torch.chunk` does."""
    assert tensor.placements == (Shard(0),)
    rows = -(-tensor.shape[0] // world.size)
    return min(world.rank * rows, tensor.shape[0])


class StoredTensors(Mapping[str, Tensor]):
    """What `write_part` wrote, put together again, one tensor at a time when it is asked for.

    Args:
        directory, name: as they were given to `write_part`.
    """

    def __init__(self, directory: Path, name: str) -> None:
        paths = [*directory.glob(f"{name}{END}"), *directory.glob(f"{name}-*-of-*{END}")]
        self._files = [safe_open(path, framework="pt") for path in paths]
        self._names = sorted({key for file in self._files for key in file.keys()})  # noqa: SIM118 - not a mapping

    def __getitem__(self, key: str) -> Tensor:
        parts = [(file.metadata() or {}, file.get_tensor(key)) for file in self._files if key in file.keys()]  # noqa: SIM118
        if key not in parts[0][0]:
            return parts[0][1]
        places = [Place(**json.loads(metadata[key])) for metadata, _ in parts]
        whole = torch.empty(places[0].shape, dtype=parts[0][1].dtype)
        for place, (_, part) in zip(places, parts, strict=True):
            whole[place.first_row : place.first_row + len(part)] = part
        return whole

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
