"""A plugin on a JSON-RPC library that nobody here wrote: `vscode-jsonrpc`, from npm, without an SDK."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from host import DeadlineExceeded, Host, MethodNotFound, RemoteError

pytestmark = pytest.mark.anyio

PACKAGE = {"private": True, "dependencies": {"vscode-jsonrpc": "10.0.0"}}
PLUGIN = """
const rpc = require('vscode-jsonrpc/node')
const host = rpc.createMessageConnection(
  new rpc.StreamMessageReader(process.stdin), new rpc.StreamMessageWriter(process.stdout))
const methods = ['echo', 'fail', 'slow', 'cancelled'].map(name => ({ name }))
host.onRequest('initialize', () => ({ protocol: 1, provides: { methods } }))
host.onRequest('lifecycle/start', () => null)
host.onRequest('lifecycle/ping', () => ({ in_flight: 0 }))
host.onRequest('shutdown', () => null)
host.onNotification('exit', () => process.exit(0))
process.stdin.on('end', () => process.exit(0))

host.onRequest('echo', ({ text }) => {
  console.log('stray text, and then some without a newline:')
  process.stdout.write('…')
  return text
})
host.onRequest('fail', () => { throw new rpc.ResponseError(42, 'my own', { detail: 1 }) })
let cancelled = 0
host.onRequest('slow', (_, token) => new Promise((_, reject) => {
  token.onCancellationRequested(() => { cancelled += 1; reject(new rpc.ResponseError(-32800, 'gone')) })
}))
host.onRequest('cancelled', () => cancelled)
host.listen()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("peer")
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm and node are not here")
    (folder / "package.json").write_text(json.dumps(PACKAGE))
    command = ["npm", "install", "--no-audit", "--no-fund", "--silent"]
    if subprocess.run(command, cwd=folder, timeout=50, capture_output=True, check=False).returncode:
        pytest.skip("npm could not install vscode-jsonrpc")
    (folder / "main.js").write_text(PLUGIN)
    (folder / "plugin.toml").write_text(
        '[plugin]\nname = "peer"\nversion = "1"\n[run]\ncommand = ["node", "main.js"]\n'
    )
    return folder


@pytest.fixture
async def host(folder: Path, tmp_path: Path) -> AsyncIterator[Host]:
    async with Host(plugins=[folder], data_dir=tmp_path) as host:
        yield host


async def test_its_calls_survive_the_text_that_it_prints_between_frames(host: Host) -> None:
    for number in range(100):
        assert await host.call("peer", "echo", text=str(number)) == str(number)
    assert host.status().plugins[0].stdout_noise_bytes > 0


async def test_a_megabyte_goes_both_ways(host: Host) -> None:
    text = "ü" * 500_000
    assert await host.call("peer", "echo", text=text) == text


async def test_its_errors_arrive_typed(host: Host) -> None:
    with pytest.raises(RemoteError) as caught:
        await host.call("peer", "fail")
    assert (caught.value.remote_code, caught.value.data) == (42, {"detail": 1})
    with pytest.raises(MethodNotFound):
        await host.call("peer", "nothing")


async def test_a_deadline_reaches_it_as_a_cancellation(host: Host) -> None:
    with pytest.raises(DeadlineExceeded):
        await host.call("peer", "slow", timeout=0.1)
    assert await host.call("peer", "cancelled") == 1


async def test_calls_run_side_by_side(host: Host) -> None:
    answers: set[str] = set()

    async def ask(number: int) -> None:
        answers.add(await host.call("peer", "echo", text=str(number)))

    async with anyio.create_task_group() as tasks:
        for number in range(150):
            tasks.start_soon(ask, number)
    assert answers == {str(number) for number in range(150)}
