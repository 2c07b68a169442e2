"""`nn` is written by hand: nothing of torch.nn but containers, and no ready-made formula of torch."""

import ast
from pathlib import Path

import pytest

import tsumiki.nn

SOURCES = sorted(Path(tsumiki.nn.__path__[0]).rglob("*.py"))
CONTAINERS = {"Module", "Parameter", "ModuleList"}
READY_MADE = {
    *("sigmoid", "softmax", "log_softmax", "logsumexp", "tanh", "relu", "softplus"),
    *("layer_norm", "rms_norm", "dropout", "native_layer_norm", "native_dropout"),
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_block_uses_no_ready_made_layer_or_formula(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "torch.nn":
            assert {name.name for name in node.names} <= CONTAINERS
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert not node.module.startswith("torch.nn.")
        elif isinstance(node, ast.Import):
            assert not any(name.name.startswith("torch.nn") for name in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.value.id != "nn" or node.attr in CONTAINERS
            assert node.value.id != "torch" or node.attr not in READY_MADE


def test_the_check_above_has_files_to_check():
    assert {"linear", "norm", "softmax", "rope", "loss", "swiglu"} <= {path.stem for path in SOURCES}
