"""The page about the doctor lists every check and every planted bug, in both languages."""

import re
from pathlib import Path

import pytest

from tsumiki.doctor.checks import MODEL_CHECKS, PIPELINE_CHECKS
from tsumiki.doctor.curves import CURVE_CHECKS
from tsumiki.doctor.mutations import MUTATIONS
from tsumiki.doctor.selftest import BEGIN, END, self_test, write_page

DOCS = Path(__file__).parents[2] / "docs"
every_page = pytest.mark.parametrize(
    "page", [DOCS / "en/doctor.md", DOCS / "ja/doctor.md"], ids=lambda page: page.parts[-2]
)


@every_page
def test_every_check_is_described(page: Path) -> None:
    described = re.findall(r"^\| `(\w+)` \| (quick|full) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert dict(described) == {check.name: check.level for check in (*MODEL_CHECKS, *PIPELINE_CHECKS)}


@every_page
def test_every_check_of_curves_is_described(page: Path) -> None:
    described = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert described == [check.name for check in CURVE_CHECKS]


@every_page
def test_the_table_of_planted_bugs_is_that_of_the_self_test(page: Path) -> None:
    generated = page.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", generated, re.MULTILINE)
    language = "ja" if page.parts[-2] == "ja" else "en"
    assert rows == [(name, mutation.what(language)) for name, mutation in MUTATIONS.items()]
    assert f"| {len(MUTATIONS)} / {len(MUTATIONS)} |" in generated
    assert "missed" not in generated
    assert "見逃し" not in generated


def test_a_page_keeps_what_stands_around_the_table(tmp_path: Path) -> None:
    page = tmp_path / "ja" / "page.md"
    page.parent.mkdir()
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write_page(page, self_test(["no_scale"]))
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "| `no_scale` | スコアを割っていない。 | reference | - |" in text
    assert "old" not in text
