"""A pytest plugin: `tsumiki_doctor` examines a model in anybody's test suite.

    def test_my_model(tsumiki_doctor):
        tsumiki_doctor(MyModel(), vocab_size=512, max_seq_len=128)

pytest finds it by the entry point `pytest11`. It imports nothing of tsumiki until the fixture is used.
"""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def tsumiki_doctor() -> Callable[..., Any]:
    """`tsumiki.doctor.diagnose`, as an assertion: the test fails with a sentence for everything that was found.

    It takes the same arguments and returns the diagnosis. `level="full"` runs every check.
    """

    def examine(model: Any, **options: Any) -> Any:
        from tsumiki.doctor import diagnose, sentence

        diagnosis = diagnose(model, **options)
        if not diagnosis.ok:
            found = "\n".join(f"{verdict.check}: {sentence(verdict)}" for verdict in diagnosis.failures)
            pytest.fail(f"The doctor found something.\n{found}", pytrace=False)
        return diagnosis

    return examine
