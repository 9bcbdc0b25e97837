"""The least that a Python client does for a list: full bodies, signed, ten threads."""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import requests

BASE, FULL = os.environ["PURGEBOT_AKAMAI_BASE_URL"], 580
PATH = "/ccu/v3/invalidate/url/production"
SCHEME, HOST = BASE.split("://")
session = requests.Session()
session.mount(BASE, requests.adapters.HTTPAdapter(pool_maxsize=10))


def sha(key, data):
    return base64.b64encode(hmac.new(key.encode(), data.encode(), hashlib.sha256).digest()).decode()


def send(urls):
    body = json.dumps({"objects": urls}).encode()
    now = time.strftime("%Y%m%dT%H:%M:%S+0000", time.gmtime())
    head = "EG1-HMAC-SHA256 client_token={};access_token={};timestamp={};nonce={};".format(
        os.environ["AKAMAI_CLIENT_TOKEN"], os.environ["AKAMAI_ACCESS_TOKEN"], now, uuid.uuid4())
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    key = sha(os.environ["AKAMAI_CLIENT_SECRET"], now)
    signature = sha(key, "\t".join(["POST", SCHEME, HOST, PATH, "", digest, head]))
    answer = session.post(BASE + PATH, data=body, headers={
        "Content-Type": "application/json", "Authorization": head + "signature=" + signature})
    answer.raise_for_status()
    return answer.json()["purgeId"]


lines = [line.rstrip("\n") for line in sys.stdin]
with ThreadPoolExecutor(10) as pool:
    list(pool.map(send, (lines[i:i + FULL] for i in range(0, len(lines), FULL))))
