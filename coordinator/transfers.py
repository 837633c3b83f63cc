"""Uploads that take more than one frame: windows, chunks into spool files, progress.

Guaranteed: one upload an agent; nothing is granted before the ledger knows the upload, so that it goes on
after a restart where it was; what is granted stays within `Limits`; chunks of no open upload are dropped; a
chunk is opened, so that it is known to be genuine, and stored sealed. Not done here: judging offers (see
`antiphon.coordinator.intake`), checking contents.
"""

import asyncio
from collections.abc import Callable

from antiphon.broker_config.disk import Disk
from antiphon.broker_config.environment import Environment
from antiphon.codecs.errors import MalformedError
from antiphon.codecs.frames import Frame
from antiphon.codecs.messages import UpdateId
from antiphon.codecs.sealing import SymmetricKey
from antiphon.coordinator import spool
from antiphon.coordinator.admission import check_size
from antiphon.coordinator.commits import Commits
from antiphon.coordinator.grants import Grants
from antiphon.coordinator.keys import Peer
from antiphon.coordinator.ledger.records import CloseUpload, OpenUpload
from antiphon.coordinator.receipts import Receipts
from antiphon.coordinator.roster import Roster
from antiphon.coordinator.settings import Limits
from antiphon.coordinator.spool import Place, Update
from antiphon.coordinator.uploads import Upload

PATIENCE = 5.0
"""Seconds: what `wait` asks for at least."""

MOST_PATIENCE = 60.0
"""Seconds: what `wait` asks for at most."""


