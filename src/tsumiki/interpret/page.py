"""A trace as one HTML file that needs no network."""

import base64
import json
from dataclasses import asdict
from importlib import resources
from typing import Literal

from tsumiki.interpret.findings import Findings
from tsumiki.interpret.trace import Trace


def page(trace: Trace, findings: Findings, *, where: str, language: Literal["en", "ja"] = "en") -> str:
    """The file's content. Attention weights are rounded to 1/255.

    Args:
        where: what the model is called.
        language: the one that the page opens in; it speaks both.
    """
    num_layers, num_heads = trace.attention.shape[:2]
    missing = 1 - trace.attention.float().sum(dim=-1)
    data = {
        "where": where,
        "lang": language,
        "tokens": trace.labels,
        "partial": [label.startswith("‹") for label in trace.labels],
        "layers": num_layers,
        "heads": num_heads,
        "attention": base64.b64encode((trace.attention.float() * 255).round().byte().cpu().numpy().tobytes()).decode(),
        "sinks": missing.clamp(min=0).cpu().numpy().round(3).tolist() if "sink" in findings.scores else None,
        "scores": findings.scores,
        "lens": [
            [[[guess.label, round(guess.probability, 4)] for guess in token] for token in place]
            for place in findings.lens
        ],
        "largest": [asdict(activation) for activation in findings.largest],
    }
    content = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")  # "</script>" may stand in a text
    template = resources.files("tsumiki.interpret").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("__DATA__", content)
