"""The judge, against a server that runs here: marks, mistakes, patience, and that nothing is asked twice."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tsumiki.errors import UserError
from tsumiki.evaluate import judge as module
from tsumiki.evaluate.judge import (
    CRITERIA,
    Judge,
    JudgeError,
    compare,
    judge_from_environment,
    judge_samples,
    parse_marks,
    shuffle_sentences,
)
from tsumiki.evaluate.samples import Sample

GOOD = '{"originality": 40, "coherence": 50, "grammar": 60, "quality": 70}'
MARKS = {"originality": 40, "coherence": 50, "grammar": 60, "quality": 70}

Answer = tuple[int, str, dict[str, str]]


def reply(content: str) -> Answer:
    return 200, json.dumps({"choices": [{"message": {"content": content}}]}), {}


class FakeServer:
    """Gives the answers that it was given, one after another, the last one for ever; remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = [reply(GOOD)]
        self.asked: list[tuple[dict[str, Any], str | None]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.asked.append((body, self.headers["Authorization"]))
                code, text, headers = fake.answers.pop(0) if len(fake.answers) > 1 else fake.answers[0]
                self.send_response(code if self.path == "/v1/chat/completions" else 404)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode("utf-8"))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    threading.Thread(target=lambda: fake.server.serve_forever(poll_interval=0.01), daemon=True).start()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def judge(server: FakeServer, waits: list[float], tmp_path: Path) -> Judge:
    return Judge(server.url, "teacher", "secret", cache=tmp_path / "judge", wait=waits.append)


def test_a_story_is_marked_in_its_own_language(judge: Judge, server: FakeServer) -> None:
    assert judge.marks("One day", " a moth came.", "en") == MARKS
    assert judge.marks("ある日", "ガが来た。", "ja") == MARKS
    (english, key), (japanese, _) = server.asked
    assert key == "Bearer secret"
    assert (english["model"], english["temperature"]) == ("teacher", 0)
    assert english["messages"][1]["content"] == "One day\n---\n a moth came."
    assert "short stories for children" in english["messages"][0]["content"]
    assert "独創性" in japanese["messages"][0]["content"]


def test_nothing_is_asked_twice(judge: Judge, server: FakeServer, tmp_path: Path) -> None:
    judge.marks("One day", " a moth came.", "en")
    judge.marks("One day", " a moth came.", "en")
    assert len(server.asked) == 1
    judge.marks("One day", " a bee came.", "en")
    Judge(server.url, "another", cache=tmp_path / "judge").marks("One day", " a moth came.", "en")
    assert len(server.asked) == 3
    assert "secret" not in "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "judge").iterdir())
    assert "secret" not in repr(judge)


def test_it_waits_as_long_as_the_server_asks_for(judge: Judge, server: FakeServer, waits: list[float]) -> None:
    server.answers = [(429, "", {"Retry-After": "7"}), (503, "", {}), reply(GOOD)]
    assert judge.marks("a", "b", "en") == MARKS
    assert waits == [7.0, 4.0]


@pytest.mark.parametrize(
    "content", ["I like it!", '{"originality": 1}', GOOD.replace("70", "170"), GOOD.replace("70", '"a"')]
)
def test_answers_without_marks_are_asked_for_again(
    judge: Judge, server: FakeServer, waits: list[float], content: str
) -> None:
    server.answers = [reply(content), reply(f"Here you are:\n```json\n{GOOD}\n```")]
    assert judge.marks("a", "b", "en") == MARKS
    server.answers = [reply(content)]
    with pytest.raises(JudgeError, match="no marks in 4 attempts"):
        judge.marks("c", "d", "en")
    assert len(waits) == 4


@pytest.mark.parametrize(
    "text", ["", "[]", '{"choices": []}', '{"choices": [{"message": {"content": null}}]}', "<html>"]
)
def test_what_is_no_answer_at_all(text: str) -> None:
    with pytest.raises(module.MalformedAnswerError):
        parse_marks(text)


