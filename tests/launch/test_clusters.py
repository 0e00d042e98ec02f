"""The files that clusters are made from are what Ray's launcher accepts, and what its schema doesn't look at is right
too: cluster.yaml for AWS, deploy/on-premises.yaml for machines of one's own. KubeRay's manifest is in test_kuberay."""

import copy
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
CLUSTER = yaml.safe_load((ROOT / "cluster.yaml").read_text())
OWN = yaml.safe_load((ROOT / "deploy/on-premises.yaml").read_text())
BOTH = pytest.mark.parametrize("given", [CLUSTER, OWN], ids=["AWS", "own machines"])

# Ray's schema lets any key pass here, so a typo would only show as a node that isn't what it should be.
PROVIDER_KEYS = {"type", "region", "availability_zone", "cache_stopped_nodes", "security_group", "use_internal_ips"}
# The parameters of boto3's EC2 `create_instances` that may stand in a node_config.
NODE_KEYS = {
    "BlockDeviceMappings", "EbsOptimized", "IamInstanceProfile", "ImageId", "InstanceMarketOptions", "InstanceType",
    "KeyName", "MetadataOptions", "NetworkInterfaces", "Placement", "SecurityGroupIds", "SubnetIds",
    "TagSpecifications", "UserData",
}  # fmt: skip


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.chdir(ROOT)  # file_mounts are relative to where `ray up` runs
    return copy.deepcopy(CLUSTER)


@BOTH
def test_ray_accepts_it(given, monkeypatch):
    monkeypatch.chdir(ROOT)
    validate_config(prepare_config(copy.deepcopy(given)))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda c: c.update(max_worker=3), "max_worker"),
        (lambda c: c.update(head_node_type="haed"), "head_node_type"),
        (lambda c: c.update(max_workers="8"), "max_workers|not of type"),
        (lambda c: c["available_node_types"]["phones"].update(min_worker=1), "min_worker"),
    ],
    ids=["unknown key", "head of no type", "text for a number", "unknown key of a type"],
)
def test_ray_would_refuse_a_typo(cluster, spoil, said):
    spoil(cluster)
    with pytest.raises(Exception, match=said):
        validate_config(prepare_config(cluster))


def test_what_rays_schema_does_not_check():
    assert set(CLUSTER["provider"]) <= PROVIDER_KEYS
    assert all(zone.startswith(CLUSTER["provider"]["region"]) for zone in _zones())
    for kind in CLUSTER["available_node_types"].values():
        node = kind["node_config"]
        assert set(node) <= NODE_KEYS
        assert node["ImageId"].startswith(("ami-", "resolve:ssm:/"))
        for device in node["BlockDeviceMappings"]:
            assert set(device) == {"DeviceName", "Ebs"}
            assert set(device["Ebs"]) <= {"VolumeSize", "VolumeType"}
        assert node.get("InstanceMarketOptions", {"MarketType": "spot"}) == {"MarketType": "spot"}


def test_no_phones_land_on_the_head_and_workers_are_rich_in_memory():
    kinds = CLUSTER["available_node_types"]
    head = kinds[CLUSTER["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    workers = [kind for name, kind in kinds.items() if name != CLUSTER["head_node_type"]]
    assert workers
    for worker in workers:
        assert worker["min_workers"] == 0, "machines that nobody asked for cost money"
        assert 0 < worker["max_workers"] <= CLUSTER["max_workers"]
        assert worker["node_config"]["InstanceType"].startswith("r")
        assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert "InstanceMarketOptions" not in head["node_config"], "the driver is not to be taken away"


@pytest.mark.parametrize(("given", "target"), [(CLUSTER, "/home/ubuntu/fedray"), (OWN, "~/fedray")])
def test_every_node_installs_this_checkout_with_the_same_pins(given, target):
    pins = (ROOT / "constraints.txt").read_text().split()
    assert given["file_mounts"] == {target: "."}
    (install,) = [command for command in given["setup_commands"] if "fedray" in command and "pip install" in command]
    assert "cd ~/fedray && ~/venv/bin/pip install -q -c constraints.txt -e ." in install
    assert {word for word in install.split() if "==" in word} <= set(pins)
    assert ".fedray" in given["rsync_exclude"], "results and shards of this machine stay here"


def test_workers_mount_the_heads_home_since_phones_read_their_rows_there():
    (export,) = [command for command in CLUSTER["head_setup_commands"] if "exportfs" in command]
    (mount,) = [command for command in CLUSTER["worker_setup_commands"] if "sudo mount" in command]
    assert "$HOME/.fedray *" in export
    assert "$RAY_HEAD_IP:$HOME/.fedray ~/.fedray" in mount


def test_own_machines_are_all_started_and_none_goes():
    assert set(OWN["provider"]) == {"type", "head_ip", "worker_ips"}
    workers = OWN["provider"]["worker_ips"]
    assert OWN["min_workers"] == OWN["max_workers"] == len(set(workers))
    assert OWN["provider"]["head_ip"] not in workers
    (start,) = [command for command in OWN["head_start_ray_commands"] if "--head" in command]
    assert "--num-cpus=0" in start, "no phones land on the head"


@BOTH
def test_workers_join_the_head_where_it_listens(given):
    (start,) = [command for command in given["head_start_ray_commands"] if "--head" in command]
    (join,) = [command for command in given["worker_start_ray_commands"] if "ray start" in command]
    assert "--port=6379" in start
    assert "--address=$RAY_HEAD_IP:6379" in join
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in start


@BOTH
def test_the_dashboard_is_not_open_to_the_world(given):
    (start,) = [command for command in given["head_start_ray_commands"] if "--head" in command]
    assert "--dashboard-host=127.0.0.1" in start


def _zones():
    return CLUSTER["provider"]["availability_zone"].split(",")
