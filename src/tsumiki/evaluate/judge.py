"""An optional judge of stories: another language model behind an OpenAI-compatible address. Off unless asked for."""

import hashlib
import http.client
import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tsumiki.data.cache import Cache
from tsumiki.errors import UserError
from tsumiki.evaluate.samples import Sample
from tsumiki.evaluate.units import is_spaceless

BASE_URL, MODEL, API_KEY = "TSUMIKI_JUDGE_URL", "TSUMIKI_JUDGE_MODEL", "TSUMIKI_JUDGE_KEY"
CRITERIA = ("originality", "coherence", "grammar", "quality")
ATTEMPTS = 4
TIMEOUT = 120.0
RETRIED = (408, 409, 429, 500, 502, 503, 504)
BATCH = 8
"""Model's texts between two pairs of anchors."""

RUBRICS = {
    "en": """You mark short stories for children. You see how a story begins and how a writer went on.
Judge only what the writer wrote. Give whole numbers from 0 to 100:
originality: 0 for nothing but stock phrases, 100 for an idea you have not seen before.
coherence: 0 if sentences have nothing to do with each other or the beginning, 100 if all follows.
grammar: 0 if no sentence is correct, 100 if there is no mistake. That a text stops in mid-sentence is no mistake.
quality: 0 for a text no child would listen to, 100 for one worth printing.
Answer with one JSON object and nothing else: {"originality": 0, "coherence": 0, "grammar": 0, "quality": 0}""",
    "ja": """あなたは子ども向けの短いおはなしを審査します。おはなしの書き出しと、その続きを読みます。
続きの部分だけを評価し、次の四つに 0 から 100 の整数で点を付けてください。
originality（独創性）：決まり文句ばかりなら 0、見たことのない発想なら 100。
coherence（一貫性）：文どうしや書き出しとつながりがなければ 0、すべて筋が通っていれば 100。
grammar（文法）：正しい文が一つもなければ 0、誤りがなければ 100。文の途中で終わっていることは誤りとしません。
quality（できばえ）：子どもが聞こうとしない文なら 0、本に載せる価値があれば 100。
次の形の JSON だけを答えてください：{"originality": 0, "coherence": 0, "grammar": 0, "quality": 0}""",
}
"""What the judge is told, in the language of the stories."""


class JudgeError(UserError):
    """The judge could not be asked, or gave no marks."""


@dataclass(frozen=True)
class Judge:
    """A model that marks stories.

    Args:
        url: the address that `/chat/completions` is added to, such as `http://127.0.0.1:8000/v1`.
        model: its name there. Marks of different judges are not compared.
        key: sent as a bearer token; empty for none. Never written anywhere.
        cache: directory of the answers.
        wait: called with the seconds to wait before asking again.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    cache: Path = field(default_factory=lambda: Cache().root / "judge")
    wait: Callable[[float], None] = time.sleep

    def marks(self, opening: str, text: str, language: str) -> dict[str, int]:
        """The marks of one continuation, from the cache if it was asked before.

        An answer is known by the SHA-256 of opening, text, judge (address and model) and rubric.

        Raises:
            JudgeError: the judge cannot be reached, refuses, or answers with something else than marks, four times.
        """
        rubric = RUBRICS["ja" if is_spaceless(language) else "en"]
        identity = json.dumps([opening, text, self.url, self.model, rubric], ensure_ascii=False)
        path = self.cache / f"{hashlib.sha256(identity.encode('utf-8')).hexdigest()}.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
        marks = self._ask(rubric, f"{opening}\n---\n{text}")
        self.cache.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(marks), encoding="utf-8")
        return marks

    def _ask(self, rubric: str, story: str) -> dict[str, int]:
        body = {
            "model": self.model,
            "temperature": 0,
            "response_format": {"type": "json_object"},
            "messages": [{"role": "system", "content": rubric}, {"role": "user", "content": story}],
        }
        reason = ""
        for attempt in range(1, ATTEMPTS + 1):
            seconds = 2.0**attempt
            try:
                return parse_marks(self._post(body))
            except HTTPError as error:
                reason = f"HTTP {error.code}"
                if error.code not in RETRIED:
                    raise JudgeError(
                        f"The judge at '{self.url}' refuses ({reason}); {self._advice(error.code)}"
                    ) from error
                seconds = retry_after(error.headers.get("Retry-After")) or seconds
            except (URLError, TimeoutError, http.client.HTTPException, ConnectionError) as error:
                reason = str(getattr(error, "reason", error)) or type(error).__name__
            except MalformedAnswerError as error:
                reason = str(error)
            if attempt < ATTEMPTS:
                self.wait(seconds)
        raise JudgeError(f"The judge at '{self.url}' gave no marks in {ATTEMPTS} attempts ({reason}); try again later.")

    def _post(self, body: Mapping[str, Any]) -> str:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = json.dumps(body, ensure_ascii=False).encode("utf-8")
        request = Request(f"{self.url.rstrip('/')}/chat/completions", data=data, headers=headers, method="POST")
        with build_opener(NoRedirects).open(request, timeout=TIMEOUT) as response:
            return response.read().decode("utf-8", errors="replace")

    def _advice(self, code: int) -> str:
        return f"check {API_KEY}." if code in (401, 403) else f"check {BASE_URL} and {MODEL}."


class NoRedirects(HTTPRedirectHandler):
    """Follows no redirect: it might lead the key to another host. The answer is then HTTP 3xx, an error."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Nowhere."""


