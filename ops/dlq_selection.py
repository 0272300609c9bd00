"""A selection: exactly these dead letters, whatever arrives later (peer-features F09).

What a person has looked at is what is replayed or discarded. A selection names its letters by place and by digest, so
that neither new ones nor a topic that was made anew slip in; it holds nothing of their keys and values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ops.dlq_fold import Letters
from ops.dlq_letters import Letter, Place
from ops.errors import OpsError, Outdated
from streams.topics import dead_letter_topic

_CONFIG = ConfigDict(extra="forbid", frozen=True, strict=True)
AGAIN = "Make a new one with `sluice dlq list <topic> --save FILE`."


class Picked(BaseModel):
    """One letter: its place, the event that died, and the digest of key and value."""

    model_config = _CONFIG

    partition: int = Field(ge=0)
    offset: int = Field(ge=0)
    origin: str
    digest: str


class Selection(BaseModel):
    """Letters of one topic, in the order in which they are sent.

    Attributes:
        topic: the topic of the events, without ``.dlq``.
        made_at: when.
        letters: which.
        digest: of topic and letters.
    """

    model_config = _CONFIG

    kind: Literal["sluice dead letters, version 1"] = "sluice dead letters, version 1"
    topic: str
    made_at: str
    letters: tuple[Picked, ...] = Field(strict=False)
    digest: str

    @classmethod
    def of(cls, topic: str, letters: Iterable[Letter]) -> Selection:
        """Return the selection of some letters of a topic."""
        picked = tuple(
            Picked(
                partition=letter.place.partition,
                offset=letter.place.offset,
                origin=letter.origin,
                digest=letter.digest,
            )
            for letter in letters
        )
        return cls.of_picked(topic, picked)

    @classmethod
    def of_picked(cls, topic: str, letters: Iterable[Picked]) -> Selection:
        """Return the selection of letters that somebody has named."""
        picked = tuple(letters)
        made_at = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(topic=topic, made_at=made_at, letters=picked, digest=_digest(topic, picked))

    @property
    def name(self) -> str:
        """How markers and people call it."""
        return self.digest[:12]

    def place(self, picked: Picked) -> Place:
        """Return where a letter is."""
        return Place(dead_letter_topic(self.topic), picked.partition, picked.offset)

    def found_in(self, letters: Letters) -> list[tuple[Picked, Letter | None]]:
        """Return each letter as it is found now; None: retention has removed it.

        Raises:
            OpsError: other letters are in their places.
        """
        found = [(picked, letters.at(picked.partition, picked.offset)) for picked in self.letters]
        for picked, letter in found:
            if letter is not None and (letter.origin, letter.digest) != (picked.origin, picked.digest):
                raise Outdated(
                    f"At {self.place(picked)} is another dead letter than the one that was selected: the topic was "
                    "made anew, or this is another cluster.",
                    AGAIN,
                )
        return found


def _digest(topic: str, letters: Sequence[Picked]) -> str:
    digest = hashlib.sha256(topic.encode())
    for each in letters:
        digest.update(f"\n{each.partition}/{each.offset} {each.origin} {each.digest}".encode())
    return digest.hexdigest()


def save(selection: Selection, file: Path) -> None:
    """Write a selection to a new file. Raises OpsError."""
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(selection.model_dump_json(indent=2) + "\n")
    except FileExistsError:
        raise OpsError(
            f"There is already a file {file}.", "Name another one: a selection is never changed."
        ) from None
    except OSError as error:
        raise OpsError(f"{file} cannot be written: {error.strerror}.", "Name another file.") from error


def load(file: Path) -> Selection:
    """Return the selection in a file. Raises OpsError where it is none, or was changed."""
    try:
        selection = Selection.model_validate_json(file.read_bytes())
    except OSError as error:
        raise OpsError(f"{file} cannot be read: {error.strerror}.", AGAIN) from error
    except ValidationError as error:
        raise OpsError(f"{file} is no selection of dead letters.", AGAIN) from error
    if _digest(selection.topic, selection.letters) != selection.digest:
        raise OpsError(f"{file} was changed: its digest is not that of its letters.", AGAIN)
    return selection
