"""One seed, one federation and everything that will happen to it: drawn before anything runs.

Nothing here depends on what the federation does, so that a seed names the same troubles whatever the code
under test makes of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from antiphon.agents.settings import Encoding
from antiphon.broker_config.topics import COORDINATOR
from antiphon.simulation.faults import Faults

Trouble = Literal["crash", "power", "torn", "cut", "half-open", "restart", "stale", "full", "jump"]
Durability = Literal["fsync", "flush"]
DURABILITIES: tuple[Durability, ...] = ("fsync", "fsync", "flush")
DEATHS: tuple[Trouble, ...] = ("crash", "power", "torn")
Choice = TypeVar("Choice")

STORM = 180.0
"""Seconds in which things go wrong."""

BEGINNING = 5.0
"""Seconds in which the first version comes to be."""

CRASHES = 5
"""At least so many, of the coordinator and of agents together; at least two of them the coordinator's."""

ENCODINGS: tuple[Encoding, ...] = ("lossless", "lossless", "float16", "int8")

PRESETS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("fedbuff", {"k": 2}),
    ("fedbuff", {}),
    ("fedbuff", {"fairness": "inverse-rate"}),
    ("fedasync", {}),
    ("fedavg", {}),
    ("fedadam", {"k": 2}),
    ("fedyogi", {"k": 2}),
    ("fedadagrad", {"k": 2}),
)
"""Preset and what differs from it."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One agent.

    Attributes:
        id: Its name.
        seconds: Virtual seconds that a training takes; infinity: it trains for ever.
        encoding: Of its updates.
        latency: Seconds of its line, each way.
        bandwidth: Bytes a second of its line; None for no limit.
    """

    id: str
    seconds: float
    encoding: Encoding
    latency: float
    bandwidth: float | None


@dataclass(frozen=True, slots=True)
class Accident:
    """Something that happens.

    Attributes:
        at: Virtual seconds after the start.
        trouble: "crash": a process is killed; "power": its host loses power; "torn": it is killed in the
            middle of a job on the disk; "cut" and "half-open": its line; "restart": the broker forgets
            everything; "stale": it comes back with what it retained a while ago; "full": no byte more fits on
            its disk; "jump": its clock.
        party: Whose; empty for the broker.
        steps: A crash comes so many steps of the party later, between any two awaits; a torn job so many
            changes of the disk later.
        seconds: How long it is down, or its disk full; how far the clock jumps.
    """

    at: float
    trouble: Trouble
    party: str = ""
    steps: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A federation and its troubles.

    Attributes:
        seed: Everything below was drawn from it.
        seats: The agents.
        preset, aggregation: The rule.
        elements: Of the model's one weight tensor.
        packet: Bytes of the coordinator's packets: a model beyond it lies in slots.
        offer: Bytes of an offer: an update beyond it travels in chunks.
        frame: Bytes of an update frame.
        durability: Of the coordinator.
        keep: Versions that its ledger keeps.
        initial: Whether the operator brings the first version; otherwise the first agent does.
        lonely: Whether all agents but the first die for ever when the storm is over.
        protocol: Of the broker.
        faults: What goes wrong with messages while the storm lasts.
        accidents: In order of time.
    """

    seed: int
    seats: tuple[Seat, ...]
    preset: str
    aggregation: dict[str, Any]
    elements: int
    packet: int
    offer: int
    frame: int
    durability: Durability
    keep: int
    initial: bool
    lonely: bool
    protocol: int
    faults: Faults
    accidents: tuple[Accident, ...] = field(repr=False)

    @property
    def silent(self) -> tuple[str, ...]:
        """Agents who never answer, or will not any more once the storm is over."""
        last = self.seats[1:] if self.lonely else ()
        return tuple(seat.id for seat in self.seats if np.isinf(seat.seconds) or seat in last)

    def __str__(self) -> str:
        """One line for people."""
        seats = ", ".join(f"{seat.id} {seat.seconds:g} s {seat.encoding}" for seat in self.seats)
        crashes = sum(accident.trouble in DEATHS for accident in self.accidents)
        return (
            f"seed {self.seed}: {self.preset} {self.aggregation or ''} {self.durability}, "
            f"{self.elements} elements, offer {self.offer}, mqtt {self.protocol}, keeps {self.keep}, "
            f"{'lonely, ' * self.lonely}{'' if self.initial else 'first version by agent-0, '}"
            f"{crashes} crashes of {len(self.accidents)} accidents; {seats}"
        )


def draw(seed: int) -> Scenario:
    """Draw the scenario of a seed."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x5CE7A510]))
    seats = _seats(rng)
    preset, aggregation = _one(rng, PRESETS)
    large = bool(rng.random() < 0.4)
    durability = _one(rng, DURABILITIES)
    return Scenario(
        seed=seed,
        seats=seats,
        preset=preset,
        aggregation=dict(aggregation),
        elements=int(rng.integers(5_000, 20_000)) if large else int(rng.integers(1, 2_000)),
        packet=16 << 10,
        offer=_one(rng, (1 << 10, 16 << 10)),
        frame=16 << 10,
        durability=durability,
        keep=_one(rng, (100, 100, 3)),
        initial=bool(rng.random() < 0.8),
        lonely=bool(rng.random() < 0.2),
        protocol=_one(rng, (5, 5, 4)),
        faults=Faults(drop=0.2, duplicate=0.1, reorder=0.1, held=0.5, delay=0.02, refuse=0.01),
        accidents=_accidents(rng, [seat.id for seat in seats], durability),
    )


