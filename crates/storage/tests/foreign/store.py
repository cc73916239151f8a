"""An S3 store that is not ours (moto), which checks signatures. Ends with its standard input.

Says on one line where it is and with what keys one gets in. Then it takes orders, and answers each with a line:
`uploads` are the names of uploads in parts that are under way, `names` those of all objects, `age` makes all objects
two days older, and `put NAME` makes one of zeros.
"""

import datetime
import json
import sys

import boto3
from moto import settings
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

BUCKET = "objects"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
endpoint = f"http://{host}:{port}"
first = {
    "endpoint_url": endpoint,
    "region_name": "us-east-1",
    "aws_access_key_id": "none",
    "aws_secret_access_key": "none",
}
boto3.client("s3", **first).create_bucket(Bucket=BUCKET)
users = boto3.client("iam", **first)
users.create_user(UserName="alcove")
users.put_user_policy(UserName="alcove", PolicyName="all", PolicyDocument=json.dumps(POLICY))
key = users.create_access_key(UserName="alcove")["AccessKey"]
# From here on, nobody comes in without.
settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
told = {
    "endpoint": endpoint,
    "bucket": BUCKET,
    "accessKey": key["AccessKeyId"],
    "secretKey": key["SecretAccessKey"],
}
print(json.dumps(told), flush=True)
store = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
bucket = store.buckets[BUCKET]
for order in map(str.strip, sys.stdin):
    if order == "uploads":
        answer = sorted(upload.key_name for upload in bucket.multiparts.values())
    elif order == "names":
        answer = sorted(bucket.keys.keys())
    elif order == "age":
        for key in bucket.keys.values():
            key.last_modified -= datetime.timedelta(days=2)
        answer = []
    elif order.startswith("put "):
        # An object of nobody's.
        store.put_object(BUCKET, order.removeprefix("put "), bytes(5000))
        answer = []
    else:
        sys.exit(f"there is no order {order}")
    print(json.dumps(answer), flush=True)
server.stop()