class MalformedAnswerError(ValueError):
    """An answer that holds no marks."""


def parse_marks(answer: str) -> dict[str, int]:
    """The four marks in an answer of `/chat/completions`; text around the JSON object is passed over.

    Raises:
        MalformedAnswerError: a mark is missing, or is no number from 0 to 100.
    """
    try:
        content = json.loads(answer)["choices"][0]["message"]["content"]
        marks = json.loads(content[content.index("{") : content.rindex("}") + 1])
        found = {criterion: marks[criterion] for criterion in CRITERIA}
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise MalformedAnswerError("the answer holds no marks") from error
    for criterion, mark in found.items():
        if isinstance(mark, bool) or not isinstance(mark, int | float) or not 0 <= mark <= 100:
            raise MalformedAnswerError(f"{criterion} is {mark!r}")
    return {criterion: round(mark) for criterion, mark in found.items()}


def retry_after(header: str | None) -> float | None:
    """The seconds that a server asks to wait; None if it does not say, or not in seconds."""
    return float(header) if header is not None and header.strip().isdigit() else None


def judge_from_environment() -> Judge:
    """The judge that the environment names.

    Raises:
        UserError: a variable is missing, or the address is none.
    """
    values = {name: os.environ.get(name, "").strip() for name in (BASE_URL, MODEL, API_KEY)}
    for name in (BASE_URL, MODEL):
        if not values[name]:
            raise UserError(f"A judge needs the environment variable {name}; see docs/en/evaluation.md.")
    if urlsplit(values[BASE_URL]).scheme not in ("http", "https"):
        raise UserError(f"{BASE_URL} is '{values[BASE_URL]}', but must begin with http:// or https://.")
    return Judge(values[BASE_URL], values[MODEL], values[API_KEY])


def judge_samples(
    judge: Judge, samples: Mapping[str, Sequence[Sample]], *, progress: Callable[[str], None] = lambda what: None
) -> dict[str, Any]:
    """The mean marks of each language's texts, and of two anchors that stand in every batch of eight.

    The anchors say whether the marks mean anything: the story as it really goes on should get more than the model, and
    the same story with its sentences shuffled less. Both are cut to the length of the model's text.
    """
    results: dict[str, Any] = {"judge": judge.model, "url": judge.url, "languages": {}}
    for language, drawn in samples.items():
        marks: dict[str, list[dict[str, int]]] = {"model": [], "real": [], "shuffled": []}
        for number, sample in enumerate(drawn):
            progress(f"{language}: judging text {number + 1} of {len(drawn)}")
            marks["model"].append(judge.marks(sample.opening, sample.text, language))
            if number % BATCH == 0:
                real = sample.real[: max(len(sample.text), 1)]
                marks["real"].append(judge.marks(sample.opening, real, language))
                marks["shuffled"].append(judge.marks(sample.opening, shuffle_sentences(real), language))
        results["languages"][language] = {
            kind: {
                "texts": len(given),
                **{name: sum(mark[name] for mark in given) / len(given) for name in CRITERIA},
            }
            for kind, given in marks.items()
            if given
        }
    return results


def shuffle_sentences(text: str) -> str:
    """The sentences of a text in an order that only the text decides."""
    marked = text
    for end in ("。", "！", "？", ". ", "! ", "? ", "\n"):
        marked = marked.replace(end, f"{end}\0")
    sentences = [sentence for sentence in marked.split("\0") if sentence]
    random.Random(text).shuffle(sentences)
    return "".join(sentences)


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """How much higher the second evaluation's marks are than the first's, by language and criterion.

    Args:
        first, second: what `judge_samples` returned.

    Raises:
        UserError: "The marks were given by 'a' and by 'b', and judges differ in taste: ..."
    """
    if (first["judge"], first["url"]) != (second["judge"], second["url"]):
        raise UserError(
            f"The marks were given by '{first['judge']}' and by '{second['judge']}', and judges differ in taste: "
            "let one judge mark both."
        )
    return {
        language: {name: second["languages"][language]["model"][name] - marks["model"][name] for name in CRITERIA}
        for language, marks in first["languages"].items()
        if language in second["languages"]
    }
