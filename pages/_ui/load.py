"""Readers without a browser for ``crystal-core benchmark page``: they open pages and time them.

Each speaks over Streamlit's own socket.

``python -m pages._ui.load ws://127.0.0.1:8501 --sessions 4 --seconds 30 --pages home,history`` prints a JSON
list of ``[page, seconds]``, one for each run of a page, from the request to the end of its script.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

HOME = "home"
MOST_SECONDS = 120.0  # of one page; then the reader gives up


def read(
    address: str, pages: list[str], first: int, seconds: float, pause: float = 0.0
) -> list[tuple[str, float]]:
    """One reader: goes through ``pages`` from ``first`` until ``seconds`` are over, once each.

    Args:
        address: of the app, such as ws://127.0.0.1:8501.
        pause: mean seconds before each page, drawn evenly from 0.4 to 1.6 times that; the same ones for each
            ``first``.
    """
    times: list[tuple[str, float]] = []
    dice, stop = random.Random(first), time.monotonic() + seconds  # noqa: S311 (no secret)
    with connect(f"{address}/_stcore/stream", max_size=None) as socket:
        while len(times) < len(pages) or time.monotonic() < stop:
            page = pages[(first + len(times)) % len(pages)]
            time.sleep(pause * dice.uniform(0.4, 1.6))
            begun = time.monotonic()
            _run(socket, "" if page == HOME else page)
            times.append((page, time.monotonic() - begun))
    return times


def _run(socket: ClientConnection, page: str) -> None:
    """Ask for a page and wait until its script has ended."""
    request = BackMsg()
    request.rerun_script.page_name = page
    socket.send(request.SerializeToString())
    while True:
        message = ForwardMsg.FromString(socket.recv(MOST_SECONDS, decode=False))
        if message.WhichOneof("type") == "page_not_found":
            raise SystemExit(f"The app has no page '{page}'.")
        if message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY and message.HasField(
            "script_finished"
        ):
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--sessions", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--pages", required=True)
    options = parser.parse_args()
    pages = options.pages.split(",")
    with ThreadPoolExecutor(options.sessions) as readers:
        runs = [
            readers.submit(read, options.address, pages, k, options.seconds, options.pause)
            for k in range(options.sessions)
        ]
        print(json.dumps([run for reader in runs for run in reader.result()]))


if __name__ == "__main__":
    main()
