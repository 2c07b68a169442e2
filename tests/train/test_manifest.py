"""What a session is made with: revisions of git repositories, told apart."""

import subprocess
from pathlib import Path

import pytest

from tsumiki.train import manifest


def git(directory: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(directory), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "file.txt").write_text("one\n", encoding="utf-8")
    git(tmp_path, "add", "file.txt")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def test_a_revision_says_whether_files_were_changed(repository: Path) -> None:
    commit = manifest.git_revision(repository)
    assert commit is not None
    assert len(commit) == 40
    (repository / "file.txt").write_text("two\n", encoding="utf-8")
    assert manifest.git_revision(repository) == f"{commit}+changes"


def test_there_may_be_no_repository_and_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert manifest.git_revision(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert manifest.git_revision(Path(__file__).parent) is None


def test_a_package_inside_somebody_elses_repository_is_not_theirs(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = repository / ".venv" / "manifest.py"
    installed.parent.mkdir()
    installed.write_text("", encoding="utf-8")
    monkeypatch.setattr(manifest, "__file__", str(installed))
    assert manifest.tsumiki_revision() is None
    assert manifest.git_revision(repository) is not None
