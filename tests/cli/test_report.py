import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]


def test_training_ends_with_a_report(trained: Path) -> None:
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert "tsumiki: tiny" in page
    assert "Verified: " in page


def test_a_report_goes_where_it_is_wanted(tsumiki: Command, trained: Path, tmp_path: Path) -> None:
    said = tsumiki("report", trained, "--out", tmp_path / "page.html", "--lang", "ja").stdout
    assert said == f"{tmp_path / 'page.html'}\n"
    assert '<html lang="ja">' in (tmp_path / "page.html").read_text(encoding="utf-8")
    tsumiki("report", trained, "--out", tmp_path / "page.md", "--lang", "ja", "--figures", "png")
    assert "## 要点" in (tmp_path / "page.md").read_text(encoding="utf-8")
    assert (tmp_path / "page-figures" / "loss-steps.png").is_file()


def test_a_skipped_doctor_is_told_by_manifest_report_and_doctor(
    tsumiki: Command, run: Command, tiny: Path, tmp_path: Path
) -> None:
    tsumiki("train", tiny, "--run-dir", tmp_path / "run", "--skip-doctor")
    assert 'class="banner bad">NOT EXAMINED' in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    result = run("doctor", tmp_path / "run", "--lang", "en")
    assert result.exit_code == 1
    assert "examined: The model was trained without being examined" in " ".join(result.stdout.split())


def test_what_is_no_run_or_no_page_is_refused(refused: Command, trained: Path, tmp_path: Path) -> None:
    assert "holds no run: it has no manifest.json" in refused("report", tmp_path)
    assert "is neither a .html nor a .md file" in refused("report", trained, "--out", tmp_path / "page.pdf")
    broken = tmp_path / "broken"
    shutil.copytree(trained, broken)
    (broken / "manifest.json").write_text("{", encoding="utf-8")
    assert "manifest.json' is damaged: it is no JSON" in refused("report", broken)
