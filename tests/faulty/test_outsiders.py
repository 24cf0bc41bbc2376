"""What nobody who knows the code would think of: each is done to a victim, which has to serve again.

Above the rows of the matrix, in the same arena. A line says what is done, and whether the process has to
survive it (`1`: the same generation answers afterwards), or has to be replaced (`2`), or may do as it likes.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from host import OutboardError, PayloadTooLarge, PluginUnavailable, RemoteError
from tests.support.arena import REPLACED_SOON, arena, besieged
from tests.support.daemon import eventually
from tests.support.plugins import ECHO, is_gone, write_plugin, write_raw_plugin

pytestmark = pytest.mark.anyio

MODULES = ("asyncio", "faulthandler", "multiprocessing", "resource")
"""What the lines below may use besides the preamble; each plugin imports what its own name."""

DEEDS: dict[str, tuple[int | None, str]] = {
    # -- its descriptors ---------------------------------------------------------------------------
    "closes fd 1": (1, "os.close(1)"),
    "closes fd 2": (1, "os.close(2)"),
    "closes sys.stdout and prints": (1, "sys.stdout.close(); print('x')"),
    "closes its own protocol": (2, "os.closerange(3, 64)"),
    "makes what it has open block": (None, "[os.set_blocking(fd, True) for fd in range(64) if is_open(fd)]"),
    "makes what it has open not block": (
        None,
        "[os.set_blocking(fd, False) for fd in range(64) if is_open(fd)]",
    ),
    "writes frames of its own to fd 1": (1, "os.write(1, b'Content-Length: 2\\r\\n\\r\\n{}' * 100)"),
    "may open no file any more": (1, "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))"),
    # -- its process -------------------------------------------------------------------------------
    "becomes another program": (2, "os.execv('/bin/sleep', ['sleep', '60'])"),
    "forks, and both answer": (None, "os.fork()"),
    "forks, and the child reads along": (None, "if os.fork() == 0: time.sleep(1); os._exit(0)"),
    "blocks every signal": (1, "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))"),
    "ignores every signal": (
        1,
        "[signal.signal(n, signal.SIG_IGN) for n in range(1, 32) if n not in (9, 19)]",
    ),
    "is traced by the host, and stops": (2, "ctypes.CDLL(None).ptrace(0, 0, 0, 0); os.kill(os.getpid(), 19)"),
    "is traced by the host, and dies": (2, "ctypes.CDLL(None).ptrace(0, 0, 0, 0); os.kill(os.getpid(), 11)"),
    "kills its group": (2, "os.kill(0, signal.SIGKILL)"),
    "stops its group": (2, "os.kill(0, signal.SIGSTOP)"),
    "asks a terminal that is not there": (1, "os.kill(0, signal.SIGTTIN)"),
    "takes back its death signal": (1, "ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)"),
    "is nice": (1, "os.nice(19)"),
    "may use no processor time any more": (
        2,
        "resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass",
    ),
    "may use no memory any more": (None, "resource.setrlimit(resource.RLIMIT_AS, (1, 1))"),
    "leaves a thread that ends it": (2, "threading.Timer(0.05, os._exit, [0]).start(); time.sleep(5)"),
    "leaves a thread that never ends": (1, "threading.Thread(target=time.sleep, args=(60,)).start()"),
    "leaves a pool of processes": (1, "pools.append(multiprocessing.get_context('fork').Pool(3))"),
    "goes elsewhere": (1, "os.chdir('/')"),
    "has no environment any more": (1, "os.environ.clear()"),
    # -- its interpreter ---------------------------------------------------------------------------
    "has no os.write": (2, "os.write = None"),
    "has no modules": (None, "sys.modules.clear()"),
    "recurses without a limit": (2, "sys.setrecursionlimit(10**9); recurse()"),
    "recurses with a limit": (1, "recurse()"),
    "ends the tracing of its crashes": (1, "faulthandler.disable()"),
}
"""What is done, whether it survives, and how."""
ANSWERS: dict[str, str] = {
    "raises what cannot be printed": "raise Unprintable",
    "raises ten million letters": "raise ValueError('x' * 10**7)",
    "raises a thousand causes": "raise chained(1000)",
    "raises half a letter": "raise ValueError(chr(0xd800))",
    "returns half a letter": "return chr(0xd800)",
    "returns no number": "return float('nan')",
    "returns something else than it said": "return object()",
    "returns itself": "it = []; it.append(it); return it",
    "returns a number of ten thousand digits": "return 7 ** 10000",
    "returns a generator": "return (n for n in range(3))",
    "logs ten megabytes": "ctx.log.info('x' * 10**7)",
    "prints a line of ten megabytes": "print('x' * 10**7)",
    "prints what no terminal should see": "print('\\x1b]0;x\\x07\\x1b[2J', '\\x00' * 99, chr(0xd800))",
}
"""Answers that harm nobody, whatever they look like."""

HELPERS = """
pools = []

class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no")
    __repr__ = __str__

def recurse(n=0):
    return recurse(n + 1) + 1

def chained(depth):
    error = ValueError("first")
    for _ in range(depth):
        after = ValueError("next")
        after.__cause__ = error
        error = after
    return error

