"""Serves a folder over HTTP as an object server does, and misbehaves when asked to.

    store_server.py FOLDER [--fail-every N] [--status 500] [--cut-every N] [--delay SECONDS] [--etag]

Answers HEAD and GET with byte ranges, lists nothing, and prints its port on the first line. It ends when its standard
input does. Every N-th request fails with the status, or gets the first half of its body before the connection closes;
every answer waits for the delay. A client that sends requests again must see none of it.
"""

import argparse
import hashlib
import http.server
import itertools
import re
import sys
import threading
import time
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def refuse(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, body):
        options, number = self.server.options, next(self.server.requests)
        time.sleep(options.delay)
        if options.fail_every and number % options.fail_every == 0:
            return self.refuse(options.status)
        path = (options.root / self.path.lstrip("/")).resolve()
        # No folder is ever listed.
        if not path.is_relative_to(options.root) or not path.is_file():
            return self.refuse(404)
        content = path.read_bytes()
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = 0, len(content)
        if span:
            start, end = int(span[1]), min(int(span[2]) + 1 if span[2] else end, end)
            if start >= end:
                return self.refuse(416)
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        if options.etag:
            self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if not body:
            return
        if options.cut_every and number % options.cut_every == 0:
            self.wfile.write(content[start : start + (end - start) // 2])
            self.close_connection = True
            return
        self.wfile.write(content[start:end])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=lambda path: Path(path).resolve())
    parser.add_argument("--fail-every", type=int, default=0)
    parser.add_argument("--status", type=int, default=500)
    parser.add_argument("--cut-every", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--etag", action="store_true")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.options = parser.parse_args()
    server.requests = itertools.count(1)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
