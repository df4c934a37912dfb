"""OpenVINO's encoder against the official predictor; its cache, in which nothing is ever half; what is refused."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models import sam2_openvino
from models.loading import Predictor
from models.sam2_build import build_sam2
from models.sam2_openvino import cache_folder, cache_key, cached_graph, encode_by_openvino, import_openvino
from models.sam2_prepare import simplify
from tests.helpers.track import write_demo_config
from tests.models.test_segmenter import DEMO_CONFIG, assert_official, pictures, random_boxes, random_model
from utils.errors import UserError

CPU = torch.device("cpu")
REPOSITORY = Path(__file__).parents[2]
SIDE = 32


@pytest.fixture(scope="module")
def core() -> object:
    return pytest.importorskip("openvino").Core()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache, one of its own for each test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache_folder()


class OneLevel(nn.Module):
    """The least that looks like an encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 1)

    def forward(self, images: torch.Tensor) -> dict[str, list[torch.Tensor]]:
        return {"backbone_fpn": [self.layer(images)]}


def assert_runs(core: object, graph: object, encoder: OneLevel) -> None:
    image = torch.randn(1, 3, SIDE, SIDE)
    found = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(image.numpy())[0]
    np.testing.assert_allclose(found, encoder.layer(image).detach().numpy(), atol=1e-5)


def not_again(*args: object) -> None:
    raise AssertionError("converted again")


@pytest.mark.slow
def test_masks_equal_the_official_predictors_and_clips_get_the_same_features(core: object) -> None:
    model = random_model(DEMO_CONFIG, logit_scale=30, logit_shift=0.9)
    fast = deepcopy(model)
    simplify(fast)
    encode_by_openvino(fast, torch.float32, "random")
    coverage = assert_official(model, pictures(), random_boxes([4, 1, 0, 3]), fast)
    assert len(coverage) == 8
    assert 0.05 < np.median(coverage) < 0.6
    images = torch.rand(2, 3, model.image_size, model.image_size)
    with torch.inference_mode():
        theirs, ours = model.forward_image(images), fast.forward_image(images)
    for key in ("backbone_fpn", "vision_pos_enc"):
        for one, other in zip(theirs[key], ours[key], strict=True):
            torch.testing.assert_close(other, one, atol=1e-4, rtol=0)


def test_16_bits_err_no_more_than_torchs_or_are_refused_where_the_cpu_lacks_them(core: object) -> None:
    model = build_sam2(DEMO_CONFIG, 256)
    simplify(model)
    fast = deepcopy(model)
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(UserError, match="does not compute in bf16 on this CPU; choose --precision fp32, or segm"):
            encode_by_openvino(fast, torch.bfloat16, "random")
        return
    encode_by_openvino(fast, torch.bfloat16, "random")
    images = torch.rand(1, 3, 256, 256)
    with torch.inference_mode():
        exact, ours = (each.forward_image(images)["vision_features"] for each in (model, fast))
        with torch.autocast("cpu", torch.bfloat16):
            rough = model.forward_image(images)["vision_features"]
    assert 0 < (ours - exact).abs().mean() <= 1.1 * (rough - exact).abs().mean()


def test_an_encoder_is_converted_once(core: object, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = OneLevel().eval()
    assert_runs(core, cached_graph(core, cache, "one", encoder, SIDE), encoder)
    assert sorted(path.name for path in (cache / "one").iterdir()) == ["encoder.bin", "encoder.xml"]
    monkeypatch.setattr(sam2_openvino, "convert", not_again)
    assert_runs(core, cached_graph(core, cache, "one", encoder, SIDE), encoder)
    with pytest.raises(AssertionError, match="converted again"):
        cached_graph(core, cache, "another", encoder, SIDE)


def test_other_weights_sizes_versions_and_code_are_other_entries(monkeypatch: pytest.MonkeyPatch, core: object) -> None:
    keys = [cache_key("weights", 512), cache_key("others", 512), cache_key("weights", 1024)]
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.1")
    keys.append(cache_key("weights", 512))
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: "other code")
    keys.append(cache_key("weights", 512))
    assert len({*keys}) == 5


