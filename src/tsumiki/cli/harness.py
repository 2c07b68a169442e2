"""`tsumiki eval-harness`: a trained model on the tasks of EleutherAI's evaluation harness."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from tsumiki.errors import UserError


def eval_harness(
    run: Annotated[Path, Argument(help="A run's or a checkpoint's directory.")],
    task: Annotated[list[str], Option(help="A task's or a group's name; give the option again for more.")],
    include_path: Annotated[Path | None, Option(help="A directory with task files of your own.")] = None,
    limit: Annotated[int | None, Option(min=1, help="Questions of each task; all if left out.")] = None,
    batch_size: Annotated[int, Option(min=1, help="Texts that are scored at once.")] = 16,
    device: Annotated[str | None, Option(help="Such as cpu or cuda; the GPU if there is one.")] = None,
) -> None:
    """Evaluate a trained model with lm-eval, without exporting it first."""
    from tsumiki.generate import load

    try:
        from tsumiki.evaluate.harness import run_tasks
    except ImportError as error:
        raise UserError("The evaluation harness needs an extra; run: pip install 'tsumiki[eval]'") from error
    if include_path is not None and not include_path.is_dir():
        raise UserError(f"'{include_path}' is no directory; --include-path names the one that holds the task files.")
    model = load(run, device=device)
    results = run_tasks(model, task, include_path=include_path, limit=limit, batch_size=batch_size)
    width = max(map(len, results))
    for name, figures in results.items():
        for figure, value in figures.items():
            print(f"{name:{width}}  {figure.partition(',')[0]:16}{value:.4f}")
