"""A reader of uploads whose start is held up, and which may not import anything once it has said
that it is ready.

``late_reader.py GATE MEMORY_BYTES SECONDS``: its imports begin when the file ``GATE`` exists, as on a machine
that has no time for them until then.
"""

import sys
import time
from pathlib import Path

from crystal_core.files import upload_child


class Refusing:
    """Refuses every import that is not done yet."""

    def find_spec(self, name, *_):
        raise ImportError(f"{name} is imported after the reader said that it is ready")


def send_then_refuse(answers, answer, send=upload_child.send_answer):
    if "ready" in answer:
        sys.meta_path.insert(0, Refusing())
    send(answers, answer)


if __name__ == "__main__":
    while not Path(sys.argv[1]).exists():
        time.sleep(0.02)
    upload_child.send_answer = send_then_refuse
    upload_child.main(int(sys.argv[2]), float(sys.argv[3]))