def test_a_wrong_key_is_said_at_once(judge: Judge, server: FakeServer, waits: list[float]) -> None:
    server.answers = [(401, "", {})]
    with pytest.raises(UserError, match=r"refuses \(HTTP 401\); check TSUMIKI_JUDGE_KEY"):
        judge.marks("a", "b", "en")
    assert not waits


def test_the_key_is_not_sent_elsewhere(judge: Judge, server: FakeServer, waits: list[float]) -> None:
    server.answers = [(302, "", {"Location": f"{server.url}/elsewhere"})]
    with pytest.raises(UserError, match=r"refuses \(HTTP 302\); check TSUMIKI_JUDGE_URL"):
        judge.marks("a", "b", "en")
    assert len(server.asked) == 1


def test_nobody_is_there(tmp_path: Path, waits: list[float]) -> None:
    with pytest.raises(JudgeError, match="no marks in 4 attempts"):
        Judge("http://127.0.0.1:9/v1", "teacher", cache=tmp_path, wait=waits.append).marks("a", "b", "en")
    assert waits == [2.0, 4.0, 8.0]


def sample(number: int) -> Sample:
    real = "One came. Two came. Three came. Four came."
    return Sample(f"Day {number}.", f" Text {number} of the model.", real, True, 1, 0)


def test_anchors_stand_in_every_batch(judge: Judge, server: FakeServer) -> None:
    results = judge_samples(judge, {"en": [sample(number) for number in range(9)]})
    assert results["judge"] == "teacher"
    marks = results["languages"]["en"]
    assert {kind: given["texts"] for kind, given in marks.items()} == {"model": 9, "real": 2, "shuffled": 2}
    assert {name: marks["model"][name] for name in CRITERIA} == MARKS
    assert len(server.asked) == 13


def test_the_command_shows_and_saves_the_marks(
    server: FakeServer, run: Path, invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TSUMIKI_JUDGE_URL", server.url)
    monkeypatch.setenv("TSUMIKI_JUDGE_MODEL", "teacher")
    output = tmp_path / "judged.json"
    result = invoke(
        "evaluate",
        run,
        "--judge",
        "--samples",
        "2",
        "--max-tokens",
        "9",
        "--no-minimal-pairs",
        "-o",
        output,
        "--lang",
        "en",
    )
    assert result.exit_code == 0, result.output
    assert "the story, shuffled" in result.stdout
    judged = json.loads(output.read_text(encoding="utf-8"))["judge"]
    assert judged["languages"]["ja"]["model"] == {"texts": 2, **MARKS}


def test_marks_of_different_judges_are_not_compared(judge: Judge, server: FakeServer, tmp_path: Path) -> None:
    first = judge_samples(judge, {"en": [sample(0)]})
    server.answers = [reply(GOOD.replace("70", "75"))]
    second = judge_samples(judge, {"en": [sample(1)]})
    assert compare(first, second) == {"en": {"originality": 0, "coherence": 0, "grammar": 0, "quality": 5}}
    other = judge_samples(Judge(server.url, "parent", cache=tmp_path), {"en": [sample(0)]})
    with pytest.raises(UserError, match="by 'teacher' and by 'parent', and judges differ in taste"):
        compare(first, other)


def test_shuffling_keeps_the_sentences() -> None:
    text = "One came. Two came! Did three? Four."
    assert sorted(shuffle_sentences(text)) == sorted(text)
    assert shuffle_sentences(text) != text
    assert shuffle_sentences(text) == shuffle_sentences(text)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, "needs the environment variable TSUMIKI_JUDGE_URL"),
        ({"TSUMIKI_JUDGE_URL": "http://127.0.0.1/v1"}, "needs the environment variable TSUMIKI_JUDGE_MODEL"),
        ({"TSUMIKI_JUDGE_URL": "file:///etc", "TSUMIKI_JUDGE_MODEL": "m"}, "must begin with http:// or https://"),
    ],
)
def test_the_environment_names_the_judge(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str
) -> None:
    for name in (module.BASE_URL, module.MODEL, module.API_KEY):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=sentence):
        judge_from_environment()
