"""Import rules and start-up: the core knows no page, no room imports a higher one, no circles,
light commands stay light.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# lowest first; a module belongs to the longest name that it begins with, and one that no name
# fits is an error
RANKS = (
    ("errors", "paths", "interruption", "whole_files"),
    (
        "checks",
        "shares",
        "geometry",
        "crystal",
        "device",
        "cards",
        "records",
        "earlier_results",
        "properties",
        "chemistry",
    ),
    ("conditions",),
    ("structures", "frames", "guides.protocol", "guides.density"),
    ("requests", "protocols"),
    ("networks", "graphs", "sampling", "training"),
    ("files", "evaluation", "drawing", "datasets", "reference", "guides"),
    ("generators", "predictors", "relax"),
    ("registry",),
    ("workflows",),
    ("jobs", "service"),
    ("cli", "demos", "benchmarks", "testing", "training.__main__", "__main__"),
)
PACKAGE = ""  # crystal_core itself: its version, and public names that it fetches when they are used
# (importer, imported): why a lower room knows a higher one. This table may only shrink.
EXCEPTIONS: dict[tuple[str, str], str] = {}


def rank_of(module):
    """Rank of a module below crystal_core, e.g. "files.readers"; KeyError for a room that has none."""
    names = {name: i for i, row in enumerate(RANKS) for name in row}
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        if (name := ".".join(parts[:end])) in names:
            return names[name]
    raise KeyError(module)


def modules_of(root):
    """Module name below crystal_core → its file."""
    package = root / "crystal_core"
    names = {p: ".".join(p.relative_to(package).with_suffix("").parts) for p in sorted(package.rglob("*.py"))}
    return {
        (PACKAGE if name == "__init__" else name.removesuffix(".__init__")): p for p, name in names.items()
    }


def imports_of(path, module, modules):
    """Modules below crystal_core that a file imports: at its top, in functions, for types
    only, absolute and relative.
    """
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = ["crystal_core", *filter(None, package.split("."))]
                base = ".".join(filter(None, [*here[: len(here) - node.level + 1], base]))
            names = [f"{base}.{alias.name}" for alias in node.names]  # a module of base, or a name inside it
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "crystal_core":
                imported.add(
                    next(
                        inside
                        for end in range(len(parts), 0, -1)
                        if (inside := ".".join(parts[1:end])) in modules
                    )
                )
    return imported - {module, PACKAGE}


def graph_of(root):
    """Module → modules it imports."""
    modules = modules_of(root)
    return {module: imports_of(path, module, modules) for module, path in modules.items()}


def back_arrows(graph):
    """(importer, imported) wherever the imported room is higher."""
    return {
        (a, b) for a, imports in graph.items() if a != PACKAGE for b in imports if rank_of(b) > rank_of(a)
    }


def circle_in(graph):
    """The modules of a circle of imports, in order, or None."""
    done = set()

    def walk(module, path):
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return None
        for other in sorted(graph[module]):
            if circle := walk(other, [*path, module]):
                return circle
        done.add(module)
        return None

    return next((circle for module in sorted(graph) if (circle := walk(module, []))), None)


def papers_that_know_each_other(graph):
    """(importer, imported) between two folders below generators or predictors."""

    def paper(module):
        parts = module.split(".")
        return ".".join(parts[:2]) if parts[0] in ("generators", "predictors") and len(parts) > 2 else None

    return {
        (a, b)
        for a, imports in graph.items()
        for b in imports
        if paper(a) and paper(b) and paper(a) != paper(b)
    }


def test_every_room_has_a_rank_and_imports_only_its_own_and_lower_ones():
    assert back_arrows(graph_of(ROOT)) == set(EXCEPTIONS)


def test_no_modules_import_each_other_in_a_circle():
    assert circle_in(graph_of(ROOT)) is None


def test_papers_do_not_know_each_other():
    assert papers_that_know_each_other(graph_of(ROOT)) == set()


def test_the_registry_names_methods_in_its_tables_alone():
    kinds = [ROOT / "crystal_core" / kind for kind in ("generators", "predictors")]
    methods = {path.parent.name for kind in kinds for path in kind.glob("*/__init__.py")}
    assert "kldm" in methods
    for path in (ROOT / "crystal_core" / "registry").glob("*.py"):
        text = path.read_text(encoding="utf-8").lower()
        assert path.name == "methods.py" or not [name for name in methods if name in text], path.name


PLANTED = {
    "at the top": ("geometry.py", "from crystal_core.workflows.generate import run\n"),
    "in a function": ("geometry.py", "def f():\n    from crystal_core.files import records\n"),
    "for types only": (
        "geometry.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import crystal_core.registry.store\n",
    ),
    "out of the package": ("geometry.py", "from crystal_core import structures\n"),
    "relative": ("networks/packing.py", "from ..relax import potential\n"),
}


@pytest.fixture
def planted(tmp_path):
    """A copy of the package's skeleton: every module, with the imports of the package alone."""
    modules = modules_of(ROOT)
    for module, path in modules.items():
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"import crystal_core.{name}\n" for name in sorted(imports_of(path, module, modules))]
        target.write_text("".join(lines), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_back_arrow_is_found(planted, fault):
    assert back_arrows(graph_of(planted)) == set(EXCEPTIONS)
    name, line = PLANTED[fault]
    path = planted / "crystal_core" / name
    path.write_text(path.read_text(encoding="utf-8") + line, encoding="utf-8")
    assert len(back_arrows(graph_of(planted))) == len(EXCEPTIONS) + 1


def test_a_planted_circle_and_an_unranked_room_are_found(planted):
    (planted / "crystal_core" / "geometry.py").write_text(
        "from crystal_core import crystal\n", encoding="utf-8"
    )
    (planted / "crystal_core" / "crystal.py").write_text(
        "from crystal_core.geometry import wrap\n", encoding="utf-8"
    )
    assert sorted(set(circle_in(graph_of(planted)))) == ["crystal", "geometry"]
    (planted / "crystal_core" / "utils.py").write_text("import crystal_core.errors\n", encoding="utf-8")
    with pytest.raises(KeyError, match="utils"):
        back_arrows(graph_of(planted))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "crystal_core").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_core_never_imports_streamlit_or_pages(path):
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    assert not [name for name in names if name.split(".")[0] in ("streamlit", "pages", "app")]


