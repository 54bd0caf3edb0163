"""Writes tests/fixtures/hub/cache.txt: the cache and the requests of huggingface_hub when it fetches the model that
crates/hub/tests serves. Run from anywhere: python tests/reference/hub_cache.py

Needs no network: the hub is a server on this machine, as in crates/hub/tests/hub/server.rs.
"""

import hashlib
import json
import os
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "fixtures" / "hub" / "cache.txt"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def weights():
    """Returns the same 300,000 bytes as crates/hub/tests/hub/main.rs."""
    state, made = 1, bytearray()
    for _ in range(300_000):
        state = (state * 6364136223846793005 + 1) % 2**64
        made.append(state >> 56)
    return bytes(made)


FILES = {
    "config.json": b"{}",
    "vocab.json": b'{"a": 1}',
    "merges.txt": b"a b\n",
    "tokenizer_config.json": b'{"b": 1}',
    "README.md": b"hello",
    "pytorch_model.bin": b"\7" * 5000,
    "model.safetensors": weights(),
}
WANTED = ["config.json", "vocab.json", "merges.txt", "tokenizer_config.json", "model.safetensors"]


class Hub(BaseHTTPRequestHandler):
    requests = []

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        self.requests.append(f"{self.command} {self.path}")
        name = self.path.rsplit("/", 1)[-1]
        headers, status = {}, 200
        if self.path.startswith("/api/"):
            siblings = [{"rfilename": name} for name in FILES]
            body = json.dumps({"id": "a/lm", "sha": COMMIT, "siblings": siblings}).encode()
        else:
            body = FILES[name]
            is_large = len(body) > 1000
            headers["X-Repo-Commit"] = COMMIT
            git_id = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            headers["ETag"] = f'"{git_id}"'
            if is_large and self.path.startswith("/a/lm/resolve/"):
                headers["X-Linked-Etag"] = f'"{hashlib.sha256(body).hexdigest()}"'
                headers["X-Linked-Size"] = str(len(body))
                headers["Location"] = f"http://localhost:{self.server.server_port}/cdn/a/lm/{name}"
                status, body = 302, b""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
    os.environ["HF_HUB_DISABLE_XET"] = "1"
    import huggingface_hub

    with tempfile.TemporaryDirectory() as cache:
        huggingface_hub.snapshot_download("a/lm", cache_dir=cache, allow_patterns=WANTED, max_workers=1)
        lines = []
        for path in sorted(Path(cache).rglob("*")):
            name = path.relative_to(cache).as_posix()
            if path.is_symlink():
                lines.append(f"{name} -> {os.readlink(path)}")
            elif path.is_file() and "refs" in path.parts:
                lines.append(f"{name}: {path.read_text()}")
            elif path.is_file():
                lines.append(f"{name} {path.stat().st_size}")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("".join(line + "\n" for line in lines))
    print("".join(line + "\n" for line in Hub.requests), end="")


if __name__ == "__main__":
    main()
