"""Reads process trees from Linux's /proc, cheaply enough for hundreds of them every second.

A kept descriptor of `/proc/PID/stat` costs one `pread` a look, and never shows a stranger: once its
process is gone it reads as gone, whoever has the pid now. Who belongs to whom comes from one listing of
/proc, of which only what was not there before is opened. Descriptors are bounded, and fewer are kept
after the host has once run out of them.
"""

from __future__ import annotations

import errno
import os
import re
import resource

from host.process.table import Process
from host.process.usage import Measure, Quick

MAX_SHARE = 4
"""At most one in so many of the descriptors that this process may have."""
FORGET_AFTER = 10
"""Listings after which even those who had nothing to do with us are looked at again: pids come back."""
_ENOUGH = 1024
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_ALONE = re.compile(rb"^(?:RssAnon|RssShmem|VmSwap):\s*(\d+) kB", re.MULTILINE)
_SHARED = re.compile(rb"^(?:Pss_Anon|Pss_Shmem|SwapPss):\s*(\d+) kB", re.MULTILINE)
_NO_ROOM = (errno.EMFILE, errno.ENFILE)
_UNKEPT = -1
_DEAD = (b"Z", b"X")
"""Ended, and not waited for yet: it has the time that it used, and nothing else."""


class _Member:
    """A process of a tree. `started` tells it from another that has its pid later."""

    __slots__ = ("fd", "pid", "started", "text")

    def __init__(self, pid: int, fd: int, started: bytes) -> None:
        self.pid = pid
        self.fd = fd
        self.started = started
        self.text = b""
        """What its `stat` was at the last look."""


