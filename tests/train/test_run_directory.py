"""A run's directory: begun once, gone on with as what it was, used by one process at a time."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tsumiki.errors import UserError
from tsumiki.train import RunConfig, RunResult, train
from tsumiki.train.run_directory import locked

Run = Callable[..., RunResult]

HOLD = """
import sys, time
from pathlib import Path
from tsumiki.train.run_directory import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(100)
"""


def test_two_processes_never_share_a_directory(run: Run, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(run_dir)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(UserError, match=r"Another process is training in '.*run': wait for its end or stop it"):
            run()
        assert not (run_dir / "config.yaml").exists()
        os.kill(other.pid, signal.SIGKILL)
    assert (run_dir / ".lock").is_file(), "the file stays, but the lock has ended with its process"
    run()
    with locked(run_dir):
        pass


def test_auto_begins_goes_on_and_refuses(make_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    def start(**changes: object) -> RunResult:
        return train(make_config(**changes), tmp_path / "run", resume="auto", skip_doctor=True, device="cpu")

    start(steps=4)
    start(steps=6)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))
    assert [session["step"] for session in manifest["sessions"]] == [0, 4]
    with pytest.raises(UserError, match="a run is one computation"):
        start(seed=1)


def test_a_licence_may_be_written_down_later(make_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    config = make_config(steps=2)
    train(config, tmp_path / "run", skip_doctor=True, device="cpu")
    sources = tuple(replace(source, licence="CC0-1.0") for source in config.data.sources)
    later = replace(config, data=replace(config.data, sources=sources))
    train(later, tmp_path / "run", resume=True, skip_doctor=True, device="cpu")
