"""Add real runs to the curves that `tsumiki doctor RUN` compares with.

    python benchmarks/reference_curves.py runs/gpt-oss-12m --corpus en=SimpleStories --corpus ja=SimpleStories-JA

A run of a name that is there already replaces it. Runs in which the doctor finds something are refused.
"""

import argparse
import json
from pathlib import Path

from tsumiki.doctor import explain, read_history
from tsumiki.doctor.reference_curves import curves_of

SHIPPED = Path(__file__).parents[1] / "src" / "tsumiki" / "doctor" / "reference_curves.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="directories of finished runs")
    parser.add_argument("--corpus", action="append", default=[], help="what a language's text is called: en=NAME")
    arguments = parser.parse_args()
    corpora = dict(text.split("=", 1) for text in arguments.corpus)
    curves = json.loads(SHIPPED.read_text(encoding="utf-8"))
    for run in arguments.runs:
        history = read_history(run)
        wrong = [found.check for found in explain(history) if found.status == "failed" and found.check != "normal"]
        if wrong or not history.finished:
            parser.error(f"'{run}' is no reference: {', '.join(wrong) or 'it is not finished'}.")
        name = history.manifest["name"]
        curves = [curve for curve in curves if curve["run"] != name] + curves_of(history, corpora)
    lines = (json.dumps(curve, ensure_ascii=False) for curve in curves)
    SHIPPED.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
