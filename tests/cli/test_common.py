"""Stopping a service by signals, in this very process."""

import asyncio
import os
import signal

import pytest

from antiphon.cli.common import SIGNALS, stop_on_signals


@pytest.mark.parametrize("name", SIGNALS)
def test_the_first_signal_asks_to_stop_and_the_second_is_the_systems_again(name: signal.Signals) -> None:
    async def main() -> bool:
        asked = asyncio.Event()
        stop_on_signals(asked.set)
        os.kill(os.getpid(), name)
        await asyncio.wait_for(asked.wait(), 10)
        return any(asyncio.get_running_loop().remove_signal_handler(each) for each in SIGNALS)

    before = [signal.getsignal(each) for each in SIGNALS]
    try:
        assert not asyncio.run(main())
    finally:
        for each, handler in zip(SIGNALS, before, strict=True):
            signal.signal(each, handler)
