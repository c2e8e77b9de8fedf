"""Stages one after another and overlapping: the same outcomes; what a thread says stays its own."""

import sys
import threading
from typing import Any

import pytest

from nnunetv2_comnet.inference.nnunet_output import nnunet_messages_to_log
from nnunetv2_comnet.inference.stages import OneBehind, Outcome, in_stages

WAIT = 30  # seconds, after which a test that hangs fails


class Work:
    """Stages that write down what they were given; the item says where it breaks."""

    def __init__(self) -> None:
        self.threads: dict[str, set[int]] = {"prepare": set(), "compute": set(), "finish": set()}

    def stage(self, name: str) -> Any:
        def work(item: str, value: Any) -> list[str]:
            self.threads[name].add(threading.get_ident())
            if item.endswith(f"breaks in {name}"):
                raise ValueError(f"{item}!")
            return [*(value or []), f"{name} {item}"]

        return work

    def run(self, items: list[str], *, overlap: bool) -> list[Outcome[str]]:
        return list(in_stages(items, *map(self.stage, self.threads), overlap=overlap))


ITEMS = ["a", "b breaks in prepare", "c", "d breaks in compute", "e breaks in finish", "f"]


@pytest.mark.parametrize("overlap", [False, True])
def test_every_item_has_its_outcome_in_order_and_errors_cost_nobody_else(overlap: bool) -> None:
    outcomes = Work().run(ITEMS, overlap=overlap)
    assert [outcome.item for outcome in outcomes] == ITEMS
    for outcome in outcomes:
        if "breaks" in outcome.item:
            assert str(outcome.error) == f"{outcome.item}!"
            assert outcome.result is None
        else:
            assert outcome.error is None
            assert outcome.result == [f"{name} {outcome.item}" for name in ("prepare", "compute", "finish")]
    assert Work().run([], overlap=overlap) == []
    assert [outcome.item for outcome in Work().run(["alone"], overlap=overlap)] == ["alone"]


def test_only_the_middle_stage_is_the_callers_thread() -> None:
    work = Work()
    work.run(ITEMS, overlap=True)
    own = {threading.get_ident()}
    assert work.threads["compute"] == own
    assert len(work.threads["prepare"] | work.threads["finish"] | own) == 3
    serial = Work()
    serial.run(ITEMS, overlap=False)
    assert list(serial.threads.values()) == [own] * 3


def test_the_neighbours_are_worked_on_while_one_is_computed() -> None:
    """Item 1 is not computed before 2 is prepared and 0 is finished: serial work would wait for ever."""
    prepared, finished = ([threading.Event() for _ in range(3)] for _ in range(2))

    def prepare(item: int, _: None) -> None:
        prepared[item].set()

    def compute(item: int, _: None) -> None:
        if item == 1:
            assert prepared[2].wait(WAIT)
            assert finished[0].wait(WAIT)

    def finish(item: int, _: None) -> int:
        finished[item].set()
        return item

    outcomes = list(in_stages([0, 1, 2], prepare, compute, finish, overlap=True))
    assert [outcome.result for outcome in outcomes] == [0, 1, 2]
    assert [outcome.error for outcome in outcomes] == [None] * 3


@pytest.mark.parametrize("overlap", [False, True])
def test_an_interruption_loses_nothing_that_was_finished(overlap: bool) -> None:
    def compute(item: int, _: None) -> int:
        if item == 2:
            raise KeyboardInterrupt
        return item

    outcomes = in_stages([0, 1, 2, 3], lambda i, _: None, compute, lambda i, value: value, overlap=overlap)
    assert [next(outcomes).result for _ in range(2)] == [0, 1]
    with pytest.raises(KeyboardInterrupt):
        next(outcomes)


@pytest.mark.parametrize("threads", [False, True])
def test_one_behind_does_all_in_order_and_tells_errors(threads: bool) -> None:
    worker, done = OneBehind(threads=threads), []
    for number in range(5):
        worker.submit(lambda number=number: done.append((number, threading.get_ident())))
    worker.wait()
    assert [number for number, _ in done] == list(range(5))
    assert (threading.get_ident() in {thread for _, thread in done}) is not threads

    def broken() -> None:
        raise ValueError("no")

    def submit_and_wait() -> None:
        worker.submit(broken)
        worker.wait()

    with pytest.raises(ValueError, match="no"):
        submit_and_wait()
    worker.wait()


def test_threads_that_listen_at_once_hear_themselves_and_leave_output_as_it_was(capsys: Any) -> None:
    """Entered and left crosswise: first in, first out."""
    before, both, first_left = sys.stdout, threading.Barrier(2, timeout=WAIT), threading.Event()
    heard = {}

    def talk(name: str, leaves_first: bool) -> None:
        with nnunet_messages_to_log() as said:
            both.wait()
            sys.stdout.write(f"{name}\n")
            with nnunet_messages_to_log() as within:
                sys.stdout.write(f"{name} within\n")
            both.wait()
            if not leaves_first:
                assert first_left.wait(WAIT)
                sys.stdout.write("still\n")
            heard[name] = (said.getvalue(), within.getvalue())
        if leaves_first:
            first_left.set()

    threads = [threading.Thread(target=talk, args=("one", True)), threading.Thread(target=talk, args=("two", False))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert heard == {"one": ("one\n", "one within\n"), "two": ("two\nstill\n", "two within\n")}
    assert sys.stdout is before
    sys.stdout.write("heard again\n")
    assert capsys.readouterr().out == "heard again\n"
