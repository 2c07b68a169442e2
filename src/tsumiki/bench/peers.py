"""Other tools on the same weights, where they are installed."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch

from tsumiki.bench.speed import Timed, Write
from tsumiki.export.hf.write import architecture_for
from tsumiki.export.onnx import export_onnx
from tsumiki.models import LanguageModel


def installed(module: str) -> bool:
    """Whether a peer is there to be compared with."""
    return find_spec(module) is not None


def transformers_model(model: LanguageModel, dtype: torch.dtype) -> Any:
    """The same model as a class of `transformers`, on the same device.

    Raises:
        UserError: no class of `transformers` can express the model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    architecture = architecture_for(model.config)
    ours = model.state_dict()
    weights = {
        part.theirs: part.join([ours[name].cpu() for name in part.ours]) for part in architecture.parts(model.config)
    }
    config = AutoConfig.for_model(architecture.model_type, **architecture.describe(model.config))
    theirs: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)  # rotary frequencies stay in fp32
    missing = theirs.load_state_dict(weights, strict=False).missing_keys
    assert set(missing) <= {"lm_head.weight"}, missing
    theirs.tie_weights()
    return theirs.to(model.unembedding.device).eval()


def with_transformers(theirs: Any, *, static: bool) -> Write:
    """`generate` with its dynamic cache, or with its static one, whose steps it compiles and captures on a GPU."""

    @torch.no_grad()
    def write(prompts: Sequence[Sequence[int]], num_tokens: int) -> Timed:
        start = perf_counter()
        ids = torch.tensor([list(prompt) for prompt in prompts], device=theirs.device)
        options = {"cache_implementation": "static"} if static else {}
        times: list[float] = []
        texts = theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=num_tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            logits_processor=[lambda ids, scores: note_the_first(times, scores)],
            **options,
        )
        written = texts[:, ids.shape[1] :].tolist()
        return Timed(written, times[0] - start, perf_counter() - times[0])

    return write


def note_the_first(times: list[float], scores: torch.Tensor) -> torch.Tensor:
    """The scores as they are. The first time, note when they were there; later nobody waits for them."""
    if not times:
        scores[0, 0].item()  # waits for the device
        times.append(perf_counter())
    return scores


def with_llama_cpp(path: Path, *, context: int, threads: int) -> Write:
    """llama.cpp on a GGUF file, one text after another."""
    from llama_cpp import Llama  # pyright: ignore[reportMissingImports] - compiled when installed, so not everywhere

    theirs = Llama(
        str(path), n_ctx=context, n_batch=min(context, 512), n_threads=threads, n_threads_batch=threads, verbose=False
    )

    def write(prompts: Sequence[Sequence[int]], num_tokens: int) -> Timed:
        return one_after_another(continuation(prompt, num_tokens) for prompt in prompts)

    def continuation(prompt: Sequence[int], num_tokens: int) -> Iterator[int]:
        theirs.reset()
        theirs.eval(list(prompt))
        for _ in range(num_tokens - 1):
            token = likeliest()
            yield token
            theirs.eval([token])
        yield likeliest()

    def likeliest() -> int:
        logits = np.ctypeslib.as_array(theirs._ctx.get_logits(), shape=(theirs.n_vocab(),))
        return int(logits.argmax())

    return write


def requantised(path: Path, kind: Literal["bf16", "q8_0"]) -> Path:
    """A GGUF file with the matrices in another precision, made by llama.cpp itself."""
    import ctypes

    import llama_cpp  # pyright: ignore[reportMissingImports]

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = {"bf16": llama_cpp.LLAMA_FTYPE_MOSTLY_BF16, "q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0}[kind]
    output = path.with_name(f"{path.stem}-{kind}.gguf")
    failed = llama_cpp.llama_model_quantize(str(path).encode(), str(output).encode(), ctypes.pointer(parameters))
    assert not failed, kind
    return output


def with_onnxruntime(model: LanguageModel, directory: Path, *, threads: int) -> Write:
    """onnxruntime on the exported graph, one text after another.

    Raises:
        UserError: the model cannot be exported.
    """
    import onnxruntime

    # The exporter warns that it does without torchvision, which no language model needs.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    export_onnx(model, directory / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(directory / "model.onnx", options, providers=["CPUExecutionProvider"])
    attention = model.config.attention
    kinds = [f"{kind}.{layer}" for layer in range(model.config.num_layers) for kind in ("keys", "values")]
    empty = np.zeros((1, 0, attention.num_kv_heads, attention.head_dim), dtype=np.float32)

    def write(prompts: Sequence[Sequence[int]], num_tokens: int) -> Timed:
        return one_after_another(continuation(list(prompt), num_tokens) for prompt in prompts)

    def continuation(text: list[int], num_tokens: int) -> Iterator[int]:
        past, read, end = dict.fromkeys(kinds, empty), 0, len(text) + num_tokens
        while len(text) < end:
            inputs = {
                "ids": np.array([text[read:]]),
                "positions": np.arange(read, len(text))[None],
                "past_positions": np.arange(read)[None],
            }
            cache = {f"past_{kind}": tensor for kind, tensor in past.items()}
            logits, *present = session.run(["logits", *kinds], inputs | cache)
            past, read = dict(zip(kinds, present, strict=True)), len(text)
            text.append(int(np.asarray(logits)[0, -1].argmax()))
            yield text[-1]

    return write


def one_after_another(continuations: Iterable[Iterator[int]]) -> Timed:
    """Of a tool that writes a single text: each first token is prefill, what follows is decoding."""
    texts, prefill_seconds, decode_seconds = [], 0.0, 0.0
    for continuation in continuations:
        start = perf_counter()
        text = [next(continuation)]
        first = perf_counter()
        text += continuation
        texts.append(text)
        prefill_seconds += first - start
        decode_seconds += perf_counter() - first
    return Timed(texts, prefill_seconds, decode_seconds)
