"""SAM2 weights in every form that people have: bare, wrapped, 16 and 64 bits, safetensors, whole models."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from models.sam2_build import build_sam2, load_sam2, load_sam_state
from utils.errors import UserError

REPOSITORY = Path(__file__).parents[2]
DEMO_CONFIG = str(REPOSITORY / "sam/sam2.1/sam2.1_hiera_demo.yaml")


@pytest.fixture(scope="module")
def sam_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return build_sam2(DEMO_CONFIG).state_dict()


WRAPPED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "official": lambda state: {"model": state},
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "trainer": lambda state: {"model": state, "optimizer": {"state": {}}, "epoch": 3, "loss": {}, "steps": {}},
    "lightning": lambda state: {"state_dict": {f"sam2_model.{name}": each for name, each in state.items()}, "epoch": 3},
    "averaged": lambda state: {"ema": {"model": {f"module.model.{name}": each for name, each in state.items()}}},
    "averaged beside the last": lambda state: {
        "model": {name: each * 0 for name, each in state.items()},
        "ema": {"module": state, "updates": 3},
    },
    "not averaged": lambda state: {"ema": None, "model": state},
    "another trainer's": lambda state: {"model_state_dict": state, "optimizer_state_dict": {}},
    "parallel": lambda state: {"model": {f"module.{name}": each for name, each in state.items()}},
    "compiled": lambda state: {f"_orig_mod.{name}": each for name, each in state.items()},
    "both": lambda state: {f"module._orig_mod.{name}": each for name, each in state.items()},
    "half": lambda state: {"model": {name: each.half() for name, each in state.items()}},
    "bfloat16": lambda state: {"model": {name: each.bfloat16() for name, each in state.items()}},
    "double": lambda state: {"model": {name: each.double() for name, each in state.items()}},
    "parameters": lambda state: {name: torch.nn.Parameter(each) for name, each in state.items()},
}


@pytest.mark.parametrize("form, name", [*((form, "mine.pt") for form in WRAPPED), ("bare", "my.pth"), ("bare", "my")])
def test_sam2_files_load_in_every_form(form: str, name: str, sam_state: dict[str, Any], tmp_path: Path) -> None:
    torch.save(WRAPPED[form](sam_state), tmp_path / name)
    check_sam(tmp_path / name, sam_state, {"half": 1e-3, "bfloat16": 1e-2}.get(form, 0))


def check_sam(path: Path, state: dict[str, torch.Tensor], error: float) -> None:
    model = load_sam2(DEMO_CONFIG, path, torch.device("cpu"))
    assert {each.dtype for each in model.parameters()} == {torch.float32}
    for name, found in model.state_dict().items():
        torch.testing.assert_close(found, state[name], rtol=error, atol=error)


def test_the_old_form_of_torch_save_loads(sam_state: dict[str, Any], tmp_path: Path) -> None:
    torch.save({"model": sam_state}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    check_sam(tmp_path / "old.pth", sam_state, 0)


@pytest.mark.skipif(find_spec("safetensors") is None, reason="no safetensors")
@pytest.mark.parametrize("name", ["mine.safetensors", "mine.pt"])
def test_safetensors_load_by_content(name: str, sam_state: dict[str, Any], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({key: each.contiguous().clone() for key, each in sam_state.items()}, tmp_path / name)
    check_sam(tmp_path / name, sam_state, 0)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:90000])
    with pytest.raises(UserError, match=rf"{name}: cannot be loaded"):
        load_sam_state(tmp_path / name)


def test_without_its_package_safetensors_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}" + bytes(90))
    monkeypatch.setattr("models.checkpoints.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"mine\.safetensors: safetensors, which needs a package: pip install safetensors"
    ):
        load_sam_state(tmp_path / "mine.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_sam2_weights_that_are_not_finite_are_refused_by_name(
    value: float, sam_state: dict[str, Any], tmp_path: Path
) -> None:
    state = {name: each.double().clone() for name, each in sam_state.items()}
    state["maskmem_tpos_enc"].flatten()[3] = value
    torch.save({"model": state}, tmp_path / "nan.pt")
    with pytest.raises(UserError, match=r"nan\.pt: its tensor maskmem_tpos_enc holds NaN or infinite numbers"):
        load_sam2(DEMO_CONFIG, tmp_path / "nan.pt", torch.device("cpu"))


@pytest.mark.parametrize("wrap", [lambda model: model, torch.nn.DataParallel, torch.compile])
def test_whole_models_are_refused_and_load_when_trusted(
    wrap: Callable, sam_state: dict[str, Any], tmp_path: Path
) -> None:
    model = build_sam2(DEMO_CONFIG)
    model.load_state_dict(sam_state)
    torch.save(wrap(model), tmp_path / "whole.pt")
    with pytest.raises(
        UserError, match=r"whole\.pt: refused, since loading it would run code .*--trust-weights lets it"
    ):
        load_sam_state(tmp_path / "whole.pt")
    state = load_sam_state(tmp_path / "whole.pt", trust=True)
    assert all(torch.equal(state[name], each) for name, each in sam_state.items())


def test_a_whole_model_of_a_package_that_is_missing_is_not_to_be_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("my_lab")
    kind = type("MySam", (torch.nn.Linear,), {"__module__": "my_lab"})
    module.MySam = kind
    monkeypatch.setitem(sys.modules, "my_lab", module)
    torch.save({"model": kind(2, 2)}, tmp_path / "lab.pt")
    monkeypatch.undo()
    for trust in (False, True):
        with pytest.raises(
            UserError, match=r"lab\.pt: it needs my_lab\.MySam, which is not installed here; .* save"
        ) as told:
            load_sam_state(tmp_path / "lab.pt", trust=trust)
        assert "--trust-weights" not in str(told.value)
