"""Which mode a run attaches with, and what is said where it cannot (tests/integration has real clusters)."""

from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

from pytest_rayperf import authentication, cluster
from pytest_rayperf.errors import ConfigurationError

ADDRESS = "10.0.0.1:6379"


class FakeRay:
    """Ray as 2.60 is: it has the mode that the environment had when it was last made to read it."""

    def __init__(self):
        self.mode = os.environ.get("RAY_AUTH_MODE", "disabled")
        self.token = None
        self.unreadable = None

    def initialize(self, text):
        assert text == ""
        self.mode = os.environ.get("RAY_AUTH_MODE", "disabled")

    def has_token(self):
        assert self.mode == "token", "Ray looks for one only then"
        if self.unreadable:
            raise AuthenticationError(self.unreadable)
        return self.token is not None

    def get_token_for_http_header(self):
        return {"authorization": f"Bearer {self.token}"}


class AuthenticationError(Exception):
    pass


class FakeCluster:
    """A cluster that wants a token, or, with None, wants none and takes any."""

    def __init__(self, token):
        self.token = token
        self.asked = []

    def admits(self, address, header):
        assert address == ADDRESS
        self.asked.append(dict(header))
        return self.token is None or header == {"authorization": f"Bearer {self.token}"}


@pytest.fixture
def attach(monkeypatch):
    """Attaches to a cluster: `attach(its_token, given=RAY_AUTH_MODE, found=the user's token)`; gives Ray."""

    def attach(wanted, given=None, found=None, loaded_with=None, unreadable=None):
        monkeypatch.setenv("RAY_AUTH_MODE", "")  # so that what is set below is undone
        monkeypatch.delenv("RAY_AUTH_MODE")
        ray = FakeRay()
        if loaded_with is not None:
            ray.mode = loaded_with
        if given is not None:
            os.environ["RAY_AUTH_MODE"] = given
        ray.token, ray.unreadable = found, unreadable
        raylet = SimpleNamespace(
            AuthenticationMode=SimpleNamespace(DISABLED="disabled"),
            AuthenticationTokenLoader=SimpleNamespace(instance=lambda: ray),
            Config=ray,
            get_authentication_mode=lambda: ray.mode,
        )
        exceptions = ModuleType("ray.exceptions")
        exceptions.AuthenticationError = AuthenticationError
        monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
        monkeypatch.setitem(sys.modules, "ray.exceptions", exceptions)
        monkeypatch.setattr(authentication, "_raylet", lambda: raylet)
        there = FakeCluster(wanted)
        monkeypatch.setattr(authentication, "_admits", there.admits)
        authentication.agree_with(ADDRESS)
        return SimpleNamespace(mode=ray.mode, asked=there.asked)

    return attach


