"""An experiment as a job of a Ray cluster: submitted through the dashboard, followed, stopped, its exit code brought
home. Ray's token (RAY_AUTH_MODE, RAY_AUTH_TOKEN) is taken from the environment, as Ray's own commands take it."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import aiohttp
import requests
from ray.job_submission import JobSubmissionClient

from fedray.config import Experiment
from fedray.errors import Problem, RunFailed, UserMistake, first_line
from fedray.launch.upload import Upload

STOPPING = 120
"""Seconds that a stopped job has to end by itself: actors end, its end is recorded and copied. Ray gives three."""
LOST = 600.0
"""Seconds without an answer after which a job is no longer followed; tunnels and heads come back within minutes."""
PAUSE = 2.0
"""Seconds between two attempts to reach a cluster that doesn't answer."""
NOISY = tuple(f"ray.{name}" for name in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk"))
"""Loggers that have levels of their own."""
TUNNEL = "open a tunnel with `ray dashboard cluster.yaml`"
NO_FEDRAY = (127, "No module named")
AWAY = (aiohttp.ClientError, requests.RequestException, ConnectionError, TimeoutError)


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes:
        status: SUCCEEDED, FAILED or STOPPED.
        exit_code: Of the run; None if it was stopped, or never started.
        message: What the user should know; empty if all is well.
    """

    status: str
    exit_code: int | None
    message: str


class Jobs:
    """The jobs of a cluster.

    Args:
        address: Of its dashboard: `http://127.0.0.1:8265`.

    Raises:
        UserMistake: If nobody answers there, or not to us.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        if not address.startswith(("http://", "https://")):
            rule = "must be the http address of the cluster's dashboard"
            raise _not_there(address, rule, "for example http://127.0.0.1:8265, by `ray dashboard cluster.yaml`")
        for name in ("ray", *NOISY):  # they tell of every package and socket
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            self._client = JobSubmissionClient(address)
        except Exception as error:  # Ray raises many kinds, for silence, for a missing token, for a wrong one
            why = first_line(error)
            mend = TUNNEL
            if "token" in str(error).lower() or "unauth" in str(error).lower():
                mend = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to the cluster's token"
            raise _not_there(address, "must be a Ray cluster's dashboard that answers", f"{mend} ({why})") from error

    def submit(
        self, upload: Upload, experiment: Experiment, settings: list[str], max_hours: float | None = None
    ) -> Job:
        """Start a job.

        Args:
            upload: What goes along.
            experiment: As it will be read there.
            settings: `knob=value`, as given.
            max_hours: After which it is to stop.

        Raises:
            RunFailed: If the cluster doesn't take it.
        """
        try:
            job_id = self._client.submit_job(
                entrypoint=entrypoint(upload.experiment, settings, experiment.home, max_hours),
                runtime_env={
                    "working_dir": str(upload.folder),
                    "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOPPING)},
                },
                metadata={"experiment": experiment.name},
            )
        except (RuntimeError, *AWAY) as error:
            raise RunFailed(f"the cluster at {self.address} didn't take the job: {first_line(error)}") from error
        return Job(job_id, self.address, self._client)

    def job(self, job_id: str) -> Job:
        """A job that is there.

        Raises:
            UserMistake: If there is none of that id, or nobody answers any more.
        """
        try:
            self._client.get_job_info(job_id)
        except AWAY as error:
            rule = "must be a Ray cluster's dashboard that answers"
            raise _not_there(self.address, rule, f"{TUNNEL} ({first_line(error)})") from error
        except RuntimeError as error:
            mend = f"`ray job list --address {self.address}` shows them"
            raise UserMistake(Problem("job", job_id, "must be a job of that cluster", mend)) from error
        return Job(job_id, self.address, self._client)


class Job:
    """One job of a cluster. Made by `Jobs`."""

    def __init__(self, job_id: str, address: str, client: JobSubmissionClient) -> None:
        self.id, self.address = job_id, address
        self._client = client
        self._written = 0  # characters of the log

    def follow(self, write: Callable[[str], Any]) -> Ended:
        """Write the log as it grows, until the job has ended; may be called again to go on.

        Raises:
            RunFailed: If the cluster doesn't answer for `LOST` seconds.
        """
        heard = time.monotonic()
        while True:
            try:
                asyncio.run(self._tail(write))
                info = self._client.get_job_info(self.id)
                heard = time.monotonic()
                if info.status.is_terminal():
                    self._write(write, self._client.get_job_logs(self.id), whole=True)
                    return _ended(self.id, info)
            except (RuntimeError, *AWAY) as error:
                if time.monotonic() - heard > LOST:
                    raise RunFailed(
                        f"the cluster at {self.address} no longer answers ({first_line(error)}); the job may go on\n"
                        f"    mend: fedray follow {self.id} --address {self.address}"
                    ) from error
            time.sleep(PAUSE)

    def stop(self) -> None:
        """Ask it to end as after Ctrl-C; it has `STOPPING` seconds.

        Raises:
            RunFailed: If the cluster doesn't answer.
        """
        try:
            self._client.stop_job(self.id)
        except (RuntimeError, *AWAY) as error:
            why = f"the cluster at {self.address} doesn't answer ({first_line(error)})"
            mend = f"{TUNNEL}, then fedray follow {self.id} --address {self.address} and Ctrl-C"
            raise RunFailed(f"{why}; {self.id} was not stopped, and may go on\n    mend: {mend}") from error

    async def _tail(self, write: Callable[[str], Any]) -> None:
        passed = 0  # a tail begins at the log's beginning, whatever was shown before
        async for lines in self._client.tail_job_logs(self.id):
            new = lines[max(0, self._written - passed) :]
            passed += len(lines)
            self._write(write, new)

    def _write(self, write: Callable[[str], Any], text: str, *, whole: bool = False) -> None:
        new = text[self._written :] if whole else text
        if new:
            write(new)
            self._written += len(new)


def entrypoint(file: str, settings: list[str], home: Path, max_hours: float | None) -> str:
    """The job's command line, for a shell on the cluster.

    By the name of fedray's own script: a job's `python` is whichever the shell's start-up files put first.
    A job's working directory is gone when the job is, so a relative home lies in the user's home directory there.
    """
    words = ["fedray", "run", file]
    for setting in settings:
        words += ["--set", setting]
    if max_hours is not None:
        words += ["--max-hours", f"{max_hours:g}"]
    if home.is_absolute():
        return shlex.join(words)
    return f'{shlex.join(words)} --set home="$HOME"/{shlex.quote(str(home))}'


def _ended(job_id: str, info: Any) -> Ended:
    status, code = info.status.value, info.driver_exit_code
    if status == "SUCCEEDED":
        return Ended(status, 0, "")
    if status == "STOPPED":
        return Ended(status, None, f"{job_id} was stopped")
    message = str(info.message or "")
    if code is None:
        return Ended(status, 1, f"{job_id} failed before the run began: {message}")
    if code == NO_FEDRAY[0] or NO_FEDRAY[1] in message:
        hint = "`fedray` must be on the PATH where `ray start` ran on the head, with all that your modules import"
        return Ended(status, code, f"{job_id} ended with exit code {code}; {hint}")
    return Ended(status, code, f"{job_id} ended with exit code {code}")


def _not_there(address: str, rule: str, mend: str) -> UserMistake:
    return UserMistake(Problem("--address", address, rule, mend))
