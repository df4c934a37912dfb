"""Fake trees of control groups, as Linux shows them to a process."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from utils import cores
from utils.cores import cpu_quota, limit_threads, usable_cores
from utils.io.writers import Writers


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six of 64 cores, no control groups, no number of threads set."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 7, 8, 9, 12, 13}, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr(cores, "CONTROL_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "OWN_GROUPS", tmp_path / "own")
    for name in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "")  # so that it is put back, whoever sets it
        monkeypatch.delenv(name)


def groups(tmp_path: Path, own: str, files: dict[str, str]) -> None:
    (tmp_path / "own").write_text(own)
    for name, content in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_only_cores_that_this_process_may_run_on_count_and_processes_of_a_machine_share_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert usable_cores() == 6
    with Writers() as writers:
        assert writers._pool._max_workers == 6
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert usable_cores() == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert usable_cores() == 1
    monkeypatch.delattr("os.sched_getaffinity")  # not on macOS and Windows
    assert usable_cores() == 4


V1 = "9:name=systemd:/\n4:cpu,cpuacct:/docker/8f/\n3:memory:/docker/8f\n"


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2.5),  # docker run --cpus 2.5 with a name space of its own
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/user.slice/run.scope\n", {"user.slice/cpu.max": "150000 50000\n", "user.slice/run.scope/x": ""}, 3),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "100000 100000"}, 1),  # the tightest holds
        ("0::/../x\n", {"cpu.max": "200000 100000"}, 2),
        (V1, {"cpu/docker/8f/cpu.cfs_quota_us": "50000", "cpu/docker/8f/cpu.cfs_period_us": "100000"}, 0.5),
        (V1, {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),  # the path is the machine's
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ("damaged", {"cpu.max": "100000 100000"}, math.inf),
        ("0::/\n", {"cpu.max": "100000 0"}, math.inf),
    ],
)
def test_the_quota_of_a_container_is_that_of_its_groups(
    tmp_path: Path, own: str, files: dict[str, str], quota: float
) -> None:
    groups(tmp_path, own, files)
    assert cpu_quota() == quota
    assert usable_cores() == max(1, math.ceil(min(6, quota)))


def test_threads_follow_a_quota_unless_somebody_has_set_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_threads()
    assert "OMP_NUM_THREADS" not in os.environ  # no quota
    groups(tmp_path, "0::/\n", {"cpu.max": "250000 100000"})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    limit_threads()
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert os.environ["OPENCV_FOR_THREADS_NUM"] == "3"
