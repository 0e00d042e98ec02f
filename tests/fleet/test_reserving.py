"""CPUs that a run asks a cluster for are those that nobody else has."""

from __future__ import annotations

import pytest
import ray
from small_fleets import wait_until

from fedray.errors import WouldNotFit
from fedray.fleet.growing import reserve


def free() -> float:
    return float(ray.available_resources().get("CPU", 0))


@ray.remote(num_cpus=1)
class Other:
    def there(self) -> None: ...


@pytest.mark.usefixtures("ray_cluster")
def test_cpus_that_others_hold_are_not_counted() -> None:
    said: list[str] = []
    other = Other.remote()  # type: ignore[attr-defined]
    try:
        ray.get(other.there.remote())
        wait_until(lambda: free() == 1, 30, "the CPU that is in use")
        with pytest.raises(WouldNotFit, match="asks for 2 CPUs; 1 are free, and no more have come") as caught:
            reserve(2, said.append, patience=0.0)
        assert said == ["waiting for 2 CPUs, 1 are free: a cluster that scales starts machines now"]
        assert "set fleet.cpus to 1 or less" in caught.value.mend
    finally:
        ray.kill(other)
    wait_until(lambda: free() == 2, 30, "the CPU that was in use")
    reserved = reserve(2, said.append)
    wait_until(lambda: free() == 0, 30, "the CPUs that are this run's")
    reserved.release()
    wait_until(lambda: free() == 2, 30, "the CPUs that were given back")
    assert len(said) == 1
