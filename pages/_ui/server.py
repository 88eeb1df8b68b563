"""The app behind its access guard, for ``crystal-core serve``: ``streamlit run pages/_ui/server.py``.

``streamlit run app.py`` shows the same pages without guard, headers and browser ids; it is for this machine
alone.
"""

import os
import re
import signal
import threading
import time
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from crystal_core.jobs.owners import owner_pipe
from crystal_core.service.access import NAMES, TOKEN, AccessGuard

SECONDS_TO_END = 10.0


def end_with(owner: int) -> None:
    """Wait until the command that started this server has ended, then end too.

    A command that was killed cannot do that itself, and its server would keep the port without a worker.
    """
    os.read(owner, 1)  # returns when the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_END)
    os._exit(1)


if (pipe := owner_pipe()) is not None:
    threading.Thread(target=end_with, args=(pipe,), daemon=True).start()

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
