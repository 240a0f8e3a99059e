"""Write the synthetic drops of the depots: parcels and how their deliveries ended. A seed gives the same bytes.

Run it as a program to write the files into a folder: `python parcels.py vendor/outbox`.
"""

from __future__ import annotations

import csv
import math
import random
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
DAYS = 120
PARCELS = 6_000
SEED = 3
DEPOTS, SHIPPERS = 8, 60
OUTCOMES = ("delivered", "pickup_point", "returned", "damaged")
PARCEL_COLUMNS = (
    "parcel_id", "shipper_id", "depot_id", "service", "destination", "distance_km", "weight_kg", "fragile",
    "signature_required", "recorded_at",
)  # fmt: skip
CLOSING_COLUMNS = ("parcel_id", "outcome", "closed_at", "recorded_at")


class Parcel(NamedTuple):
    """One accepted parcel; the fields are the columns of its contract."""

    parcel_id: str
    shipper_id: str
    depot_id: str
    service: str
    destination: str
    distance_km: int
    weight_kg: float
    fragile: bool
    signature_required: bool
    recorded_at: datetime


class Closing(NamedTuple):
    """One record of an outcome."""

    parcel_id: str
    outcome: str
    closed_at: datetime
    recorded_at: datetime


class DeliveryNetwork:
    """The traits of depots and shippers, from which parcels and outcomes are drawn."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self.depot_delays = {f"DEP{number:02d}": self._draw.uniform(-5, 9) for number in range(DEPOTS)}
        self.shipper_faults = {f"SHP{number:04d}": self._draw.gauss(0, 1.5) for number in range(SHIPPERS)}

    def draw_parcel(self, number: int, recorded_at: datetime) -> Parcel:
        """Draw one parcel."""
        draw = self._draw
        destination = draw.choices(("home", "business", "locker"), (55, 30, 15))[0]
        return Parcel(
            parcel_id=f"PCL{number:08d}",
            shipper_id=draw.choice(list(self.shipper_faults)),
            depot_id=draw.choice(list(self.depot_delays)),
            service="express" if draw.random() < 0.3 else "standard",
            destination=destination,
            distance_km=int(min(1200, 10 + draw.expovariate(1 / 220))),
            weight_kg=round(min(40.0, 0.2 + draw.expovariate(1 / 6)), 2),
            fragile=draw.random() < 0.2,
            signature_required=destination == "home" and draw.random() < 0.4,
            recorded_at=recorded_at,
        )

    def draw_hours(self, parcel: Parcel) -> float:
        """Draw the hours until the parcel is closed."""
        hours = 14.0 if parcel.service == "express" else 34.0
        hours += parcel.distance_km / 30 + self.depot_delays[parcel.depot_id]
        hours += 24.0 if parcel.recorded_at.isoweekday() >= 6 else 0.0
        hours += 8.0 if parcel.weight_kg > 15 else 0.0
        return max(2.0, hours + self._draw.gauss(0, 5))

    def draw_outcome(self, parcel: Parcel) -> str:
        """Draw how the delivery ends."""
        fault = self.shipper_faults[parcel.shipper_id]
        odds = (
            2.0,
            {"home": 0.0, "business": -3.0, "locker": -6.0}[parcel.destination] + 4.5 * parcel.signature_required,
            -1.6 + 2.0 * fault,
            -3.0 + 4.5 * parcel.fragile + 0.05 * parcel.weight_kg + 0.002 * parcel.distance_km,
        )
        return self._draw.choices(OUTCOMES, [math.exp(value) for value in odds])[0]

    def draw_closings(self, parcel: Parcel) -> Iterator[Closing]:
        """Draw the records of one parcel's outcome: some damage is reported days after the delivery."""
        closed_at = parcel.recorded_at + timedelta(seconds=round(self.draw_hours(parcel) * 3600))
        outcome = self.draw_outcome(parcel)
        is_reported_later = outcome == "damaged" and self._draw.random() < 0.3
        yield Closing(parcel.parcel_id, "delivered" if is_reported_later else outcome, closed_at, closed_at)
        if is_reported_later:
            recorded_at = closed_at + timedelta(minutes=self._draw.randint(600, 6000))
            yield Closing(parcel.parcel_id, outcome, closed_at, recorded_at)


def draw_history(count: int = PARCELS, seed: int = SEED) -> tuple[list[Parcel], list[Closing]]:
    """Draw parcels at random instants of the period, and the outcomes that were recorded before its end."""
    network, clock = DeliveryNetwork(seed), random.Random(seed + 1)
    seconds = sorted(clock.randrange(DAYS * 86400) for _ in range(count))
    parcels = [network.draw_parcel(number, BEGIN + timedelta(seconds=at)) for number, at in enumerate(seconds)]
    closings = [closing for parcel in parcels for closing in network.draw_closings(parcel)]
    end = BEGIN + timedelta(days=DAYS)
    return parcels, sorted((closing for closing in closings if closing.recorded_at < end), key=lambda row: row[3])


def write_drops(folder: Path, *, count: int = PARCELS, seed: int = SEED) -> dict[str, int]:
    """Write one file per contract; return the rows by file name. A file is renamed into place when it is complete."""
    parcels, closings = draw_history(count, seed)
    files: dict[str, tuple[tuple[str, ...], Iterable[tuple[object, ...]]]] = {
        "parcel_0001.csv": (PARCEL_COLUMNS, parcels), "closing_0001.csv": (CLOSING_COLUMNS, closings),
    }  # fmt: skip
    for name, (columns, rows) in files.items():
        with (folder / f"{name}.part").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([_format_value(value) for value in row] for row in rows)
        (folder / f"{name}.part").rename(folder / name)
    return {"parcel_0001.csv": len(parcels), "closing_0001.csv": len(closings)}


def _format_value(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%SZ")
        case _:
            return str(value)


if __name__ == "__main__":
    print(write_drops(Path(sys.argv[1])))
