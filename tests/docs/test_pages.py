"""What the pages say is true: commands, configurations, figures, excerpts, paths; and both languages say it."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from tsumiki.cli import app
from tsumiki.cli.plan import si
from tsumiki.config import load, preset_names
from tsumiki.data import SampleSource
from tsumiki.data.tokenizer import train_tokenizer
from tsumiki.models import build_model, plan, save_model
from tsumiki.train import RunConfig

ROOT = Path(__file__).parents[2]
README, README_JA = ROOT / "README.md", ROOT / "README.ja.md"
PAIRS = [(README, README_JA), *((page, ROOT / "docs/ja" / page.name) for page in sorted(ROOT.glob("docs/en/*.md")))]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]

every_pair = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].name)
every_readme = pytest.mark.parametrize("readme", [README, README_JA], ids=lambda readme: readme.name)


def blocks(page: Path) -> list[tuple[str, str]]:
    """A page's code blocks: language and content."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The command lines of a page, in words."""
    return [shlex.split(line) for language, block in blocks(page) if language == "sh" for line in block.splitlines()]


TSUMIKI = [words for page, _ in PAIRS for words in commands(page) if words[0] == "tsumiki"]


def parse(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The command's name and arguments as the command line reads them, without running it."""
    command: Any = typer.main.get_command(app)
    context, name = None, ""
    arguments = words[1:]
    while hasattr(command, "resolve_command"):
        context = command.make_context("tsumiki", list(arguments), parent=context)
        name, command, arguments = command.resolve_command(context, arguments)
    return name, command.make_context(name, list(arguments), parent=context).params


@pytest.fixture
def user_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of somebody who has followed the page so far: `mine.yaml`, and models (untrained)."""
    monkeypatch.chdir(tmp_path)
    configurations = [block for language, block in blocks(README) if language == "yaml"]
    assert len(configurations) == 1
    Path("mine.yaml").write_text(configurations[0], encoding="utf-8")
    stories = list(SampleSource(SampleSource.Config(language="ja")).documents("train"))[:40]
    tokenizer = train_tokenizer(stories, vocab_size=300, train_bytes=20_000)
    model = build_model(load("gpt-oss-1m", RunConfig, [f"model.vocab_size={tokenizer.vocab_size}"]).model)
    for place in (Path("runs/demo/checkpoints/step-000001"), Path("exports/mine-1m")):
        place.mkdir(parents=True)
        save_model(model, place)
        tokenizer.save(place / "tokenizer.json")
    return tmp_path


@pytest.mark.parametrize("words", TSUMIKI, ids=" ".join)
def test_a_command_is_one_that_tsumiki_understands(words: list[str], user_files: Path) -> None:
    name, arguments = parse(words)
    source = arguments.get("config") or arguments.get("source")
    if source in preset_names() or source == "mine.yaml":
        load(source, RunConfig, arguments.get("changes") or ())
    if name in ("presets", "plan", "generate"):
        limit = ["--max-tokens", "3"] if name == "generate" else []
        result = CliRunner().invoke(app, words[1:] + limit)
        assert result.exit_code == 0, result.output


def test_other_commands_name_what_exists() -> None:
    targets = re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for program, first, *_ in (words for words in commands(README) if words[0] != "tsumiki"):
        assert first in targets if program == "make" else (ROOT / first).exists(), (program, first)


def test_the_python_example_runs(user_files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = [block for language, block in blocks(README) if language == "python" and "tsumiki.load" in block]
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


@every_readme
def test_the_table_of_presets_has_the_figures_of_the_models(readme: Path) -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|(.*)\|$", readme.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(name for name, _ in rows) == preset_names()
    for name, cells in rows:
        model = load(name, RunConfig).model
        figures = plan(model)
        assert [cell.strip() for cell in cells.split("|")] == [
            f"{figures.total:,}",
            f"{figures.vocabulary_share:.1%}",
            f"{model.num_layers} × {model.d_model}",
            f"{model.max_seq_len}",
            f"{si(figures.training_flops)}FLOP",
            f"{si(figures.training_bytes)}B",
        ]


@every_readme
def test_excerpts_stand_in_the_source(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    excerpts = re.findall(r"`(src/tsumiki/[\w/]+\.py)`[^`]*\n\n```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(excerpts) == 2
    for path, excerpt in excerpts:
        source = iter(line.strip() for line in (ROOT / path).read_text(encoding="utf-8").splitlines())
        for line in excerpt.splitlines()[1:]:  # the signature is shortened
            assert line.strip() in source, f"{path} has no line, or not in this order: {line}"


def tree(readme: Path) -> Iterator[Path]:
    """Every path of the annotated tree: names by indentation, two spaces or more before the annotation."""
    (block,) = [block for _, block in blocks(readme) if block.startswith("src/tsumiki/\n")]
    parents: list[Path] = []
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = re.split(r" {2,}", line.strip())[0].split()
        parent = parents[depth - 1] if depth else Path()
        for name in names:
            yield parent / name
        parents[depth:] = [parent / names[0]]


@every_readme
def test_the_tree_is_that_of_the_source(readme: Path) -> None:
    paths = list(tree(readme))
    for path in paths:
        assert (ROOT / path).exists(), f"{path} does not exist"
    packages = {path.parent.relative_to(ROOT) for path in ROOT.glob("src/tsumiki/*/__init__.py")}
    assert packages <= set(paths)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose(page)):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@every_readme
def test_every_lesson_is_listed(readme: Path) -> None:
    listed = re.findall(r"^\| \[`(\w+\.py)`\]", readme.read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == sorted(path.name for path in ROOT.glob("lessons/*.py"))


def test_every_page_is_there_in_both_languages() -> None:
    english, japanese = ({path.name for path in ROOT.glob(f"docs/{language}/*.md")} for language in ("en", "ja"))
    assert english == japanese


@every_pair
def test_both_languages_have_the_same_headings_and_blocks(pair: tuple[Path, Path]) -> None:
    english, japanese = ([len(marks) for marks in re.findall(r"^(#+) ", prose(page), re.MULTILINE)] for page in pair)
    assert english == japanese
    english, japanese = ([language for language, _ in blocks(page)] for page in pair)
    assert english == japanese
    assert commands(pair[0]) == commands(pair[1])


def test_both_readmes_have_the_same_code() -> None:
    english, japanese = ([block for block in blocks(page) if block[0] != "text"] for page in (README, README_JA))
    assert english == japanese
