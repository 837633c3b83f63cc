"""``antiphon demo``: a whole federation on this machine, on real data."""

from pathlib import Path
from typing import Annotated

import typer

from antiphon.demo.defaults import SECONDS, one_thread


def demo(
    dataset: Annotated[str, typer.Option(help="credit (eight banks) or digits (eight sites).")] = "credit",
    seed: Annotated[int, typer.Option(help="Decides which quarter of the rows is held out.", min=0)] = 0,
    output: Annotated[
        Path, typer.Option(help="Folder for everything that is written; an earlier demo's is replaced.")
    ] = Path("demo-output"),
    seconds: Annotated[
        float, typer.Option(help="How long the federation runs, on a machine that is not busy.")
    ] = SECONDS,
    port: Annotated[int, typer.Option(help="Of the broker; 0 for any free one.", min=0, max=65535)] = 0,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="The broker that pip installs, even if mosquitto is here.")
    ] = False,
    figures: Annotated[
        bool, typer.Option("--figures", help="Repeat it over ten splits and print all ten results.")
    ] = False,
) -> None:
    """Run a whole federation on this machine, on real data.

    A broker, a coordinator and eight agents are processes of their own, and each agent has its own rows.

    One is 20 times slower, one joins late, one is killed half way and comes back.

    Example: antiphon demo --dataset digits --seed 3
    """
    one_thread()
    from antiphon.demo import figures as ten
    from antiphon.demo import run
    from antiphon.demo.stage import Plan
    from antiphon.demo.table import console

    if figures:
        ten.repeat(dataset, 10, min(seconds, ten.FIGURES_SECONDS), embedded=embedded)
        return
    run.demo(console(), dataset, seed, output, Plan(seconds=seconds), port, embedded=embedded)
