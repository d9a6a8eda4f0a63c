"""A Hub on the loopback: repositories in memory, served to the real clients."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.models import make_model, make_tokenizer

LARGE = (".safetensors", ".parquet", ".bin")
"""Names of files that a Hub keeps as LFS objects, with their SHA-256."""


@dataclass
class Repository:
    """Revisions by name and their files. ``tags`` names those revisions that are tags."""

    revisions: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    gated: bool = False
    private: bool = False
    records: bool = True
    """Whether it tells the SHA-256 of its LFS objects."""

    def commit(self, revision: str) -> str:
        """Commit hash of a revision: of its name and content."""
        files = {name: hashlib.sha256(body).hexdigest() for name, body in self.revisions[revision].items()}
        return hashlib.sha1(json.dumps([revision, files]).encode()).hexdigest()

    def find(self, name: str) -> str | None:
        """The revision of that name or commit."""
        return next((r for r in self.revisions if urllib.parse.unquote(name) in (r, self.commit(r))), None)


class LoopbackHub:
    """Repositories by (kind, name), where kind is ``models`` or ``datasets``; ``requests`` lists what was asked.

    ``fail`` and ``cut``: end of a path → how many more requests for it are answered with 503, or broken off half way.
    ``stall``: the same for answers that stop half way with the connection open, for ``stall_seconds``.
    """

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[str] = []
        self.fail: dict[str, int] = {}
        self.cut: dict[str, int] = {}
        self.stall: dict[str, int] = {}
        self.stall_seconds = 3.0
        self.server: ThreadingHTTPServer | None = None
        self.port = 0

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def add_model(self, name: str, revisions: Mapping[str, Mapping[str, bytes]], **how: Any) -> Repository:
        """Add a repository of weights."""
        repository = Repository({revision: dict(files) for revision, files in revisions.items()}, **how)
        self.repositories["models", name] = repository
        return repository

    def add_dataset(self, name: str, splits: Mapping[str, Mapping[str, bytes]], **how: Any) -> Repository:
        """Add a data set: configuration → split → Parquet file."""
        card, files = ["---", "configs:"], {}
        for config, parts in splits.items():
            card += [f"- config_name: {config}", "  data_files:"]
            for split, body in parts.items():
                files[f"{config}/{split}.parquet"] = body
                card += [f"  - split: {split}", f"    path: {config}/{split}.parquet"]
        repository = Repository({"main": {"README.md": "\n".join([*card, "---", ""]).encode(), **files}}, **how)
        self.repositories["datasets", name] = repository
        return repository

    def start(self) -> None:
        """Begin to answer, at the port of before if there was one."""
        hub = self

        class Handler(_Handler):
            loopback = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Be gone."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # one request a connection: a stopped server keeps none alive
    loopback: LoopbackHub

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        self.respond(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def do_GET(self) -> None:
        self.respond(b"")

    do_HEAD = do_GET

    def misbehaves(self, faults: dict[str, int], path: str) -> bool:
        """Whether one of ``faults`` is due for ``path``; it is used up."""
        end = next((end for end, left in faults.items() if left and path.endswith(end)), None)
        if end is None or self.command == "HEAD":
            return False
        faults[end] -= 1
        return True

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_json(self, value: Any) -> None:
        self.send(json.dumps(value).encode(), Content_Type="application/json")

    def refuse(self, code: str, status: int = 404) -> None:
        self.send(json.dumps({"error": code}).encode(), status, X_Error_Code=code, X_Error_Message=code)

    def respond(self, body: bytes) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        sent = f" {self.headers['Range']}" if "Range" in self.headers else ""
        self.loopback.requests.append(f"{self.command} {path}{sent}")
        if self.misbehaves(self.loopback.fail, path):
            return self.send(b"", 503)
        if match := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/([a-z-]+)(?:/(.+))?)?", path):
            kind, name, verb, rest = match.groups()
        elif match := re.fullmatch(r"/(?:(datasets)/)?([^/]+/[^/]+)/(resolve)/(.+)", path):
            kind, name, verb, rest = match[1] or "models", match[2], match[3], match[4]
        else:
            return self.send(b"", 200 if path == "/" else 404)
        repository = self.loopback.repositories.get((kind, name))
        if repository is None or repository.private:  # the Hub does not tell them apart
            return self.refuse("RepoNotFound", 401)
        if repository.gated and verb != "refs":
            return self.refuse("GatedRepo", 403)
        if verb == "refs":
            return self.send_json(self.refs(repository))
        revision, rest = self.split_revision(repository, rest or "main")
        if revision is None:
            return self.refuse("RevisionNotFound")
        if verb == "resolve":
            return self.send_file(repository, revision, rest)
        files = repository.revisions[revision]
        if verb == "tree":
            return self.send_json([entry(n, b, repository) for n, b in files.items() if n.startswith(rest)])
        if verb == "paths-info":
            form = urllib.parse.parse_qs(body.decode())
            wanted = json.loads(body)["paths"] if body[:1] == b"{" else form.get("paths", [])
            return self.send_json([entry(n, b, repository) for n, b in files.items() if n in wanted])
        return self.send_json(
            {"id": name, "sha": repository.commit(revision), "private": False, "gated": False, "disabled": False,
             "downloads": 0, "likes": 0, "tags": [], "siblings": [{"rfilename": n} for n in files]}
        )  # fmt: skip

    def refs(self, repository: Repository) -> dict[str, list[dict[str, str]]]:
        found: dict[str, list[dict[str, str]]] = {"branches": [], "tags": [], "converts": []}
        for name in repository.revisions:
            kind, place = ("tags", "tags") if name in repository.tags else ("branches", "heads")
            found[kind].append({"name": name, "ref": f"refs/{place}/{name}", "targetCommit": repository.commit(name)})
        return found

    def split_revision(self, repository: Repository, rest: str) -> tuple[str | None, str]:
        """The revision that a path begins with, and what follows it."""
        parts = rest.split("/")
        for cut in range(1, len(parts) + 1):
            revision = repository.find("/".join(parts[:cut]))
            if revision is not None:
                return revision, "/".join(parts[cut:])
        return None, rest

    def send_file(self, repository: Repository, revision: str, name: str) -> None:
        commit, body = repository.commit(revision), repository.revisions[revision].get(name)
        if body is None:
            return self.send(b"", 404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        first, status, more = 0, 200, {}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(match[1]), min(int(match[2] or len(body)), len(body) - 1)
            more, status = {"Content_Range": f"bytes {first}-{last}/{len(body)}"}, 206
            body = body[first : last + 1]
        etag = f'"{hashlib.sha256(repository.revisions[revision][name]).hexdigest()}"'
        headers = {"ETag": etag, "X_Repo_Commit": commit, "Accept_Ranges": "bytes", **more}
        if self.misbehaves(self.loopback.stall, name):
            headers["Content-Length"] = str(len(body))
            self.send(body[: len(body) // 2], status, **headers)
            self.wfile.flush()
            return time.sleep(self.loopback.stall_seconds)
        if self.misbehaves(self.loopback.cut, name):
            headers["Content-Length"] = str(len(body))
            return self.send(body[: len(body) // 2], status, **headers)
        return self.send(body, status, **headers)


def entry(name: str, body: bytes, repository: Repository) -> dict[str, Any]:
    """What the Hub tells about one file."""
    told: dict[str, Any] = {"type": "file", "path": name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
    if name.endswith(LARGE) and repository.records:
        told["lfs"] = {"oid": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 130}
    return told


@contextmanager
def clients_of(address: str, folder: Any) -> Iterator[None]:
    """Point the clients, which read their environment when they are imported, to ``address`` and to empty caches."""
    import datasets.config
    import huggingface_hub.constants as constants

    from pretune.checkpoints import hub

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", address)
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        patch.setattr(constants, "ENDPOINT", address)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
        patch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(datasets.config, "HF_ENDPOINT", address)
        patch.setattr(datasets.config, "HUB_DATASETS_URL", address + "/datasets/{repo_id}/resolve/{revision}/{path}")
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        patch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
        patch.setattr(hub, "_reached", set())
        patch.setattr(hub, "FIRST_CONTACT_PAUSE", 0.01)
        patch.setattr(hub, "PAUSES", (0.01, 0.01, 0.01, 0.01))
        yield


@contextmanager
def serve(folder: Any) -> Iterator[LoopbackHub]:
    """A Hub that answers on the loopback, and clients that know no other and have cached nothing."""
    loopback = LoopbackHub()
    loopback.start()
    with clients_of(loopback.address, folder):
        yield loopback
    loopback.stop()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """Rows as a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def save_weights(folder: Path, *, seed: int = 0, shard: str = "1GB", **how: Any) -> dict[str, bytes]:
    """Files of a tiny model with its tokenizer, as a repository has them."""
    make_model(seed=seed, **how).save_pretrained(folder, max_shard_size=shard)
    make_tokenizer("bpe").save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}