class Transfers:
    """The uploads under way."""

    def __init__(
        self,
        limits: Limits,
        environment: Environment,
        roster: Roster,
        receipts: Receipts,
        commits: Commits,
        hold: Callable[[int], None],
        release: Callable[[int], None],
    ) -> None:
        """``hold(base_number)`` is called when an upload begins, ``release`` when it came to nothing."""
        self._limits, self._environment = limits, environment
        self._roster, self._receipts, self._commits = roster, receipts, commits
        self._hold, self._release = hold, release
        self._grants = Grants(limits.intake_bytes, limits.intake_messages, limits.grant_idle)
        self._uploads: dict[str, Upload] = {}
        self.strays = 0

    def reserved(self, agent: str) -> int:
        """Bytes that the uploads of everyone else may come to."""
        return sum(upload.size for name, upload in self._uploads.items() if name != agent)

    def transfer_of(self, agent: str, id: UpdateId) -> bytes | None:
        """Return the transfer in which an update is under way, if it is."""
        upload = self._uploads.get(agent)
        return upload.transfer if upload is not None and upload.id == id else None

    def key_of(self, agent: str, transfer: bytes) -> SymmetricKey | None:
        """Return the key of an agent's upload, if that is its transfer: it may outlive its epoch."""
        upload = self._uploads.get(agent)
        return upload.key if upload is not None and upload.transfer == transfer else None

    async def open(self, peer: Peer, upload: Upload) -> None:
        """Begin an upload; another one of the agent is dropped. A window is granted when it is durable."""
        await self.forget(peer.id)
        self._uploads[peer.id] = upload
        self._hold(upload.offer.base_number)
        operation = OpenUpload(
            agent=upload.agent,
            transfer=upload.transfer,
            offer=upload.offer,
            schema=upload.schema,
            key=upload.key,
            frame_limit=upload.frame_limit,
            file=upload.path.name,
            opened_at=self._environment.now(),
        )
        self._commits.put(operation, lambda: self._opened(upload), lambda _: self._not_opened(upload))

    def restore(self, upload: Upload) -> Update | None:
        """Go on with an upload of an earlier start; returns the update if all of it is here.

        Of an agent's incomplete ones the last that is restored goes on.
        """
        self._hold(upload.offer.base_number)
        if upload.assembly.complete:
            return upload.update()
        if (older := self._uploads.get(upload.agent)) is not None:
            self._drop(older)
        self._uploads[upload.agent] = upload
        return None

    def go_on(self, peer: Peer, transfer: bytes, key: SymmetricKey, send: int) -> bool:
        """An offer was repeated: go on with its upload; False if it is not under way.

        Another one-time key makes another key of the update: what is here would not open together.
        """
        upload = self._uploads.get(peer.id)
        if upload is None or upload.transfer != transfer or upload.key != key:
            return False
        upload.highest = max(upload.highest, send)
        upload.touched = _now()
        if upload.opened:
            self._grant(peer, upload)
        return True

    def _opened(self, upload: Upload) -> None:
        upload.opened = True
        peer = self._roster.peers.get(upload.agent)
        if peer is not None and self._uploads.get(upload.agent) is upload:
            self._grant(peer, upload)

    def _not_opened(self, upload: Upload) -> None:
        if self._uploads.get(upload.agent) is not upload:
            return
        self._drop(upload)
        if (peer := self._roster.peers.get(upload.agent)) is not None:
            self._receipts.put(peer, upload.wait(MOST_PATIENCE))

    def _grant(self, peer: Peer, upload: Upload) -> None:
        """Grant a window, or ask for patience."""
        self._ask(upload)
        self.serve()
        if not self._grants.window(upload.transfer):
            after = min(MOST_PATIENCE, PATIENCE + self._grants.position(upload.transfer))
            self._receipts.put(peer, upload.wait(after))

    def answer(self, peer: Peer, transfer: bytes, send: int) -> bool:
        """Say how far an upload is; False if it is not the agent's. ``send``: the number it answers."""
        upload = self._uploads.get(peer.id)
        if upload is None or upload.transfer != transfer:
            return False
        upload.highest = max(upload.highest, send)
        upload.touched = _now()
        window = self._grants.renew(transfer, upload.touched)
        if not window and upload.opened:
            self._ask(upload)
            self.serve()
            window = self._grants.window(transfer)
        self._receipts.put(peer, upload.word(granted=False, window=window))
        return True

    async def chunk(self, frame: Frame, data: bytes, peer: Peer) -> Update | None:
        """Take an update chunk; returns the update when that was the last one missing.

        Raises:
            PeerError: It does not belong where it says, or is not genuine.
        """
        upload, index = self._uploads.get(peer.id), frame.header.index
        # Before the ledger has it nothing was granted, and nobody would delete what is written.
        if upload is None or upload.transfer != frame.header.transfer or not upload.opened:
            self.strays += 1
            return None
        if frame.header.total != upload.offer.chunks:
            raise MalformedError("a chunk of a transfer of another length than its offer said")
        if index not in upload.assembly:
            check_size(upload.end + len(data), upload.offer)
        disk = self._environment.disk
        try:
            send, place = await self._environment.run(_store, disk, upload, frame, data)
        except OSError:
            # A full disk is ours, not the agent's: it keeps its update and tries again.
            await self.forget(peer.id)
            self._receipts.put(peer, upload.wait(MOST_PATIENCE))
            return None
        if self._uploads.get(peer.id) is not upload:  # forgotten meanwhile, its file with it
            await self._environment.run(self._remove, upload)
            return None
        self._roster.answered(peer.id, _now())
        upload.touched = _now()
        upload.highest = max(upload.highest, send)
        upload.unanswered += len(data)
        if place is not None:
            upload.arrived(index, place)
        if upload.assembly.complete:
            return self._complete(peer, upload)
        last = index == upload.offer.chunks - 1
        if last or upload.unanswered * 4 >= self._grants.window(upload.transfer):
            self.answer(peer, upload.transfer, send)
        else:
            self._grants.touch(upload.transfer, upload.touched)
        return None

    def _complete(self, peer: Peer, upload: Upload) -> Update:
        del self._uploads[peer.id]
        self._grants.release(upload.transfer)
        self._receipts.put(peer, upload.word(granted=False, window=0))
        self.serve()
        return upload.update()

    async def forget(self, agent: str) -> None:
        """Drop an agent's incomplete upload, if there is one."""
        upload = self._uploads.get(agent)
        if upload is not None:
            self._drop(upload)
            # Before the ledger knows: a full disk needs the room, and a file that is gone is one without
            # chunks.
            await self._environment.run(self._remove, upload)

    def _remove(self, upload: Upload) -> None:
        try:
            self._environment.disk.remove(upload.path)
        except OSError:
            return  # the ledger removes it with the upload

    def _drop(self, upload: Upload) -> None:
        del self._uploads[upload.agent]
        self._grants.release(upload.transfer)
        self._release(upload.offer.base_number)
        close = CloseUpload(upload.path.name)
        # While the disk is full nothing opens, so that no more than one an agent is tried again and again.
        self._commits.put(close, failed=None if upload.opened else _forgotten)
        self.serve()

    async def sweep(self) -> None:
        """Let unused grants lapse, and forget uploads that nobody works on. Call it every few seconds."""
        now = _now()
        self._grants.lapse(now)
        idle = self._limits.upload_idle
        for agent in [name for name, upload in self._uploads.items() if now - upload.touched >= idle]:
            await self.forget(agent)
        self.serve()

    def serve(self) -> None:
        """Tell everyone who got a window now."""
        now = _now()
        by_transfer = {upload.transfer: upload for upload in self._uploads.values()}
        for transfer, window in self._grants.serve(now):
            upload = by_transfer.get(transfer)
            peer = self._roster.peers.get(upload.agent) if upload else None
            if upload is None or peer is None:
                self._grants.release(transfer)
                continue
            self._roster.asked(peer.id, now)
            self._receipts.put(peer, upload.word(granted=True, window=window))

    def _ask(self, upload: Upload) -> None:
        frame = min(upload.frame_limit, upload.size)
        self._grants.ask(upload.transfer, frame, upload.size, upload.offer.chunks, _now())


def _forgotten(_: OSError) -> None:
    """At worst the next start finds an upload that nobody goes on with."""


def _now() -> float:
    return asyncio.get_running_loop().time()


def _store(disk: Disk, upload: Upload, frame: Frame, data: bytes) -> tuple[int, Place | None]:
    """Open a chunk's frame to know that it is genuine, and write it to the spool as it came."""
    send, _ = spool.read_chunk_frame(frame, upload.key)
    if frame.header.index in upload.assembly:
        return send, None
    return send, spool.append(disk, upload.path, upload.end, data)
