import functools
import inspect
import os
import pty
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tsumiki as package
from tsumiki.cli import generate
from tsumiki.generate import Sampling, printable, released

Command = Callable[..., Any]


def test_text_goes_to_stdout_and_the_rest_to_stderr(tsumiki: Command, trained: Path) -> None:
    result = tsumiki("generate", trained, "--prompt", "むかし", "--temperature", "0", "--max-tokens", "7")
    expected = package.load(trained).generate("むかし", temperature=0, max_tokens=7)
    assert result.stdout == f"むかし{printable(expected)}\n"
    assert "· 7 tokens · prompt " in result.stderr
    assert " · cpu, sdpa · " in result.stderr
    assert result.stderr.endswith("stopped at --max-tokens\n")


def test_the_cache_changes_nothing(tsumiki: Command, trained: Path) -> None:
    texts = [
        tsumiki("generate", trained, "-p", "Once", "--temperature", "0", cache).stdout
        for cache in ("--cache", "--no-cache")
    ]
    assert texts[0] == texts[1] != "Once\n"


def test_a_story_can_be_repeated_by_its_seed(tsumiki: Command, trained: Path) -> None:
    first = tsumiki("generate", trained, "--prompt", "Once")
    seed = first.stderr.partition("seed ")[2].split()[0]
    assert tsumiki("generate", trained, "--prompt", "Once", "--seed", seed).stdout == first.stdout
    assert tsumiki("generate", trained, "--prompt", "Once", "--seed", str(int(seed) + 1)).stdout != first.stdout


def test_without_a_run_the_newest_is_asked(
    tsumiki: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained, tmp_path / "runs" / "copy")
    monkeypatch.chdir(tmp_path)
    result = tsumiki("generate", "--prompt", "Once", "--max-tokens", "3")
    assert result.stdout.startswith("Once")
    assert result.stderr.startswith("This is runs/copy, the newest run.\n")


def test_before_there_is_a_run_the_released_model_is_asked(
    tsumiki: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained / "checkpoints/step-000004", tmp_path / "models" / released.DEFAULT)
    monkeypatch.setattr(released, "FOLDER", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    greedy = ("--prompt", "むかし", "--max-tokens", "3", "--temperature", "0")
    result = tsumiki("generate", *greedy)
    assert result.stderr.startswith(f"There is no run in 'runs' yet, so this is {released.DEFAULT}, which comes with")
    assert result.stdout == tsumiki("generate", released.DEFAULT, *greedy).stdout
    assert result.stdout.startswith("むかし")


def test_prompts_from_a_pipe_are_told_one_a_line(tsumiki: Command, trained: Path) -> None:
    result = tsumiki("generate", trained, "--max-tokens", "1", input="むかし\nOnce\n")
    assert "むかし" in result.stdout
    assert "\nOnce" in result.stdout
    assert result.stderr.count("stopped at --max-tokens") == 2


def test_the_command_line_s_defaults_are_those_of_sampling() -> None:
    defaults = inspect.signature(generate.generate).parameters
    for name in ("temperature", "top_k", "top_p", "min_p"):
        assert defaults[name].default == getattr(Sampling(), name)


@pytest.mark.parametrize("encoding", ["cp932", "ascii"])
def test_output_is_utf8_whatever_the_environment_says(script: Path, trained: Path, encoding: str) -> None:
    environment = {**os.environ, "LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [script, "generate", trained, "--prompt", "むかし😀", "--max-tokens", "2"]
    result = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert result.stdout.decode("utf-8").startswith("むかし😀")


def test_a_reader_that_goes_away_is_no_error(script: Path, trained: Path) -> None:
    command = f"yes Once | head -100 | '{script}' generate '{trained}' --max-tokens 3 | head -1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, encoding="utf-8", timeout=60)
    assert result.stdout.startswith("Once")
    assert "Traceback" not in result.stderr


WAITING = "\x1b[?2004h"
"""What the prompt sends to the terminal when it begins to wait for input (bracketed paste)."""


def enter_terminal(slave: int) -> None:
    """Make Ctrl-C, when typed, a signal that counts; what a script runs in the background inherits that it does not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.login_tty(slave)


class Terminal:
    """A process on the other side of a pseudo-terminal."""

    def __init__(self, command: list[str | Path], directory: Path) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
            preexec_fn=functools.partial(enter_terminal, slave),
        )
        os.close(slave)
        self.seen = b""
        self.done = 0

    def type(self, text: str) -> None:
        os.write(self.master, text.encode("utf-8"))

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Read until `text` was shown after what was waited for before."""
        deadline = time.monotonic() + seconds
        while (found := self.seen.find(text.encode("utf-8"), self.done)) < 0:
            assert time.monotonic() < deadline, f"{text!r} was not shown, but {self.seen[self.done :][-200:]!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 4096)
        self.done = found + len(text.encode("utf-8"))


@pytest.fixture
def terminal(script: Path, endless: Path, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_terminal(*options: str) -> Terminal:
        opened.append(Terminal([script, "generate", endless, "--temperature", "0", *options], tmp_path))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.process.kill()
        each.process.wait()
        os.close(each.master)


def beginning(run: Path, prompt: str) -> str:
    """How the story after `prompt` begins, as a terminal shows it."""
    text = package.load(run).generate(prompt, temperature=0, max_tokens=5)
    return printable(prompt + text).replace("\n", "\r\n")


def test_a_conversation_in_a_terminal(terminal: Callable[..., Terminal], endless: Path, tmp_path: Path) -> None:
    talk = terminal()
    talk.wait_for(WAITING)
    talk.type("むかしむかし\r")
    talk.wait_for(beginning(endless, "むかしむかし"))
    talk.type("\x03")  # Ctrl-C while a story is told ends the story ...
    talk.wait_for("interrupted")
    talk.wait_for(WAITING)
    talk.type("\x1b[A")  # the arrow upwards brings back what was typed before
    talk.wait_for("むかしむかし")
    talk.type("\x03")  # ... and at the prompt, the conversation
    assert talk.process.wait(timeout=60) == 0
    assert b"Traceback" not in talk.seen
    assert "むかしむかし" in (tmp_path / ".tsumiki" / "history").read_text(encoding="utf-8")


def test_ctrl_d_ends_the_conversation(terminal: Callable[..., Terminal]) -> None:
    talk = terminal()
    talk.wait_for(WAITING)
    talk.type("\x04")
    assert talk.process.wait(timeout=60) == 0


def test_ctrl_c_ends_a_single_story_with_130(terminal: Callable[..., Terminal], endless: Path) -> None:
    single = terminal("--prompt", "Once")
    single.wait_for(beginning(endless, "Once"))
    single.process.send_signal(signal.SIGINT)
    single.wait_for("interrupted")
    assert single.process.wait(timeout=60) == 130
