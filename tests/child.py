"""Work in a process of its own, which ends without a word: for what leaves dead parties behind.

What a crashed party was doing is kept as long as the process lives. In the tests' own process it would be
finalised at some point, in the middle of something else.
"""

import logging
import os
import traceback
from collections.abc import Callable
from typing import NoReturn


def in_child(work: Callable[[], str]) -> str:
    """Return what ``work`` returns in a copy of this process; an error there is one here."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _work(work, writing)
    os.close(writing)
    with os.fdopen(reading) as said:
        text = said.read()
    assert os.waitpid(child, 0)[1] == 0, "see the captured stderr"
    return text


def _work(work: Callable[[], str], writing: int) -> NoReturn:
    code = 1
    try:
        logging.disable(logging.CRITICAL)
        with os.fdopen(writing, "w") as out:
            out.write(work())
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)