def test_light_commands_do_not_import_torch():
    code = (
        "import sys; from crystal_core.cli import build_app; build_app()\n"
        "print([name for name in ('torch', 'pymatgen', 'transformers', 'peft') if name in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    assert out.stdout.strip() == "[]"


def test_no_page_and_no_method_loads_language_models_at_import():
    code = (
        "import sys, importlib\n"
        "import crystal_core.generators.crysllmgen.training, crystal_core.generators.crysllmgen.decoding\n"
        "import crystal_core.workflows.generate, crystal_core.workflows.train, pages._ui.forms.batch\n"
        "print([name for name in ('transformers', 'peft', 'tokenizers') if name in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    assert out.stdout.strip() == "[]"


def test_the_core_and_its_rooms_import_no_potential():
    code = (
        "import sys, crystal_core, crystal_core.relax.potential, crystal_core.relax.relaxation, "
        "crystal_core.reference.hull\n"
        "import crystal_core.workflows.predict_structure\n"
        "print([name for name in ('chgnet', 'ase', 'torch', 'pymatgen') if name in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    assert out.stdout.strip() == "[]"


def test_training_needs_only_torch_numpy_safetensors():
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, *a):\n"
        "        if name.split('.')[0] in "
        "('pymatgen','pandas','pyarrow','typer','pydantic','streamlit','scipy'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "import crystal_core.training.__main__, crystal_core.training.packed, crystal_core.workflows.train\n"
        "import crystal_core.generators.kldm.training, crystal_core.generators.kldm.generator\n"
        "import crystal_core.generators.crysllmgen.training\n"
        "import crystal_core.predictors.crysldnet.graph_rows, crystal_core.predictors.crysldnet.vae\n"
        "import crystal_core.predictors.crysldnet.encoders.matformer"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_pages_that_show_runs_load_no_predictor_at_import():
    code = (
        "import sys, pages._ui.run.generated, pages._ui.run.candidates, pages._ui.properties.results\n"
        "print([name for name in sys.modules if name == 'torch' or "
        "name.startswith('crystal_core.predictors')])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240, cwd=ROOT
    )
    assert out.stdout.strip() == "[]"
