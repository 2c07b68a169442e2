"""YAML to specs: inheritance, changes, and sentences that name the key."""

from typing import Annotated, Literal

import pytest

from tsumiki.config import OneOf, dump, dump_yaml, load, load_mapping, parse, preset_names
from tsumiki.errors import UserError
from tsumiki.spec import spec
from tsumiki.train.config import RunConfig


class Circle:
    @spec
    class Config:
        kind: Literal["circle"] = "circle"
        radius: float

        def __post_init__(self) -> None:
            if self.radius <= 0:
                raise ValueError(f"radius is {self.radius}, but must be greater than 0.")


class Square:
    @spec
    class Config:
        kind: Literal["square"] = "square"
        side: float = 1.0
        corners: Literal["round", "sharp"] = "sharp"


SHAPES = {"circle": Circle, "square": Square}


@spec
class Drawing:
    title: str
    shape: Annotated[Circle.Config | Square.Config, OneOf(SHAPES, tag="kind")]
    shapes: tuple[Annotated[Circle.Config | Square.Config, OneOf(SHAPES, tag="kind")], ...] = ()
    copies: int = 1
    framed: bool = False


def drawing(**changes) -> dict:
    return {"title": "円", "shape": {"kind": "circle", "radius": 2}} | changes


def sentence(data, schema=Drawing) -> str:
    with pytest.raises(UserError) as caught:
        parse(data, schema, where="drawing.yaml")
    return str(caught.value)


def test_a_spec_is_frozen_keyword_only_and_closed() -> None:
    shape = Square.Config(side=2.0)
    with pytest.raises(AttributeError):
        shape.side = 3.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        Square.Config("square")  # type: ignore[misc]
    with pytest.raises(TypeError):
        Square.Config(sidee=1.0)  # type: ignore[call-arg]


def test_parse_and_dump_are_inverse() -> None:
    parsed = parse(drawing(shapes=[{"kind": "square"}, {"kind": "circle", "radius": 1.5}]), Drawing, "x")
    assert parsed.shapes == (Square.Config(), Circle.Config(radius=1.5))
    assert parse(dump(parsed), Drawing, "x") == parsed
    assert "円" in dump_yaml(parsed)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"colour": 1}, "drawing.yaml: unknown key 'colour'; known are title, shape, shapes, copies, framed."),
        ({"copise": 1}, "drawing.yaml: unknown key 'copise'; did you mean 'copies'?"),
        ({"copies": "3"}, "drawing.yaml: 'copies' is \"3\", but must be a whole number."),
        ({"copies": 1.5}, "drawing.yaml: 'copies' is 1.5, but must be a whole number."),
        ({"framed": 1}, "drawing.yaml: 'framed' is 1, but must be true or false."),
        ({"title": 3}, "drawing.yaml: 'title' is 3, but must be text."),
        ({"title": ["円"]}, "drawing.yaml: 'title' is [\"円\"], but must be text."),
        ({"shapes": "none"}, "drawing.yaml: 'shapes' is \"none\", but must be a list."),
        ({"shape": 3}, "drawing.yaml: 'shape' is 3, but must be a mapping of keys to values."),
        ({"shape": {"radius": 1}}, "drawing.yaml: the key 'shape.kind' is missing; it says which kind this is."),
        ({"shape": {"kind": "circel"}}, "drawing.yaml: 'shape.kind' is 'circel'; did you mean 'circle'?"),
        ({"shape": {"kind": "circle"}}, "drawing.yaml: the key 'shape.radius' is missing; add it."),
        (
            {"shape": {"kind": "circle", "raduis": 1}},
            "drawing.yaml: unknown key 'shape.raduis'; did you mean 'radius'?",
        ),
        (
            {"shapes": [{"kind": "square", "sied": 1}]},
            "drawing.yaml: unknown key 'shapes.0.sied'; did you mean 'side'?",
        ),
        (
            {"shape": {"kind": "circle", "radius": -1}},
            "drawing.yaml: shape: radius is -1.0, but must be greater than 0.",
        ),
        (
            {"shape": {"kind": "square", "corners": "cut"}},
            "drawing.yaml: 'shape.corners' is \"cut\", but must be 'round' or 'sharp'.",
        ),
    ],
)
def test_errors_name_the_key(changes: dict, expected: str) -> None:
    assert sentence(drawing(**changes)) == expected


