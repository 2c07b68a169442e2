"""How fast tsumiki trains, beside nanoGPT and transformers in the same run, and how soon a model is good enough.

    python benchmarks/train.py --out figures/train --peer nanogpt=DIR --peer transformers
    python benchmarks/train.py --out figures/train --documents without,with --optimizer fused_adamw,muon
    python benchmarks/train.py --out figures/train --grow
    python benchmarks/train.py --out figures/train --time-to en=1.067,ja=1.277 CONFIG --seeds 0,1,2

Every part writes its JSON into the directory as soon as it is done, with what is needed to repeat it.

Throughput: each contender is built, compiled and warmed up; then they take turns, a window of steps each. The figure is
the median of the windows. Ours is the real step, `Training.update`, with the thread that makes the batches and the copy
to the device; on a GPU it is recorded as one CUDA graph, as in a training. A peer gets batches that lie on the device
already. Tokens are random, which no speed depends on; documents are as long as short stories.

FLOPs are 6 N + 6 L T d a token: N parameters without learned positions, L layers, T tokens of context, d the width of
all heads together. The second term counts causal attention over whole rows, with or without the document mask, which
saves some of it. The share is that of the bf16 rate that a large matrix product of random numbers reaches on this card.

Memory is what PyTorch's tensors took at most while a contender was built and warmed up, less what others held.

The peers: `nanogpt=DIR` imports model.py from a checkout and does what its train.py does (bias=False, dropout=0, its
own `configure_optimizers`, clipping at 1, bf16 autocast, TF32, torch.compile). `transformers` is a LlamaForCausalLM of
the same shape with fused AdamW, clipping, bf16 autocast, TF32 and torch.compile. Neither knows a document mask, so
compare them with ours without it.

`--time-to` trains CONFIG for all its steps with each seed, and measures the last checkpoint on the whole validation
text. Seconds are those of the updates, waiting for data and the recording of steps included; the first compilation, the
doctor, evaluations and checkpoints are not.
"""

import argparse
import gc
import hashlib
import importlib.util
import json
import math
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import distributions, version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tsumiki.config import dump, load, parse
from tsumiki.data import PackedSource, PreparedData, ValidationSet, prepare
from tsumiki.errors import UserError
from tsumiki.evaluate.bits_per_byte import by_language
from tsumiki.kernels import BackendConfig
from tsumiki.models import ModelConfig, build_model, load_model
from tsumiki.models.language_model import DecoderConfig
from tsumiki.train import RunConfig, train
from tsumiki.train.checkpoint import Checkpoints, Progress
from tsumiki.train.config import TrainConfig
from tsumiki.train.display import silent
from tsumiki.train.distributed import World
from tsumiki.train.loop import Training
from tsumiki.train.manifest import device_name, git_revision, tsumiki_revision
from tsumiki.train.memory import fits, peak_memory
from tsumiki.train.metrics import Unwritten
from tsumiki.train.optimizer import build_optimizer
from tsumiki.train.precision import autocast

dynamo: Any = torch._dynamo  # pyright: ignore[reportPrivateImportUsage]

LEARNING_RATE = 3e-4
OPTIMIZERS = {
    "fused_adamw": {"kind": "fused_adamw", "learning_rate": LEARNING_RATE},
    "muon": {
        "kind": "muon",
        "learning_rate": LEARNING_RATE,
        "rest": {"kind": "fused_adamw", "learning_rate": LEARNING_RATE},
    },
}
BACKEND = BackendConfig(attention="varlen", cross_entropy="chunked")
"""As in the presets."""


