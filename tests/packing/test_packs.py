"""Packs: the same bytes of the same files, nothing that cannot travel, and nothing believed that comes."""

from __future__ import annotations

import os
import struct
import sys
import warnings
import zipfile
from pathlib import Path

import pytest

from host.discovery.validate import load_manifest
from host.errors import ChecksumMismatch, ManifestError, PackError, PluginExists
from host.packing import installed as installing
from host.packing.installed import InstalledPlugins
from host.packing.names import clashes, path_fault
from host.packing.read import unpack as unpack_opened
from host.packing.source import as_pack, check_digest, what_to_pack
from host.packing.versions import is_older
from host.packing.write import digest_of, write_pack
from tests.support.plugins import write_plugin


def pack(folder: Path, file: Path) -> str:
    _, contents = what_to_pack(folder)
    write_pack(contents.entries, str(file))
    return digest_of(str(file))


def unpack(file: str, folder: str) -> None:
    with open(file, "rb") as opened:
        unpack_opened(opened, folder)


def names_in(folder: Path) -> list[str]:
    return [entry.path for entry in what_to_pack(folder)[1].entries]


def test_the_same_files_are_the_same_bytes_wherever_and_whenever(tmp_path: Path) -> None:
    digests = set()
    for place, umask in ((tmp_path / "one", 0o022), (tmp_path / "two", 0o077)):
        before = os.umask(umask)
        plugin = write_plugin(place, "ada")
        os.umask(before)
        (plugin / "b").mkdir()
        for name in ("b/z.txt", "a.txt") if umask == 0o022 else ("a.txt", "b/z.txt"):
            (plugin / name).write_text("x")
        os.utime(plugin / "a.txt", (umask, umask))
        digests.add(pack(plugin, place / "it.zip"))
    assert len(digests) == 1


def test_what_is_nobodys_business_stays_out_and_an_ignore_file_has_the_last_word(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "ada")
    for name in (
        *("__pycache__/main.pyc", ".git/HEAD", ".env", "lib/.hidden", "env/pyvenv.cfg", "env/bin/python"),
        *("ada-0.1.0.zip", "main.py~", "notes/todo.md", "lib/keep.txt", "data/big.bin", "data/small.bin"),
    ):
        (plugin / name).parent.mkdir(exist_ok=True, parents=True)
        (plugin / name).write_text("x")
    (plugin / ".outboardignore").write_text("notes/\n# a comment\n/data/*\n!small.bin\n!.env\n")
    assert names_in(plugin) == [".env", "data/small.bin", "lib/keep.txt", "main.py", "plugin.toml"]


def test_what_cannot_travel_is_refused_by_name_and_all_at_once(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "ada")
    (plugin / "out").symlink_to("/etc/passwd")
    (plugin / "loop").symlink_to(".")
    (plugin / "inside.txt").symlink_to("main.py")
    os.mkfifo(plugin / "pipe")
    for name in ("a:b", "UP.txt", "up.txt", "line\nbreak"):
        (plugin / name).write_text("x")
    (plugin / os.fsdecode(b"\xff")).write_text("x")
    with pytest.raises(PackError) as caught:
        what_to_pack(plugin)
    text = str(caught.value)
    for name in ("out: ", "loop: ", "pipe: ", "a:b: ", "up.txt: ", "line\nbreak: ", "\\xff: "):
        assert name in text
    assert "inside.txt" not in text


def test_a_manifest_that_cannot_be_used_and_an_entry_that_is_kept_out_are_told_first(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "ada")
    (plugin / ".outboardignore").write_text("main.py\n")
    with pytest.raises(PackError, match=r"main\.py: it is what runs"):
        what_to_pack(plugin)
    (plugin / "plugin.toml").write_text('[plugin]\nname = "Ada"\nverison = "1"\n')
    with pytest.raises(ManifestError) as caught:
        what_to_pack(plugin)
    assert len(caught.value.data) >= 2


MANIFEST = '[plugin]\nname = "ada"\nversion = "1"\n[run]\npython = "main.py"\n'


Member = tuple[str | zipfile.ZipInfo, bytes]


def archive(file: Path, *members: Member, method: int = zipfile.ZIP_STORED) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", method) as made:
        warnings.simplefilter("ignore", UserWarning)  # of a name that is there twice
        for name, data in members:
            made.writestr(name, data)
    return file


GOOD = (("plugin.toml", MANIFEST.encode()), ("main.py", b""))


