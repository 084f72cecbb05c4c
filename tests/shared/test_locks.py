"""Locks between processes and threads."""

from __future__ import annotations

import os
import threading
import time

from wiseft.base.locks import exclusive


def test_who_waits_for_a_lock_says_so_once_and_then_has_it_alone(tmp_path, said):
    lock, order = tmp_path / ".a.lock", []

    def second():
        with exclusive(lock):
            order.append("second")

    with exclusive(lock):
        thread = threading.Thread(target=second)
        thread.start()
        while not said:
            time.sleep(0.005)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert said == [f"another process works on {tmp_path / 'a'}; waiting for it"]
    assert not lock.exists()


def test_many_threads_never_hold_a_lock_together(tmp_path):
    """The lock file comes and goes; nobody may hold one that was removed."""
    lock, holders, most = tmp_path / ".a.lock", [], []

    def work():
        for _ in range(30):
            with exclusive(lock):
                holders.append(1)
                most.append(len(holders))
                os.sched_yield()
                holders.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 120
    assert set(most) == {1}
