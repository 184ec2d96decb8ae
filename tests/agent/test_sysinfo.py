import os
from pathlib import Path

import pytest

from chamnet.errors import ConfigError
from chamnet.machine import read_clusters
from chamnet.records import CoreCluster
from chamnet_agent import sysinfo
from chamnet_agent.config import AgentConfig
from chamnet_agent.sysinfo import auto_cores, parse_cores

BIG = CoreCluster(cores=(4, 5, 6, 7), max_khz=2_840_000)
LITTLE = CoreCluster(cores=(0, 1, 2, 3), max_khz=1_780_000)
PHONE = """\
processor	: 0
Features	: fp asimd aes
CPU implementer	: 0x41
CPU part	: 0xd05
CPU revision	: 0
"""


@pytest.fixture
def phone(tmp_path: Path) -> Path:
    cpu = tmp_path / "sys/devices/system/cpu"
    for cluster in (LITTLE, BIG):
        for core in cluster.cores:
            (cpu / f"cpu{core}/cpufreq").mkdir(parents=True)
            (cpu / f"cpu{core}/cpufreq/cpuinfo_max_freq").write_text(f"{cluster.max_khz}\n")
    (cpu / "online").write_text("0-7\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(PHONE)
    (tmp_path / "proc/meminfo").write_text("MemTotal:        5879012 kB\nMemFree: 1 kB\n")
    return tmp_path


def config(tmp_path: Path) -> AgentConfig:
    return AgentConfig(state_dir=tmp_path, backend="onnxruntime", cores=(7,), threads=1)


def test_cores_are_grouped_by_their_highest_clock(phone: Path) -> None:
    assert read_clusters(phone) == (LITTLE, BIG)


def test_cores_without_a_clock_are_one_group(tmp_path: Path) -> None:
    (group,) = read_clusters(tmp_path)
    assert group.max_khz is None
    assert set(group.cores) >= set(sysinfo.usable_cores())


def test_a_phone_describes_itself(phone: Path, tmp_path: Path) -> None:
    info = sysinfo.describe(config(tmp_path), phone)
    assert info.cpu_model == "0x41-0xd05-0"
    assert info.cpu_flags == ("aes", "asimd", "fp")
    assert info.memory_bytes == 5_879_012 * 1024
    assert info.clusters == (LITTLE, BIG)
    assert info.cores == (7,)
    assert {backend.name for backend in info.backends} >= {"onnxruntime"}


def test_a_board_is_named_by_its_device_tree(phone: Path, tmp_path: Path) -> None:
    (phone / "proc/device-tree").mkdir()
    (phone / "proc/device-tree/model").write_bytes(b"Raspberry Pi 5 Model B\0")
    assert sysinfo.describe(config(tmp_path), phone).cpu_model == "Raspberry Pi 5 Model B"


def test_a_device_that_says_nothing_is_still_described(tmp_path: Path) -> None:
    info = sysinfo.describe(config(tmp_path), tmp_path / "nowhere")
    assert info.cpu_model
    assert info.memory_bytes == 0
    assert info.os


def test_this_machine_describes_itself(tmp_path: Path) -> None:
    info = sysinfo.describe(config(tmp_path))
    assert info.memory_bytes > 2**20
    assert info.arch == os.uname().machine
    assert len(info.identity) == 16


@pytest.mark.parametrize(
    ("threads", "usable", "cores"),
    [(1, range(8), (7,)), (4, range(8), (4, 5, 6, 7)), (1, range(4), (3,)), (5, range(8), (3, 4, 5, 6, 7))],
)
def test_the_last_cores_of_the_fastest_cluster_measure(
    threads: int, usable: range, cores: tuple[int, ...]
) -> None:
    assert auto_cores(threads, (LITTLE, BIG), usable) == cores


@pytest.mark.parametrize(
    ("text", "cores"), [("0", (0,)), ("2,0", (0, 2)), ("0-2,5", (0, 1, 2, 5)), ("1,1", (1,))]
)
def test_cores_are_read_as_people_write_them(text: str, cores: tuple[int, ...]) -> None:
    assert parse_cores(text, range(8)) == cores


@pytest.mark.parametrize("text", ["", "a", "0,", "3-1", "8", "0-9", "-1", "1 2"])
def test_cores_that_cannot_be_had_name_those_that_can(text: str) -> None:
    with pytest.raises(ConfigError, match="may use 0,1,2,3,4,5,6,7"):
        parse_cores(text, range(8))