def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return fd > 2
"""


def misbehaving(parent: Path, *bodies: str, is_async: bool = False) -> Path:
    """A plugin with `echo`, and a method `misbehave` that does what is asked for by number."""
    code = "".join(f"import {name}\n" for name in MODULES if any(name in body for body in bodies)) + HELPERS
    context = "AsyncContext" if is_async else "Context"
    for number, body in enumerate(bodies):
        lines = "\n".join(f"    {line}" for line in body.splitlines())
        code += f"@plugin.method\ndef misbehave_{number}(ctx: {context}) -> Any:\n{lines}\n"
    code += ECHO
    return write_plugin(
        parent, "victim", code.replace("\ndef mis", "\nasync def mis") if is_async else code, **REPLACED_SOON
    )


@pytest.mark.parametrize("deed", DEEDS)
async def test_it_serves_again_after_it(tmp_path: Path, deed: str) -> None:
    survives, code = DEEDS[deed]
    async with arena(tmp_path, misbehaving(tmp_path, code)) as fought:
        pid = fought.pid("victim")
        with suppress(OutboardError):
            await fought.call("victim", "misbehave_0", timeout=3.0)
        generation = await fought.serves_again()
        if survives is not None:
            assert generation == survives, fought.host.why("victim").causes
        await fought.host.stop("victim")
        assert is_gone(pid)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_nothing_that_it_answers_ends_it(tmp_path: Path, is_async: bool) -> None:
    async with arena(tmp_path, misbehaving(tmp_path, *ANSWERS.values(), is_async=is_async)) as fought:
        for number, answer in enumerate(ANSWERS):
            with suppress(OutboardError):
                await fought.call("victim", f"misbehave_{number}", timeout=5.0)
            assert await fought.serves_again() == 1, answer


@pytest.mark.parametrize(
    "what", ["GeneratorExit", "KeyboardInterrupt", "SystemExit(3)", "asyncio.CancelledError"]
)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_it_serves_again_after_an_exception_that_is_not_for_handlers(
    tmp_path: Path, is_async: bool, what: str
) -> None:
    async with arena(tmp_path, misbehaving(tmp_path, f"raise {what}", is_async=is_async)) as fought:
        await fought.fails("misbehave_0", timeout=3.0)
        await fought.serves_again()


# -- and those that end otherwise ----------------------------------------------------------------------


async def test_what_is_too_large_and_what_cannot_be_printed_have_errors_of_their_own(tmp_path: Path) -> None:
    code = f"""{HELPERS}
@plugin.method
def large() -> str:
    return "x" * 10**8

@plugin.method
def unprintable() -> None:
    raise Unprintable

@plugin.method
def not_a_number() -> float:
    return float("nan")
{ECHO}"""
    async with arena(tmp_path, write_plugin(tmp_path, "victim", code)) as fought:
        await fought.fails("large", PayloadTooLarge, timeout=20.0)
        assert "Unprintable" in str(await fought.fails("unprintable", RemoteError))
        assert await fought.call("victim", "echo", value=1) == 1
        assert fought.status().generation == 1


async def test_one_that_always_ends_with_75_waits_and_is_not_tried_again_and_again(tmp_path: Path) -> None:
    victim = write_raw_plugin(tmp_path, "victim", "os._exit(75)\n", **REPLACED_SOON)
    async with arena(tmp_path, victim) as fought:
        await fought.becomes(lambda status: status.state == "waiting")
        await fought.sibling_answers()
        await anyio.sleep(0.5)  # nothing is to be seen
        assert fought.status().generation == 1


async def test_one_that_deletes_its_own_folder_runs_on_and_is_missed_when_it_has_ended(
    tmp_path: Path,
) -> None:
    code = (
        "import shutil\n" + ECHO + "\n@plugin.method\ndef leave() -> None:\n    shutil.rmtree(os.getcwd())\n"
    )
    victim = write_plugin(tmp_path, "victim", code, **REPLACED_SOON)
    async with arena(tmp_path, victim) as fought:
        await fought.call("victim", "leave")
        assert await fought.call("victim", "echo", value=1) == 1
        os.kill(fought.pid("victim"), signal.SIGKILL)
        await fought.ends("backoff", "SIGKILL")
        await fought.becomes(lambda status: status.state == "waiting")
        assert f"{victim} is not there" in fought.status().reason
        assert f"{victim} is not there" in str(await fought.fails("echo", PluginUnavailable))


async def test_one_that_computes_while_it_is_imported_has_the_time_of_a_start(tmp_path: Path) -> None:
    code = "while True: pass\n"
    tables = REPLACED_SOON | {"start": {"timeout": "500ms"}, "restart": {"policy": "never"}}
    async with arena(tmp_path, write_plugin(tmp_path, "victim", code, **tables)) as fought:
        await fought.ends("failed", "had not answered initialize after 0.5 s")


def test_a_plugin_may_end_the_daemon_of_its_own_user_which_then_ends_in_order(tmp_path: Path) -> None:
    """As docs/faq.md says: processes of one user may signal each other. It is not a sandbox."""
    code = ECHO + "\n@plugin.method\ndef end_host() -> None:\n    os.kill(os.getppid(), signal.SIGTERM)\n"
    victim = write_plugin(tmp_path / "plugins", "victim", code)
    with besieged(tmp_path, victim, is_to_die=True) as daemon:
        pids = daemon.pids()
        with suppress(OutboardError):
            daemon.call("victim", "end_host")
        assert daemon.process.wait(15) == 0
        eventually(lambda: all(map(is_gone, pids)))
