"""Uses of the client that a type checker accepts. Not run."""

import http.client

import httpx
import requests

import c8auth

source = c8auth.Source("https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1", "acme")
token: c8auth.Token = source.token()
text: str = token.value + token.version + token.base_url
response: http.client.HTTPResponse = source.open("/int/v1/broadcast?limit=1", b"{}", headers={"Content-Type": "application/json"})
try:
    source.reject(token)
except (c8auth.KeptError, c8auth.DeniedError) as e:
    error: c8auth.Error = e
session = requests.Session()
session.auth = c8auth.RequestsAuth(source)
client = httpx.Client(auth=c8auth.httpx_auth(source), base_url=token.base_url)
