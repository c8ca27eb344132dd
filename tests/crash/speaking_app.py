"""A payment application as a stranger would write it: says every tenth of a second how it is, for as long as it lives.

``python speaking_app.py <payment.sock>``; standard library only.
"""

import contextlib
import json
import os
import socket
import sys
import time

STATUS = {
    "ready": True,
    "signed_in": True,
    "batch_no": "000001",
    "pending_reversals": 0,
    "unknown_results": 0,
    "saf_count": 0,
}


def speak(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
        agent.settimeout(2.0)
        agent.connect(path)
        answers = agent.makefile("rb")
        while True:
            request = {"jsonrpc": "2.0", "id": 1, "method": "app.status", "params": STATUS}
            agent.sendall(json.dumps(request).encode() + b"\n")
            if not answers.readline():
                return
            time.sleep(0.1)


if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1", "\0" + os.environ["NOTIFY_SOCKET"][1:])
    while True:
        with contextlib.suppress(OSError):
            speak(sys.argv[1])
        time.sleep(0.05)