def link(name: str, kind: int = 0o120777) -> zipfile.ZipInfo:
    about = zipfile.ZipInfo(name)
    about.external_attr = kind << 16
    return about


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (("../evil", b""), "leads out"),
        (("a/../../evil", b""), "leads out"),
        (("/etc/evil", b""), "absolute"),
        (("a\\b", b""), "not every system"),
        (("bell\a.py", b""), "cannot be printed"),
        ((link("link"), b"/etc/passwd"), "a link"),
        ((link("pipe", 0o010644), b""), "neither a file nor a folder"),
        (("MAIN.PY", b""), "for some systems"),
        (("main.py", b"twice"), "there twice"),
        (("main.py/x", b""), "for some systems"),
        (("x" * 300, b""), "255 bytes"),
        (("/".join(["x" * 200] * 6), b""), "1024 bytes"),
    ],
)
def test_a_hostile_name_is_refused_and_nothing_is_written(
    tmp_path: Path, member: tuple[str | zipfile.ZipInfo, bytes], words: str
) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(PackError, match=words):
        unpack(str(archive(tmp_path / "it.zip", *GOOD, member)), str(tmp_path / "in"))
    assert list((tmp_path / "in").iterdir()) == []


def test_a_bomb_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    bomb = archive(tmp_path / "a.zip", *GOOD, ("b", b"\0" * 4_000_000), method=zipfile.ZIP_DEFLATED)
    with pytest.raises(PackError, match="it would grow"):
        unpack(str(bomb), str(tmp_path / "in"))
    many = archive(tmp_path / "b.zip", *GOOD, *((str(number), b"") for number in range(10_001)))
    with pytest.raises(PackError, match="10000 files"):
        unpack(str(many), str(tmp_path / "in"))
    liar = bytearray(archive(tmp_path / "c.zip", *GOOD).read_bytes())
    at = liar.rfind(b"PK\1\2")
    liar[at + 24 : at + 28] = struct.pack("<L", 2**31)  # what the last file says to have, unpacked
    (tmp_path / "c.zip").write_bytes(liar)
    with pytest.raises(PackError, match="a pack holds"):
        unpack(str(tmp_path / "c.zip"), str(tmp_path / "in"))


def test_what_is_no_pack_or_a_part_of_one_is_told_so(tmp_path: Path) -> None:
    whole = archive(tmp_path / "a.zip", *GOOD, ("b", b"x" * 1000)).read_bytes()
    (tmp_path / "in").mkdir()
    for data, words in (
        (b"", "no zip"),
        (b"hello", "no zip"),
        (whole[:500], "cut off"),
        (whole.replace(b"xxxx", b"yyyy", 1), "damaged"),
        (archive(tmp_path / "d.zip", ("x/plugin.toml", b"")).read_bytes(), "only x/plugin.toml"),
        (archive(tmp_path / "e.zip", ("readme", b"")).read_bytes(), "no plugin.toml"),
    ):
        (tmp_path / "b.zip").write_bytes(data)
        with pytest.raises(PackError, match=words):
            unpack(str(tmp_path / "b.zip"), str(tmp_path / "in"))


def test_versions_are_compared_as_people_mean_them() -> None:
    for older, newer in (
        ("1.9", "1.10"),
        ("1.0rc1", "1.0"),
        ("1.0-beta", "1.0"),
        ("1.0", "1.0.1"),
        ("1", "2"),
    ):
        assert is_older(older, newer)
        assert not is_older(newer, older)
    assert not is_older("1.0", "1")
    assert path_fault("a/b.py") is None
    assert clashes(["a", "b/c", "b/d"]) == []


def installed(folder: Path, source: Path) -> str:
    plugins = InstalledPlugins(str(folder))
    with plugins.turn(), as_pack(source, str(folder / ".versions")) as made:
        placed = plugins.place(plugins.stage(made, source=str(source), sha256=check_digest(made, None)))
        plugins.clean(placed.name)
    return placed.change


def test_an_upgrade_a_downgrade_and_the_same_again_are_told_apart(tmp_path: Path) -> None:
    old, new = (write_plugin(tmp_path / name, "ada") for name in ("old", "new"))
    text = (new / "plugin.toml").read_text()
    (new / "plugin.toml").write_text(text.replace('version = "1.0.0"', 'version = "1.10.0"'))
    folder = tmp_path / "plugins"
    changes = [installed(folder, each) for each in (old, old, new, old)]
    (old / "more.txt").write_text("x")
    assert [*changes, installed(folder, old)] == ["new", "unchanged", "upgrade", "downgrade", "replaced"]
    assert len(list((folder / ".versions").glob("ada-*[!n]"))) == 1


