"""A server between many workers and the database of their study, and its clients.

Start it with ``python -m crnas_d2.search.study_proxy URL``; workers have
``SEARCH.STORAGE grpc://host:port``. Protocol, server and client are Optuna's.
"""

import argparse
import errno
import sys
import warnings
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, GrpcStorageProxy
from optuna.trial import FrozenTrial

from .trial_sets import read_trials

PORT = 13000
_THREADS = 10  # requests at a time


def open_proxy(url: str) -> BaseStorage:
    """Return the storage behind the server of ``grpc://host:port``, which answers."""
    try:
        import grpc  # noqa: F401
    except ImportError as error:
        advice = "pip install 'crnas-d2[grpc]'"
        raise ValueError(f"SEARCH.STORAGE is {url}, which needs grpcio: {advice}") from error
    parts = urlsplit(url)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        proxy = Proxy(host=parts.hostname or "", port=parts.port or PORT)
    proxy.get_all_studies()
    return proxy


class Proxy(GrpcStorageProxy):
    """Optuna's client. A server that is away is an error of the system, as a folder that is."""

    def _setup(self) -> None:
        super()._setup()
        calls: Any = _Stub(self._stub)
        self._stub = self._cache.grpc_client = calls

    def read_trials(self, study_id: int, ids: Collection[int], newest: int) -> list[FrozenTrial]:
        """Return the trials of these ids and those that are newer, by number."""
        from optuna.storages._grpc import servicer
        from optuna.storages._grpc.auto_generated import api_pb2

        request = api_pb2.GetTrialsRequest(
            study_id=study_id, included_trial_ids=ids, trial_id_greater_than=newest
        )
        answer = self._stub.GetTrials(request).trials
        return sorted(map(servicer._from_proto_trial, answer), key=lambda trial: trial.number)


class _Stub:
    """The calls of a server."""

    def __init__(self, stub: Any):
        self._stub = stub

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        return partial(_call, getattr(self._stub, name))


def _call(call: Callable[[Any], Any], request: Any) -> Any:
    import grpc

    away = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED
    try:
        return call(request)
    except grpc.RpcError as error:
        status = cast(grpc.Call, error)
        if status.code() in away:
            raise OSError(errno.EHOSTDOWN, "its server does not answer") from error
        if status.code() == grpc.StatusCode.UNKNOWN:  # what the storage behind it has to say
            raise OSError(errno.EPROTO, status.details()) from error
        raise


def serve(url: str, host: str = "localhost", port: int = PORT, patience: float = 600) -> None:
    """Serve the study of a database to workers, until the process is ended.

    Args:
        patience: seconds for which to wait for a database that is away.
    """
    import grpc
    from optuna.storages._grpc import servicer
    from optuna.storages._grpc.auto_generated import api_pb2, api_pb2_grpc

    from .storage import open_storage

    class Service(servicer.OptunaStorageProxyService):
        """Reads what is asked for, not all trials."""

        def GetTrials(self, request: Any, context: Any) -> Any:
            which = list(request.included_trial_ids), request.trial_id_greater_than
            trials = read_trials(self._backend, request.study_id, *which)
            return api_pb2.GetTrialsReply(trials=map(servicer._to_proto_trial, trials))

    if "://" not in url or url.startswith("grpc://"):
        raise ValueError(f"{url} is no database. A journal file or a server needs no further one.")
    storage = open_storage(url, patience=patience, for_workers=True)
    server = grpc.server(ThreadPoolExecutor(_THREADS))
    service = Service(cast(BaseStorage, storage))  # it has all methods of one
    add: Any = api_pb2_grpc.add_StorageServiceServicer_to_server
    add(service, server)
    server.add_insecure_port(f"{host}:{port}")
    server.start()
    print(f"{storage.place}: SEARCH.STORAGE grpc://{host}:{port}", flush=True)
    server.wait_for_termination()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m crnas_d2.search.study_proxy")
    parser.add_argument("url", help="of the database, as SEARCH.STORAGE has it without a server")
    parser.add_argument("--host", default="localhost", help="an address of this machine")
    parser.add_argument("--port", type=int, default=PORT)
    args = parser.parse_args(arguments)
    try:
        serve(args.url, args.host, args.port)
    except (ValueError, RuntimeError) as error:
        sys.exit(f"{parser.prog}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
