"""Control groups on a folder that looks like them; real ones are in tests/cgroup/."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from host.config.effective import PluginPolicy
from host.process.cgroup import Leaf, find_groups, manager_ends_the_rest, memory_in_use, step_aside
from host.process.delegation import NotDelegated, delegated

MIB = 1024**2
FILES = (
    *("memory.max", "memory.oom.group", "memory.events", "memory.current", "memory.stat", "pids.max"),
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

    def look(self) -> tuple[str, bool]:
        return delegated(mount=str(self.mount), own=str(self.own))

    def step_aside(self) -> None:
        step_aside(mount=str(self.mount), own=str(self.own))


def leaf(tmp_path: Path, *missing: str, controllers: tuple[str, ...] = ("memory", "pids", "cpu")) -> Leaf:
    for file in set(FILES) - set(missing):
        (tmp_path / file).write_text("")
    return Leaf(str(tmp_path), controllers)


def said(leaf: Leaf, *files: str) -> list[str]:
    return [Path(leaf.folder, file).read_text() for file in files]


def test_what_is_not_marked_as_ours_is_not_used_though_root_could_write_it(tmp_path: Path) -> None:
    with pytest.raises(NotDelegated, match="not delegated"):
        Imitation(tmp_path, "/system.slice/outboard.service").look()


def test_a_manager_that_cannot_be_asked_has_not_said_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotDelegated, match="not delegated"):
        Imitation(tmp_path, "/user.slice/user@1000.service/app.slice/x.scope").look()


@pytest.mark.parametrize(("says", "is_ours"), [("yes", True), ("no", False)])
def test_of_a_users_unit_the_manager_knows_whether_it_is_delegated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, is_ours: bool
) -> None:
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\n[ "$1 $6" = "--user -x.scope" ] && echo {says}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    imitation = Imitation(tmp_path, "/user.slice/user@1000.service/app.slice/-x.scope")
    if is_ours:
        assert imitation.look()[1] is False
    else:
        with pytest.raises(NotDelegated, match="not delegated"):
            imitation.look()


def test_the_root_of_the_machine_is_nobodys_to_delegate(tmp_path: Path) -> None:
    with pytest.raises(NotDelegated, match="not delegated"):
        Imitation(tmp_path, "/").look()


def test_a_machine_without_cgroup_v2_says_so(tmp_path: Path) -> None:
    imitation = Imitation(tmp_path, "/")
    imitation.own.write_text("9:name=systemd:/\n8:pids:/\n")
    with pytest.raises(NotDelegated, match="no cgroup v2"):
        imitation.look()
    imitation.own.unlink()
    with pytest.raises(NotDelegated):
        imitation.look()


def test_a_delegated_service_moves_itself_aside(tmp_path: Path) -> None:
    imitation = Imitation(tmp_path, "/system.slice/outboard.service")
    service = imitation.delegate("/system.slice/outboard.service")
    (service / "cgroup.procs").write_text(f"{os.getpid()}\n")
    (service / "host").mkdir()
    (service / "host" / "cgroup.procs").write_text("")
    assert imitation.look() == (str(service), False)
    imitation.step_aside()
    assert (service / "host" / "cgroup.procs").read_text() == str(os.getpid())


def test_with_strangers_in_it_a_group_is_left_alone(tmp_path: Path) -> None:
    imitation = Imitation(tmp_path, "/user.slice/session.scope")
    scope = imitation.delegate("/user.slice/session.scope")
    (scope / "cgroup.procs").write_text(f"{os.getpid()}\n1\n")
    with pytest.raises(NotDelegated, match="other processes"):
        imitation.step_aside()
    assert not (scope / "host").exists()


def test_a_library_moves_nobody_but_uses_a_group_whose_leaf_it_is_in(tmp_path: Path) -> None:
    imitation = Imitation(tmp_path, "/app.service/main")
    service = imitation.delegate("/app.service")
    assert imitation.look() == (str(service), True)
    imitation.own.write_text("0::/app.service\n")
    with pytest.raises(NotDelegated, match="does not move"):
        find_groups("one", mount=str(imitation.mount), own=str(imitation.own))


def test_a_leaf_has_the_limits_of_its_plugin(tmp_path: Path) -> None:
    ours = leaf(tmp_path)
    ours.limit(PluginPolicy(memory_bytes=100 * MIB, threads=40, cpu_percent=150))
    assert ours.controllers == ("memory", "pids", "cpu")
    assert said(ours, "memory.max", "memory.oom.group", "pids.max") == [str(100 * MIB), "1", "40"]
    assert said(ours, "cpu.weight", "cpu.max") == ["50", "150000 100000"]
    ours.limit(PluginPolicy(memory_bytes=None, threads=None, cpu_percent=None))
    assert said(ours, "memory.max", "pids.max", "cpu.max") == ["max", "max", "max 100000"]


def test_a_controller_that_refuses_is_not_said_to_keep_anything(tmp_path: Path) -> None:
    ours = leaf(tmp_path, "memory.max")
    ours.limit(PluginPolicy())
    assert ours.controllers == ("pids", "cpu")


def test_without_cgroup_kill_every_process_in_it_is_killed(tmp_path: Path) -> None:
    ours = leaf(tmp_path, "cgroup.kill")
    with subprocess.Popen(["sleep", "60"]) as process:
        (tmp_path / "cgroup.procs").write_text(f"{process.pid}\n{2**22 + 1}\n")
        assert [each.pid for each in ours.processes()] == [process.pid]
        ours.kill()
        assert process.wait(10) == -9
    assert said(ours, "cgroup.freeze") == ["1"]  # meanwhile nobody in it could start another


def test_kills_for_memory_are_counted_by_the_kernel_and_so_is_whose_limit_it_was(tmp_path: Path) -> None:
    ours = leaf(tmp_path)
    assert (ours.oom_kills(), ours.is_over_its_own_limit()) == (0, False)
    (tmp_path / "memory.events").write_text("low 0\nhigh 7\nmax 3\noom 1\noom_kill 2\noom_group_kill 1\n")
    assert (ours.oom_kills(), ours.is_over_its_own_limit()) == (2, True)
    (tmp_path / "memory.events").write_text("low 0\nhigh 7\nmax 3\noom 0\noom_kill 2\noom_group_kill 1\n")
    assert (ours.oom_kills(), ours.is_over_its_own_limit()) == (2, False)


def test_files_in_memory_count_and_what_the_kernel_could_drop_does_not(tmp_path: Path) -> None:
    leaf(tmp_path)
    assert memory_in_use(str(tmp_path)) is None
    (tmp_path / "memory.current").write_text(f"{100 * MIB}\n")
    stat = f"anon {20 * MIB}\nfile {70 * MIB}\nshmem {40 * MIB}\nslab_reclaimable {MIB}\n"
    (tmp_path / "memory.stat").write_text(stat)
    assert memory_in_use(str(tmp_path)) == 69 * MIB


def test_only_for_the_main_process_of_a_service_the_manager_ends_the_rest() -> None:
    assert manager_ends_the_rest({"SYSTEMD_EXEC_PID": "42"}, 42)
    assert not manager_ends_the_rest({"SYSTEMD_EXEC_PID": "41"}, 42)  # inherited
    assert not manager_ends_the_rest({}, 42)
