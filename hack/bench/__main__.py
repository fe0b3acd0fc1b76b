"""`make bench`: measures on the test cluster; a table on the screen, and build/bench.json (name: number)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from hack.bench.controller import measure_controller
from hack.bench.copying import measure_copy, measure_fixed
from hack.bench.scene import scene
from tests.support import diagnosis
from tests.support.kube import CHECKOUT, Kube


@dataclass(frozen=True)
class Meaning:
    """What a number is and what it should be."""

    text: str
    least: float | None = None
    most: float | None = None
    aim: str = ""

    def verdict(self, value: float) -> str:
        """For the table's last column."""
        if self.least is not None and value < self.least:
            return f"below {self.least}"
        if self.most is not None and value > self.most:
            return f"above {self.most}"
        return "ok" if self.least is not None or self.most is not None else ""


MEANINGS: Final = {
    "data_ratio": Meaning("4 GiB, 58% data: time of qemu-img convert / copy phase", least=0.7, aim="0.9"),
    "whole_ratio": Meaning("the same / apply to Completed"),
    "convert_seconds": Meaning("qemu-img convert -t none, fsync included"),
    "copy_seconds": Meaning("copy phase: first byte to last complete"),
    "whole_seconds": Meaning("apply to Completed"),
    "worker_mb": Meaning("memory of a worker while it copies, qemu-nbd included"),
    "fixed_seconds": Meaning("empty disk of 1 GiB, apply to Completed", most=10, aim="5"),
    "controller_mb": Meaning("memory of the controller with 200 Completed Backups", most=150),
    "reconciles_idle_minute": Meaning("looks at objects in a minute in which nothing happens"),
}


def main() -> None:
    """Measure all, print, write."""
    kube = Kube.connect()
    labels = f"{diagnosis.OPERATOR_LABEL},app.kubernetes.io/component=gateway"
    (account,) = kube.select("ServiceAccount", labels=labels)
    operator = account["metadata"]["namespace"]
    numbers: dict[str, float] = {}
    with scene(kube, operator, "bench-copy") as space:
        numbers |= measure_fixed(space)
        numbers |= measure_copy(space)
    with scene(kube, operator, "bench-controller") as space:
        numbers |= measure_controller(space)
    width = max(map(len, MEANINGS))
    for name, meaning in MEANINGS.items():
        aim = f"(aim {meaning.aim})" if meaning.aim else ""
        print(f"{name:<{width}}  {numbers[name]:>9.2f}  {meaning.text} {aim} {meaning.verdict(numbers[name])}".rstrip())
    result = CHECKOUT / "build" / "bench.json"
    result.write_text(json.dumps({name: round(value, 4) for name, value in numbers.items()}, indent=1) + "\n")
    print(f"written to {result.relative_to(CHECKOUT)}")


if __name__ == "__main__":
    main()
