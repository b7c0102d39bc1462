"""Somebody else's `sitecustomize`: it must run under `maslens run` too. Lets nothing leave the machine.

Into the file that TOLD_OUTSIDE names goes one line for each place outside that the program, or anything inside it,
wanted to reach; at exit stderr hears what failed inside maslens.
"""

import atexit
import os
import sys

_LOCAL = ("127.", "::1", "localhost", "0.0.0.0")


def _watch(event, arguments):
    if event == "socket.connect":
        address = arguments[1]
        where = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else ""
    elif event == "socket.getaddrinfo":
        host = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0] or ""
        where = f"{host}:{arguments[1]}" if host else ""
    else:
        return
    if where and not where.startswith(_LOCAL):
        told = os.open(os.environ["TOLD_OUTSIDE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(told, f"{where}\n".encode())
        os.close(told)
        raise OSError(f"{where} is outside")


def _tell():
    guard = sys.modules.get("maslens.instrumentation.guard")
    if guard is not None and guard.internal_errors():
        print("failed inside:", dict(guard.internal_errors()), file=sys.stderr)
    print("sitecustomize ran", file=sys.stderr)


if "TOLD_OUTSIDE" in os.environ:
    sys.addaudithook(_watch)
    atexit.register(_tell)
