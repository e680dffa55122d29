"""Runs calls through the Python client, as the conformance suite wants them. The argument
says how: alone, requests or httpx."""

import json
import os
import re
import sys
import urllib.error
from concurrent.futures import ThreadPoolExecutor

import c8auth


def alone(method, path, body):
    try:
        with source.open(path, body.encode() if body else None, method=method) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def with_requests(method, path, body):
    url = path if "://" in path else source.token().base_url + path
    response = session.request(method, url, data=body)
    return response.status_code, response.text


def with_httpx(method, path, body):
    url = path if "://" in path else source.token().base_url + path
    response = client.request(method, url, content=body)
    return response.status_code, response.text


def call(command):
    try:
        status, body = send(command["method"], command["path"], command["body"])
        return {"outcome": str(status), "body": body}
    except c8auth.Error as e:
        name = re.sub("(?<=[a-z])(?=[A-Z])", "_", type(e).__name__[: -len("Error")]).lower()
        return {"outcome": name, "error": str(e)}
    except Exception as e:
        return {"outcome": "failed", "error": repr(e)}


source = c8auth.Source(os.environ["C8AUTH_URL"], os.environ["C8AUTH_TENANT"])
if sys.argv[1] == "requests":
    import requests

    send, session = with_requests, requests.Session()
    session.auth = c8auth.RequestsAuth(source)
elif sys.argv[1] == "httpx":
    import httpx

    send, client = with_httpx, httpx.Client(auth=c8auth.httpx_auth(source), timeout=60, follow_redirects=True)
else:
    send = alone
for line in sys.stdin:
    command = json.loads(line)
    with ThreadPoolExecutor(command["times"]) as pool:
        print(json.dumps(list(pool.map(call, [command] * command["times"]))), flush=True)
