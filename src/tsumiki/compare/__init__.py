"""Compare: models that differ in nothing but what is asked about, and what a few seeds of them show.

    from tsumiki.compare import run_experiment, summarise

    comparison = run_experiment(Path("experiments/sizes.yaml"), Path("runs/sizes"))
    summary = summarise(comparison)
    summary["differences"]["bits_per_byte"]

`experiment` reads and resolves, `conditions` checks what the arms see, `runs` and `jobs` train, `measure` looks into
what was trained, `statistics` and `summary` count, `verdict` says it in sentences, `page` and `terminal` show it.
"""

from tsumiki.compare.experiment import Experiment, load_experiment, resolve
from tsumiki.compare.page import comparison_report
from tsumiki.compare.runs import RESULT, Comparison, Trained, read_experiment, run_experiment
from tsumiki.compare.statistics import Difference, paired_difference
from tsumiki.compare.summary import summarise

__all__ = [
    "RESULT",
    "Comparison",
    "Difference",
    "Experiment",
    "Trained",
    "comparison_report",
    "load_experiment",
    "paired_difference",
    "read_experiment",
    "resolve",
    "run_experiment",
    "summarise",
]
