"""The end of a command that has used Arrow."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn


def run(main: Callable[[], None]) -> NoReturn:
    """Runs `main`, and ends the process with its exit code, as Python would, but without taking down Arrow's threads: that
    can abort the process after all is done, with 'terminate called without an active exception'."""
    code: str | int | None = None
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)
