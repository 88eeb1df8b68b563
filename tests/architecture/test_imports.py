"""Import rules and start-up: the core knows no page, arrows never turn back, light commands stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "crystal_core").rglob("*.py"))
RANK = {
    "errors": 0, "geometry": 0, "crystal": 0, "paths": 0,
    "requests": 1, "protocols": 1, "structures": 1, "structure_readers": 1,
    "sampling": 2, "evaluation": 2, "networks": 2, "reference": 2, "records": 3, "relax": 3,
    "generators": 4, "predictors": 4, "figures": 4,
}  # fmt: skip


def imports(path):
    """(module, inside a function or type-checking block) of every import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from ((name, id(node) not in top) for name in names)


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_core_never_imports_streamlit_or_pages(path):
    assert not [name for name, _ in imports(path) if name.split(".")[0] in ("streamlit", "pages", "app")]


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_inside_the_core_never_turn_back(path):
    room = path.relative_to(ROOT / "crystal_core").parts[0].removesuffix(".py")
    if room not in RANK:
        return
    for name, lazy in imports(path):
        parts = name.split(".")
        if parts[0] == "crystal_core" and len(parts) > 1 and parts[1] in RANK and not lazy:
            assert RANK[parts[1]] <= RANK[room], f"{path.name} imports {name}"


def test_light_commands_do_not_import_torch():
    code = "import sys; from crystal_core.cli import build_app; build_app(); print(int('torch' in sys.modules), int('pymatgen' in sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.split() == ["0", "0"]


def test_the_core_and_its_rooms_import_no_potential():
    code = (
        "import sys, crystal_core, crystal_core.relax.potential, crystal_core.relax.relaxation, crystal_core.reference.hull\n"
        "import crystal_core.workflows.predict_structure\n"
        "print([name for name in ('chgnet', 'ase', 'torch', 'pymatgen') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"


def test_training_needs_only_torch_numpy_safetensors():
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, *a):\n"
        "        if name.split('.')[0] in ('pymatgen','pandas','pyarrow','typer','pydantic','streamlit','scipy'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "import crystal_core.training.__main__, crystal_core.training.kldm, crystal_core.generators.kldm.weights, crystal_core.generators.kldm.generator"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
