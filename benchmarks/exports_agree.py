"""Whether a trained run writes the same greedy text in tsumiki, transformers, onnxruntime and llama.cpp.

    python benchmarks/exports_agree.py runs/demo --write benchmarks/exports_agree.json

Needs `pip install 'tsumiki[hf,export]' onnxruntime llama-cpp-python`. Exits with 1 if a tool differs. Only texts on
which all agree are written, with the versions of the tools and the hash of the weights. `exports_agree.json` holds
those of a run of `tsumiki demo`; the weights themselves are not kept.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from llama_cpp import Llama  # pyright: ignore[reportMissingImports] - compiled when installed, so not everywhere
from transformers import AutoModelForCausalLM

from tsumiki import load
from tsumiki.export.gguf import export_gguf
from tsumiki.export.hf import export_hf
from tsumiki.export.onnx import export_onnx
from tsumiki.generate import Sampling, TextModel
from tsumiki.generate.engine import Generation

PROMPTS = ("Once upon a time", "むかしむかし、")
NUM_TOKENS = 64
PACKAGES = ("tsumiki", "torch", "transformers", "onnxruntime", "llama-cpp-python", "gguf", "onnx")

Continue = Callable[[Sequence[int]], list[int]]


def in_tsumiki(ours: TextModel) -> Continue:
    def write(prompt: Sequence[int]) -> list[int]:
        return list(Generation(ours.model, prompt, Sampling(temperature=0.0), max_tokens=NUM_TOKENS))

    return write


def in_transformers(ours: TextModel, directory: Path) -> Continue:
    export_hf(ours.model, ours.tokenizer, directory)
    model: Any = AutoModelForCausalLM.from_pretrained(directory)

    def write(prompt: Sequence[int]) -> list[int]:
        ids = torch.tensor([list(prompt)])
        text = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NUM_TOKENS,
            do_sample=False,
            eos_token_id=None,
        )
        return text[0, len(prompt) :].tolist()

    return write


def in_onnxruntime(ours: TextModel, directory: Path) -> Continue:
    export_onnx(ours.model, directory / "model.onnx")
    session = onnxruntime.InferenceSession(directory / "model.onnx", providers=["CPUExecutionProvider"])
    attention = ours.model.config.attention
    kinds = [f"{kind}.{layer}" for layer in range(ours.model.config.num_layers) for kind in ("keys", "values")]

    def write(prompt: Sequence[int]) -> list[int]:
        text, read = list(prompt), 0
        past = dict.fromkeys(kinds, np.zeros((1, 0, attention.num_kv_heads, attention.head_dim), dtype=np.float32))
        while len(text) < len(prompt) + NUM_TOKENS:
            inputs = {
                "ids": np.array([text[read:]]),
                "positions": np.arange(read, len(text))[None],
                "past_positions": np.arange(read)[None],
            }
            logits, *present = session.run(
                ["logits", *kinds], inputs | {f"past_{kind}": tensor for kind, tensor in past.items()}
            )
            past, read = dict(zip(kinds, present, strict=True)), len(text)
            text.append(int(np.asarray(logits)[0, -1].argmax()))
        return text[len(prompt) :]

    return write


def in_llama_cpp(ours: TextModel, directory: Path) -> Continue:
    export_gguf(ours.model, ours.tokenizer, directory / "model.gguf")
    context = ours.model.config.max_seq_len
    model = Llama(str(directory / "model.gguf"), n_ctx=context, n_batch=context, logits_all=True, verbose=False)

    def write(prompt: Sequence[int]) -> list[int]:
        model.reset()
        model.eval(prompt)
        text: list[int] = []
        while len(text) < NUM_TOKENS:
            text.append(int(np.argmax(model.scores[model.n_tokens - 1])))
            model.eval(text[-1:])
        return text

    return write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run's or a checkpoint's directory")
    parser.add_argument("--write", type=Path, help="a JSON file for the texts, if all tools agree on them")
    arguments = parser.parse_args()
    ours = load(arguments.run, device="cpu")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.joinpath("onnx").mkdir()
        tools = {
            "tsumiki": in_tsumiki(ours),
            "transformers": in_transformers(ours, directory / "hf"),
            "onnxruntime": in_onnxruntime(ours, directory / "onnx"),
            "llama.cpp": in_llama_cpp(ours, directory / "gguf"),
        }
        agree, texts = True, []
        for prompt in PROMPTS:
            ids = [ours.tokenizer.end_of_text_id, *ours.tokenizer.encode(prompt)]
            expected = tools["tsumiki"](ids)
            texts.append({"prompt": prompt, "prompt_ids": ids, "tokens": expected})
            print(f"{prompt}{ours.tokenizer.decode(expected)}\n")
            for tool, write in tools.items():
                same = sum(a == b for a, b in zip(write(ids), expected, strict=True))
                agree &= same == NUM_TOKENS
                print(f"  {tool:14}{same} of {NUM_TOKENS} tokens are the same")
            print()
    if agree and arguments.write is not None:
        record = {
            "model_sha256": hashlib.sha256((ours.checkpoint / "model.safetensors").read_bytes()).hexdigest(),
            "tokenizer_sha256": ours.tokenizer.sha256,
            "versions": {package: version(package) for package in PACKAGES},
            "agreeing": list(tools),
            "texts": [text | {"text": ours.tokenizer.decode(text["tokens"])} for text in texts],
        }
        arguments.write.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    sys.exit(not agree)


if __name__ == "__main__":
    main()
