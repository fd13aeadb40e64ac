#!/usr/bin/python3
"""The guestbook's front end: counts visits in redis and says which pod answered.

Redis may go away and come back: a request waits for it a few seconds. Told to end, it goes on answering until nobody
sends requests any more.
"""

import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REDIS = (os.environ.get("REDIS_HOST", "redis"), int(os.environ.get("REDIS_PORT_NUMBER", "6379")))
PATIENCE = 20
POD = socket.gethostname()
VERSION = os.environ.get("VERSION", "1")
ending = threading.Event()


def ask(*words):
    """One command to redis, one number or text back."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with socket.create_connection(REDIS, timeout=2) as connection:
                parts = [f"*{len(words)}\r\n"] + [f"${len(word)}\r\n{word}\r\n" for word in words]
                connection.sendall("".join(parts).encode())
                line = connection.makefile("rb").readline().decode().strip()
                if line[:1] in (":", "+"):
                    return line[1:]
                raise OSError(line or "no answer")
        except OSError as error:
            if time.monotonic() > deadline:
                raise
            print(f"redis: {error}; trying again", file=sys.stderr, flush=True)
            time.sleep(0.2)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/healthz":
            self.answer(503 if ending.is_set() else 200, "ending\n" if ending.is_set() else "fine\n")
            return
        try:
            visits = ask("INCR", "visits")
        except OSError as error:
            self.answer(502, f"redis: {error}\n")
            return
        self.answer(200, f"visit {visits}, answered by {POD}, version {VERSION}\n")

    def answer(self, code, text):
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128


def main():
    server = Server(("", 8080), Handler)

    def end(*_):
        ending.set()
        # Whoever still has this address gets an answer until it has been taken out everywhere.
        threading.Timer(5, server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    print(f"{POD} serves version {VERSION}", flush=True)
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main()
