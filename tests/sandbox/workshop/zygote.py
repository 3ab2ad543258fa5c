"""A process that has imported everything and forks a child for each order: a command starts in no time, not in four
seconds, and a fault that is put into it dies with it.

Orders come as lines of JSON on stdin ({"code", "cwd", "out"}); answers are lines "started PID" and "ended PID CODE".
No order runs here itself, so torch has started no thread that a fork would lose.
"""

import json
import os
import select
import signal
import sys
import traceback
from importlib import import_module


def run(order: dict[str, str]) -> None:
    """Runs an order in this process, which ends as an interpreter would."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(order["cwd"])
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{order['out']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    code: object = 0
    try:
        exec(compile(order["code"], "<order>", "exec"), {"__name__": "__order__"})
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def serve() -> None:
    """Forks for each order until stdin ends."""
    for name in (
        "gan.study",
        "sandbox.train.loading",
        "sandbox.cli.train",
        "torch.utils.tensorboard.summary",
        "toy.study",
    ):
        import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is pytest's, which then closes stdin
    running: set[int] = set()
    print("ready", flush=True)
    while True:
        if select.select([sys.stdin], [], [], 0.005)[0]:
            line = sys.stdin.readline()
            if not line:
                break
            pid = os.fork()
            if pid == 0:
                run(json.loads(line))
            running.add(pid)
            print("started", pid, flush=True)
        for pid in list(running):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                running.remove(pid)
                print("ended", pid, os.waitstatus_to_exitcode(status), flush=True)
    for pid in running:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    serve()