class ProcReader:
    """See `host.process.usage.Reader`."""

    def __init__(self, *, max_kept: int | None = None) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._room = max_kept if max_kept is not None else max(0, min(soft, 65536)) // MAX_SHARE
        self._kept = 0
        self._trees: dict[int, dict[int, _Member]] = {}
        self._root_of: dict[int, int] = {}
        self._quick: dict[int, tuple[int, Quick]] = {}
        """By root: what was made of how many members at the last look."""
        self._below: dict[int, frozenset[Process]] = {}
        """By root; not there where it has changed since somebody asked."""
        self._strangers: set[int] = set()
        self._names: list[str] = []
        """All of /proc at the last listing."""
        self._listings = 0

    @property
    def kept(self) -> int:
        """Descriptors that are held."""
        return self._kept

    def follow(self, roots: set[int]) -> None:
        for root in self._trees.keys() - roots:
            for member in list(self._trees[root].values()):
                self._drop(root, member)
            del self._trees[root]
            self._quick.pop(root, None)
            self._below.pop(root, None)
        for root in roots - self._trees.keys():
            self._trees[root] = {}
            self._names = []
            self._strangers.clear()  # it, or its children, may have been seen before anybody knew them
            if (found := self._open(root)) is not None:
                self._adopt(root, found)

    def find_descendants(self) -> None:
        try:
            names = os.listdir("/proc")
        except OSError:
            return  # no descriptor left for the listing
        self._listings += 1
        if self._listings % FORGET_AFTER == 0:
            self._strangers.clear()
        elif names == self._names:
            return
        self._names = names
        there = {int(name) for name in names if name.isdigit()}
        self._strangers &= there
        fresh: dict[int, tuple[int, _Member]] = {}
        for pid in sorted(there - self._strangers - self._root_of.keys()):
            if (found := self._open(pid)) is not None:
                fresh[pid] = found
        news = bool(fresh)
        while news:  # a pass for each generation at most, and one where parents have the lower pids
            news = False
            for pid, found in list(fresh.items()):
                root = self._root_of.get(found[0])
                if root is not None:
                    self._adopt(root, found)
                    del fresh[pid]
                    news = True
        for pid, (_, member) in fresh.items():
            self._strangers.add(pid)
            self._give_back(member)

    def below(self, root: int) -> frozenset[Process]:
        found = self._below.get(root)
        if found is None:
            members = self._trees.get(root, {}).values()
            found = frozenset(Process(each.pid, int(each.started)) for each in members if each.pid != root)
            self._below[root] = found
        return found

    def quick(self, root: int) -> Quick | None:
        members = self._trees.get(root)
        if not members:
            self._quick.pop(root, None)
            return None
        before = self._quick.get(root)
        same = before is not None and before[0] == len(members)
        gone: list[_Member] = []
        for member in members.values():
            text = self._stat(member)
            if text != member.text:
                same, member.text = False, text
            if not text:
                gone.append(member)
        if same and before is not None:
            return before[1]  # nearly always: 3 us for a process that sleeps, where parsing would add 4
        for member in gone:
            self._drop(root, member)
        rss = ticks = threads = processes = 0
        for member in members.values():
            fields = _split(member.text)
            # utime, stime, and those of the children that it has waited for
            ticks += int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])
            if fields[0] not in _DEAD:
                processes += 1
                threads += int(fields[17])
                rss += int(fields[21])
        if not processes:
            self._quick.pop(root, None)
            return None
        quick = Quick(rss * _PAGE, ticks / _TICKS_PER_S, processes, threads)
        self._quick[root] = len(members), quick
        return quick

    def exact_memory(self, root: int) -> tuple[int, Measure] | None:
        members = list(self._trees.get(root, {}).values())
        alone = len(members) == 1
        file, pattern = ("status", _ALONE) if alone else ("smaps_rollup", _SHARED)
        found = 0
        for member in members:
            text = _read(f"/proc/{member.pid}/{file}")
            sizes = pattern.findall(text) if text else []
            if sizes:
                found += sum(map(int, sizes)) * 1024
            elif (text := self._stat(member)) and (fields := _split(text))[0] not in _DEAD:
                found += int(fields[21]) * _PAGE  # not ours to look into; what is known of it counts
        return (found, "private" if alone else "pss") if found else None

    def open_files(self, root: int) -> int | None:
        most: int | None = None
        for pid in self._trees.get(root, ()):
            try:
                # The size is the count since Linux 6.2, and 0 before.
                count = os.stat(f"/proc/{pid}/fd").st_size or len(os.listdir(f"/proc/{pid}/fd"))
            except OSError:
                continue
            most = count if most is None else max(most, count)
        return most

    def close(self) -> None:
        self.follow(set())

    # -- inside ----------------------------------------------------------------------------------

    def _stat(self, member: _Member) -> bytes:
        """Empty if it is gone."""
        if member.fd == _UNKEPT:
            text = _read(f"/proc/{member.pid}/stat")
            if text is None:
                return member.text  # as far as anybody can tell it is there still
            return text if text and _split(text)[19] == member.started else b""
        try:
            return os.pread(member.fd, _ENOUGH, 0)
        except OSError:
            return b""

    def _open(self, pid: int) -> tuple[int, _Member] | None:
        """Its parent's pid, and it, with a descriptor if there is room for one more."""
        path = f"/proc/{pid}/stat"
        if self._kept >= self._room:
            text = _read(path) or b""
            fd = _UNKEPT
        else:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._make_room()
                return None
            self._kept += 1
            try:
                text = os.pread(fd, _ENOUGH, 0)
            except OSError:
                text = b""
        fields = _split(text) if text else None
        member = _Member(pid, fd, fields[19] if fields is not None else b"")
        if fields is None:
            self._give_back(member)
            return None
        return int(fields[1]), member

    def _adopt(self, root: int, found: tuple[int, _Member]) -> None:
        _, member = found
        self._trees[root][member.pid] = member
        self._below.pop(root, None)
        self._root_of[member.pid] = root

    def _drop(self, root: int, member: _Member) -> None:
        self._trees[root].pop(member.pid, None)
        self._below.pop(root, None)
        self._root_of.pop(member.pid, None)
        self._give_back(member)

    def _give_back(self, member: _Member) -> None:
        if member.fd != _UNKEPT:
            os.close(member.fd)
            member.fd = _UNKEPT
            self._kept -= 1

    def _make_room(self) -> None:
        """Others need descriptors more than we do: from now on with half of what we had."""
        self._room = self._kept // 2
        for members in self._trees.values():
            for member in members.values():
                if self._kept <= self._room:
                    return
                self._give_back(member)


def _split(text: bytes) -> list[bytes]:
    """The name, which may hold anything, ends with the last parenthesis."""
    return text[text.rindex(b")") + 2 :].split(None, 22)


def _read(path: str) -> bytes | None:
    """Empty if it cannot be read; None if there is no descriptor to read it with."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return None if error.errno in _NO_ROOM else b""
    try:
        return os.read(fd, 16384)
    except OSError:
        return b""
    finally:
        os.close(fd)