def test_a_variant_registered_a_moment_ago_is_known(monkeypatch) -> None:
    @spec
    class Star:
        kind: Literal["star"] = "star"
        points: int = 5

    assert "'shape.kind' is 'star'" in sentence(drawing(shape={"kind": "star"}))
    monkeypatch.setitem(SHAPES, "star", Star)
    assert parse(drawing(shape={"kind": "star"}), Drawing, "x").shape == Star()


def test_a_base_is_merged_key_by_key_and_lists_are_replaced(tmp_path) -> None:
    (tmp_path / "base.yaml").write_text(
        "title: 山\nshape: {kind: square, side: 3.0}\nshapes: [{kind: square}, {kind: square}]\n", encoding="utf-8"
    )
    (tmp_path / "child.yaml").write_text(
        "base: base.yaml\nshape: {corners: round}\nshapes: [{kind: square}]\n", encoding="utf-8"
    )
    parsed = load(tmp_path / "child.yaml", Drawing)
    assert parsed.title == "山"
    assert parsed.shape == Square.Config(side=3.0, corners="round")
    assert len(parsed.shapes) == 1


def test_another_variant_replaces_the_old_one_with_its_options(tmp_path) -> None:
    (tmp_path / "base.yaml").write_text("title: x\nshape: {kind: square, corners: round}\n", encoding="utf-8")
    (tmp_path / "child.yaml").write_text("base: base.yaml\nshape: {kind: circle, radius: 1}\n", encoding="utf-8")
    assert load(tmp_path / "child.yaml", Drawing).shape == Circle.Config(radius=1.0)


def test_changes_are_dotted_and_typed_as_yaml(tmp_path) -> None:
    (tmp_path / "d.yaml").write_text("title: x\nshape: {kind: circle, radius: 1}\n", encoding="utf-8")
    changes = ["shape.radius=1e-3", "title=むかし", "framed=true", "shapes=[{kind: square}]", "shapes.0.side=4"]
    parsed = load(tmp_path / "d.yaml", Drawing, changes)
    assert parsed.shape == Circle.Config(radius=0.001)
    assert (parsed.title, parsed.framed, parsed.shapes) == ("むかし", True, (Square.Config(side=4.0),))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("radius", "'radius' is no change; write it as key=value, for example train.steps=100."),
        ("title.big=1", "'title.big=1': 'title' is a single value and has no key 'big'."),
        ("shapes.7.side=1", "'shapes.7.side=1': '7' is no position in a list of 1; count from 0."),
        ("title=[", "'title=[': the value is not valid YAML; put it in quotes."),
    ],
)
def test_a_bad_change_is_one_sentence(tmp_path, change: str, expected: str) -> None:
    text = "title: x\nshape: {kind: circle, radius: 1}\nshapes: [{kind: square}]\n"
    (tmp_path / "d.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load(tmp_path / "d.yaml", Drawing, [change])
    assert str(caught.value) == expected


def test_bad_files_are_one_sentence_each(tmp_path) -> None:
    def fails(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError) as caught:
            load_mapping(tmp_path / name)
        return str(caught.value)

    assert "line 2: this is not valid YAML" in fails("a.yaml", b"a: [1\nb: }")
    assert "holds none" in fails("b.yaml", b"- 1\n- 2\n")
    assert "not UTF-8" in fails("c.yaml", "title: 山".encode("cp932"))
    assert "leads back" in fails("d.yaml", b"base: d.yaml\n")
    with pytest.raises(UserError, match=r"'nowhere.yaml' does not exist"):
        load_mapping("nowhere.yaml")
    with pytest.raises(UserError, match=r"'gpt-oss-2m' is neither a file nor a preset; the presets are .*gpt-oss-1m"):
        load_mapping("gpt-oss-2m")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_complete(name: str) -> None:
    config = load(name, RunConfig)
    assert config.name == name
    assert parse(dump(config), RunConfig, name) == config
