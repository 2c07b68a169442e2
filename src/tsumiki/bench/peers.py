"""Other tools on the same weights, where they are installed."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from tsumiki.bench.speed import Write
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
    theirs: Any = AutoModelForCausalLM.from_config(config)
    missing = theirs.load_state_dict(weights, strict=False).missing_keys
    assert set(missing) <= {"lm_head.weight"}, missing
    theirs.tie_weights()
    return theirs.to(dtype=dtype, device=model.unembedding.device).eval()


def with_transformers(theirs: Any, *, static: bool) -> Write:
    """`generate` with its dynamic cache, or with its static one, which it compiles on a GPU."""

    @torch.no_grad()
    def write(prompts: Sequence[Sequence[int]], num_tokens: int) -> list[list[int]]:
        ids = torch.tensor([list(prompt) for prompt in prompts], device=theirs.device)
        options = {"cache_implementation": "static"} if static else {}
        texts = theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=num_tokens,
            min_new_tokens=num_tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            **options,
        )
        return texts[:, ids.shape[1] :].tolist()

    return write


def with_llama_cpp(path: Path, *, context: int, threads: int) -> Write:
    """llama.cpp on a GGUF file, one text after another."""
    from llama_cpp import Llama  # pyright: ignore[reportMissingImports] - compiled when installed, so not everywhere

    theirs = Llama(
        str(path), n_ctx=context, n_batch=min(context, 512), n_threads=threads, n_threads_batch=threads, verbose=False
    )

    def write(prompts: Sequence[Sequence[int]], num_tokens: int) -> list[list[int]]:
        texts = []
        for prompt in prompts:
            theirs.reset()
            theirs.eval(list(prompt))
            text = [likeliest()]
            while len(text) < num_tokens:
                theirs.eval(text[-1:])
                text.append(likeliest())
            texts.append(text)
        return texts

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

    export_onnx(model, directory / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(directory / "model.onnx", options, providers=["CPUExecutionProvider"])
    attention = model.config.attention
    kinds = [f"{kind}.{layer}" for layer in range(model.config.num_layers) for kind in ("keys", "values")]
    empty = np.zeros((1, 0, attention.num_kv_heads, attention.head_dim), dtype=np.float32)

    def write(prompts: Sequence[Sequence[int]], num_tokens: int) -> list[list[int]]:
        return [continuation(list(prompt), num_tokens) for prompt in prompts]

    def continuation(text: list[int], num_tokens: int) -> list[int]:
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
        return text[-num_tokens:]

    return write
