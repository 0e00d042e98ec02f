"""The KubeRay manifest: held to a schema of the fields that it uses, since its own schema is the operator's to know."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "deploy/kuberay.yaml").read_text()

Quantity = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?(m|[KMGT]i)?$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
Count = Annotated[int, Field(ge=0, strict=True)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Amounts(Strict):
    cpu: Quantity
    memory: Quantity


class Resources(Strict):
    limits: Amounts
    requests: Amounts


class Port(Strict):
    containerPort: Annotated[int, Field(ge=1, le=65535)]
    name: Annotated[Name, StringConstraints(max_length=15)]


class Variable(Strict):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Z_]+$")]
    value: str


class Mount(Strict):
    name: Name
    mountPath: Annotated[str, StringConstraints(pattern="^/")]


class EmptyDir(Strict):
    medium: Literal["Memory"]
    sizeLimit: Quantity


class Claim(Strict):
    claimName: Name


class Volume(Strict):
    name: Name
    emptyDir: EmptyDir | None = None
    persistentVolumeClaim: Claim | None = None


class Container(Strict):
    name: Name
    image: str
    resources: Resources
    ports: list[Port] = []
    env: list[Variable]
    volumeMounts: list[Mount]


class PodSpec(Strict):
    containers: Annotated[list[Container], Field(min_length=1)]
    volumes: list[Volume]
    terminationGracePeriodSeconds: Count = 30


class Template(Strict):
    spec: PodSpec


class Group(Strict):
    rayStartParams: dict[str, str]
    template: Template


class Workers(Group):
    groupName: Name
    replicas: Count
    minReplicas: Count
    maxReplicas: Count


class Autoscaler(Strict):
    idleTimeoutSeconds: Count
    upscalingMode: Literal["Default", "Aggressive", "Conservative"]


class Spec(Strict):
    rayVersion: str
    enableInTreeAutoscaling: bool
    autoscalerOptions: Autoscaler
    headGroupSpec: Group
    workerGroupSpecs: Annotated[list[Workers], Field(min_length=1)]


class Metadata(Strict):
    name: Name


class RayCluster(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: Spec


CLUSTER = RayCluster.model_validate(yaml.safe_load(TEXT))


def spoiled(path: str, value: Any) -> dict[str, Any]:
    """The manifest with one value changed."""
    whole: dict[str, Any] = copy.deepcopy(yaml.safe_load(TEXT))
    *above, last = path.split(".")
    inner: Any = whole
    for key in above:
        inner = inner[int(key)] if key.isdigit() else inner[key]
    inner[last] = value
    return whole


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.enableInTreeAutoscalling", True),
        ("spec.workerGroupSpecs.0.maxReplicas", "8"),
        ("spec.headGroupSpec.rayStartParams.num-cpus", 0),
        ("spec.headGroupSpec.template.spec.containers.0.resources.limits.memory", "16GB"),
        ("spec.headGroupSpec.template.spec.containers.0.resources.limits.cpu", 4),
        ("kind", "RayClusters"),
    ],
)
def test_a_typo_that_kubernetes_would_prune_or_refuse_is_found(path: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        RayCluster.model_validate(spoiled(path, value))


def test_no_phones_land_on_the_head_and_workers_come_on_demand() -> None:
    assert CLUSTER.spec.headGroupSpec.rayStartParams["num-cpus"] == "0"
    assert CLUSTER.spec.enableInTreeAutoscaling
    for group in CLUSTER.spec.workerGroupSpecs:
        assert group.minReplicas == group.replicas == 0 < group.maxReplicas


def test_memory_is_what_a_pod_has_so_that_plans_are_true() -> None:
    for group in (CLUSTER.spec.headGroupSpec, *CLUSTER.spec.workerGroupSpecs):
        (container,) = group.template.spec.containers
        assert container.resources.limits == container.resources.requests
        assert {mount.name for mount in container.volumeMounts} == {one.name for one in group.template.spec.volumes}


def test_the_same_ray_everywhere() -> None:
    pinned = re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert CLUSTER.spec.rayVersion == pinned[1]
    assert f"FROM rayproject/ray:{pinned[1]}-" in (ROOT / "deploy/Dockerfile").read_text()
    images = {
        group.template.spec.containers[0].image
        for group in (CLUSTER.spec.headGroupSpec, *CLUSTER.spec.workerGroupSpecs)
    }
    assert len(images) == 1
