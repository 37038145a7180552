"""Serves a folder from an S3 server (moto) of its own.

    s3_server.py FOLDER BUCKET

Puts every file of FOLDER into BUCKET under the folder's name, prints the port on the first line, and ends when its
standard input does.
"""

import logging
import sys
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer


def main():
    folder, bucket = Path(sys.argv[1]), sys.argv[2]
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    s3 = boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )
    s3.create_bucket(Bucket=bucket)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        s3.put_object(Bucket=bucket, Key=f"{folder.name}/{file.relative_to(folder)}", Body=file.read_bytes())
    print(port, flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
