"""The app behind its access guard, for ``crystal-core serve``: ``streamlit run pages/_ui/server.py``.

``streamlit run app.py`` shows the same pages without guard, headers and browser ids; it is for this machine alone.
"""

import os
import re
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from crystal_core.service.access import NAMES, TOKEN, AccessGuard

START_PAGE = Path(st.__file__).parent / "static" / "index.html"

app = st.App(
    Path(__file__).parents[2] / "app.py",
    middleware=[
        Middleware(
            AccessGuard,
            names=os.environ.get(NAMES, "").split(","),
            token=os.environ.pop(TOKEN, ""),  # the worker and the readers of files need no secrets
            scripts=re.findall(r"<script>(.*?)</script>", START_PAGE.read_text(encoding="utf-8"), re.DOTALL),
        )
    ],
)