def test_versions_of_other_plugins_are_nobody_elses_to_remove(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    one, other = (write_plugin(tmp_path, name) for name in ("ada", "ada-b"))
    installed(folder, one)
    installed(folder, other)
    version = os.path.realpath(folder / "ada-b")
    (folder / "ada-b").unlink()  # as if it had another version now, and a process of this one
    installed(folder, one)
    assert os.path.isdir(version)


def test_one_file_that_became_a_folder_is_there_once_also_after_a_kill_in_between(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    plugin = write_plugin(tmp_path, "ada")
    installed(folder, plugin)
    (folder / "ada.py").symlink_to(os.readlink(folder / "ada"))
    assert installed(folder, plugin) == "unchanged"
    assert [path.name for path in folder.iterdir() if path.is_symlink()] == ["ada"]


def test_a_kill_at_any_moment_leaves_one_version_or_the_other(tmp_path: Path) -> None:
    """A child is ended at its nth look at the file system, for each n until it comes to its end."""
    old, new = (write_plugin(tmp_path / name, "ada") for name in ("old", "new"))
    (new / "main.py").write_text("# new\n")
    folder = tmp_path / "plugins"
    seen = set()
    for moment in range(1000):
        installed(folder, old)
        child = os.fork()
        if child == 0:
            _end_at(moment)
            installed(folder, new)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert not isinstance(load_manifest(folder / "ada"), list)
        text = (folder / "ada" / "main.py").read_text()
        assert text in ((old / "main.py").read_text(), "# new\n")
        seen.add(text)
        if code == 0:
            break
    assert code == 0
    assert len(seen) == 2
    assert moment > 20


def _end_at(moment: int) -> None:
    left = [moment]
    changes = ("open", "os.rename", "os.symlink", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")

    def hook(event: str, _: object) -> None:
        if event in changes:
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)

    sys.addaudithook(hook)


def test_a_pack_that_is_exchanged_after_it_was_looked_at_is_not_what_is_installed(tmp_path: Path) -> None:
    good, bad = (write_plugin(tmp_path / name, "ada") for name in ("good", "bad"))
    (bad / "evil.py").write_text("")
    digest = pack(good, tmp_path / "it.zip")
    pack(bad, tmp_path / "bad.zip")
    plugins = InstalledPlugins(str(tmp_path / "plugins"))
    with plugins.turn(), as_pack(tmp_path / "it.zip", "") as opened:
        check_digest(opened, digest)
        os.replace(tmp_path / "bad.zip", tmp_path / "it.zip")
        plugins.place(plugins.stage(opened, source="it.zip", sha256=digest))
    assert not (tmp_path / "plugins/ada/evil.py").exists()
    with as_pack(tmp_path / "it.zip", "") as opened, pytest.raises(ChecksumMismatch):
        check_digest(opened, digest)


def test_a_link_of_somebodys_own_is_not_replaced(tmp_path: Path) -> None:
    source = write_plugin(tmp_path / "src", "ada")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/ada").symlink_to(source)
    with pytest.raises(PluginExists):
        installed(tmp_path / "plugins", source)
    assert (tmp_path / "plugins/ada").resolve() == source.resolve()


def test_a_version_is_on_the_disk_by_name_before_a_link_leads_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_plugin(tmp_path, "ada")
    plugins, synced = InstalledPlugins(str(tmp_path / "plugins")), []
    monkeypatch.setattr(installing, "_sync", synced.append)
    with plugins.turn(), as_pack(source, str(tmp_path)) as opened:
        staged = plugins.stage(opened, source="", sha256="")
        assert synced[-1] == str(tmp_path / "plugins/.versions")
        plugins.discard(staged)
    assert os.listdir(tmp_path / "plugins/.versions") == [".lock"]


def test_a_pack_replaces_what_a_link_leads_to_and_nothing_but_a_file(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "ada")
    (tmp_path / "real.zip").write_text("")
    (tmp_path / "link.zip").symlink_to("real.zip")
    pack(plugin, tmp_path / "link.zip")
    assert (tmp_path / "link.zip").is_symlink()
    assert zipfile.is_zipfile(tmp_path / "real.zip")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PackError, match="no regular file"):
        write_pack([], str(tmp_path / "pipe"))


def test_rules_that_are_too_long_or_no_file_are_refused(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "ada")
    rules = plugin / ".outboardignore"
    rules.write_text("# x\n" * 20_000)
    with pytest.raises(PackError, match="more than 65536 bytes"):
        what_to_pack(plugin)
    rules.unlink()
    os.mkfifo(rules)
    with pytest.raises(PackError, match="no regular file"):
        what_to_pack(plugin)


def test_whatever_byte_of_a_pack_is_another_it_is_told_so_or_does_no_harm(tmp_path: Path) -> None:
    whole = archive(tmp_path / "a.zip", *GOOD).read_bytes()
    refused = 0
    for at in range(len(whole)):
        (tmp_path / "b.zip").write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        (tmp_path / f"in{at}").mkdir()
        try:
            unpack(str(tmp_path / "b.zip"), str(tmp_path / f"in{at}"))
        except PackError:
            refused += 1
    assert refused > len(whole) // 2
