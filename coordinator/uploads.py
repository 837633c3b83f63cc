"""Uploads under way: what an offer opened, until it is complete.

One an agent at a time. Holds no content: chunks go to the spool file as they come, and what of them outlived
a crash is found by reading that file (`restore`). The frames are opened and answered by
`antiphon.coordinator.intake`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from antiphon.broker_config.disk import Disk
from antiphon.codecs.chunks import Assembly
from antiphon.codecs.messages import Offer, Receipt, UpdateId
from antiphon.codecs.schema import Schema
from antiphon.codecs.sealing import SymmetricKey
from antiphon.coordinator import spool
from antiphon.coordinator.admission import sealed_size
from antiphon.coordinator.receipts import receipt
from antiphon.coordinator.spool import Place, Update


@dataclass(slots=True)
class Upload:
    """An update on its way.

    Attributes:
        agent: Who sends it.
        transfer: The transfer's id.
        offer: What was said of it, without content.
        schema: Its tensors.
        path: The spool file.
        key: Opens its frames.
        frame_limit: Bytes that a frame may have.
        touched: When its last frame came, seconds (monotonic).
        assembly: Which chunks are here.
        places: Where they are.
        end: Bytes in the spool file.
        highest: The highest send number seen.
        unanswered: Bytes that came since the last answer.
        opened: Whether the ledger knows it: nothing is granted before.
    """

    agent: str
    transfer: bytes
    offer: Offer
    schema: Schema
    path: Path
    key: SymmetricKey = field(repr=False)
    frame_limit: int
    touched: float
    assembly: Assembly
    places: list[Place | None]
    end: int = 0
    highest: int = 0
    unanswered: int = 0
    opened: bool = False

    @property
    def id(self) -> UpdateId:
        """Names the update, with the agent."""
        return UpdateId(self.offer.incarnation, self.offer.sequence)

    @property
    def size(self) -> int:
        """Bytes of all its sealed frames, at most."""
        return sealed_size(self.offer)

    def arrived(self, index: int, place: Place) -> None:
        """A chunk is in the spool file, at its end."""
        self.end = spool.end(place)
        if self.assembly.add(index):
            self.places[index] = place

    def update(self) -> Update:
        """Return the complete update.

        Raises:
            ValueError: It is not complete.
        """
        places = tuple(place for place in self.places if place is not None)
        if len(places) != self.offer.chunks:
            raise ValueError("the upload is not complete")
        return self._update(places)

    def inline(self, frame: bytes, payloads: Sequence[bytes]) -> Update:
        """Return the update whose content is in its offer's frame, and was opened with that."""
        return self._update((Place(0, len(frame)),), frame, tuple(payloads))

    def _update(
        self, places: tuple[Place, ...], frame: bytes = b"", payloads: tuple[bytes, ...] = ()
    ) -> Update:
        return Update(
            agent=self.agent,
            id=self.id,
            transfer=self.transfer,
            offer=self.offer,
            schema=self.schema,
            path=self.path,
            places=places,
            inline=bool(frame),
            frame_limit=self.frame_limit,
            key=self.key,
            frame=frame,
            payloads=payloads,
        )

    def word(self, granted: bool, window: int) -> Receipt:
        """Return the receipt that says how far it is; ``window`` 0: nothing is granted now."""
        missing, upto = self.assembly.missing()
        self.unanswered = 0
        return receipt(
            "granted" if granted else "progress",
            self.id,
            digest=self.offer.digest,
            transfer=self.transfer,
            window=window,
            send=self.highest,
            missing=missing,
            upto=upto,
        )

    def wait(self, after: float) -> Receipt:
        """Return the receipt that asks for patience; ``after`` in seconds."""
        return receipt("wait", self.id, digest=self.offer.digest, transfer=self.transfer, after=after)


def begin(
    agent: str,
    transfer: bytes,
    offer: Offer,
    schema: Schema,
    path: Path,
    key: SymmetricKey,
    frame_limit: int,
    now: float,
) -> Upload:
    """Return an upload of which nothing is here yet; the arguments are as in `Upload`."""
    return Upload(
        agent=agent,
        transfer=transfer,
        offer=offer,
        schema=schema,
        path=path,
        key=key,
        frame_limit=frame_limit,
        touched=now,
        assembly=Assembly(offer.chunks),
        places=[None] * offer.chunks,
        highest=offer.send,
    )


def restore(disk: Disk, upload: Upload) -> None:
    """Find out what of an upload is on disk, and cut off what a crash tore. Disk and CPU work.

    Raises:
        OSError: The file cannot be read.
    """
    found = spool.scan(
        disk, upload.path, upload.transfer, upload.offer.chunks, upload.key, upload.frame_limit
    )
    for chunk in found:
        upload.arrived(chunk.index, chunk.place)
        upload.highest = max(upload.highest, chunk.send)
    if (disk.size(upload.path) or 0) > upload.end:
        disk.cut(upload.path, upload.end)
    upload.opened = True
