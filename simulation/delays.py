"""How long things take: laws of random seconds, each a few numbers out of a TOML table.

    delay = { law = "uniform", low = 8, high = 12 }
    delay = { law = "pareto", shape = 1.2, cap = 50, scale = 2 }

Guaranteed: what is drawn is finite and not negative, and depends on the law and the generator alone. A key
that the law does not have is refused with the laws that have it.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec
import numpy as np

from antiphon.codecs.errors import ConfigError

Name = Literal["constant", "half-normal", "exponential", "uniform", "pareto", "lognormal"]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0)]

LONGEST = 1e8
"""Seconds, three years: no draw is longer, whatever its law. Virtual time stays exact to a microsecond."""


class Law(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A law of seconds: ``scale`` times the value drawn, U uniform on [0, 1), N standard normal.

    ==============  ============================  =====================  ============================
    law             value                         mean                   source
    ==============  ============================  =====================  ============================
    constant        1                             1
    half-normal     \\|N\\|                         sqrt(2 / π) = 0.798    FedBuff, arXiv 2106.06639
    exponential     -ln(1 - U)                    1
    uniform         low + (high - low) · U        (low + high) / 2       FADAS's classes
    pareto          min((1 - U)^(-1/shape), cap)  see `mean`
    lognormal       exp(mu + sigma · N)           exp(mu + sigma² / 2)
    ==============  ============================  =====================  ============================

    Attributes:
        law: Its name.
        scale: What the value is multiplied with: seconds.
        low, high: Of the uniform law.
        shape, cap: Of Pareto's law: a smaller shape has a heavier tail; the value is at most ``cap``.
        mu, sigma: Of the normal variable whose exponential the lognormal law is; 0 and 1 by default.
    """

    law: Name
    scale: Positive = 1.0
    low: Seconds | None = None
    high: Seconds | None = None
    shape: Positive | None = None
    cap: Annotated[float, msgspec.Meta(ge=1.0)] | None = None
    mu: float | None = None
    sigma: Seconds | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that the law does not have, and those without which there is none.

        Raises:
            ConfigError: Names the law and the key.
        """
        for key in ("low", "high", "shape", "cap", "mu", "sigma"):
            given = getattr(self, key) is not None
            if given and key not in KEYS[self.law]:
                owners = " and ".join(f'"{law}"' for law, keys in KEYS.items() if key in keys)
                raise ConfigError(f'law = "{self.law}" has no {key}; {owners} has')
            if key in NEEDED[self.law] and not given:
                raise ConfigError(f'law = "{self.law}" needs {" and ".join(NEEDED[self.law])}')
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ConfigError(f"low is {self.low:g}, above high, which is {self.high:g}")
        if not all(math.isfinite(number) for number in self.numbers.values()):
            raise ConfigError(f'the numbers of law = "{self.law}" must be finite')

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers that are set, by key."""
        given = {key: getattr(self, key) for key in ("scale", *KEYS[self.law])}
        return {key: value for key, value in given.items() if value is not None}

    def draw(self, rng: np.random.Generator) -> float:
        """Return seconds; one number is taken from the generator, none for a constant."""
        return min(LONGEST, self.scale * _VALUES[self.law](self, rng))

    @property
    def mean(self) -> float:
        """The expected seconds, unless `LONGEST` cuts them."""
        return self.scale * _MEANS[self.law](self)

    def __str__(self) -> str:
        """As people say it: "uniform 8 to 12 s"."""
        scale = f"{self.scale:g} x " if self.scale != 1 else ""
        match self.law:
            case "constant":
                return f"{self.scale:g} s"
            case "uniform":
                return f"{scale}uniform {self.low:g} to {self.high:g} s"
            case "pareto":
                capped = f", at most {self.cap:g}" if self.cap is not None else ""
                return f"{scale}Pareto({self.shape:g}{capped}) s"
            case "lognormal":
                return f"{scale}lognormal({_mu(self):g}, {_sigma(self):g}) s"
            case _:
                return f"{scale}{self.law} s"


KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "constant": (),
        "half-normal": (),
        "exponential": (),
        "uniform": ("low", "high"),
        "pareto": ("shape", "cap"),
        "lognormal": ("mu", "sigma"),
    }
)
"""The keys that a law has besides ``scale``."""

NEEDED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {**dict.fromkeys(KEYS, ()), "uniform": ("low", "high"), "pareto": ("shape",)}
)
"""Those of them that have no default."""


def law_of(value: float | Law) -> Law:
    """Return the law that a plain number of seconds, above 0, stands for."""
    return value if isinstance(value, Law) else Law(law="constant", scale=value)


def _mu(law: Law) -> float:
    return 0.0 if law.mu is None else law.mu


def _sigma(law: Law) -> float:
    return 1.0 if law.sigma is None else law.sigma


def _uniform(law: Law, rng: np.random.Generator) -> float:
    low, high = law.low or 0.0, law.high or 0.0
    return low + (high - low) * rng.random()


def _pareto(law: Law, rng: np.random.Generator) -> float:
    exponent = -math.log1p(-rng.random()) / (law.shape or 1.0)
    return min(math.exp(min(exponent, 700.0)), law.cap or math.inf)


def _lognormal(law: Law, rng: np.random.Generator) -> float:
    return math.exp(min(_mu(law) + _sigma(law) * rng.standard_normal(), 700.0))


def _pareto_mean(law: Law) -> float:
    shape, cap = law.shape or 1.0, law.cap
    if cap is None:
        return shape / (shape - 1.0) if shape > 1.0 else math.inf
    if shape == 1.0:
        return 1.0 + math.log(cap)
    return (shape - cap ** (1.0 - shape)) / (shape - 1.0)


_VALUES: Mapping[str, Callable[[Law, np.random.Generator], float]] = MappingProxyType(
    {
        "constant": lambda _law, _rng: 1.0,
        "half-normal": lambda _law, rng: abs(rng.standard_normal()),
        "exponential": lambda _law, rng: -math.log1p(-rng.random()),
        "uniform": _uniform,
        "pareto": _pareto,
        "lognormal": _lognormal,
    }
)

_MEANS: Mapping[str, Callable[[Law], float]] = MappingProxyType(
    {
        "constant": lambda _law: 1.0,
        "half-normal": lambda _law: math.sqrt(2.0 / math.pi),
        "exponential": lambda _law: 1.0,
        "uniform": lambda law: ((law.low or 0.0) + (law.high or 0.0)) / 2.0,
        "pareto": _pareto_mean,
        "lognormal": lambda law: math.exp(_mu(law) + _sigma(law) ** 2 / 2.0),
    }
)