@dataclass(frozen=True)
class Shape:
    """A decoder's shape, and the rows that it is trained on."""

    layers: int = 16
    d_model: int = 512
    heads: int = 8
    vocab: int = 8192
    context: int = 1024
    batch: int = 32

    @property
    def d_ff(self) -> int:
        """A SwiGLU's width, with as many weights as a GELU's network that is four times as wide as the model."""
        return -(-8 * self.d_model // (3 * 32)) * 32

    def config(self, family: str) -> DecoderConfig:
        """Ours, without dropout, and as nanoGPT with bias=False without biases in linear maps."""
        gelu = family == "gpt2"
        attention = {
            "variant": "grouped_query",
            "num_heads": self.heads,
            "num_kv_heads": self.heads,
            "head_dim": self.d_model // self.heads,
        }
        feed_forward = (
            {"variant": "gelu", "d_ff": 4 * self.d_model, "bias": False}
            if gelu
            else {"variant": "swiglu", "d_ff": self.d_ff}
        )
        mapping = {
            "family": family,
            "vocab_size": self.vocab,
            "max_seq_len": self.context,
            "d_model": self.d_model,
            "num_layers": self.layers,
            "attention": attention,
            "feed_forward": feed_forward,
        }
        return parse(mapping, ModelConfig, where="--shape")  # type: ignore[arg-type]


@dataclass(frozen=True)
class Setting:
    """What all contenders share."""

    device: torch.device
    precision: Literal["fp32", "bf16"]
    compile: bool
    seed: int
    warm_up: int
    windows: int
    window_steps: int
    matmul_flops_per_second: float

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@dataclass
class Contender:
    """Something that trains.

    Args:
        step: makes an update; may run ahead of the device.
        finish: waits for the steps made, and raises if one of them had a loss that is no number.
        parameters: without learned positions.
        tf32: whether fp32 products may be rounded, which the peers' scripts allow and ours does not.
        held: what is to be closed at the end.
    """

    name: str
    step: Callable[[], object]
    finish: Callable[[], object]
    parameters: int
    tf32: bool
    held: ExitStack


class RandomSource(PackedSource):
    """Documents of random tokens, in memory, about as long as short stories (500 tokens, half of them 350 to 650)."""

    def __init__(self, vocab_size: int, *, seed: int, num_tokens: int = 2**21) -> None:
        self.name, self.language, self.weight = "random", "en", 1.0
        generator = np.random.default_rng(seed)
        self.end_of_text_id = 0
        lengths = np.clip(generator.normal(500, 220, num_tokens // 500), 30, 1500).astype(np.int64)
        self.lengths = lengths
        self.num_documents, self.num_tokens = len(lengths), int(lengths.sum())
        self._begins = np.cumsum([0, *lengths])
        self._tokens = generator.integers(1, vocab_size, self.num_tokens)
        self._tokens[self._begins[:-1]] = self.end_of_text_id

    def document(self, index: int, start: int = 0, stop: int | None = None) -> NDArray[np.int64]:
        begin, end = (int(place) for place in self._begins[index : index + 2])
        return self._tokens[begin + start : end if stop is None else min(end, begin + stop)]

    def key(self, index: int) -> str:
        return str(index)


def tsumiki(
    shape: Shape, setting: Setting, family: str, optimizer: str, *, documents: bool, activation_memory: float = 1.0
) -> Contender:
    """Ours: a `Training` without a run directory, evaluations and metrics."""
    held = ExitStack()
    steps = 10**9  # evaluations and lines of metrics are far away
    config = parse(
        {
            "steps": steps,
            "batch_size": shape.batch,
            "seq_len": shape.context,
            "optimizer": OPTIMIZERS[optimizer],
            "schedule": {"kind": "wsd", "warmup_steps": 1, "cooldown_fraction": 0.0},
            "precision": setting.precision,
            "compile": setting.compile,
            "activation_memory": activation_memory,
            "seed": setting.seed,
            "log_every": steps,
            "evaluate_every": steps,
            "checkpoint_every": steps,
        },
        TrainConfig,
        where="benchmark",
    )
    model = build_model(shape.config(family), backend=BACKEND, seed=setting.seed, device=setting.device).train()
    if not documents:
        leave_out_documents(model)
    source = RandomSource(shape.vocab, seed=setting.seed)
    nothing: Any = None  # only samples would ask for a tokenizer
    data = PreparedData(tokenizer=nothing, train=(source,), validation=(), manifest={}, warnings=())
    directory = Path(held.enter_context(tempfile.TemporaryDirectory()))
    training = Training(
        config,
        model,
        build_optimizer(config.optimizer, model.named_parameters()),
        data,
        Progress(),
        Checkpoints(directory, keep_last=1, world=World()),
        {},
        Unwritten(),
        silent(),
    )
    held.enter_context(closing(training))
    return Contender(
        name=f"tsumiki {family}, {optimizer}, {'with' if documents else 'without'} document mask"
        + (f", {activation_memory:.0%} of activations" if activation_memory < 1 else ""),
        step=training.update,
        finish=training.settle,
        parameters=count(model, "position."),
        tf32=False,
        held=held,
    )


def leave_out_documents(model: Any) -> None:
    """Let the model's loss take each row for one text, whatever documents it is told of."""
    loss = model.loss
    model.loss = lambda ids, targets, *, documents=None, max_documents=None, routings=None: loss(
        ids, targets, routings=routings
    )


def count(model: nn.Module, positions: str) -> int:
    """Parameters but those of learned positions; shared ones once."""
    return sum(parameter.numel() for name, parameter in model.named_parameters() if positions not in name)


def peer(
    name: str,
    setting: Setting,
    shape: Shape,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Tensor, Tensor], Tensor],
    parameters: int,
) -> Contender:
    """A plain training step around somebody else's model: autocast, backward, clip at 1, step, drop the gradients."""
    generator = torch.Generator().manual_seed(setting.seed)
    text = torch.randint(1, shape.vocab, (8, shape.batch, shape.context + 1), generator=generator).to(setting.device)
    losses: list[Tensor] = []

    def step() -> None:
        ids, targets = text[len(losses) % 8, :, :-1], text[len(losses) % 8, :, 1:]
        with torch.autocast(setting.device.type, torch.bfloat16, enabled=setting.precision == "bf16"):
            nats = loss(ids.contiguous(), targets.contiguous())
        nats.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(nats.detach())

    def finish() -> None:
        if losses and not math.isfinite(losses[-1].item()):
            raise UserError(f"{name} has a loss of {losses[-1].item()}.")

    return Contender(name, step, finish, parameters, tf32=True, held=ExitStack())


def nanogpt(directory: Path, shape: Shape, setting: Setting) -> Contender:
    """The model of a nanoGPT checkout, trained as its train.py does."""
    path = directory / "model.py"
    found = importlib.util.spec_from_file_location("nanogpt_model", path)
    if not path.is_file() or found is None or found.loader is None:
        raise UserError(f"--peer nanogpt: '{path}' does not exist; name a checkout of nanoGPT.")
    module: Any = importlib.util.module_from_spec(found)
    sys.modules["nanogpt_model"] = module  # its dataclass looks itself up
    found.loader.exec_module(module)
    torch.manual_seed(setting.seed)
    config = module.GPTConfig(
        block_size=shape.context,
        vocab_size=shape.vocab,
        n_layer=shape.layers,
        n_head=shape.heads,
        n_embd=shape.d_model,
        dropout=0.0,
        bias=False,
    )
    model = module.GPT(config).to(setting.device)
    optimizer = model.configure_optimizers(0.1, LEARNING_RATE, (0.9, 0.95), setting.device.type)
    compiled: Any = torch.compile(model) if setting.compile else model
    return peer(
        "nanoGPT",
        setting,
        shape,
        model,
        optimizer,
        lambda ids, targets: compiled(ids, targets)[1],
        count(model, "wpe."),
    )


def llama(shape: Shape, setting: Setting) -> Contender:
    """LlamaForCausalLM of the same shape."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(setting.seed)
    config = LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.d_model,
        intermediate_size=shape.d_ff,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        use_cache=False,
    )
    model: Any = LlamaForCausalLM(config).to(setting.device).train()  # pyright: ignore[reportArgumentType]
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    compiled: Any = torch.compile(model) if setting.compile else model

    def loss(ids: Tensor, targets: Tensor) -> Tensor:
        return compiled(input_ids=ids, labels=ids, shift_labels=targets).loss  # the same targets as everybody's

    return peer("transformers Llama", setting, shape, model, optimizer, loss, count(model, "no such name"))


@dataclass(frozen=True)
class Speed:
    """What was measured of a contender.

    Args:
        windows: tokens a second in each window, in the order in which they were measured.
        flops_per_token: by the formula above.
        memory_bytes: at most while it was built and warmed up, less what the others held; on a CPU, of the process.
        start_seconds: to build, compile and warm up.
    """

    tokens_per_second: float
    windows: list[float]
    parameters: int
    flops_per_token: int
    flops_per_second: float
    share_of_matmul: float
    memory_bytes: int
    start_seconds: float


def matmul_rate(device: torch.device, *, repeats: int = 15) -> float:
    """Floating-point operations a second of a bf16 product of random matrices: the median.

    Random, because a card that multiplies zeros or ones needs less power and runs faster than it ever will in use.
    """
    size = 8192 if device.type == "cuda" else 512
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator).to(device, torch.bfloat16) for _ in range(2))
    seconds = []
    for number in range(repeats + 5):
        start = perf_counter()
        product = a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= 5:  # the first ones wake the card up
            seconds.append(perf_counter() - start)
        del product
    return 2 * size**3 / median(seconds)


def run_steps(contender: Contender, setting: Setting, steps: int) -> float:
    """Make steps, and return the seconds until the device has made them."""
    torch.set_float32_matmul_precision("high" if contender.tf32 else "highest")
    setting.synchronise()
    start = perf_counter()
    for _ in range(steps):
        contender.step()
    setting.synchronise()
    seconds = perf_counter() - start
    contender.finish()
    return seconds


def measure(builders: Sequence[Callable[[], Contender]], shape: Shape, setting: Setting) -> dict[str, Speed]:
    """Build and warm up every contender, then let them take turns."""
    contenders, memory, starts = [], [], []
    with ExitStack() as held:
        for build in builders:
            started, others = perf_counter(), 0
            if setting.device.type == "cuda":
                gc.collect()
                torch.cuda.empty_cache()
                others = torch.cuda.memory_allocated(setting.device)
                torch.cuda.reset_peak_memory_stats(setting.device)
            contender = build()
            held.enter_context(contender.held)
            run_steps(contender, setting, setting.warm_up)
            contenders.append(contender)
            memory.append(peak_memory(setting.device) - others)
            starts.append(perf_counter() - started)
        windows: list[list[float]] = [[] for _ in contenders]
        tokens = setting.window_steps * shape.batch * shape.context
        for number in range(setting.windows):
            turns = list(range(len(contenders)))
            for turn in turns[::-1] if number % 2 else turns:
                windows[turn].append(tokens / run_steps(contenders[turn], setting, setting.window_steps))
    speeds = {}
    for contender, rates, peak, start in zip(contenders, windows, memory, starts, strict=True):
        flops = 6 * contender.parameters + 6 * shape.layers * shape.context * shape.d_model
        speed = median(rates)
        speeds[contender.name] = Speed(
            tokens_per_second=speed,
            windows=rates,
            parameters=contender.parameters,
            flops_per_token=flops,
            flops_per_second=speed * flops,
            share_of_matmul=speed * flops / setting.matmul_flops_per_second,
            memory_bytes=peak,
            start_seconds=start,
        )
    return speeds


def environment(device: torch.device, **more: Any) -> dict[str, Any]:
    """What is needed to repeat a measurement."""
    libraries = ("numpy", "pytorch-triton", "torch", "transformers", "triton")
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "commit": tsumiki_revision(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if device.type == "cuda" else None,
        "versions": {
            "python": platform.python_version(),
            **{each.name: each.version for each in distributions() if each.name in libraries},
        },
        **more,
    }


def write(path: Path, facts: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    print(f"-> {path}", flush=True)


def table(speeds: Mapping[str, Speed]) -> None:
    for name, speed in speeds.items():
        spread = (max(speed.windows) - min(speed.windows)) / speed.tokens_per_second
        print(
            f"  {name:54} {speed.tokens_per_second:12,.0f} tokens/s (spread {spread:5.1%})  "
            f"{speed.flops_per_second / 1e12:7.2f} TFLOP/s  {speed.share_of_matmul:6.1%} of a matmul  "
            f"{speed.memory_bytes / 1e9:6.2f} GB  {speed.parameters / 1e6:6.1f}M",
            flush=True,
        )


def throughput(arguments: argparse.Namespace, shape: Shape, setting: Setting) -> None:
    """Ours in every wanted way, and the peers, in turns."""

    def ours(family: str, optimizer: str, documents: str, kept: float) -> Callable[[], Contender]:
        return lambda: tsumiki(shape, setting, family, optimizer, documents=documents == "with", activation_memory=kept)

    builders = [
        ours(family, optimizer, documents, kept)
        for family in arguments.family
        for optimizer in arguments.optimizer
        for documents in arguments.documents
        for kept in arguments.activation_memory
    ]
    peers: dict[str, Any] = {}
    for wanted in arguments.peer:
        name, _, directory = wanted.partition("=")
        if name == "nanogpt" and directory:
            model = Path(directory) / "model.py"
            builders.append(lambda directory=directory: nanogpt(Path(directory), shape, setting))
            if model.is_file():
                sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
                peers[name] = {"commit": git_revision(Path(directory)), "model.py": sha256}
        elif wanted == "transformers":
            builders.append(lambda: llama(shape, setting))
            peers[name] = {"version": version("transformers")}
        else:
            raise UserError(f"--peer {wanted} is none; it must be nanogpt=DIR or transformers.")
    print(f"{shape} on {device_name(setting.device)}", flush=True)
    facts = environment(
        setting.device, shape=asdict(shape), setting=asdict(setting), backend=dump(BACKEND), peers=peers
    )
    speeds = measure(builders, shape, setting)
    table(speeds)
    write(arguments.out / "throughput.json", facts | {"speeds": {name: asdict(each) for name, each in speeds.items()}})


AXES = {
    "context": "256:512:1024:2048:4096",
    "parameters": "4x96:6x192:8x320:10x512:13x768",
    "batch": "1:4:16:64:256",
}
"""What is tried along each axis. Parameters are layers x width: 1, 4, 12, 36 and 98 million with 8,192 tokens."""


def grown(shape: Shape, axis: str, point: str) -> Shape:
    """The shape at a point of an axis. A longer context has fewer rows, so that a step sees as many tokens as ever."""
    if axis == "context":
        context = int(point)
        return replace(shape, context=context, batch=max(1, shape.batch * shape.context // context))
    if axis == "batch":
        return replace(shape, batch=int(point))
    layers, d_model = (int(number) for number in point.split("x"))
    return replace(shape, layers=layers, d_model=d_model, heads=d_model // (64 if d_model >= 256 else 32))


def grow(arguments: argparse.Namespace, shape: Shape, setting: Setting) -> None:
    """How speed and memory grow with the context, the parameters and the batch; ours alone, a fresh start each."""
    family, optimizer, documents = arguments.family[0], arguments.optimizer[0], arguments.documents[0] == "with"
    facts = environment(setting.device, setting=asdict(setting), backend=dump(BACKEND), points=[])
    for axis, tried in pairs(arguments.grow).items():
        if axis not in AXES:
            raise UserError(f"--grow {axis} is no axis; they are {', '.join(AXES)}.")
        for label in (tried or AXES[axis]).split(":"):
            each = grown(shape, axis, label)
            torch.compiler.reset()
            found: dict[str, Speed] = {}

            def once(each: Shape = each, found: dict[str, Speed] = found) -> None:
                build = [lambda: tsumiki(each, setting, family, optimizer, documents=documents)]
                found.update(measure(build, each, setting))

            enough = fits(once)
            gc.collect()
            speed = asdict(next(iter(found.values()))) if enough else None
            facts["points"].append({"axis": axis, "at": label, "shape": asdict(each), "speed": speed})
            print(f"{axis} {label}" + ("" if enough else ": not enough memory"), flush=True)
            table(found)
            write(arguments.out / "grow.json", facts)
    plot(facts["points"], facts["device"], arguments.out / "grow.png")


PANELS = (("tokens_per_second", "tokens a second", 1), ("memory_bytes", "memory, GB", 1e9))
"""Figures of `Speed`, what they are called, and in which units they are drawn."""


def plot(points: Sequence[Mapping[str, Any]], device: str, path: Path) -> None:
    """Tokens a second and memory along each axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    axes = list(dict.fromkeys(point["axis"] for point in points))
    figure = Figure(figsize=(4.5 * len(axes), 6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(device)
    panels = figure.subplots(2, len(axes), squeeze=False)
    for column, axis in enumerate(axes):
        along = [point for point in points if point["axis"] == axis and point["speed"] is not None]
        places = [at(point) for point in along]
        for row, (figures, what, unit) in enumerate(PANELS):
            panel = panels[row, column]
            panel.plot(places, [point["speed"][figures] / unit for point in along], "o-")
            panel.set_xscale("log")
            panel.set_xticks(places, [point["at"] for point in along])
            panel.minorticks_off()
            panel.set_ylim(bottom=0)
            panel.margins(y=0.1)
            panel.set_xlabel(axis)
            panel.set_ylabel(what)
    figure.savefig(path, dpi=150)
    print(f"-> {path}", flush=True)


def at(point: Mapping[str, Any]) -> int:
    """Where a measured point stands on its axis."""
    return point["speed"]["parameters"] if point["axis"] == "parameters" else point["shape"][point["axis"]]


def time_to(arguments: argparse.Namespace, device: torch.device) -> None:
    """Train a configuration with several seeds, and say how good it is after how many seconds."""
    targets = {language: float(value) for language, value in pairs(arguments.time_to[0]).items()}
    facts = environment(device, targets=targets, config=arguments.time_to[1], runs=[])
    for seed in arguments.seeds:
        config = load(arguments.time_to[1], RunConfig, [*arguments.change, f"train.seed={seed}"])
        run_dir = arguments.out / "time-to" / f"seed-{seed}"
        torch.compiler.reset()  # each seed's model is compiled as if it was the first
        result = train(config, run_dir, device=device)
        data = prepare(config.data, config.tokenizer)
        model = load_model(result.checkpoint, backend=config.backend, device=device).eval()
        whole = [ValidationSet(source, seq_len=config.train.seq_len, batch_size=16) for source in data.validation]
        with autocast(config.train, device):
            read = by_language(model, whole)
        missing = targets.keys() - read.keys()
        if missing:
            raise UserError(f"--time-to: there is no validation text in '{missing.pop()}', only in {', '.join(read)}.")
        state = json.loads((result.checkpoint / "state.json").read_text(encoding="utf-8"))
        bits = {language: figures.bits_per_byte for language, figures in read.items()}
        run = {
            "seed": seed,
            "steps": config.train.steps,
            "tokens": sum(state["tokens"].values()),
            "seconds": state["seconds"],
            "seconds_are": "of the updates; without compilation, doctor, evaluations and checkpoints",
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "bits_per_byte": bits,
            "validation_precision": config.train.precision,
            "validation_bytes": {language: figures.num_bytes for language, figures in read.items()},
            "reached": all(bits[language] <= target for language, target in targets.items()),
            "configuration": dump(config),
        }
        facts["runs"].append(run)
        figures = "  ".join(f"{language} {value:.4f}" for language, value in bits.items())
        print(
            f"seed {seed}: {run['tokens']:,} tokens in {run['seconds']:.1f} s, {run['parameters']:,} parameters, bits "
            f"per byte {figures}: {'reached' if run['reached'] else 'not reached'}",
            flush=True,
        )
        write(arguments.out / "time-to.json", facts)


def pairs(text: str) -> dict[str, str]:
    """The parts of "en=1.067,ja=1.277"; what has no value has an empty one."""
    parts = [part.partition("=") for part in text.split(",")]
    return {name: value for name, _, value in parts}


def shape_of(text: str, batch: int) -> Shape:
    """A shape from "layers=16,d_model=512"; what is left out is as in `Shape`."""
    try:
        shape = Shape(**{name: int(value) for name, value in pairs(text).items()} if text else {}, batch=batch)
    except (TypeError, ValueError) as error:
        raise UserError(f"--shape {text} is none: {error}. Such as layers=16,d_model=512,heads=8.") from error
    if shape.d_model % (2 * shape.heads):
        raise UserError(f"--shape: d_model is {shape.d_model}, but must be a multiple of 2 x {shape.heads} heads.")
    return shape


def names(*allowed: str) -> Callable[[str], list[str]]:
    """An option that takes some of these names, with commas between."""

    def chosen(text: str) -> list[str]:
        unknown = set(text.split(",")) - set(allowed)
        if unknown:
            raise argparse.ArgumentTypeError(f"'{unknown.pop()}' is none of {', '.join(allowed)}")
        return text.split(",")

    return chosen


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a directory for the JSON files")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shape", default="", help="such as layers=16,d_model=512,heads=8,vocab=8192,context=1024")
    parser.add_argument("--batch", type=int, default=Shape.batch, help="rows a step")
    parser.add_argument("--family", type=names("gpt_oss", "gpt2"), default=["gpt_oss", "gpt2"])
    parser.add_argument("--documents", type=names("without", "with"), default=["without"], help="the document mask")
    parser.add_argument("--optimizer", type=names(*OPTIMIZERS), default=["fused_adamw"])
    parser.add_argument(
        "--activation-memory",
        type=lambda text: [float(share) for share in text.split(",")],
        default=[1.0],
        help="train.activation_memory, such as 1,0.8",
    )
    parser.add_argument("--peer", action="append", default=[], help="nanogpt=DIR or transformers; several times")
    parser.add_argument("--grow", nargs="?", const=",".join(AXES), help="axes, such as batch or batch=1:16")
    parser.add_argument("--time-to", nargs=2, metavar=("TARGETS", "CONFIG"), help="en=1.067,ja=1.277 and a preset")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0])
    parser.add_argument("--change", action="append", default=[], help="of CONFIG, such as train.steps=100")
    parser.add_argument("--warm-up", type=int, default=20, help="steps")
    parser.add_argument("--windows", type=int, default=7)
    parser.add_argument("--window-steps", type=int, default=50)
    parser.add_argument("--eager", action="store_true", help="without torch.compile, for us and for the peers")
    arguments = parser.parse_args(words)
    device = torch.device(arguments.device)
    try:
        if arguments.time_to is not None:
            time_to(arguments, device)
            return
        if arguments.windows < 5:
            raise UserError(f"--windows is {arguments.windows}, but a median needs 5 or more.")
        setting = Setting(
            device=device,
            precision="bf16" if device.type == "cuda" else "fp32",
            compile=not arguments.eager,
            seed=arguments.seeds[0],
            warm_up=arguments.warm_up,
            windows=arguments.windows,
            window_steps=arguments.window_steps,
            matmul_flops_per_second=matmul_rate(device),
        )
        shape = shape_of(arguments.shape, arguments.batch)
        part = throughput if arguments.grow is None else grow
        # Every size and every contender is compiled for itself, and never silently left uncompiled.
        with dynamo.config.patch(automatic_dynamic_shapes=False, recompile_limit=64, fail_on_recompile_limit_hit=True):
            part(arguments, shape, setting)
    except UserError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
