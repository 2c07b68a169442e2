"""Our models in EleutherAI's evaluation harness (`lm-eval`), as they are: nothing is exported first.

Needs the extra `eval`; so nothing else imports this file before it is asked for.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets.exceptions import DatasetsError
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import Tensor

from tsumiki.errors import UserError
from tsumiki.generate import Sampling, TextModel
from tsumiki.generate.engine import Generation
from tsumiki.nn.softmax import log_softmax

MAX_NEW_TOKENS = 64
"""For tasks that do not say how long an answer may get (`max_gen_toks`)."""


class HarnessModel(TemplateLM):
    """A model of ours, as `lm_eval` sees one.

    Every text begins with the end-of-text token, as in training. A text that does not fit into the context loses its
    beginning. Texts are scored in batches, longest first, padded on the right: with a causal mask no real token sees
    the padding.

    Args:
        model: what `tsumiki.load` returns.
        batch_size: texts that are scored at once.
    """

    def __init__(self, model: TextModel, *, batch_size: int = 16) -> None:
        super().__init__()
        self.model = model.model
        self.text_tokenizer = model.tokenizer
        self.batch_size = batch_size
        self.context = model.model.config.max_seq_len

    @property
    def eot_token_id(self) -> int:
        """The token that begins and ends a text."""
        return self.text_tokenizer.end_of_text_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """The tokens of a text, its beginning in front unless `add_special_tokens` is False."""
        ids = self.text_tokenizer.encode(string)
        return ids if add_special_tokens is False else [self.eot_token_id, *ids]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """ln p of each whole text, given that it begins; long ones in windows, each token predicted once.

        `lm_eval`'s class for transformers also predicts the token that begins the text where its tokenizer adds one.
        """
        windows = [
            [make_disjoint_window(pair) for pair in self._windows(request.args[0])]  # (seen, predicted)
            for request in requests
        ]
        scores = iter(self._loglikelihood_tokens([(("", ""), *pair) for pairs in windows for pair in pairs]))
        return [sum(next(scores)[0] for _ in pairs) for pairs in windows]

    @torch.inference_mode()
    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each text, up to the first of the texts in `until` or the end of the story."""
        return [self._write(*request.args) for request in requests]

    @torch.inference_mode()
    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """ln p of the second list of tokens after the first, and whether greedy decoding would write it."""
        longest = max((len(continuation) for _, _, continuation in requests), default=0)
        if longest > self.context:
            raise UserError(
                f"A text to be scored has {longest} tokens, but the model's context holds {self.context}: "
                "choose a task with shorter texts, or a model with a longer context."
            )
        order = sorted(range(len(requests)), key=lambda number: -len(requests[number][1] + requests[number][2]))
        results: dict[int, tuple[float, bool]] = {}
        for first in range(0, len(order), self.batch_size):
            chosen = order[first : first + self.batch_size]
            batch = [requests[number] for number in chosen]
            results |= dict(zip(chosen, self._score([(seen, text) for _, seen, text in batch]), strict=True))
        return [results[number] for number in range(len(requests))]

    def _score(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        # The last token is predicted and predicts nothing, so it is not read.
        rows = [(seen + text)[-self.context - 1 : -1] for seen, text in pairs]
        width = max(map(len, rows))
        device = self.model.unembedding.device
        ids = torch.tensor([row + [self.eot_token_id] * (width - len(row)) for row in rows], device=device)
        hidden = self.model.hidden_states(ids)
        scores = []
        for number, (row, (_, text)) in enumerate(zip(rows, pairs, strict=True)):
            logits: Tensor = self.model.logits(hidden[number, len(row) - len(text) : len(row)])
            targets = torch.tensor(text, device=device)
            likelihoods = log_softmax(logits.float(), dim=-1).gather(1, targets[:, None])
            scores.append((likelihoods.sum().item(), bool((logits.argmax(dim=-1) == targets).all())))
        return scores

    def _windows(self, text: str) -> list[tuple[list[int], list[int]]]:
        ids = self.text_tokenizer.encode(text)
        return list(get_rolling_token_windows(ids, self.eot_token_id, max_seq_len=self.context, context_len=1))

    def _write(self, prompt: str, settings: dict[str, Any]) -> str:
        max_tokens = settings.get("max_gen_toks", min(MAX_NEW_TOKENS, self.context - 1))
        if max_tokens >= self.context:
            raise UserError(
                f"The task wants answers of {max_tokens} tokens (max_gen_toks), but the model's context holds "
                f"{self.context}, the question included; choose a model with a longer context."
            )
        sampling = Sampling(
            temperature=settings.get("temperature", 1.0) if settings.get("do_sample") else 0.0,
            top_k=settings.get("top_k"),
            top_p=settings.get("top_p"),
        )
        until = settings.get("until") or []
        stops = [until] if isinstance(until, str) else until
        ids = self.tok_encode(prompt)[max_tokens - self.context :]
        written: list[int] = []
        text = ""
        for token in Generation(self.model, ids, sampling, max_tokens=max_tokens, stop_ids=[self.eot_token_id]):
            written.append(token)
            text = self.text_tokenizer.decode(written)
            if any(stop in text for stop in stops):
                break
        return text[: min((text.index(stop) for stop in stops if stop in text), default=None)]


def run_tasks(
    model: TextModel, tasks: Sequence[str], *, include_path: Path | None, limit: int | None, batch_size: int = 16
) -> dict[str, dict[str, float]]:
    """Evaluate a model on tasks of the harness.

    Args:
        tasks: names of tasks or groups.
        include_path: a directory with task files of one's own. Where it holds all tasks, the harness's fourteen
            thousand are not read.
        limit: questions of each task; None for all.

    Returns:
        The figures of every task, by the harness's names for them, such as `acc,none`.

    Raises:
        UserError: a task is unknown, or its data cannot be loaded.
    """
    manager = TaskManager(include_path=include_path, include_defaults=False)
    if set(tasks) - set(manager.all_tasks):
        manager = TaskManager(include_path=include_path)
    unknown = sorted(set(tasks) - set(manager.all_tasks))
    if unknown:
        raise UserError(
            f"lm-eval knows no task '{unknown[0]}'; see `lm-eval ls tasks`, or name the directory of your own task "
            "files with --include-path."
        )
    try:
        loaded = manager.load(list(tasks))
    except (OSError, DatasetsError) as error:
        first = str(error).partition("\n")[0]
        raise UserError(f"The data of a task cannot be loaded: {first}. Check the connection and the path.") from error
    harness = HarnessModel(model, batch_size=batch_size)
    found = evaluate(harness, loaded, limit=limit, bootstrap_iters=0, log_samples=False)
    assert found is not None  # None is for the other processes of several
    return {
        task: {name: value for name, value in figures.items() if isinstance(value, int | float) and "," in name}
        for task, figures in found.get("results", {}).items()
    }
