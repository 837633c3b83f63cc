"""What a demo says before it begins."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from antiphon.demo import run
from antiphon.demo.stage import Stage


@pytest.mark.parametrize(
    ("mosquitto", "embedded", "broker"),
    [
        ("/usr/sbin/mosquitto", False, "mosquitto"),
        ("/usr/sbin/mosquitto", True, "the embedded one"),
        (None, False, "the embedded one"),
    ],
)
def test_the_first_lines_name_the_broker(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, mosquitto: str | None, embedded: bool, broker: str
) -> None:
    monkeypatch.setattr(run, "find_mosquitto", lambda: mosquitto)
    out = io.StringIO()
    run.introduce(Console(file=out, width=80), replace(stage, embedded=embedded))
    assert f"A broker ({broker}), a coordinator and 8 banks" in out.getvalue()
