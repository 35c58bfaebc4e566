"""Starts runs that can be killed, each a process of its own that need not import everything again.

For each line on stdin, a JSON list of arguments, forks a process that runs `darkrank_jax.main`;
says its number, and when it has ended by what: its exit code, or minus the signal.
"""

import json
import os
import sys

from configs import default
from darkrank_jax import main as command_line
from darkrank_jax.config import file
from darkrank_jax.runs import train

# What the command imports where it needs it, once for all processes.
IMPORTED = (default, file, train)


def main():
    for line in sys.stdin:
        process = os.fork()
        if not process:
            # What it prints is not for the one who asked.
            os.dup2(2, 1)
            os._exit(command_line.main(["main", *json.loads(line)]))
        print(process, flush=True)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
