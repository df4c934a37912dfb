from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from utils.io.map_files import read_index_map, read_object_map


def saved(picture: Image.Image, folder: Path) -> Path:
    picture.save(folder / "a.png")
    return folder / "a.png"


@pytest.mark.parametrize("mode", ["P", "L"])
def test_index_map_keeps_its_indices(tmp_path: Path, mode: str) -> None:
    indices = np.random.default_rng(0).integers(0, 256, (9, 7), dtype=np.uint8)
    picture = Image.fromarray(indices)
    if mode == "P":
        picture.putpalette(np.random.default_rng(1).integers(0, 256, 768, dtype=np.uint8).tobytes())
    np.testing.assert_array_equal(read_index_map(saved(picture, tmp_path)), indices)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "1", "LA", "I;16"])
def test_other_pictures_are_no_index_maps(tmp_path: Path, mode: str) -> None:
    with pytest.raises(ValueError, match=f"its mode is {mode}, not P"):
        read_index_map(saved(Image.new(mode, (3, 3)), tmp_path))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_object_numbers_may_have_16_bits(tmp_path: Path, dtype: type) -> None:
    numbers = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (9, 7), dtype, endpoint=True)
    read = read_object_map(saved(Image.fromarray(numbers), tmp_path))
    np.testing.assert_array_equal(read, numbers)
    assert read.dtype == dtype


def test_a_photograph_is_no_object_map(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="its mode is RGB, not P"):
        read_object_map(saved(Image.new("RGB", (3, 3)), tmp_path))
