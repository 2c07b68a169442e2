"""Trainings beside each other: the same results as alone, and none stops another."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from tsumiki.compare.jobs import OUTPUT, Job, train_all
from tsumiki.config import load
from tsumiki.train import RunConfig
from tsumiki.train.display import silent
from tsumiki.train.metrics import METRICS

TINY = Path(__file__).with_name("tiny.yaml")
BRIEF = ("train.steps=6", "train.evaluate_every=6", "train.samples.max_tokens=2")

SCRIPT = f"""
import sys
from pathlib import Path

from tsumiki.compare.jobs import Job, train_all
from tsumiki.config import load
from tsumiki.nn.attention import VARIANTS, GroupedQueryAttention
from tsumiki.nn.attention.config import AttentionConfig
from tsumiki.spec import spec
from tsumiki.train import Interrupted, RunConfig
from tsumiki.train.display import silent

class Mine(GroupedQueryAttention):
    @spec
    class Config(AttentionConfig):
        variant: str = "mine"

VARIANTS["mine"] = Mine

if __name__ == "__main__":
    steps, *places = sys.argv[1:]
    changes = ["model.attention.variant=mine", f"train.steps={{steps}}", "train.evaluate_every=100000"]
    config = load("{TINY}", RunConfig, [*changes, "train.schedule.cooldown_fraction=0.0"])
    jobs = [Job(config, Path(place), skip_doctor=True) for place in places]
    try:
        failed = train_all(jobs, workers=2, device="cpu", display=silent())
    except Interrupted as interrupted:
        sys.exit(interrupted.exit_code)
    sys.exit(str(failed) if failed else 0)
"""


def result_of(run_dir: Path) -> dict[str, object]:
    (checkpoint,) = (run_dir / "checkpoints").glob("step-000006")
    return json.loads((checkpoint / "evaluation.json").read_text(encoding="utf-8"))


def test_two_at_a_time_train_what_each_would_alone_and_those_that_fail_stop_nobody(tmp_path: Path) -> None:
    config = load(str(TINY), RunConfig, BRIEF)
    runaway = replace(
        config, train=replace(config.train, optimizer=replace(config.train.optimizer, learning_rate=1e30))
    )
    jobs = [
        Job(runaway, tmp_path / "beside/bad", skip_doctor=True),
        Job(config, tmp_path / "beside/a", skip_doctor=True),
    ]
    (tmp_path / "file").write_bytes(b"")
    dead = Job(config, tmp_path / "file/no-directory", skip_doctor=True)
    failed = train_all([*jobs, dead], workers=2, device="cpu", display=silent())
    assert set(failed) == {tmp_path / "beside/bad", dead.run_dir}
    assert failed[dead.run_dir].startswith("Its process died with exit code 1; ")
    assert "gave a loss of" in failed[tmp_path / "beside/bad"]
    assert "step 6/6" in (tmp_path / "beside/a" / OUTPUT).read_text(encoding="utf-8")

    alone = [replace(job, run_dir=tmp_path / "alone" / job.run_dir.name) for job in jobs]
    assert list(train_all(alone, workers=1, device="cpu", display=silent())) == [tmp_path / "alone/bad"]
    assert result_of(tmp_path / "beside/a") == result_of(tmp_path / "alone/a")

    before = (tmp_path / "beside/a" / METRICS).stat().st_mtime_ns
    assert train_all(jobs[1:], workers=2, device="cpu", display=silent()) == {}
    assert (tmp_path / "beside/a" / METRICS).stat().st_mtime_ns == before


def test_ctrl_c_saves_all_and_a_scripts_own_variant_is_known_in_every_process(tmp_path: Path) -> None:
    """Ctrl-C reaches every process of the terminal's group; each saves once and ends, and the same call goes on."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    places = [tmp_path / "a", tmp_path / "b"]

    def start(steps: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(script), str(steps), *map(str, places)]
        return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True)

    process = start(steps=50_000)
    while not all((place / METRICS).is_file() and '"train"' in (place / METRICS).read_text() for place in places):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 128 + signal.SIGINT
    reached = [
        max(int(path.name.removeprefix("step-")) for path in (place / "checkpoints").iterdir()) for place in places
    ]
    assert all(0 < step < 50_000 for step in reached)

    assert start(steps=max(reached) + 2).wait(timeout=60) == 0
    for place in places:
        assert "Going on after" in (place / OUTPUT).read_text(encoding="utf-8")
        assert (place / f"checkpoints/step-{max(reached) + 2:06d}/evaluation.json").is_file()
