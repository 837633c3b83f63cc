"""The coordinator's announcements: which version is the newest that this agent believes in.

Guarantees: `current` was signed by the coordinator, and never goes back: within a run (term, number) only
grows, another run must have started later, and that holds across restarts through the `Mark` on disk. Only
the newest raw message is kept, and verified when somebody is about to use it: a busy agent skips the others,
but for one that may say that the run is over.
"""

import asyncio
import logging
from collections.abc import Callable

from antiphon.agents.bell import ANNOUNCED, COURSE
from antiphon.agents.database import Mark
from antiphon.agents.line import Line
from antiphon.codecs import announcements
from antiphon.codecs.errors import PeerError, VersionError
from antiphon.codecs.messages import Announcement

log = logging.getLogger("antiphon.agents")

GLANCE = 1.0
"""Seconds between two looks at announcements while an update is under way: signatures cost a little."""

LAST_WORD = b"over"
"""Somewhere in every announcement that ends a run, as msgpack leaves strings alone; elsewhere by chance."""


class Announcements:
    """The newest announcement; see the module.

    Args:
        line: For the keys and the bell.
        mark: The version that the agent trained on last, before it was started.
    """

    def __init__(self, line: Line, mark: Mark | None) -> None:
        """Nothing announced yet."""
        self._line, self._mark = line, mark
        self._raw: bytes | None = None
        self._lock = asyncio.Lock()
        self._newest = (b"", -1, -1)  # (run, term, number) that receipts name
        self._behind: float | None = None
        self._glanced = float("-inf")
        self.current: Announcement | None = None
        self.renewed: Callable[[Announcement], None] = lambda announcement: None
        """Called when the coordinator has begun another term of the run."""

    def take(self, payload: bytes) -> None:
        """Keep the newest raw announcement; an empty payload says that there is none."""
        if payload:
            self._raw = payload
            # Whoever trains must hear of the end, and only a signature tells it from chance.
            self._line.bell.ring(ANNOUNCED | COURSE if LAST_WORD in payload else ANNOUNCED)

    async def refresh(self) -> Announcement | None:
        """Verify what came last, and return the newest announcement believed in."""
        if self._raw is not None or self._lock.locked():
            async with self._lock:
                while self._raw is not None:  # another may come while one is looked at
                    raw, self._raw = self._raw, None
                    await self._verify(raw)
        return self.current

    async def glance(self) -> None:
        """Verify what came last, but not more often than every `GLANCE` seconds."""
        if self._raw is not None and self._line.now - self._glanced >= GLANCE:
            self._glanced = self._line.now
            await self.refresh()

    def trained(self, version: Announcement) -> bool:
        """Whether the agent has trained on this version already, now or before a restart."""
        known, place = self._mark, (version.run, version.number, version.digest)
        return known is not None and (known.run, known.number, known.digest) == place

    def remember(self, mark: Mark) -> None:
        """An update on this version has been stored, and the mark with it."""
        self._mark = mark

    def named(self, run: bytes, term: int, number: int) -> None:
        """A receipt names the newest version of ``run``."""
        if self._newest[0] != run or (term, number) > self._newest[1:]:
            self._newest = (run, term, number)
        self._judge()

    @property
    def unseen(self) -> bool:
        """Whether something came that nobody has looked at yet."""
        return self._raw is not None

    @property
    def same_run(self) -> bool:
        """Whether receipts are of the run that the agent believes in."""
        return self._newest[0] == self._line.run

    @property
    def behind(self) -> float:
        """Seconds for which receipts have named a newer version than any announcement shows; 0: none."""
        if self._behind is None or self._raw is not None:
            return 0.0
        return self._line.now - self._behind

    @property
    def frozen(self) -> bool:
        """Whether the agent must not train on what it knows: the broker seems to serve old announcements."""
        return self.behind >= self._line.settings.timers.frozen

    def _judge(self) -> None:
        run, term, number = self._newest
        shown = self.current
        if not run or (shown and shown.run == run and (shown.term, shown.number) >= (term, number)):
            self._behind = None
        elif self._behind is None:
            self._behind = self._line.now

    async def _verify(self, raw: bytes) -> None:
        identity, limit = self._line.identity, self._line.settings.limits.announcement
        try:
            found = await self._line.environment.run(announcements.verify, raw, identity.signing, limit)
        except VersionError as error:
            log.error("%s", error)
            return
        except PeerError as error:
            log.warning("dropped an announcement: %s", error)
            return
        reason = self._refusal(found)
        if reason:
            log.warning("ignored an announcement: %s", reason)
            return
        old, self.current = self.current, found
        self._line.run = found.run
        if self._newest[0] != found.run:
            self._newest = (found.run, found.term, found.number)
        self._judge()
        if old is None or (old.run, old.term, old.state) != (found.run, found.term, found.state):
            self._line.bell.ring(COURSE)
        if old is not None and old.run == found.run and old.term != found.term:
            self.renewed(found)

    def _refusal(self, new: Announcement) -> str:
        """Return why ``new`` is not believed, or ``""``."""
        if new.federation != self._line.identity.federation:
            return f"it is of federation {new.federation!r}"
        old = self.current
        if old is not None:
            same = (new.run, new.term, new.number) == (old.run, old.term, old.number)
            # The end of a run is its last word, and only the signatures of one version are told apart by
            # their time: the coordinator's clock may have been set back in between.
            if same and (new.state == "over", new.issued) < (old.state == "over", old.issued):
                return "an older signature of this version"
            if same and new.digest != old.digest:
                return "another content under the same version"
        known = old or self._mark
        if known is None:
            return ""
        if new.run != known.run:
            return "" if new.started > known.started else "its run started before the one known"
        if (new.term, new.number) < (known.term, known.number):
            return f"version {new.number} of term {new.term} is older than the one known"
        return ""
