"""The models that come with tsumiki: found by their name, and only read.

In a checkout they lie in `models/`, in an installed package in `tsumiki/released/`; the build copies the one to the
other (see `docs/adr/0007-released-models.md`).
"""

from pathlib import Path

from tsumiki.models.artefact import WEIGHTS

DEFAULT = "tsumiki-12m-en-ja"
"""The one that writes where no model was named and nobody has trained one yet."""


def _folder() -> Path:
    package = Path(__file__).parents[1]
    installed = package / "released"
    return installed if installed.is_dir() else package.parents[1] / "models"


FOLDER = _folder()


def released_names() -> list[str]:
    """What can be named in place of a run, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{WEIGHTS}"))


def find_released(name: str) -> Path | None:
    """The directory of the model of that name; None if there is none."""
    return FOLDER / name if name in released_names() else None


def is_released(checkpoint: Path) -> bool:
    """Whether a model's directory is one of these, where nothing should be written to."""
    return checkpoint.resolve().parent == FOLDER.resolve()
