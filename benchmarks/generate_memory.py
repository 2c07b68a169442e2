"""Whether the memory of a process stays flat while it writes 1,000 texts, of which half are left early.

    python benchmarks/generate_memory.py --out benchmarks/results/generate-memory.json

Random weights of the shape of the preset `gpt-oss-12m`; every text begins with 16 tokens and may have 32 more. The
process's resident memory is read after each hundred texts.
"""

import argparse
import json
from pathlib import Path
from time import perf_counter

import torch

from tsumiki.config import load
from tsumiki.generate.batch import Engine, Request
from tsumiki.generate.sampling import Sampling
from tsumiki.models import build_model
from tsumiki.train import RunConfig
from tsumiki.train.manifest import device_name

TEXTS, EVERY = 1000, 100


def resident_bytes() -> int:
    """Memory of this process that is in use, as Linux counts it."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == "VmRSS":
            return int(value.split()[0]) * 1024
    raise ValueError("/proc/self/status does not say VmRSS")


def write(engine: Engine, number: int) -> None:
    """One text; every second one is left after five tokens."""
    generator = torch.Generator().manual_seed(number)
    prompt = torch.randint(0, engine.model.config.vocab_size, (16,), generator=generator).tolist()
    stream = engine.stream(Request(prompt, Sampling(seed=number), 32))
    for count, _ in enumerate(stream, start=1):
        if number % 2 and count == 5:
            stream.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=("eager", "compiled"), default="compiled")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file")
    arguments = parser.parse_args()
    engine = Engine(build_model(load("gpt-oss-12m", RunConfig).model).eval(), mode=arguments.mode)
    points = []
    start = perf_counter()
    for number in range(TEXTS + 1):
        write(engine, number)
        if number % EVERY == 0:
            points.append({"texts": number, "resident_bytes": resident_bytes()})
            print(f"{number:5} texts: {points[-1]['resident_bytes'] / 1e6:,.1f} MB", flush=True)
    facts = {
        "device": device_name(torch.device("cpu")),
        "mode": arguments.mode,
        "torch": torch.__version__,
        "seconds": round(perf_counter() - start, 1),
        "points": points,
    }
    arguments.out.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
