"""SAM2 configs: the official ones build what Hydra builds, and nothing in any yaml runs code or reads further files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from models.sam2_build import build_sam2
from models.sam2_config import PARTS, read_sam_config
from utils.errors import UserError

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "sam/sam2.1/sam2.1_hiera_demo.yaml"


def package() -> Path:
    import sam2

    return Path(sam2.__path__[0])


OFFICIAL = [
    *(f"configs/sam2.1/sam2.1_hiera_{size}.yaml" for size in ("t", "s", "b+", "l")),
    *(f"configs/sam2/sam2_hiera_{size}.yaml" for size in ("t", "s", "b+", "l")),
    *(f"sam2_hiera_{size}.yaml" for size in ("t", "s", "b+", "l")),
    "configs/sam2.1/sam2.1_hiera_t",
    str(DEMO),
]


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_configs_are_read_as_hydra_reads_them(name: str) -> None:
    import sam2  # noqa: F401
    from hydra import compose
    from omegaconf import OmegaConf

    node = OmegaConf.load(name) if Path(name).is_file() else compose(config_name=name)
    assert read_sam_config(name) == OmegaConf.to_container(node, resolve=True)["model"]


@pytest.mark.parametrize("name", ["configs/sam2.1/sam2.1_hiera_t.yaml", str(DEMO)])
def test_a_model_is_the_one_that_hydra_builds(name: str) -> None:
    from hydra import compose
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    node = OmegaConf.load(name) if Path(name).is_file() else compose(config_name=name)
    torch.manual_seed(0)
    expected = instantiate(node.model, _recursive_=True).state_dict()
    torch.manual_seed(0)
    found = build_sam2(name).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_every_part_is_a_class_of_sam2() -> None:
    from importlib import import_module

    for name in PARTS:
        module, _, own = name.rpartition(".")
        part = getattr(import_module(module), own)
        assert isinstance(part, type) and f"{part.__module__}.{part.__name__}" == name


def demo_with(old: str, new: str) -> str:
    text = DEMO.read_text("utf-8")
    assert old in text
    return text.replace(old, new, 1)


SAM2_BASE = "_target_: sam2.modeling.sam2_base.SAM2Base"
TRUNK = "_target_: sam2.modeling.backbones.hieradet.Hiera"
CALLS = [
    "os.system",
    "builtins.eval",
    "sam2.build_sam.os.system",
    "sam2.build_sam.torch.hub.load",
    "sam2.build_sam.torch.load",
    "sam2.build_sam.build_sam2",
    "sam2.build_sam.instantiate",
    "sam2.modeling.sam2_base.torch.load",
    "sam2.modeling.backbones.hieradet.g_pathmgr.open",
    "sam2.modeling.sam2_base.SAM2Base.load_state_dict",
    "models.sam2_video.VideoModel",
    "torch.nn.Linear",
    "[sam2.modeling.sam2_base.SAM2Base]",
    "null",
    "7",
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("place", [SAM2_BASE, TRUNK])
def test_nothing_but_parts_of_sam2_is_called(call: str, place: str, tmp_path: Path) -> None:
    refuse(
        tmp_path, demo_with(place, f"_target_: {call}"), "_target_: .* is not a (part of a )?SAM2 model; it is not run"
    )


def refuse(folder: Path, text: str | bytes, reason: str) -> None:
    path = folder / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    began = time.process_time()
    with pytest.raises(UserError, match=rf"mine\.yaml: .*{reason}"):
        build_sam2(str(path))
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "old, new, reason",
    [
        (TRUNK, f"{TRUNK}\n      weights_path: /tmp/evil.pt", "weights come from arch.sam_weights alone"),
        (TRUNK, f"{TRUNK}\n      norm_layer: Module", "takes no text such as 'Module'; write LayerNorm"),
        (TRUNK, f"{TRUNK}\n      _partial_: true", "_partial_: an instruction to Hydra"),
        (TRUNK, f"{TRUNK}\n      _args_: [1]", "_args_: an instruction to Hydra"),
        (TRUNK, f"{TRUNK}\n      _recursive_: false", "_recursive_: an instruction to Hydra"),
        (TRUNK, f"{TRUNK}\n      _convert_: all", "_convert_: an instruction to Hydra"),
        (TRUNK, f"{TRUNK}\n      1: 2", "1 is not the name of an argument"),
        (TRUNK, f"{TRUNK}\n      nonsense: 2", "sam2 cannot build a model.*nonsense"),
        ("activation: relu", "activation: __import__('os').system('true')", "takes no text.*write relu or gelu or glu"),
        ("activation: relu", "activation: ${oc.env:HOME}", "references are not followed"),
        ("activation: relu", "activation: {_target_: torch.nn.ReLU}", "torch.nn.ReLU is not a part"),
        ("num_maskmem: 7", "num_maskmem: ${model.image_size}", "references are not followed"),
        ("num_maskmem: 7", "7: num_maskmem", "7 is not the name of an argument"),
        ("num_maskmem: 7", "num_maskmem: .nan", "nan is not a plain number"),
        ("num_maskmem: 7", "num_maskmem: 2026-01-01", "takes no text|not a plain"),
        ("num_maskmem: 7", "num_maskmem: !!python/object/apply:os.system [touch trace]", "not a readable yaml config"),
        (
            "num_maskmem: 7",
            "num_maskmem: !!python/object/apply:pathlib.Path [x]",
            "not a (plain|readable)|takes no text",
        ),
        ("embed_dim: 32", "embed_dim: 1000000000000", "is larger than any SAM2 has it"),
        ("num_layers: 2", "num_layers: 100000", "is larger than any SAM2 has it"),
        ("stages: [1, 2, 4, 1]", "stages: [1, 2, 100000, 1]", "more layers than any SAM2 has"),
        ("model:", "defaults: [/etc/x]\nmodel:", "defaults: other files are not read"),
        ("model:", "other: &a [1]\nagain: *a\nmodel:", r"aliases \(\*name\) are not read"),
    ],
)
def test_tricks_are_refused_by_place(old: str, new: str, reason: str, tmp_path: Path) -> None:
    refuse(tmp_path, demo_with(old, new), reason)
    assert not Path("trace").exists()


def test_files_that_would_take_for_ever_are_refused_at_once(tmp_path: Path) -> None:
    laughs = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
    refuse(tmp_path, laughs, "aliases")
    refuse(tmp_path, b"x" * 2**21, "larger than")
    refuse(tmp_path, b"\xff\xfe\x00", "not a readable yaml")
    refuse(tmp_path, b"model: " + b"[" * 50_000, "more than 500 brackets")
    refuse(tmp_path, b"- " * 3_000, "not a readable yaml")
    refuse(tmp_path, b"? " * 3_000, "not a readable yaml")
    refuse(tmp_path, demo_with("num_maskmem: 7", "num_maskmem: " + "[" * 40 + "]" * 40), "nested too deeply")
    refuse(tmp_path, "model: 3", "no section `model`")
    refuse(tmp_path, "", "no section `model`|not a readable yaml")


def test_names_do_not_leave_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where these names mean no file
    outside = package().parent / "omegaconf"
    assert outside.is_dir()
    for name in ("../../etc/passwd", "configs/../../x.yaml", str(package()), "configs", "/dev/zero", "a\x00b"):
        with pytest.raises(UserError, match=r"neither a file nor a config of the sam2 package"):
            read_sam_config(name)


@pytest.mark.parametrize(
    "content", ["", "3", "2.5", "true", "null", "2026-11-28", "text", "- a", "? a", "!!binary aGk=", "---\n---\n"]
)
def test_a_yaml_of_anything_but_a_mapping_is_no_config(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(UserError, match=r"a\.yaml"):
        read_sam_config(str(tmp_path / "a.yaml"))
