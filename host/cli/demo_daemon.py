"""The second part of the demo: a daemon with the sample plugins, one of which is killed and comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import msgspec

import sample_plugins
from host.cli.demo_story import DemoFailed, Story
from host.cli.output import terminal_width
from host.cli.status import overview
from host.control.client import Client
from host.errors import DaemonError, OutboardError

READY_S = 15.0
BACK_S = 10.0


def show(folder: Path, story: Story) -> dict[str, Any]:
    """What was seen. Raises OutboardError."""
    socket = os.path.join(folder, "control.sock")
    environment = os.environ | {f"XDG_{kind}_HOME": str(folder) for kind in ("DATA", "STATE", "CACHE")}
    samples = Path(sample_plugins.__file__).parent
    story.heading(f"outboard run --plugins {_short(samples)}")
    command = [sys.executable, "-m", "host.cli", "run", "--plugins", str(samples), "--socket", socket]
    log_path = Path(folder, "daemon.log")
    with log_path.open("wb") as log:
        daemon = subprocess.Popen(command, env=environment, stderr=log, stdin=subprocess.DEVNULL)
    try:
        seen = _show(socket, daemon, story)
    except OutboardError:
        click.echo(log_path.read_text(errors="replace")[-4000:], err=True)
        raise
    finally:
        daemon.send_signal(signal.SIGTERM)
        try:
            code = daemon.wait(15)
        except subprocess.TimeoutExpired:
            daemon.kill()
            code = daemon.wait()
    story.say(f"\nthe daemon and its plugins are gone (exit code {code})")
    return {**seen, "daemon_exit_code": code}


def _show(socket: str, daemon: subprocess.Popen[bytes], story: Story) -> dict[str, Any]:
    _wait_until_ready(socket, daemon)
    story.say(_call(socket, "hello", "greet", name="world"))

    story.heading("the documents that ship with text_tools, one call each")
    documents = _call(socket, "text_tools", "documents")
    for document in documents:
        summary = _call(socket, "text_tools", "summary", name=document["name"], sentences=1)
        story.say(f"  {document['name']:<22} {document['words']:>5} words  {_first_line(summary)}")

    story.heading("the same log in other languages, whose plugins have no SDK")
    text = Path(sample_plugins.__file__).with_name("text_tools").joinpath("documents", "ships_log.txt")
    log = text.read_text(encoding="utf-8")
    if _runs(socket, "wordcount", story):
        story.say(f"  wordcount, in JavaScript: {json.dumps(_call(socket, 'wordcount', 'count', text=log))}")
    if _runs(socket, "rot13", story):
        story.say(f"  rot13, in Perl: {_call(socket, 'rot13', 'encode', text=log.splitlines()[0])}")

    story.heading("kill -9 the process of text_tools, and call it until it answers")
    before = _state(socket, "text_tools")
    killed_at = time.monotonic()
    os.kill(before["pid"], signal.SIGKILL)
    refusals = _call_until_back(socket, killed_at + BACK_S)
    back_after_s = time.monotonic() - killed_at
    after = _state(socket, "text_tools")
    if after["generation"] == before["generation"]:
        raise DemoFailed("text_tools was killed, and the same process answers")
    story.say(
        f"  back after {back_after_s:.2f} s as generation {after['generation']}\n"
        f"  meanwhile {refusals} calls were refused, and none hung\n"
        f"  hello says: {_call(socket, 'hello', 'greet', name='again')}"
    )

    story.heading("outboard status")
    with Client(socket) as client:
        story.say(overview(msgspec.json.decode(client.ask("status")), terminal_width()))
    return {
        "documents": len(documents),
        "back_after_s": round(back_after_s, 3),
        "refused_meanwhile": refusals,
        "generation": after["generation"],
    }


def _wait_until_ready(socket: str, daemon: subprocess.Popen[bytes]) -> None:
    ends_at = time.monotonic() + READY_S
    while time.monotonic() < ends_at and daemon.poll() is None:
        try:
            with Client(socket) as client:
                plugins = msgspec.json.decode(client.ask("status"))["plugins"]
        except (DaemonError, OutboardError):
            plugins = []
        if plugins and all(plugin["state"] not in ("starting", "stopped") for plugin in plugins):
            return
        time.sleep(0.05)
    raise DemoFailed("the daemon did not get ready", hint="its log is above")


def _call(socket: str, plugin: str, method: str, **params: Any) -> Any:
    asked = {"plugin": plugin, "method": method, "params": params, "timeout": 10.0}
    with Client(socket) as client:
        return msgspec.json.decode(client.ask("call", asked, timeout=10.0))


def _call_until_back(socket: str, ends_at: float) -> int:
    """How many calls were refused before one was answered."""
    refusals = 0
    while True:
        try:
            _call(socket, "text_tools", "documents")
            return refusals
        except OutboardError:
            refusals += 1
            if time.monotonic() > ends_at:
                raise
            time.sleep(0.01)


def _state(socket: str, name: str) -> Any:
    with Client(socket) as client:
        return msgspec.json.decode(client.ask("status", {"name": name}))["plugins"][0]


def _runs(socket: str, name: str, story: Story) -> bool:
    """Whether there is what the plugin is written in; says so if not."""
    seen = _state(socket, name)
    if seen["state"] != "running":
        story.say(f"  {name} is {seen['state']}: {seen['reason']}")
    return bool(seen["state"] == "running")


def _first_line(summary: Any) -> str:
    sentences = summary.get("sentences") or [summary.get("text", "")]
    text = " ".join(str(sentences[0]).split())
    return text if len(text) <= 42 else text[:41] + "…"


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
