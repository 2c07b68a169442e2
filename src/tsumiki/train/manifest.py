"""What a session of training is made with, for `manifest.json`, so that it can be judged and repeated later."""

import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tsumiki.config import dump
from tsumiki.doctor import Diagnosis
from tsumiki.kernels import BackendConfig
from tsumiki.models import LanguageModel
from tsumiki.train.distributed import World
from tsumiki.version import __version__

LIBRARIES = ("numpy", "safetensors", "tokenizers", "torch")


def describe_session(
    step: int,
    model: LanguageModel,
    backend: BackendConfig,
    diagnosis: Diagnosis | None,
    world: World,
    origin: Mapping[str, str] | None,
) -> dict[str, Any]:
    """When, with what and on what one uninterrupted stretch of training runs. A resumed run has several.

    Args:
        step: the step that it begins after.
        diagnosis: the doctor's; None if it was not asked, which is recorded.
        world: the processes that train together.
        origin: where the weights are from; None where they were drawn, or are the run's own from the session before.
    """
    device = model.unembedding.device
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "step": step,
        "doctor": "skipped" if diagnosis is None else "passed",
        "start_from": origin,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "backend": dump(backend),
        "device": device_name(device),
        "processes": world.size,
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "versions": {
            "tsumiki": __version__,
            "python": platform.python_version(),
            **{library: version(library) for library in LIBRARIES},
        },
        "git": {"tsumiki": tsumiki_revision(), "working_directory": git_revision(Path())},
        "command": sys.argv,
    }


def device_name(device: torch.device) -> str:
    """The device and what it is: "cuda:0 (NVIDIA H100)", "cpu (x86_64, AVX512)"."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def tsumiki_revision() -> str | None:
    """The revision of tsumiki's own checkout; None where it is installed as a package.

    A package may lie inside somebody else's repository (in its `.venv`), so git is asked whether it tracks this file.
    """
    here = Path(__file__)
    if git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    return git_revision(here.parent)


def git_revision(directory: Path) -> str | None:
    """The commit that is checked out around `directory`, with "+changes" if files differ from it; None without git."""
    commit = git(directory, "rev-parse", "HEAD")
    if commit is None:
        return None
    return f"{commit}+changes" if git(directory, "status", "--porcelain", "--untracked-files=no") else commit


def git(directory: Path, *arguments: str) -> str | None:
    """What git prints; None if there is no git, or it fails, as it does outside a repository."""
    try:
        result = subprocess.run(
            ["git", "-C", str(directory), *arguments], capture_output=True, encoding="utf-8", errors="replace"
        )
    except FileNotFoundError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None
