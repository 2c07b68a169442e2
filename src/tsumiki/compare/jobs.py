"""Many trainings: one after another in this process, or several at a time, each in a process of its own.

A small model does not fill a large GPU, and for its first half minute (the data, the doctor, the compiler) it leaves it
idle. So several trainings share one. Each has a process of its own: what it measures and what it leaves in the
compiler's memory is not another one's.
"""

import gc
import multiprocessing
import signal
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch
import torch._inductor.config
from rich.console import Console

from tsumiki.data import prepare
from tsumiki.errors import UserError
from tsumiki.generate.load import EVALUATION, choose_device
from tsumiki.train import Interrupted, RunConfig, train
from tsumiki.train.checkpoint import Checkpoints
from tsumiki.train.display import Display
from tsumiki.train.stop import StopSignals

OUTPUT = "output.log"
"""What a training in a process of its own says; it lies in its run's directory."""

PATIENCE = 0.2
"""Seconds between two looks at whether Ctrl-C was pressed."""


@dataclass(frozen=True)
class Job:
    """One training.

    Args:
        config, run_dir, skip_doctor: as for `tsumiki.train.train`.
    """

    config: RunConfig
    run_dir: Path
    skip_doctor: bool = False

    @property
    def finished(self) -> bool:
        """Whether it was trained to its last step, and evaluated."""
        steps, keep_last = self.config.train.steps, self.config.train.keep_last
        return (Checkpoints(self.run_dir, keep_last=keep_last).at(steps) / EVALUATION).is_file()


@dataclass(frozen=True)
class Running:
    """A job, its process, and where its sentence arrives if it fails."""

    job: Job
    process: SpawnProcess
    sentence: Connection


def default_workers() -> int:
    """A training at a time for each GPU, or on the CPU one."""
    return max(1, torch.cuda.device_count())


def train_all(jobs: Sequence[Job], *, workers: int, device: str | None, display: Display) -> dict[Path, str]:
    """Train all. Finished ones are kept, stopped ones go on after their last checkpoint, and one that fails leaves the
    others alone.

    Several at a time are trained in processes that begin as `__main__` does: a script that calls this must do so under
    `if __name__ == "__main__":`, and whatever it registers above that line is registered in them, too. What they say
    stands in `output.log` in their directories.

    Args:
        workers: how many at a time; 1 trains in this process. The GPUs are dealt out in turn.
        device: such as `cpu` or `cuda:1`, for all of them; the GPUs if there are any.

    Returns:
        What is to be said of those that failed, by their directory.

    Raises:
        UserError: their data cannot be prepared.
        Interrupted: Ctrl-C or SIGTERM; everything was saved first.
    """
    waiting = [job for job in jobs if not job.finished]
    if min(workers, len(waiting)) <= 1:
        return one_after_another(waiting, device, display)
    prepare_data(waiting, display)
    return side_by_side(waiting, workers, device, display)


def one_after_another(jobs: Sequence[Job], device: str | None, display: Display) -> dict[Path, str]:
    """Train in this process."""
    failed = {}
    for job in jobs:
        display.say(f"{job.run_dir}")
        forget_earlier_runs(job.config)
        try:
            train(job.config, job.run_dir, resume="auto", skip_doctor=job.skip_doctor, device=device, display=display)
        except UserError as error:
            display.warn(f"{job.run_dir}: {error}")
            failed[job.run_dir] = str(error)
    return failed


def forget_earlier_runs(config: RunConfig) -> None:
    """Let a run find the process as the first one did: what it measures must not depend on its place in the order.

    PyTorch's compiler remembers eight versions of a function and then silently compiles no more; an earlier model's
    memory would count as this one's.
    """
    if config.train.compile:
        torch.compiler.reset()
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def prepare_data(jobs: Sequence[Job], display: Display) -> None:
    """Put the jobs' data into the cache, so that they all find it there and none makes what another one is making."""
    prepared = []
    for job in jobs:
        data = (job.config.data, job.config.tokenizer)
        if data not in prepared:
            prepared.append(data)
            for warning in prepare(*data, progress=display.preparing).warnings:
                display.warn(warning)


def side_by_side(jobs: Sequence[Job], workers: int, device: str | None, display: Display) -> dict[Path, str]:
    """Train `workers` at a time. Ctrl-C and SIGTERM are passed on to all of them, who save and stop."""
    waiting, failed = list(jobs), {}
    running: dict[int, Running] = {}  # by worker, which decides the GPU
    threads = max(1, torch.get_num_threads() // workers)
    with StopSignals() as stop:
        try:
            while (waiting or running) and stop.received is None:
                for worker in range(workers):
                    if waiting and worker not in running:
                        running[worker] = start(waiting.pop(0), device or gpu_of(worker), threads)
                        display.say(f"{running[worker].job.run_dir}: begins; {len(waiting)} waiting")
                wait([one.process.sentinel for one in running.values()], timeout=PATIENCE)
                for worker in [worker for worker, one in running.items() if not one.process.is_alive()]:
                    ended = running.pop(worker)
                    if (sentence := sentence_of(ended)) is None:
                        display.say(f"{ended.job.run_dir}: done")
                    else:
                        display.warn(f"{ended.job.run_dir}: {sentence}")
                        failed[ended.job.run_dir] = sentence
            for one in running.values():
                one.process.terminate()
            for one in running.values():
                one.process.join()
        finally:  # a second Ctrl-C waits for nobody
            for one in running.values():
                one.process.kill()
    if stop.received is not None:
        raise Interrupted("Stopped, and everything is saved.", stop.received)
    return failed


def gpu_of(worker: int) -> str | None:
    """The GPU of a worker, if there are any."""
    count = torch.cuda.device_count()
    return f"cuda:{worker % count}" if count else None


def start(job: Job, device: str | None, threads: int) -> Running:
    """Begin a training in a process of its own."""
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(job, device, threads, sender))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited, so that Ctrl-C disturbs no process that begins
    process.start()
    signal.signal(signal.SIGINT, before)
    sender.close()
    return Running(job, process, receiver)


def work(job: Job, device: str | None, threads: int, sender: Connection) -> None:
    """What the process does. A sentence is sent if the training fails."""
    if hasattr(signal, "pthread_sigmask"):
        # A terminal sends Ctrl-C to all processes. This one waits for the SIGTERM of the one that started it: a second
        # signal would end it at once, before anything is saved.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    torch.set_num_threads(threads)
    torch._inductor.config.compile_threads = threads
    job.run_dir.mkdir(parents=True, exist_ok=True)
    with (job.run_dir / OUTPUT).open("a", encoding="utf-8") as output, redirect_stdout(output), redirect_stderr(output):
        display = Display(Console(file=output, highlight=False, width=100))
        try:
            place = choose_device(device)
            if place.type == "cuda":
                torch.cuda.set_device(place)  # a step is recorded on the current device
            train(job.config, job.run_dir, resume="auto", skip_doctor=job.skip_doctor, device=place, display=display)
        except (UserError, Interrupted) as stopped:
            sender.send(str(stopped))


def sentence_of(ended: Running) -> str | None:
    """Why a training failed; None if it did not."""
    try:
        return ended.sentence.recv()
    except EOFError:  # nothing was sent
        code = ended.process.exitcode
    if code == 0:
        return None
    return f"Its process died with exit code {code}; '{ended.job.run_dir / OUTPUT}' says how far it came."
