"""Stores to test with: a folder, a bucket in memory, and where its components are here a bucket on a real S3."""

import json
import os
import subprocess
import sys

from obstore.store import MemoryStore

from simlaw.store import AbstractStore, BucketStore, Store

#: A server in a process of its own: it says where it listens, and ends with its standard input.
_SERVER = """
import json, logging, sys
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
import boto3
place = "http://127.0.0.1:%d" % server.get_host_and_port()[1]
boto3.client("s3", endpoint_url=place, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    ).create_bucket(Bucket="simlaw-tests")
print(json.dumps(place), flush=True)
sys.stdin.read()
"""


def in_memory(tmp_path) -> AbstractStore:
    return BucketStore(url="s3://simlaw-tests/memory", objects=MemoryStore(), root=tmp_path / "scratch")


def in_folder(tmp_path) -> AbstractStore:
    return Store(root=tmp_path / "folder")


class S3:
    """An S3 on this machine; `environment` is what a process needs to use it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.environment = {
            "AWS_ENDPOINT_URL": json.loads(self.process.stdout.readline()),
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b-is-a-secret",
        }

    def __enter__(self) -> "S3":
        os.environ.update(self.environment)
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.environment:
            os.environ.pop(name, None)
        self.process.communicate()
