"""Runs what the documentation shows. Every fenced block is executed by the first word after its fence.

| word      | what is done with the block                                                              |
|-----------|------------------------------------------------------------------------------------------|
| `console` | each `$ ` line runs in a shell; the lines below it are what it prints                    |
| `python`  | runs as a program                                                                        |
| `output`  | is what the block before it prints                                                       |
| `toml`    | is a manifest or an `outboard.toml`, read by the real loader                             |
| `frames`  | is a conversation, said and heard by two sessions; `fresh` has its own; `raw` is only heard |
| `http`    | is one frame as it stands in the stream, header and all                                  |
| `text`    | is for people                                                                            |

`python signature` is how something is called, and does not run.

A first line like `# plugins/shout/main.py` also writes the block to that file. In what is printed `...`
stands for anything in a line, and alone in a line for any lines. A `$ ` line that ends in `&` has begun
once it says `ready:`. Blocks of one page share a folder, a shell and a conversation, and run in order.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from host.config.model import HostConfig
from host.config.read import parse_toml, read_toml
from host.discovery.validate import load_manifest
from protocol.framing import FrameReader
from tests.docs.conversation import Conversation
from tests.support.forks import in_shells

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
WORDS = ("console", "python", "output", "toml", "frames", "http", "text", "mermaid")
COMMAND_S = 20.0

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ((?:[\w.-]+/)*[\w-]+\.(?:py|toml))\n")
_END = "<end-of-command>"


class Block(NamedTuple):
    place: str
    words: tuple[str, ...]
    text: str

    @property
    def runs(self) -> bool:
        return not {"norun", "signature", "text", "mermaid"}.intersection(self.words)


def blocks_of(page: Path) -> list[Block]:
    source = page.read_text(encoding="utf-8")
    return [
        Block(
            f"{page.relative_to(ROOT)}:{source.count(chr(10), 0, found.start()) + 1}",
            tuple(found.group(1).split()) or ("",),
            found.group(2),
        )
        for found in _FENCE.finditer(source)
    ]


def matches(shown: str, printed: str) -> bool:
    """Whether a command printed what is shown, where `...` stands for anything."""
    lines = [line.rstrip() for line in shown.strip("\n").split("\n")]
    pattern = "".join(
        r"(?:[^\n]*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", r"[^\n]*") + r"\n"
        for line in lines
    )
    tidy = "\n".join(line.rstrip() for line in printed.strip("\n").split("\n"))
    return re.fullmatch(pattern, tidy + "\n") is not None


class Shell:
    """A bash with `outboard` on its path, a folder and a daemon's socket of its own.

    `programs` is a folder for an `outboard` that starts faster than the real one; without it, it is that.
    """

    def __init__(self, folder: Path, programs: Path | None = None) -> None:
        self._started = 0
        forks, fds = in_shells(programs) if programs is not None else ({}, [])
        before = [programs] if programs is not None else []
        own = forks | {
            "PATH": ":".join(map(str, [*before, Path(sys.executable).parent, os.environ["PATH"]])),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "OUTBOARD_SOCKET": str(folder / "control.sock"),
        }
        own |= {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("DATA", "STATE", "CONFIG")}
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            process_group=0,
            pass_fds=fds,
        )

    def run(self, command: str) -> tuple[str, int]:
        """What it prints on both streams, and its exit code."""
        if command.endswith("&"):
            self._started += 1
            log = f".started-{self._started}"
            ready = f"grep -q -m1 'ready:' <(timeout {COMMAND_S:g} tail -n +1 -F {log} 2>/dev/null)"
            command = f"{command[:-1]} >{log} 2>&1 &\n{ready} && sed '/ready:/q' {log}"
        assert self._process.stdin is not None
        script = f"{{\n{command}\n}} </dev/null\necho; echo '{_END}' $?\n"
        self._process.stdin.write(script.encode())
        return self._read(time.monotonic() + COMMAND_S)

    def _read(self, ends_at: float) -> tuple[str, int]:
        assert self._process.stdout is not None
        seen = b""
        while not (end := re.search(rb"\n%b (\d+)\n$" % _END.encode(), seen)):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, ends_at - time.monotonic()))
            data = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            assert data, f"no end after {COMMAND_S:g} s: {seen.decode(errors='replace')}"
            seen += data
        return seen[: end.start()].decode(), int(end.group(1))

    def close(self) -> None:
        """With everything that was started in it."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


class Page:
    """The state that the blocks of one page share."""

    def __init__(self, folder: Path, programs: Path | None = None) -> None:
        self.folder = folder
        (folder / "sample_plugins").symlink_to(ROOT / "sample_plugins")
        self.shell = Shell(folder, programs)
        self.conversation = Conversation()
        self.printed = ""

    def run(self, block: Block) -> None:
        named = _FILE.match(block.text)
        path = self.folder / (named.group(1) if named else f"block.{block.words[0]}")
        if named or block.words[0] == "python":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        getattr(self, f"_run_{block.words[0]}")(block, path)

    def _run_console(self, block: Block, path: Path) -> None:
        assert block.text.startswith("$ ")
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, *rest = part.rstrip("\n").split("\n")
            while rest and rest[0].startswith("> "):
                command += "\n" + rest.pop(0)[2:]
            printed, code = self.shell.run(command)
            if rest:
                shown = "\n".join(rest)
                assert matches(shown, printed), f"{command}\nis shown to print\n{shown}\nprints\n{printed}"
            else:
                assert code == 0, f"{command}\nexits with {code}:\n{printed}"

    def _run_python(self, block: Block, path: Path) -> None:
        self.printed, code = self.shell.run(f"python {path}")
        assert code == 0, self.printed

    def _run_output(self, block: Block, path: Path) -> None:
        assert matches(block.text, self.printed), self.printed

    def _run_toml(self, block: Block, path: Path) -> None:
        document = parse_toml(path, block.text)
        entry = document.value.get("run", {}).get("python") if hasattr(document, "value") else None
        if "[plugin]" not in block.text:
            assert read_toml(path, HostConfig, source=block.text)[1] == []
            return
        folder = self.folder / "manifest"  # beside the code, which the page may show later
        folder.mkdir(exist_ok=True)
        (folder / "plugin.toml").write_text(block.text, encoding="utf-8")
        if entry:
            (folder / entry).touch()
        loaded = load_manifest(folder)
        assert not isinstance(loaded, list), list(map(str, loaded))

    def _run_frames(self, block: Block, path: Path) -> None:
        raw = "raw" in block.words
        conversation = Conversation() if raw or "fresh" in block.words else self.conversation
        for who, text in re.findall(r"^(host|plugin) +> +(.*(?:\n +.*)*)\n", block.text, re.MULTILINE):
            conversation.say(who, json.loads(text), raw=raw)

    def _run_http(self, block: Block, path: Path) -> None:
        head, body = block.text.rstrip("\n").split("\n\n")
        stream = (head.replace("\n", "\r\n") + "\r\n\r\n" + body).encode()
        assert FrameReader().receive(stream) == [body.encode()]
