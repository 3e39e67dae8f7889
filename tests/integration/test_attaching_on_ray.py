"""Attaching to clusters with and without token authentication, whatever token lies in ~/.ray."""

from __future__ import annotations

from importlib.metadata import version

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(version("ray").startswith("2.51."), reason="Ray 2.51 knows no tokens"),
]

SUITE = """
    import pytest
    import ray  # a module that loads Ray long before the plugin knows what the cluster wants

    @pytest.mark.rayperf
    def test_attached(ray_cluster):
        assert not ray_cluster.started_here
        # Each of its tasks hands what it yields to this process, which must let it in.
        assert ray.data.range(10).map_batches(lambda batch: batch).count() == 10
"""

START = """
import os
import pathlib
import subprocess
import sys

TOKEN = "t" * 64
os.environ["RAY_AUTH_MODE"] = MODE
if MODE == "token":
    os.environ["RAY_AUTH_TOKEN"] = TOKEN

import ray
from ray.cluster_utils import Cluster

assert pathlib.Path.home() == pathlib.Path.cwd(), "no token of this user is touched"
in_home = pathlib.Path.home() / ".ray" / "auth_token"
in_home.parent.mkdir()


def attach(address, **given):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    command = [sys.executable, "-m", "pytest", "--rayperf", "-p", "no:cacheprovider"]
    command += [f"--rayperf-address={address}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=plain | given)
    return done.returncode, done.stdout + done.stderr


def attaches(address, **given):
    code, output = attach(address, **given)
    assert code == 0, output


def says(words, address, **given):
    code, output = attach(address, **given)
    assert code == 4, output
    assert "ERROR: --rayperf-address " + address in output, output
    assert words in output, output


cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
address = cluster.address
"""

NO_TOKENS = """
in_home.write_text(TOKEN)
attaches(address)
says("RAY_AUTH_MODE=token in the environment", address, RAY_AUTH_MODE="token")
raylet = address.partition(":")[0] + f":{cluster.head_node.node_manager_port}"
says("does not answer as the GCS of a Ray cluster does: UNIMPLEMENTED", raylet)
cluster.shutdown()
print("held")
"""

TOKENS = """
says("wants a token, and ", address)
in_home.write_text("of another cluster")
says("wants a token, and the one found here is another cluster's", address)
says("RAY_AUTH_MODE=disabled in the environment", address, RAY_AUTH_MODE="disabled", RAY_AUTH_TOKEN=TOKEN)
attaches(address, RAY_AUTH_TOKEN=TOKEN)
cluster.shutdown()
print("held")
"""


def test_a_token_at_hand_is_not_used_where_none_is_wanted(run_script, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_attached=SUITE)
    run_script(f"MODE = 'disabled'\n{START}{NO_TOKENS}")


def test_a_cluster_with_tokens_gets_its_own_or_the_run_says_so(run_script, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_attached=SUITE)
    run_script(f"MODE = 'token'\n{START}{TOKENS}")
