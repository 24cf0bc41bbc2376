"""What the rooms above rely on, of the driver of every loop."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest

from host.process.driver import Driver, Waiter, current_driver

pytestmark = pytest.mark.anyio


@contextmanager
def opened() -> Iterator[Driver]:
    driver = current_driver()
    try:
        yield driver
    finally:
        driver.close()


async def settled_by(driver: Driver, waiter: Waiter) -> Any:
    with anyio.fail_after(5):
        return await waiter


async def test_timers_fire_in_the_order_of_their_times_and_cancelled_ones_do_not() -> None:
    with opened() as driver:
        fired: list[str] = []
        done = driver.waiter()
        now = driver.now()
        driver.call_at(now + 0.04, lambda: done.set_result(None))
        driver.call_at(now + 0.02, lambda: fired.append("second"))
        driver.call_at(now + 0.01, lambda: fired.append("cancelled")).cancel()
        driver.call_at(now, lambda: fired.append("first"))
        driver.call_at(now + 3600, lambda: fired.append("never"))
        await settled_by(driver, done)
        assert fired == ["first", "second"]
        assert driver.now() >= now + 0.04


async def test_a_timer_may_set_the_next_one() -> None:
    with opened() as driver:
        done = driver.waiter()
        left = 3

        def tick() -> None:
            nonlocal left
            left -= 1
            if left:
                driver.call_at(driver.now(), tick)
            else:
                done.set_result("rung")

        driver.call_at(driver.now() + 0.01, tick)
        assert await settled_by(driver, done) == "rung"


async def test_a_waiter_may_be_settled_before_it_is_awaited() -> None:
    with opened() as driver:
        early, failed = driver.waiter(), driver.waiter()
        early.set_result(1)
        failed.set_exception(ZeroDivisionError())
        assert early.done()
        assert await early == 1
        with pytest.raises(ZeroDivisionError):
            await failed


async def test_a_waiter_whose_task_was_cancelled_is_done() -> None:
    with opened() as driver:
        waiter = driver.waiter()
        with anyio.move_on_after(0.01) as scope:
            await waiter
        assert scope.cancelled_caught
        assert waiter.done()


async def test_a_result_that_comes_before_a_cancellation_is_not_lost() -> None:
    with opened() as driver:
        waiter = driver.waiter()
        with anyio.CancelScope() as scope:
            driver.call_soon(lambda: (waiter.set_result("kept"), scope.cancel()))
            got = await waiter
        assert got == "kept"


@pytest.mark.parametrize("anyio_backend", ["trio"])  # asyncio's own doing, and anyio's tests forbid it there
async def test_a_callback_that_raises_harms_no_other(capsys: Any) -> None:
    with opened() as driver:
        done = driver.waiter()
        read_fd, write_fd = os.pipe()

        def fail() -> None:
            driver.remove_reader(read_fd)
            driver.call_soon(lambda: 1 / 0)
            driver.call_at(driver.now(), lambda: 1 / 0)
            driver.call_at(driver.now() + 0.01, lambda: done.set_result("well"))
            raise ZeroDivisionError

        driver.add_reader(read_fd, fail)
        os.write(write_fd, b"x")
        assert await settled_by(driver, done) == "well"
        assert capsys.readouterr().err.count("Traceback") == 3
        os.close(read_fd)
        os.close(write_fd)


async def test_a_descriptor_that_another_callback_has_let_go_of_is_not_heard_any_more() -> None:
    with opened() as driver:
        pipes = [os.pipe() for _ in range(2)]
        heard: list[int] = []
        done = driver.waiter()

        def hear(fd: int) -> None:
            heard.append(fd)
            for read_fd, _ in pipes:
                driver.remove_reader(read_fd)
                os.close(read_fd)
            driver.call_at(driver.now() + 0.01, lambda: done.set_result(None))

        for read_fd, write_fd in pipes:
            driver.add_reader(read_fd, lambda fd=read_fd: hear(fd))  # type: ignore[misc]
            os.write(write_fd, b"x")
        await settled_by(driver, done)
        assert len(heard) == 1
        driver.remove_reader(heard[0])  # once more is no error
        for _, write_fd in pipes:
            os.close(write_fd)


async def test_a_writer_is_called_when_there_is_room_again() -> None:
    with opened() as driver:
        read_fd, write_fd = os.pipe()
        os.set_blocking(write_fd, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(write_fd, bytes(65536))
        room = driver.waiter()

        def on_room() -> None:
            driver.remove_writer(write_fd)
            room.set_result(None)

        driver.add_writer(write_fd, on_room)
        driver.call_soon(lambda: os.read(read_fd, 1 << 20))
        await settled_by(driver, room)
        os.close(read_fd)
        os.close(write_fd)


async def test_a_thread_can_reach_the_loop_and_knows_that_it_is_not_on_it() -> None:
    with opened() as driver:
        done = driver.waiter()
        assert driver.is_current()
        assert await anyio.to_thread.run_sync(driver.is_current) is False
        threading.Thread(
            target=lambda: driver.call_from_thread(lambda: done.set_result(driver.is_current()))
        ).start()
        assert await settled_by(driver, done)


async def test_a_closed_driver_leaves_no_descriptor_and_no_task() -> None:
    await anyio.lowlevel.checkpoint()
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with opened() as driver:
            done = driver.waiter()
            driver.call_at(driver.now() + 3600, lambda: None)
            driver.call_soon(lambda done=done: done.set_result(None))  # type: ignore[misc]
            await settled_by(driver, done)
    ends_at = time.monotonic() + 5
    while set(os.listdir("/proc/self/fd")) != before:
        assert time.monotonic() < ends_at
        await anyio.lowlevel.checkpoint()
