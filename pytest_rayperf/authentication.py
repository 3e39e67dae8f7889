"""Whether the cluster that a run attaches to wants a token; Ray in this process is made to do as it does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pytest_rayperf.errors import ConfigurationError

_MODE = "RAY_AUTH_MODE"
_PATIENCE_S = 5.0
"""How long the cluster has to answer; it takes milliseconds."""


def agree_with(address: str) -> None:
    """Turn Ray's token authentication on or off in this process, as the cluster at `address` has it.

    The driver answers requests too. A cluster with tokens refuses a driver that sends none, and a driver with
    tokens refuses the workers of a cluster without. Then `ray.init` and plain tasks still work, but no worker
    can hand over what a generator yields, which all of Ray Data's tasks are: it tries again, for ever. Ray
    itself does not look what the cluster has; it goes by RAY_AUTH_MODE, and else by its version's default.

    Call it before `ray.init`; Ray may be imported already. A mode that the user set is left as it is.

    Args:
        address: of the cluster's GCS, "host:port".

    Raises:
        ConnectionError: what is at the address does not answer as a GCS does.
        ConfigurationError: the user set another mode than the cluster's, or there is no token that it takes.
    """
    try:
        import grpc  # noqa: F401
        from ray.exceptions import AuthenticationError
    except ImportError:
        return  # Ray 2.51 knows no tokens; without grpcio nothing can be asked, and Ray's own errors must do
    wanted = not _admits(address, {})
    if _is_on() != wanted:
        if _MODE in os.environ:
            raise ConfigurationError(_other_mode(address, os.environ[_MODE], wanted))
        os.environ[_MODE] = "token" if wanted else "disabled"
        _is_on()
    if not wanted:
        return
    tokens = _raylet().AuthenticationTokenLoader.instance()
    try:
        header = dict(tokens.get_token_for_http_header()) if tokens.has_token() else {}
        problem = "none was found"
    except AuthenticationError as error:  # Ray 2.60 says in it which file could not be read
        header = {}
        problem = str(error).partition(". ")[0]
    if header:
        if _admits(address, header):
            return
        problem = "the one found here is another cluster's"
    raise ConfigurationError(
        f"--rayperf-address {address}: this cluster wants a token, and {problem}; put the token that it was "
        "started with into RAY_AUTH_TOKEN, or into a file that RAY_AUTH_TOKEN_PATH names, or into "
        "~/.ray/auth_token. Ray looks for it in this order"
    )


def _other_mode(address: str, given: str, wanted: bool) -> str:
    if wanted:
        problem, remedy = "wants a token, and", f"keeps it from being sent; unset it, or set {_MODE}=token"
    else:
        problem = "was started without token authentication, and"
        remedy = (
            f"has its workers refused, which have none; unset it, or start the cluster with {_MODE}=token"
        )
    return f"--rayperf-address {address}: this cluster {problem} {_MODE}={given} in the environment {remedy}"


def _is_on() -> bool:
    """Whether Ray in this process sends and demands tokens.

    Ray reads the environment when it is loaded, which a conftest.py may have done long ago. It is made to
    read it again, as `ray.init` of 2.60 does where it turns tokens on.
    """
    raylet = _raylet()
    raylet.Config.initialize("")
    return bool(raylet.get_authentication_mode() != raylet.AuthenticationMode.DISABLED)


def _raylet() -> Any:
    """Ray's compiled module, whose stub file leaves out what is needed here."""
    return import_module("ray._raylet")


def _admits(address: str, header: Mapping[str, str]) -> bool:
    """Whether the cluster answers a request with this header, and does not demand a token, or another one."""
    import grpc
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    channel = _channel_to(address)
    try:
        gcs: Any = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        gcs.CheckAlive(
            gcs_service_pb2.CheckAliveRequest(), timeout=_PATIENCE_S, metadata=tuple(header.items())
        )
    except grpc.RpcError as error:
        code = error.code()
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return False
        raise ConnectionError(
            f"what listens there does not answer as the GCS of a Ray cluster does: {code.name}"
        ) from None  # gRPC's own text has many lines
    finally:
        channel.close()
    return True


def _channel_to(address: str) -> Any:
    """A channel that sends no token by itself, as Ray's own do where the mode says so."""
    import grpc

    options = [("grpc.enable_http_proxy", 0)]  # as Ray's
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return grpc.insecure_channel(address, options)
    names = ("RAY_TLS_CA_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_SERVER_CERT")
    try:
        parts = [Path(os.environ[name]).read_bytes() for name in names]
    except (KeyError, OSError) as error:
        raise ConfigurationError(
            f"RAY_USE_TLS is set: {', '.join(names)} must name files that can be read ({error})"
        ) from error
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(*parts), options)
