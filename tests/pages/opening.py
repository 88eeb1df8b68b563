"""Open a page as a reader does, and read its words, for the tests of the pages."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).parents[2]


def run_page(name, **query):
    """The page after its first run, reached from Home with the values of a link."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
    for key, value in query.items():
        app.query_params[key] = value
    return app.switch_page(f"pages/{name}.py").run()


def words(elements):
    return " ".join(element.value.replace("\\", "") for element in elements)


def reasons(at):
    """What is said in lines and behind their help signs."""
    return " ".join((line.value + (line.help or "")).replace("\\", "") for line in at.markdown)