class TestAgreeWith:
    @pytest.mark.parametrize("given", [None, "disabled"])
    def test_sends_no_token_where_none_is_wanted(self, attach, given):
        attached = attach(None, given, found="mine")
        assert attached.mode == "disabled"
        assert attached.asked == [{}]
        assert os.environ.get("RAY_AUTH_MODE") == given

    @pytest.mark.parametrize("given", [None, "token"])
    def test_sends_the_token_where_it_is_wanted(self, attach, given):
        attached = attach("mine", given, found="mine")
        assert attached.mode == "token"
        assert attached.asked == [{}, {"authorization": "Bearer mine"}]
        assert os.environ["RAY_AUTH_MODE"] == "token"

    def test_turns_off_what_a_version_of_ray_has_on_by_default(self, attach, monkeypatch):
        monkeypatch.setattr(
            FakeRay,
            "initialize",
            lambda ray, _: setattr(ray, "mode", os.environ.get("RAY_AUTH_MODE", "token")),
        )
        assert attach(None).mode == "disabled"
        assert os.environ["RAY_AUTH_MODE"] == "disabled"

    @pytest.mark.parametrize(("given", "wanted"), [("disabled", None), ("token", "mine")])
    def test_the_environment_counts_and_not_what_ray_was_loaded_with(self, attach, given, wanted):
        other = {"disabled": "token", "token": "disabled"}[given]
        assert attach(wanted, given, found="mine", loaded_with=other).mode == given

    def test_the_users_mode_is_not_changed_to_token(self, attach):
        with pytest.raises(
            ConfigurationError, match=r"wants a token, and RAY_AUTH_MODE=disabled .* keeps it"
        ):
            attach("mine", "disabled", found="mine")
        assert os.environ["RAY_AUTH_MODE"] == "disabled"

    def test_nor_from_token(self, attach):
        with pytest.raises(ConfigurationError, match="without token authentication, and RAY_AUTH_MODE=token"):
            attach(None, "token", found="mine")
        assert os.environ["RAY_AUTH_MODE"] == "token"

    def test_without_a_token_says_where_to_put_it(self, attach):
        with pytest.raises(ConfigurationError, match=f"{ADDRESS}: .* none was found; .*RAY_AUTH_TOKEN_PATH"):
            attach("mine")

    def test_names_the_file_that_ray_could_not_read(self, attach):
        with pytest.raises(ConfigurationError, match="a token, and no such file: /nope; put"):
            attach("mine", unreadable="no such file: /nope. And much more")

    def test_says_that_the_token_is_anothers(self, attach):
        with pytest.raises(ConfigurationError, match="another cluster's"):
            attach("mine", found="another's")

    @pytest.mark.parametrize("missing", ["ray.exceptions", "grpc"])
    def test_changes_nothing_with_a_ray_before_tokens_or_without_grpc(self, attach, monkeypatch, missing):
        attach(None)
        monkeypatch.setitem(sys.modules, missing, None if missing == "grpc" else ModuleType(missing))
        monkeypatch.setattr(authentication, "_admits", lambda *_: pytest.fail("asked"))
        authentication.agree_with(ADDRESS)
        assert "RAY_AUTH_MODE" not in os.environ


class TestTLS:
    def test_says_which_files_it_wants(self, monkeypatch):
        monkeypatch.setenv("RAY_USE_TLS", "1")
        monkeypatch.setenv("RAY_TLS_CA_CERT", "/nope")
        with pytest.raises(ConfigurationError, match=r"RAY_TLS_CA_CERT, .* must name files .*/nope"):
            authentication._channel_to(ADDRESS)


class TestReadyToAttach:
    """What cluster.py makes of it."""

    @pytest.fixture
    def agreed(self, monkeypatch):
        addresses = []
        monkeypatch.setattr(authentication, "agree_with", addresses.append)
        monkeypatch.setattr(cluster, "_check_reachable", lambda address: addresses.append("reachable"))
        return addresses

    @pytest.fixture
    def look_up(self, monkeypatch):
        """Ray's own search for a running cluster, with the outcome that it is called with."""

        def look_up(outcome):
            def canonicalize_bootstrap_address(address):
                assert address == "auto"
                if isinstance(outcome, Exception):
                    raise outcome
                return outcome

            services = ModuleType("ray._private.services")
            services.canonicalize_bootstrap_address = canonicalize_bootstrap_address
            for name in ("ray", "ray._private"):
                monkeypatch.setitem(sys.modules, name, ModuleType(name))
            monkeypatch.setitem(sys.modules, "ray._private.services", services)

        return look_up

    def test_asks_the_cluster_at_the_address(self, agreed):
        assert cluster._ready_to_attach(ADDRESS) == ADDRESS
        assert agreed == [ADDRESS]

    def test_asks_none_where_ray_will_start_one(self, agreed):
        assert cluster._ready_to_attach("local") == "local"
        assert agreed == []

    def test_looks_up_what_auto_means(self, agreed, look_up):
        look_up(ADDRESS)
        assert cluster._ready_to_attach("auto") == ADDRESS
        assert agreed == ["reachable", ADDRESS]

    def test_none_runs(self, agreed, look_up):
        look_up(ConnectionError("Could not find any running Ray instance."))
        with pytest.raises(ConfigurationError, match=r"auto: no Ray cluster can be attached to there .*any"):
            cluster._ready_to_attach("auto")

    def test_what_listens_there_is_none(self, monkeypatch):
        def agree_with(address):
            raise ConnectionError("does not answer as the GCS")

        monkeypatch.setattr(authentication, "agree_with", agree_with)
        with pytest.raises(ConfigurationError, match=r"there \(does not answer as the GCS\); start one"):
            cluster._ready_to_attach(ADDRESS)
