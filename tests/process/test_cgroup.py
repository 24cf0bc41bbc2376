"""Control groups on a folder that looks like them; for real, only where this machine delegates some."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from host.config.effective import PluginPolicy
from host.process.cgroup import Groups, NotDelegated, find_groups, manager_ends_the_rest

MIB = 1024**2
FILES = (
    *("memory.high", "memory.max", "memory.oom.group", "memory.events", "pids.max"),
    *("cpu.weight", "cpu.max", "cgroup.procs", "cgroup.kill", "cgroup.freeze"),
)


class Imitation:
    """A mount of cgroup v2 whose files remember what was written last."""

    def __init__(self, tmp_path: Path, own: str, controllers: str = "cpu io memory pids") -> None:
        self.mount = tmp_path / "cgroup"
        self.own = tmp_path / "self"
        self.own.write_text(f"1:name=systemd:/x\n0::{own}\n")
        self.controllers = controllers
        self.group("/")
        (self.mount / "cgroup.type").unlink()  # the root of a machine has none
        path = ""
        for part in filter(None, own.split("/")):
            path += f"/{part}"
            self.group(path)

    def group(self, path: str) -> Path:
        folder = self.mount / path.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.controllers").write_text(self.controllers)
        (folder / "cgroup.type").write_text("domain\n")
        for name in ("cgroup.procs", "cgroup.subtree_control"):
            (folder / name).write_text("")
        return folder

    def delegate(self, path: str) -> Path:
        folder = self.mount / path.lstrip("/")
        try:
            os.setxattr(folder, "user.delegate", b"1")
        except OSError as error:
            pytest.skip(f"this file system keeps no extended attributes: {error}")
        return folder

    def find(self, *, settle: bool = True) -> Groups:
        return find_groups(settle=settle, mount=str(self.mount), own=str(self.own))


def with_files(groups: Groups, name: str, *missing: str) -> Path:
    """The kernel makes the files of a new group; here they are there before."""
    folder = Path(groups.folder, name)
    folder.mkdir(exist_ok=True)
    for file in set(FILES) - set(missing):
        (folder / file).write_text("")
    return folder


def test_what_is_not_marked_as_ours_is_not_used_though_root_could_write_it(tmp_path: Path) -> None:
    with pytest.raises(NotDelegated, match="not delegated"):
        Imitation(tmp_path, "/system.slice/outboard.service").find()


def test_the_root_of_the_machine_is_nobodys_to_delegate(tmp_path: Path) -> None:
    with pytest.raises(NotDelegated, match="not delegated"):
        Imitation(tmp_path, "/").find()


def test_a_machine_without_cgroup_v2_says_so(tmp_path: Path) -> None:
    imitation = Imitation(tmp_path, "/")
    imitation.own.write_text("9:name=systemd:/\n8:pids:/\n")
    with pytest.raises(NotDelegated, match="no cgroup v2"):
        imitation.find()
    imitation.own.unlink()
    with pytest.raises(NotDelegated):
        imitation.find()


def test_a_delegated_service_moves_itself_aside_and_turns_on_what_there_is(tmp_path: Path) -> None:
    imitation = Imitation(tmp_path, "/system.slice/outboard.service", controllers="memory pids")
    service = imitation.delegate("/system.slice/outboard.service")
    (service / "cgroup.procs").write_text(f"{os.getpid()}\n")
    (service / "host").mkdir()
    (service / "host" / "cgroup.procs").write_text("")
    groups = imitation.find()
    assert groups.folder == str(service)
    assert groups.controllers == ("memory", "pids")
    assert (service / "host" / "cgroup.procs").read_text() == str(os.getpid())
    assert (service / "cgroup.subtree_control").read_text().endswith("pids")


def test_with_strangers_in_it_a_group_is_left_alone(tmp_path: Path) -> None:
    imitation = Imitation(tmp_path, "/user.slice/session.scope")
    scope = imitation.delegate("/user.slice/session.scope")
    (scope / "cgroup.procs").write_text(f"{os.getpid()}\n1\n")
    with pytest.raises(NotDelegated, match="other processes"):
        imitation.find()
    assert not (scope / "host").exists()


def test_a_library_moves_nobody_but_uses_a_group_whose_leaf_it_is_in(tmp_path: Path) -> None:
    imitation = Imitation(tmp_path, "/app.service/main")
    service = imitation.delegate("/app.service")
    assert imitation.find(settle=False).folder == str(service)
    imitation.own.write_text("0::/app.service\n")
    with pytest.raises(NotDelegated, match="does not move"):
        imitation.find(settle=False)


def groups(tmp_path: Path) -> Groups:
    imitation = Imitation(tmp_path, "/app.service/main")
    imitation.delegate("/app.service")
    return imitation.find()


def test_a_leaf_has_the_limits_of_its_plugin_before_anybody_is_in_it(tmp_path: Path) -> None:
    ours = groups(tmp_path)
    folder = with_files(ours, "greedy-1")
    policy = PluginPolicy(memory_bytes=100 * MIB, threads=40, cpu_percent=150)
    leaf = ours.leaf("greedy-1", 4321, policy)
    assert leaf is not None
    assert leaf.controllers == ("memory", "pids", "cpu")
    said = {name: (folder / name).read_text() for name in FILES}
    assert said["memory.max"] == str(100 * MIB)
    assert said["memory.high"] == str(80 * MIB)
    assert said["memory.oom.group"] == "1"
    assert said["pids.max"] == "40"
    assert (said["cpu.weight"], said["cpu.max"]) == ("50", "150000 100000")
    assert said["cgroup.procs"] == "4321"


def test_limits_that_change_are_written_again_and_none_is_max(tmp_path: Path) -> None:
    ours = groups(tmp_path)
    folder = with_files(ours, "greedy-1")
    leaf = ours.leaf("greedy-1", 4321, PluginPolicy())
    assert leaf is not None
    for file in ("memory.max", "memory.high", "pids.max", "cpu.max"):
        (folder / file).write_text("")
    leaf.limit(PluginPolicy(memory_bytes=None, threads=None, cpu_percent=None))
    assert [(folder / f).read_text() for f in ("memory.max", "memory.high", "pids.max", "cpu.max")] == [
        "max",
        "max",
        "max",
        "max 100000",
    ]


def test_a_controller_that_refuses_is_not_said_to_keep_anything(tmp_path: Path) -> None:
    ours = groups(tmp_path)
    with_files(ours, "greedy-1", "memory.max")
    leaf = ours.leaf("greedy-1", 4321, PluginPolicy())
    assert leaf is not None
    assert leaf.controllers == ("pids", "cpu")


def test_a_leaf_that_takes_nobody_is_none(tmp_path: Path) -> None:
    ours = groups(tmp_path)
    with_files(ours, "greedy-1", "cgroup.procs")
    assert ours.leaf("greedy-1", 4321, PluginPolicy()) is None
    Path(ours.folder, "blocked").write_text("")
    assert ours.leaf("blocked/x", 4321, PluginPolicy()) is None


def test_the_end_of_a_leaf_kills_what_is_in_it_and_what_stays_is_removed_later(tmp_path: Path) -> None:
    ours = groups(tmp_path)
    folder = with_files(ours, "greedy-1")
    leaf = ours.leaf("greedy-1", 4321, PluginPolicy())
    assert leaf is not None
    ours.remove(leaf)
    assert (folder / "cgroup.kill").read_text() == "1"
    assert folder.exists()  # not empty, as a group with a dying process in it
    for file in folder.iterdir():
        file.unlink()
    with_files(ours, "greedy-2")
    ours.leaf("greedy-2", 4322, PluginPolicy())
    assert not folder.exists()


def test_without_cgroup_kill_every_process_in_it_is_killed(tmp_path: Path) -> None:
    ours = groups(tmp_path)
    folder = with_files(ours, "greedy-1", "cgroup.kill")
    leaf = ours.leaf("greedy-1", 4321, PluginPolicy())
    assert leaf is not None
    with subprocess.Popen(["sleep", "60"]) as process:
        (folder / "cgroup.procs").write_text(f"{process.pid}\n{2**22 + 1}\n")
        leaf.kill()
        assert process.wait(10) == -9
    assert (folder / "cgroup.freeze").read_text() == "1"  # meanwhile nobody in it could start another


def test_kills_for_memory_are_counted_by_the_kernel(tmp_path: Path) -> None:
    ours = groups(tmp_path)
    folder = with_files(ours, "greedy-1")
    leaf = ours.leaf("greedy-1", 4321, PluginPolicy())
    assert leaf is not None
    assert leaf.oom_kills() == 0
    (folder / "memory.events").write_text("low 0\nhigh 7\nmax 3\noom 1\noom_kill 2\noom_group_kill 1\n")
    assert leaf.oom_kills() == 2


def test_only_for_the_main_process_of_a_delegated_service_the_manager_ends_the_rest(tmp_path: Path) -> None:
    ours = groups(tmp_path)
    assert manager_ends_the_rest(ours, {"SYSTEMD_EXEC_PID": "42"}, 42)
    assert not manager_ends_the_rest(ours, {"SYSTEMD_EXEC_PID": "41"}, 42)  # inherited
    assert not manager_ends_the_rest(ours, {}, 42)  # delegated, and by nobody who looks after it
    assert not manager_ends_the_rest(None, {"SYSTEMD_EXEC_PID": "42"}, 42)


def test_a_real_group_holds_a_real_process() -> None:
    try:
        ours = find_groups(settle=False)
    except NotDelegated as why:
        pytest.skip(f"nothing is delegated here: {why}")
    with subprocess.Popen(["sleep", "60"]) as process:
        leaf = ours.leaf(f"test-{os.getpid()}", process.pid, PluginPolicy())
        assert leaf is not None
        assert Path(leaf.folder, "cgroup.procs").read_text().split() == [str(process.pid)]
        ours.remove(leaf)
        assert process.wait(10) == -9