@pytest.mark.slow
@pytest.mark.parametrize("damaged", ["encoder.xml", "encoder.bin"])
def test_a_damaged_entry_is_made_again(core: Any, cache: Path, damaged: str) -> None:
    encoder = OneLevel().eval()
    cached_graph(core, cache, "one", encoder, SIDE)
    whole = (cache / "one" / damaged).read_bytes()
    (cache / "one" / damaged).write_bytes(whole[: len(whole) // 2])
    assert_runs(core, cached_graph(core, cache, "one", encoder, SIDE), encoder)
    assert_runs(core, core.read_model(cache / "one" / "encoder.xml"), encoder)


KILLED = """
import signal, sys, time
from pathlib import Path
from tests.models.test_sam2_openvino import OneLevel, SIDE
from models import sam2_openvino
openvino = sam2_openvino.import_openvino()
save = openvino.save_model
def half(graph, path, **settings):
    save(graph, path, **settings)
    path.with_suffix(".bin").unlink()
    print("half", flush=True)
    time.sleep(600)
openvino.save_model = half
sam2_openvino.cached_graph(openvino.Core(), Path(sys.argv[1]), "one", OneLevel().eval(), SIDE)
"""


@pytest.mark.slow
def test_what_a_killed_process_left_is_no_entry_and_disappears(core: object, cache: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(cache)], stdout=subprocess.PIPE, cwd=REPOSITORY)
    assert process.stdout is not None
    while b"half" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (cache / "one").exists() and (cache / ".one").exists()
    encoder = OneLevel().eval()
    assert_runs(core, cached_graph(core, cache, "one", encoder, SIDE), encoder)
    assert {path.name for path in cache.iterdir()} == {"one", ".one.lock"}


AT_ONCE = """
import sys
from pathlib import Path
from tests.models.test_sam2_openvino import OneLevel, SIDE
from models import sam2_openvino
cached = sam2_openvino.cached_graph
graph = cached(sam2_openvino.import_openvino().Core(), Path(sys.argv[1]), "one", OneLevel().eval(), SIDE)
print([list(each.shape) for each in graph.outputs])
"""


@pytest.mark.slow
def test_of_processes_that_start_at_once_one_converts(core: object, cache: Path) -> None:
    command = [sys.executable, "-c", AT_ONCE, str(cache)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) for _ in range(2)]
    printed = [process.communicate(timeout=240)[0] for process in both]
    assert all(text.endswith("[[1, 2, 32, 32]]\n") for text in printed)
    assert sum("converted in" in text for text in printed) == 1


@pytest.mark.slow
def test_without_a_folder_that_can_be_written_each_run_converts(
    core: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder, file = OneLevel().eval(), tmp_path / "file"
    file.touch()
    for _ in range(2):
        assert_runs(core, cached_graph(core, file / "cache", "one", encoder, SIDE), encoder)
        assert "cannot be written (" in capsys.readouterr().err


@pytest.mark.slow
def test_the_makers_of_openvino_are_told_nothing(run_alone: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    pytest.importorskip("openvino")
    told = "from models.sam2_openvino import import_openvino as i; i(); import sys; print(sys.modules[{!r}])"
    assert run_alone("-c", told.format("openvino_telemetry")).stdout == "None\n"


def test_without_the_package_it_is_refused_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"openvino is not installed; pip install -r requirements-openvino\.txt$"):
        import_openvino()
    with pytest.raises(UserError, match="is not installed"):
        Predictor("config.json", "segmenter.backend=openvino", device="cpu")


def test_torch_compiles_what_torch_runs() -> None:
    with pytest.raises(UserError, match=r"--compile on: torch compiles, and segmenter\.backend is openvino"):
        Predictor("config.json", "segmenter.backend=openvino", "segmenter.compile=on", device="cpu")


def test_where_auto_chose_openvino_and_it_fails_torch_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "openvino", None)
    Predictor("config.json", device="cpu")
    assert "openvino is not installed; pip install -r requirements-openvino.txt; going on with torch" in (
        capsys.readouterr().out
    )


@pytest.mark.slow
def test_a_run_says_that_it_uses_openvino(
    core: object, tmp_path: Path, run_alone: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    image = REPOSITORY / "datasets" / "demo" / "JPEGImages" / "val_00000.jpg"
    small = write_demo_config(tmp_path / "small.yaml", 256)
    settings = ("--set=segmenter.backend=openvino", f"--set=arch.sam_config={small}")
    options = ("--device=cpu", "--precision=fp32", *settings, "-o", str(tmp_path / "out"))
    run = run_alone("yolo_sam_visual.py", "--source", str(image), *options)
    assert run.returncode == 0, run.stderr
    assert "cpu fp32 OpenVINO" in run.stdout
    assert len([*(tmp_path / "out").rglob("*.jpg")]) == 1
