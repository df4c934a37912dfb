from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from datasets.folder import ImageFolder
from datasets.loading import PREFETCH, Batches, Images, open_images
from datasets.video import ClipFolder, Clips
from datasets.video_file import VideoFile
from tests.helpers.clips import FASTSTART, index_of, painted, write_frames, write_video
from utils.cli.parsers import parse
from utils.config.official import REPOSITORY
from utils.distributed import Session
from utils.errors import SampleError, UserError
from utils.structures import Frame, Sample


def images_of(sources: Sequence[Path], batch_size: int = 4, num_workers: int = 2) -> Images:
    folder = ClipFolder(sources)
    return Images(Clips(folder, folder.clips), batch_size, num_workers)


def batches_of(sources: Sequence[Path], batch_size: int = 4, num_workers: int = 2) -> Batches:
    return images_of(sources, batch_size, num_workers).batches()


def shown(entry: Sample | SampleError) -> tuple[Frame | None, int] | str:
    """A frame's place and what is painted on it, or what is wrong with it."""
    return entry.reason if isinstance(entry, SampleError) else (entry.frame, index_of(entry.image))


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Three clips of 6, 5 and 3 frames."""
    write_frames(tmp_path / "in" / "clip10", range(8, 14), "frame{}.png")
    write_video(tmp_path / "in" / "clip9.MP4", map(painted, range(5)))
    write_frames(tmp_path / "in" / "deep" / "er", range(3), "{:03}.bmp")
    (tmp_path / "in" / "notes.txt").write_text("no clip")
    write_frames(tmp_path / "in" / ".hidden", [0])
    return tmp_path / "in"


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_batches_are_of_one_clip_and_frames_in_natural_order(sources: Path, num_workers: int) -> None:
    images = images_of([sources], 4, num_workers)
    batches = images.batches()
    assert (
        images.ids
        == batches.ids
        == [
            *(f"clip9/00000{i}" for i in range(5)),
            *(f"clip10/frame{i}" for i in range(8, 14)),
            *(f"deep/er/00{i}" for i in range(3)),
        ]
    )
    assert [*images.units] == [range(5), range(5, 11), range(11, 14)]
    assert batches.num_images == 14
    found = list(batches)
    assert [len(batch) for batch in found] == [4, 1, 4, 2, 3]
    assert [[shown(entry) for entry in batch] for batch in found] == [
        [(Frame("clip9", i, 5), i) for i in range(4)],
        [(Frame("clip9", 4, 5), 4)],
        [(Frame("clip10", i, 6), 8 + i) for i in range(4)],
        [(Frame("clip10", i, 6), 8 + i) for i in range(4, 6)],
        [(Frame("deep/er", i, 3), i) for i in range(3)],
    ]
    samples = [sample for batch in found for sample in batch]
    assert [sample.image_id for sample in samples] == batches.ids
    assert [sample.path for sample in samples] == images.paths
    assert images.paths[0] == sources / "clip9.MP4"
    again = [shown(entry) for batch in batches for entry in batch]
    assert again == [shown(entry) for entry in samples]


def test_two_processes_share_clips(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = av.open
    whole = [[shown(entry) for entry in batch] for batch in batches_of([sources])]
    dealt = []
    for rank in range(2):
        images = images_of([sources])
        share = images.batches(Session(rank, 2).own_share(images.units))
        monkeypatch.setattr(av, "open", lambda path, **how: opened.append(path) or real(path, **how))
        dealt.append([[shown(entry) for entry in batch] for batch in share])
        monkeypatch.undo()
        assert len({*opened}) == 1  # a clip that is left out is not decoded
    assert dealt == [[*whole[:2], whole[4]], whole[2:4]]


def test_read_ahead_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size, count, most = 2, 30, 0
    path = write_video(tmp_path / "a.mp4", map(painted, range(count)))
    live: set[int] = set()
    real = VideoFile.frame

    def counted(self: VideoFile, index: int) -> np.ndarray:
        nonlocal most
        image = real(self, index)
        live.add(index)
        weakref.finalize(image, live.discard, index)
        most = max(most, len(live))
        return image

    monkeypatch.setattr(VideoFile, "frame", counted)
    seen = 0
    for batch in batches_of([path], size, 2):
        seen += len(batch)
        del batch
    assert seen == count
    assert most <= size * (PREFETCH + 2)


def test_frames_of_unsupported_formats_are_noted(tmp_path: Path) -> None:
    write_frames(tmp_path / "c", [1, 2])
    (tmp_path / "c" / "IMG_3.HEIC").write_bytes(b"a photograph")
    assert ClipFolder([tmp_path]).unread == [tmp_path / "c" / "IMG_3.HEIC"]


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".APNG"])
def test_animations_among_clips_are_told_and_still_images_are_not(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    still, *more = [Image.fromarray(painted(index)) for index in range(3)]
    kind = {".APNG": "PNG"}.get(suffix)
    for name, others in (("moving", more), ("still", [])):
        (tmp_path / name).mkdir()
        still.save(tmp_path / name / f"a{suffix}", kind, save_all=True, append_images=others)
    options = parse("visual", None, ["-c", str(REPOSITORY / "config.json"), "--video", "-s", str(tmp_path)])
    assert open_images(options, Session()).ids == ["moving/a", "still/a"]
    (line,) = capsys.readouterr().err.splitlines()
    assert "only the first frame counts: 1, such as " in line and f"moving/a{suffix}; ffmpeg -i a{suffix} a.mp4" in line


def test_folders_of_outputs_are_no_clips(tmp_path: Path) -> None:
    write_frames(tmp_path / "walk", [2, 3])
    write_frames(tmp_path / "out" / "overlays" / "walk", [2, 3])
    write_video(tmp_path / "out" / "overlays" / "film.mp4", [painted(0)])
    (tmp_path / "out" / "voc" / "SegmentationClass").mkdir(parents=True)
    clips = ClipFolder([tmp_path], [tmp_path / "out" / "overlays", tmp_path / "out" / "voc"])
    assert clips.ids == ["walk/2", "walk/3"]  # nor is the folder around them an empty one
    assert clips.left_out == {tmp_path / "out" / "overlays": 3}


def test_a_clip_has_one_name_by_whichever_folder_it_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of frames are given by themselves, all at once by the one around them, or frame by frame."""
    walk, run = write_frames(tmp_path / "walk", [2, 10, 9]), write_frames(tmp_path / "run", [2, 3])
    write_frames(walk / "back", [3])
    write_video(walk / "film.mp4", [painted(0)])
    (walk / "empty").mkdir()
    clips = ClipFolder([tmp_path])
    assert list(clips.clips) == ["run", "walk", "walk/back", "walk/empty", "walk/film"]
    assert clips.ids[:5] == ["run/2", "run/3", "walk/2", "walk/9", "walk/10"]
    monkeypatch.chdir(walk)
    for given in ([run, walk], [run, walk, *walk.glob("*.png")], [*sorted(run.glob("*.png")), Path()]):
        again = ClipFolder(given)
        assert (again.clips, again.ids) == (clips.clips, clips.ids)
    assert ClipFolder([*walk.glob("*.png")]).ids == ["walk/2", "walk/9", "walk/10"]


