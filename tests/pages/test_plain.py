"""Text from a file, a link or a formula is shown as it stands, whatever it says."""

import html

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pages._ui.plain import plain


@given(st.text())
@example("![x](http://elsewhere.invalid/a.png)")
@example("<img src=x onerror=alert(1)> [a](b) **bold** `code` # title :red[x] $x^2$")
@example("1. one\n2. two\n\n    code")
def test_markdown_shows_the_same_words_and_nothing_else(text):
    shown = MarkdownIt("commonmark").render("a " + plain(text))
    assert shown.startswith("<p>a") and shown.endswith("</p>\n")
    words = html.unescape(shown[3:-5]).split()
    assert words == ["a", *text.replace("\0", "\ufffd").split()]


@pytest.mark.parametrize("mark", list("$:[]<>!*_`"))
def test_streamlits_own_marks_are_escaped_too(mark):
    assert plain(mark) == "\\" + mark
