"""Official weights: fetched from a server that is slow, broken, or somebody else's; a wrong name is found first."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from models import downloads
from models.downloads import ensure_weights, fetch_weights
from models.yolo_weights import load_yolo
from utils.config import official
from utils.config.official import OFFICIAL_SAM, OFFICIAL_YOLO, address_of, home_of, published_name
from utils.distributed import Session
from utils.errors import UserError

REPOSITORY = Path(__file__).parents[2]


class Server(ThreadingHTTPServer):
    """Offers one file under every name.

    Attributes:
        content: the file.
        faults: what goes wrong with the next requests, in order: a status, "cut", "stall", "drip", "html", "page".
        ranges: the Range headers of all requests.
        resumes: whether ranges are honoured.
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.faults, self.ranges, self.resumes = content, [], [], True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        given = self.headers.get("Range")
        self.server.ranges.append(given)
        fault = self.server.faults.pop(0) if self.server.faults else None
        if isinstance(fault, int):
            self.send_error(fault)
            return
        content = self.server.content
        start = int(re.fullmatch(r"bytes=(\d+)-", given).group(1)) if given and self.server.resumes else 0
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault in ("html", "page"):
            content, start = b"<!doctype html><title>Please log in</title>" + bytes(5000), 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "text/html" if fault == "html" else "application/octet-stream")
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        rest = content[start:]
        if fault in ("cut", "stall", "drip"):
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)
        if fault == "stall":
            time.sleep(3)
        for i in range(60 if fault == "drip" else 0):
            time.sleep(0.1)
            self.wfile.write(content[start + len(rest) + i :][:1])

    def handle(self) -> None:
        with suppress(ConnectionError):  # the other side gave up, as it should
            super().handle()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(yolo_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(yolo_file.read_bytes()) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(official, "YOLO_ADDRESS", server.address)
        monkeypatch.setattr(official, "SAM_ADDRESS", server.address)
        monkeypatch.setattr(official, "SHA256", {"yolov8n.pt": hashlib.sha256(server.content).hexdigest()})
        monkeypatch.setattr(downloads, "PAUSE", 0.01)
        monkeypatch.setattr(downloads, "STALL", 0.5)
        yield server
        server.shutdown()


def test_missing_official_weights_are_downloaded_with_progress(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "yolov8n.pt"
    assert load_yolo(path).names[0] == "car"
    assert path.read_bytes() == server.content
    assert [*path.parent.iterdir()] == [path]
    output = capsys.readouterr()
    assert "downloading http" in output.out
    assert "100%" in output.err


@pytest.mark.parametrize("name", ["yolov8n.pt", "yolo26s-seg.pt"])
@pytest.mark.parametrize("faults", [["cut"], ["cut", "cut", 503], ["stall"], ["drip"], [429, 500, 502]])
def test_what_breaks_off_is_gone_on_with(server: Server, faults: list[object], name: str, tmp_path: Path) -> None:
    server.faults = [*faults]
    ensure_weights(tmp_path / name)
    assert (tmp_path / name).read_bytes() == server.content
    assert [*tmp_path.iterdir()] == [tmp_path / name]
    if "drip" not in faults and isinstance(faults[0], str):
        assert server.ranges[1] == f"bytes={len(server.content) // 2}-"


def test_a_server_that_cannot_resume_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.faults, server.resumes = ["cut"], False
    ensure_weights(tmp_path / "yolov8n.pt")
    assert (tmp_path / "yolov8n.pt").read_bytes() == server.content


@pytest.mark.parametrize("left", ["half", "all", "foreign", "longer"])
@pytest.mark.parametrize("name", ["yolov8n.pt", "yolo11m.pt"])
def test_the_partial_file_of_a_killed_run_is_taken_up_or_replaced(
    server: Server, left: str, name: str, tmp_path: Path
) -> None:
    content = server.content
    parts = {"half": content[:5000], "all": content, "foreign": bytes(5000), "longer": content + bytes(9)}
    (tmp_path / f"{name}.partial").write_bytes(parts[left])
    ensure_weights(tmp_path / name)
    assert (tmp_path / name).read_bytes() == content
    assert [*tmp_path.iterdir()] == [tmp_path / name]
    assert server.ranges[0] == f"bytes={len(parts[left])}-"


def refused(path: Path, reason: str) -> None:
    with pytest.raises(
        UserError, match=rf"{path.name}: missing, and cannot be downloaded: {reason}.*; put a copy of http"
    ):
        ensure_weights(path)
    assert not path.exists()


@pytest.mark.parametrize("fault", ["html", "page"])
def test_a_login_page_is_called_one(server: Server, fault: str, tmp_path: Path) -> None:
    server.faults = [fault]
    refused(tmp_path / "yolov8n.pt", "the server sent a web page, a login page perhaps")
    assert [*tmp_path.iterdir()] == []


def test_a_foreign_file_never_takes_an_official_name(server: Server, tmp_path: Path) -> None:
    server.content = server.content[:-1] + b"x"
    refused(tmp_path / "yolov8n.pt", "the server sent another file than was published: SHA-256")
    server.content = server.content[:2000] + b"flipped" + server.content[2007:]
    refused(tmp_path / "yolo11m.pt", "the server sent a damaged file: ")
    server.content = b"PK\3\4 and so on"
    refused(tmp_path / "yolo11m.pt", "the server sent a damaged file: ")
    assert [*tmp_path.iterdir()] == []


def test_what_is_not_there_is_asked_for_once(server: Server, tmp_path: Path) -> None:
    server.faults = [404]
    refused(tmp_path / "yolov8n.pt", ".*404")
    assert len(server.ranges) == 1
    assert [*tmp_path.iterdir()] == []


def test_a_server_that_always_breaks_off_ends_the_run_and_what_came_is_kept(server: Server, tmp_path: Path) -> None:
    server.faults, server.resumes = ["cut"] * 9, False
    with pytest.raises(
        UserError, match=r"cut off after \d+ of \d+ bytes.*yolov8n\.pt\.partial is kept, and the next run"
    ):
        ensure_weights(tmp_path / "yolov8n.pt")
    assert len(server.ranges) == downloads.TRIES
    assert [*tmp_path.iterdir()] == [tmp_path / "yolov8n.pt.partial"]


def test_without_network_the_message_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official, "SAM_ADDRESS", "http://127.0.0.1:9/")  # nobody listens there
    began = time.monotonic()
    refused(tmp_path / "sam2.1_hiera_tiny.pt", ".*refused")
    assert time.monotonic() - began < 2
    assert [*tmp_path.iterdir()] == []


def test_a_wrong_name_is_found_before_anything_is_fetched(server: Server, tmp_path: Path) -> None:
    paths = [tmp_path / "sam2.1_hiera_large.pt", tmp_path / "yolov8nn.pt"]
    with pytest.raises(UserError, match=r"yolov8nn\.pt: no such weight file; did you mean yolov8n\.pt\?"):
        fetch_weights(paths, Session())
    assert server.ranges == []


@pytest.mark.parametrize("name", ["nope.pt", "best.pt", "sam.pt"])
def test_the_name_of_weights_of_ones_own_is_not_taken_for_a_misspelt_one(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such weight file; only official ones are downloaded"):
        fetch_weights([tmp_path / name], Session())


@pytest.mark.slow
def test_two_runs_that_want_the_same_file_fetch_it_once(server: Server, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from models import downloads; from utils.config import official;"
        "official.YOLO_ADDRESS, official.SHA256 = sys.argv[1], {}; downloads.ensure_weights(Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, server.address, str(tmp_path / "yolo11n.pt")]
    runs = [subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [run.wait(60) for run in runs] == [0, 0, 0]
    assert (tmp_path / "yolo11n.pt").read_bytes() == server.content
    assert [*tmp_path.iterdir()] == [tmp_path / "yolo11n.pt"]
    assert len(server.ranges) == 1


def test_what_is_no_regular_file_is_no_weight_file(tmp_path: Path) -> None:
    (tmp_path / "yolov8n.pt").mkdir()
    with pytest.raises(UserError, match=r"yolov8n\.pt: not a regular file"):
        ensure_weights(tmp_path / "yolov8n.pt")


def test_official_files_come_from_their_publishers_and_have_a_home() -> None:
    assert address_of("yolov8x.pt") == "https://github.com/ultralytics/assets/releases/download/v8.4.0/yolov8x.pt"
    sam = "https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_large.pt"
    assert address_of("sam2.1_hiera_large.pt") == address_of("sam2.1_hiera_l.pt") == sam
    sam = "https://dl.fbaipublicfiles.com/segment_anything_2/072824/sam2_hiera_tiny.pt"
    assert address_of("sam2_hiera_tiny.pt") == sam
    assert address_of("mine.pt") is home_of("mine.pt") is None
    for name in (*OFFICIAL_YOLO, *OFFICIAL_SAM):
        home = home_of(name)
        assert home is not None and home.name == name and home.parents[1] in (REPOSITORY / "yolo", REPOSITORY / "sam")
    assert home_of("yolov8x.pt") == REPOSITORY / "yolo/yolov8/yolov8x.pt"
    assert home_of("sam2.1_hiera_tiny.pt") == REPOSITORY / "sam/sam2.1/sam2.1_hiera_tiny.pt"


def test_the_names_are_those_that_ultralytics_fetches_itself() -> None:
    from models.ultralytics_quiet import quiet_ultralytics

    quiet_ultralytics()
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

    assert set(OFFICIAL_YOLO) <= GITHUB_ASSETS_NAMES
    kinds = re.compile(
        r"yolo(v\d+|\d+)[a-z]?(-spp|-tiny)?6?u?(-seg|-pose|-obb|-oiv7|-world|-worldv2)?\.pt|rtdetr-.\.pt"
    )
    assert {name for name in GITHUB_ASSETS_NAMES if kinds.fullmatch(name)} == set(OFFICIAL_YOLO)


def test_digests_are_those_of_official_names() -> None:
    assert set(official.SHA256) <= {published_name(name) for name in (*OFFICIAL_YOLO, *OFFICIAL_SAM)}
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in official.SHA256.values())
    assert len(set(official.SHA256.values())) == len(official.SHA256)
    assert all(published_name(name) in official.SHA256 for name in OFFICIAL_SAM)


def test_every_official_sam_has_a_config_that_can_be_read() -> None:
    from models.sam2_config import read_sam_config

    assert all(read_sam_config(config)["image_size"] == 1024 for config in OFFICIAL_SAM.values())