def test_a_video_that_is_found_under_two_names_is_two_clips(tmp_path: Path) -> None:
    write_video(tmp_path / "trip" / "day" / "a.mp4", map(painted, range(3)))
    found = [shown(entry) for batch in batches_of([tmp_path, tmp_path / "trip"]) for entry in batch]
    assert found == [(Frame(clip, i, 3), i) for clip in ("trip/day/a", "day/a") for i in range(3)]


def test_broken_clips_are_reported_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.v2").mkdir()
    write_frames(tmp_path / "b", range(4))
    (tmp_path / "b" / "1.png").write_bytes(b"nothing")
    whole = write_video(tmp_path / "c.mp4", map(painted, range(6))).read_bytes()
    (tmp_path / "c.mp4").write_bytes(whole[: whole.index(b"moov")])
    (tmp_path / "d.mkv").touch()
    cut = write_video(tmp_path / "e.mp4", map(painted, range(6)), options={"qp": "0", "bf": "0"}, container=FASTSTART)
    cut.write_bytes(cut.read_bytes()[:-10])
    (tmp_path / "f.avi").write_bytes(bytes(3000))
    write_video(tmp_path / "g.mp4", map(painted, range(2)))
    entries = [entry for batch in batches_of([tmp_path], 3) for entry in batch]
    failed = {entry.image_id: entry for entry in entries if isinstance(entry, SampleError)}
    assert list(failed) == ["a.v2/000000", "b/1", "c/000000", "d/000000", "e/000005", "f/000000"]
    assert str(failed["a.v2/000000"]) == f"{tmp_path / 'a.v2'}: the folder holds no frames"
    assert str(failed["c/000000"]).startswith(f"{tmp_path / 'c.mp4'}: no video, or one that breaks off")
    assert "breaks off" in failed["e/000005"].reason
    places = [entry.frame for entry in entries if isinstance(entry, Sample)]
    assert places == [
        *(Frame("b", i, 4) for i in (0, 2, 3)),
        *(Frame("e", i, 6) for i in range(5)),
        *(Frame("g", i, 2) for i in range(2)),
    ]
    assert images_of([tmp_path]).sizes([0, 1, 2, 5, 7, 12]) == [None, (24, 32), None, None, (24, 32), (24, 32)]


def test_frames_of_another_size_than_the_first_usable_one(tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "a", range(6))
    (clip / "0.png").write_bytes(b"nothing")
    write_frames(clip, [3, 5], height=20)
    write_frames(tmp_path / "b", [0], height=20)
    entries = [entry for batch in batches_of([tmp_path], 2) for entry in batch]
    wrong = [entry.image_id for entry in entries if isinstance(entry, SampleError)]
    assert wrong == ["a/0", "a/3", "a/5"]
    assert entries[3].reason == "the frame has 32x20 pixels, its clip's first one 32x24"
    assert [entry.frame.index for entry in entries if isinstance(entry, Sample)] == [1, 2, 4, 0]


def test_one_name_for_two_clips_is_refused(tmp_path: Path) -> None:
    write_frames(tmp_path / "walk", [0])
    write_video(tmp_path / "walk.mp4", [painted(0)])
    with pytest.raises(UserError, match=r"must be unique:\n  walk: one id, several files: .*walk\.mp4, .*walk$"):
        ClipFolder([tmp_path])
    write_frames(tmp_path / "walk", [0], "{}.bmp")
    with pytest.raises(UserError, match=r"walk/0: one id, several files: .*0\.bmp, .*0\.png"):
        ClipFolder([tmp_path / "walk", tmp_path])


@pytest.mark.parametrize(("name", "message"), [("gone", "no such file"), ("empty", "no clip"), ("a.txt", "no clip")])
def test_source_without_clips_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match=f"{name}: {message}"):
        ClipFolder([tmp_path / name])


@pytest.mark.parametrize("name", ["", "a.mp4"])
def test_video_without_the_option_says_which(tmp_path: Path, name: str) -> None:
    write_video(tmp_path / "a.mp4", [painted(0)])
    with pytest.raises(UserError, match="no image here, but video; --video takes it"):
        ImageFolder([tmp_path / name])
