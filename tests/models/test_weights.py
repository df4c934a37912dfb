"""Checkpoints: fetched, loaded without running code, refused by name."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch

from models.ultralytics_quiet import quiet_ultralytics
from models.weights import address_of, describe_mismatch, ensure_weights, load_sam_state, load_yolo
from utils.config.official import OFFICIAL_SAM, OFFICIAL_YOLO
from utils.errors import UserError

LOADERS = (load_yolo, load_sam_state)


class RunsCode:
    """Unpickling it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.trace}'",)


@pytest.mark.parametrize("load", LOADERS)
def test_code_in_a_checkpoint_does_not_run_unless_trusted(load: Callable, tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.pt"
    torch.save({"model": RunsCode(trace)}, path)
    with pytest.raises(UserError, match=r"evil\.pt: refused.*would run code \((posix|nt)\.system\); --trust-weights"):
        load(path)
    assert not trace.exists()
    with pytest.raises(UserError, match=r"evil\.pt: not a"):
        load(path, trust=True)
    assert trace.exists()


def test_where_torch_is_too_old_for_safe_loading_yolo_is_refused(
    yolo_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.serialization, "get_unsafe_globals_in_checkpoint")
    with pytest.raises(UserError, match=r"random\.pt: torch .* cannot load it safely"):
        load_yolo(yolo_file)


def test_half_precision_weights_load_in_float32(yolo_file: Path) -> None:
    model = load_yolo(yolo_file)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    stored = torch.load(yolo_file, weights_only=False)["model"]
    assert {parameter.dtype for parameter in stored.parameters()} == {torch.float16}
    assert all(torch.equal(a.float(), b) for a, b in zip(stored.parameters(), model.parameters()))


def zipped(files: dict[str, str]) -> bytes:
    """A zip archive of these."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def damaged(kind: str, whole: bytes) -> bytes:
    """A checkpoint that is no good any more, or never was one."""
    middle = len(whole) // 2
    return {
        "truncated": whole[:middle],
        "empty": b"",
        "text": b"not a checkpoint",
        "overwritten": whole[:40] + bytes(2000) + whole[2040:],
        "archive": zipped({"notes/hello.txt": "hello"}),
        "hollow": zipped({"hollow/data.pkl": "", "hollow/version": "3"}),
    }[kind]


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "overwritten", "archive", "hollow"])
def test_damaged_and_foreign_files_are_refused_by_name(
    load: Callable, kind: str, tmp_path: Path, yolo_file: Path
) -> None:
    path = tmp_path / f"{kind}.pt"
    path.write_bytes(damaged(kind, yolo_file.read_bytes()))
    with pytest.raises(UserError, match=rf"{kind}\.pt: (truncated|cannot be loaded)"):
        load(path)


@pytest.mark.parametrize(
    "content", [[1, 2], {}, {"state": 1}, torch.nn.Linear(2, 2), {"model": torch.nn.Linear(2, 2)}, {"model": {"a": 1}}]
)
@pytest.mark.parametrize("load", LOADERS)
def test_checkpoints_of_something_else_are_refused(load: Callable, content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other\.pt: "):
        load(tmp_path / "other.pt", trust=True)


def test_each_loader_refuses_the_others_checkpoints(tmp_path: Path, yolo_file: Path) -> None:
    sam = tmp_path / "sam.pt"
    torch.save({"model": {"weight": torch.ones(2)}}, sam)
    assert torch.equal(load_sam_state(sam)["weight"], torch.ones(2))
    with pytest.raises(UserError, match=r"sam\.pt: not a YOLO checkpoint: it holds the keys model"):
        load_yolo(sam)
    with pytest.raises(UserError, match=r"random\.pt: (holds a YOLO model|not a SAM2 checkpoint)"):
        load_sam_state(yolo_file)


@pytest.mark.parametrize("kind, head", [("cls", "Classify"), ("pose", "Pose"), ("obb", "OBB"), ("seg", "Segment")])
def test_only_detectors_are_taken(kind: str, head: str, tmp_path: Path) -> None:
    quiet_ultralytics()
    from ultralytics import YOLO

    path = tmp_path / f"{kind}.pt"
    torch.save({"model": YOLO(f"yolov8n-{kind}.yaml").model.half()}, path)
    with pytest.raises(UserError, match=rf"{kind}\.pt: its model is no detector: it ends in {head}"):
        load_yolo(path)


def test_a_mismatch_says_what_differs() -> None:
    expected = {name: torch.zeros(2, 3) for name in "abcdef"}
    state = {"a": torch.zeros(2, 3), "b": torch.zeros(3, 2), "x": torch.zeros(1)}
    text = describe_mismatch(state, expected)
    assert "4 missing (c, d, e, ...)" in text
    assert "1 unexpected (x)" in text
    assert "1 of another shape (b (3, 2) instead of (2, 3))" in text
    assert describe_mismatch(expected, expected) == ""


def test_official_files_come_from_their_publishers() -> None:
    assert address_of("yolov8x.pt") == "https://github.com/ultralytics/assets/releases/download/v8.3.0/yolov8x.pt"
    sam = "https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_large.pt"
    assert address_of("sam2.1_hiera_large.pt") == address_of("sam2.1_hiera_l.pt") == sam
    assert all(address_of(name) for name in (*OFFICIAL_YOLO, *OFFICIAL_SAM))
    assert address_of("mine.pt") is None


@pytest.fixture
def publisher(yolo_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A local server that has yolov8n.pt whole, and closes the connection in the middle of any other file."""

    class Publisher(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = yolo_file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if self.path.endswith("yolov8n.pt") else content[: len(content) // 2])

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Publisher) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr("models.weights.YOLO_ADDRESS", f"http://127.0.0.1:{server.server_port}/")
        yield
        server.shutdown()


@pytest.mark.usefixtures("publisher")
def test_missing_official_weights_are_downloaded(
    tmp_path: Path, yolo_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "yolov8n.pt"
    assert load_yolo(path).names[0] == "car"
    assert path.read_bytes() == yolo_file.read_bytes()
    assert list(path.parent.iterdir()) == [path]
    output = capsys.readouterr()
    assert "downloading http" in output.out
    assert "100%" in output.err


@pytest.mark.usefixtures("publisher")
def test_a_download_that_was_cut_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"yolov8s\.pt: missing.*cut off; put a copy of http.*/yolov8s\.pt there"):
        ensure_weights(tmp_path / "yolov8s.pt")
    assert list(tmp_path.iterdir()) == []


def test_without_network_the_message_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.weights.SAM_ADDRESS", "http://127.0.0.1:9/")  # nobody listens there
    with pytest.raises(UserError, match=r"tiny\.pt: missing, and cannot be downloaded: .*refused.*put a copy of http"):
        ensure_weights(tmp_path / "sam2.1_hiera_tiny.pt")
    assert list(tmp_path.iterdir()) == []


def test_other_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.pt: no such weight file"):
        load_yolo(tmp_path / "mine.pt")