def _seats(rng: np.random.Generator) -> tuple[Seat, ...]:
    count = int(rng.integers(2, 7))
    odd = _one(rng, ("", "slow", "silent"))
    seats: list[Seat] = []
    for number in range(count):
        seconds = round(float(rng.uniform(4.0, 20.0)), 3)
        if number == count - 1 and odd:
            seconds = seconds * 10 if odd == "slow" else np.inf
        encoding = _one(rng, ENCODINGS)
        latency = round(float(rng.exponential(0.03)) + 0.001, 4)
        bandwidth = _one(rng, (None, None, 125_000.0))
        seats.append(Seat(f"agent-{number}", seconds, encoding, latency, bandwidth))
    return tuple(seats)


def _accidents(rng: np.random.Generator, agents: list[str], durability: Durability) -> tuple[Accident, ...]:
    parties = [COORDINATOR, *agents]
    victims = [COORDINATOR, COORDINATOR]
    for _ in range(CRASHES - 2 + int(rng.integers(0, 4))):
        victims.append(COORDINATOR if rng.random() < 0.4 else _one(rng, agents))
    # Whoever flushes only has decided that a power cut may cost the state folder.
    found = [_crash(rng, victim, victim != COORDINATOR or durability == "fsync") for victim in victims]
    for trouble in get_args(Trouble):
        if trouble in DEATHS:
            continue
        for _ in range(int(rng.integers(0, 3))):
            found.append(_other(rng, trouble, parties))
    return tuple(sorted(found, key=lambda accident: accident.at))


def _crash(rng: np.random.Generator, victim: str, may_lose_power: bool) -> Accident:
    trouble = _one(rng, ("crash", "crash", "power" if may_lose_power else "crash", "torn"))
    return Accident(
        at=_when(rng),
        trouble=trouble,
        party=victim,
        steps=int(rng.geometric(0.2 if trouble == "torn" else 0.02)) - 1,
        seconds=round(float(_one(rng, (0.0, 1.0, 5.0, 30.0)) * rng.random()), 3),
    )


def _other(rng: np.random.Generator, trouble: Trouble, parties: list[str]) -> Accident:
    match trouble:
        case "restart" | "stale":
            return Accident(_when(rng), trouble, seconds=round(float(rng.exponential(2.0)), 3))
        case "full":
            return Accident(_when(rng), trouble, _one(rng, parties), seconds=round(float(rng.uniform(1, 40))))
        case "jump":
            far = _one(rng, (-86_400.0, -600.0, -2.0, 2.0, 600.0, 86_400.0))
            return Accident(_when(rng), trouble, _one(rng, parties), seconds=far)
        case _:
            return Accident(_when(rng), trouble, _one(rng, parties))


def _when(rng: np.random.Generator) -> float:
    """Now and then among a run's first steps."""
    return round(float(rng.uniform(0.0, BEGINNING if rng.random() < 0.15 else STORM)), 3)


def _one(rng: np.random.Generator, choices: Sequence[Choice]) -> Choice:
    return choices[int(rng.integers(len(choices)))]
