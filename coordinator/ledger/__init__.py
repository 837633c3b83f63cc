"""The coordinator's record on disk: what was received, settled and applied, and the versions it made."""

from antiphon.coordinator.ledger.ledger import Ledger as Ledger
from antiphon.coordinator.ledger.records import Outcome as Outcome
