"""What the conformance suite does not see: times, forks, the libraries' own ways, errors.

    python -m unittest discover -s clients/python/tests
"""

import asyncio
import http.server
import io
import json
import logging
import os
import socket
import ssl
import threading
import time
import traceback
import unittest
from contextlib import contextmanager
from unittest import mock

import botocore.exceptions
import httpx
import requests
import trustme

import c8auth

API = "https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1"
AWS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "MARK", "AWS_REGION": "eu-central-1",
    "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true",
}


class Case(unittest.TestCase):
    """Runs with AWS credentials and no proxy, between a fake API and a fake Communic8. The
    API gives out token-1, and token-2 after a report. Communic8 accepts those in valid."""

    def setUp(self):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_") and not name.lower().endswith("_proxy")}
        environment = mock.patch.dict(os.environ, {**inherited, **AWS}, clear=True)
        environment.start()
        self.addCleanup(environment.stop)
        self.fetches, self.reports, self.sent, self.elsewhere_sent = [], [], [], []
        self.valid, self.number, self.life = {"token-1", "token-2"}, 1, 3600
        self.gate = threading.Event()  # closed, the API waits
        self.gate.set()
        self.communic8 = self.serve(self.answer_communic8)
        self.elsewhere = self.serve(self.answer_elsewhere)
        self.api = self.serve(self.answer_api) + "/v1"

    def serve(self, answer, context=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self):
                length = int(self.headers.get("Content-Length") or 0)
                status, headers, body = answer(self, self.rfile.read(length))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if body is None:  # without end
                    self.end_headers()
                    self.wfile.flush()
                    hanging.wait(30)
                    return
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_CONNECT = do

            def log_message(self, *args):
                pass

        hanging = threading.Event()
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.handle_error = lambda *args: None
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(lambda: (hanging.set(), server.shutdown(), thread.join(), server.server_close()))
        return f"http{'s' if context else ''}://127.0.0.1:{server.server_address[1]}"

    def answer_api(self, request, body):
        if request.command == "POST":
            self.reports.append(json.loads(body)["version"])
            self.number += 1
            return 200, {}, b'{"outcome":"rotated"}'
        self.fetches.append(request.headers.get("Cache-Control"))
        self.gate.wait(10)
        return 200, {}, json.dumps({
            "access_token": f"token-{self.number}", "token_type": "Bearer", "expires_in": self.life,
            "version": f"version-{self.number}", "base_url": self.communic8,
        }).encode()

    def answer_communic8(self, request, body):
        token = request.headers.get("Authorization", "").partition("Bearer ")[2]
        self.sent.append((token, body))
        if request.path == "/elsewhere":
            return 307, {"Location": self.elsewhere + "/"}, b""
        if request.path == "/within":
            return 307, {"Location": "/"}, b""
        return (200, {}, b"fine") if token in self.valid else (401, {}, None if request.path == "/endless" else b"rejected")

    def answer_elsewhere(self, request, body):
        self.elsewhere_sent.append(request.headers.get("Authorization"))
        return 401, {}, b"elsewhere"

    def source(self):
        return c8auth.Source(self.api)

    def assertOwnWords(self, text):
        self.assertNotIn("MARK", text)
        self.assertTrue(len(text) <= 500 and text.isprintable(), text)


class Clock:
    """Replaces the module time. A test moves the wall clock; monotonic time stands still,
    as in a frozen sandbox."""

    def __init__(self):
        self.wall = 1_000_000.0

    def time(self):
        return self.wall

    def monotonic(self):
        return 0.0

    def sleep(self, seconds):
        self.wall += seconds


class Times(Case):
    def setUp(self):
        super().setUp()
        self.clock = Clock()
        patched = mock.patch.object(c8auth, "time", self.clock)
        patched.start()
        self.addCleanup(patched.stop)

    def settle(self, source):
        """Waits for what is under way in the background."""
        while source._flights:
            time.sleep(0.01)

    def test_refresh_in_the_background(self):
        source = self.source()
        source.token()
        self.clock.wall += 3600 - 10 - 241
        source.token()
        self.assertEqual(len(self.fetches), 1)
        self.clock.wall += 121
        self.number, before = 2, len(self.fetches)
        self.gate.clear()
        self.assertEqual(source.token().value, "token-1")  # at once, though the API does not answer
        self.gate.set()
        self.settle(source)
        self.assertEqual(len(self.fetches), before + 1)
        self.assertEqual(source.token().value, "token-2")

    def test_failure_is_forgotten_by_the_wall_clock(self):
        self.life = "MARK"
        source = self.source()
        for _ in range(3):
            with self.assertRaises(c8auth.UnreachableError):
                source.token()
        self.assertEqual(len(self.fetches), 1)
        self.life = 3600
        self.clock.wall += 10.1
        self.assertEqual(source.token().value, "token-1")

    def test_clock_set_back(self):
        self.life = "MARK"
        source = self.source()
        with self.assertRaises(c8auth.UnreachableError):
            source.token()
        self.life = 3600
        self.clock.wall -= 3600
        self.assertEqual(source.token().value, "token-1")

    def test_expiry_by_the_wall_clock(self):
        source = self.source()
        source.token()
        self.number = 2
        self.clock.wall += 3591
        self.assertEqual(source.token().value, "token-2")

    def test_expiry_counts_from_before_the_request(self):
        source = self.source()
        before = self.clock.wall
        with mock.patch.object(self, "answer_api", side_effect=self.answer_api):
            original = source._send

            def slow(*args):
                answer = original(*args)
                self.clock.wall += 8
                return answer

            source._send = slow
            self.assertEqual(source.token().expiry, before + 3600)

    def test_forbidden_asks_less_and_less_often(self):
        source = self.source()
        token = source.token()
        asked = []
        for second in range(600):
            before = len(self.fetches)
            self.assertIsNone(source._replacement(403, token))
            if len(self.fetches) > before:
                asked.append(second)
            self.clock.wall += 1
        self.assertEqual(asked, [0, 1, 3, 7, 15, 31, 63, 127, 247, 367, 487])
        self.assertEqual(self.reports, [])


class Program(Case):
    def test_fork(self):
        source = self.source()
        self.gate.clear()
        waiting = threading.Thread(target=source.token)
        waiting.start()
        while not self.fetches:
            time.sleep(0.01)
        source._lock.acquire()  # as another thread may hold it
        child = os.fork()
        if child == 0:
            try:
                with mock.patch.object(source, "_get", lambda *args: c8auth.Token("child", "v", "http://127.0.0.1", None)):
                    os._exit(0 if source.token().value == "child" else 1)
            finally:
                os._exit(2)
        source._lock.release()
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        self.gate.set()
        waiting.join()

    def test_nothing_secret_is_shown(self):
        source = self.source()
        token = source.token()
        for value in (token, source, source.__dict__, c8auth.RequestsAuth(source)):
            self.assertNotIn("token-1", repr(value) + str(value))

    def test_traceback_shows_no_other_error(self):
        class Session:
            def get_credentials(self):
                raise botocore.exceptions.CredentialRetrievalError(provider="custom-process", error_msg="MARK")

            def __getattr__(self, name):
                return getattr(session, name)

        session = c8auth.botocore.session.Session()
        with mock.patch.object(c8auth, "_FETCH_TIME", 0.1), self.assertRaises(c8auth.CredentialsError) as caught:
            c8auth.Source(API, session=Session()).token()
        self.assertNotIn("MARK", "".join(traceback.format_exception(type(caught.exception), caught.exception, caught.exception.__traceback__)))
        self.assertIsNone(caught.exception.__context__)

    def test_each_thread_has_an_error_of_its_own(self):
        self.life = "MARK"
        self.gate.clear()
        source, failed = self.source(), []

        def call():
            try:
                source.token()
            except c8auth.UnreachableError as e:
                failed.append(e)

        threads = [threading.Thread(target=call) for _ in range(3)]
        for thread in threads:
            thread.start()
        self.gate.set()
        for thread in threads:
            thread.join()
        self.assertEqual((len(failed), len({id(e) for e in failed}), len({str(e) for e in failed})), (3, 3, 1))

    def test_nothing_of_a_token_is_logged(self):
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        logging.getLogger().addHandler(handler)
        self.addCleanup(logging.getLogger().removeHandler, handler)
        self.source().token()
        self.assertNotIn("token-1", stream.getvalue())

    def test_reject(self):
        source = self.source()
        token = source.token()
        source.reject(token)
        self.assertEqual((source.token().value, self.reports), ("token-2", ["version-1"]))
        source.reject(token)  # it is replaced already
        self.assertEqual(self.reports, ["version-1"])

    def test_open(self):
        source = self.source()
        for path in ("/", "", f"{self.communic8}/", self.communic8):
            with source.open(path, b"x", headers={"Authorization": "mine", "Content-Type": "text/plain"}) as response:
                self.assertEqual(response.read(), b"fine")
        self.assertEqual(self.sent, [("token-1", b"x")] * 4)
        with source.open("//".join((self.communic8, "a?b=c#d"))) as response:
            self.assertEqual(response.url, self.communic8 + "//a?b=c")
        base = self.communic8[len("http://"):]
        for url in (f"https://{base}/", f"//elsewhere/", f"http://{base}@elsewhere/", f"http://user@{base}/", f"http://elsewhere\\@{base}/",
                    f"http://{base}.elsewhere/", "http://127.0.0.1/", f"ftp://{base}/", "mailto:a@b", "http://[/"):
            with self.subTest(url), self.assertRaises(c8auth.HostError):
                source.open(url)
        with self.assertRaises(c8auth.HostError):
            source.open("/elsewhere")
        self.assertEqual(self.elsewhere_sent, [])

    def test_settings(self):
        for url, region, resource in (
            (API, "eu-central-1", "arn:aws:execute-api:eu-central-1:*:c8auth0api/v1/"),
            (API + "/", "eu-central-1", "arn:aws:execute-api:eu-central-1:*:c8auth0api/v1/"),
            ("https://tokens.example.com", "eu-west-1", "arn:aws:execute-api:eu-west-1:*:*/*/"),
            ("https://c8auth0api-vpce-0123456789abcdef0.execute-api.us-gov-west-1.amazonaws.com/v1", "us-gov-west-1", "arn:aws-us-gov:execute-api:us-gov-west-1:*:c8auth0api/v1/"),
            ("https://c8auth0api.execute-api.cn-north-1.amazonaws.com.cn/v1", "cn-north-1", "arn:aws-cn:execute-api:cn-north-1:*:c8auth0api/v1/"),
            ("https://c8auth0api.execute-api.eusc-de-east-1.amazonaws.eu/v1", "eusc-de-east-1", "arn:aws-eusc:execute-api:eusc-de-east-1:*:c8auth0api/v1/"),
            ("https://c8auth0api.execute-api.eu-central-1.api.aws/v1", "eu-central-1", "arn:aws:execute-api:eu-central-1:*:c8auth0api/v1/"),
            ("https://C8AUTH0API.Execute-Api.EU-Central-1.AmazonAWS.com:443/v1", "eu-central-1", "arn:aws:execute-api:eu-central-1:*:c8auth0api/v1/"),
            ("https://c8auth0api.execute-api.eu-central-1.amazonaws.com.evil.example/v1", "eu-west-1", "arn:aws:execute-api:eu-west-1:*:*/*/"),
        ):
            with self.subTest(url), mock.patch.dict(os.environ, {"AWS_REGION": "eu-west-1"}):
                api = c8auth.Source(url)._api
                self.assertEqual((api.region, api.resource), (region, resource))
        for url in ("", ":", "http://tokens.example.com", "https://a@b/", API + "?a", API + "#a", "https://[/", "https://a:b/"):
            with self.subTest(url), self.assertRaisesRegex(ValueError, "url must be"):
                c8auth.Source(url)
        for region in ("", "eu-west-1\n"):
            with mock.patch.dict(os.environ, {"AWS_REGION": region}), self.assertRaisesRegex(ValueError, "AWS_REGION"):
                c8auth.Source("https://tokens.example.com")


class Libraries(Case):
    def test_requests(self):
        source = self.source()
        session = requests.Session()
        session.auth = c8auth.RequestsAuth(source)
        self.valid.remove("token-1")
        body = io.BytesIO(b"a file")
        body.read(2)
        response = session.post(self.communic8 + "/endless", data=body, stream=True)
        self.assertEqual((response.status_code, [r.status_code for r in response.history]), (200, [401]))
        self.assertEqual(self.sent, [("token-1", b"file"), ("token-2", b"file")])

    def test_requests_stream_is_sent_once(self):
        source = self.source()
        self.valid.remove("token-1")
        response = requests.get(self.communic8, auth=c8auth.RequestsAuth(source), data=(b for b in [b"x"]))
        self.assertEqual((response.status_code, response.content, len(self.sent)), (401, b"rejected", 1))

    def test_requests_stays(self):
        auth = c8auth.RequestsAuth(self.source())
        with self.assertRaises(c8auth.HostError):
            requests.get(self.elsewhere, auth=auth)
        response = requests.get(self.communic8 + "/elsewhere", auth=auth)
        self.assertEqual((response.content, self.elsewhere_sent, self.reports), (b"elsewhere", [None], []))
        self.assertEqual(requests.get(self.communic8 + "/within", auth=auth).content, b"fine")
        self.assertEqual(requests.get(self.communic8 + "/elsewhere", auth=auth, allow_redirects=False).status_code, 307)

    def both(self, use):
        """Uses a synchronous client of httpx, and an asynchronous one."""
        for kind in (httpx.Client, httpx.AsyncClient):
            with self.subTest(kind.__name__):
                self.number, self.sent, self.reports, self.elsewhere_sent = 1, [], [], []
                client = kind(auth=c8auth.httpx_auth(self.source()), timeout=5)
                if kind is httpx.Client:
                    use(client.request)
                    client.close()
                    continue

                async def main():
                    loop = asyncio.get_running_loop()
                    send = lambda *args, **more: asyncio.run_coroutine_threadsafe(client.request(*args, **more), loop).result(10)
                    await asyncio.to_thread(use, send)
                    await client.aclose()

                asyncio.run(main())

    def test_httpx(self):
        self.valid.remove("token-1")

        def use(send):
            response = send("POST", self.communic8 + "/endless", content=b"x")
            self.assertEqual((response.status_code, [r.status_code for r in response.history]), (200, [401]))
            self.assertEqual(self.sent, [("token-1", b"x"), ("token-2", b"x")])

        self.both(use)

    def test_httpx_stream_is_sent_once(self):
        self.valid.remove("token-1")

        async def stream():
            yield b"x"

        def use(send):
            content = stream() if "AsyncClient" in str(self._subtest) else (b for b in [b"x"])
            response = send("POST", self.communic8, content=content, headers={"Content-Length": "1"})
            self.assertEqual((response.status_code, response.content, len(self.sent)), (401, b"rejected", 1))

        self.both(use)

    def test_httpx_stays(self):
        def use(send):
            with self.assertRaises(c8auth.HostError):
                send("GET", self.elsewhere)
            response = send("GET", self.communic8 + "/elsewhere", follow_redirects=True)
            self.assertEqual((response.content, self.elsewhere_sent, self.reports), (b"elsewhere", [None], []))
            self.assertEqual(send("GET", self.communic8 + "/within", follow_redirects=True).content, b"fine")

        self.both(use)

    def test_httpx_does_not_block_the_loop(self):
        self.gate.clear()

        async def main():
            async with httpx.AsyncClient(auth=c8auth.httpx_auth(self.source())) as client:
                request = asyncio.ensure_future(client.get(self.communic8))
                await asyncio.sleep(0.1)  # the API does not answer yet
                self.gate.set()
                self.assertEqual((await request).status_code, 200)

        asyncio.run(main())


class Connections(Case):
    def test_proxy(self):
        asked = []

        def refuse(request, body):
            asked.append((request.command, request.path, request.headers.get("Proxy-Authorization")))
            return 407, {"Proxy-Authenticate": "Basic realm=MARK"}, b"MARK"

        proxy = self.serve(refuse)
        os.environ["HTTPS_PROXY"] = proxy.replace("//", "//user:MARK@")
        with mock.patch.object(c8auth, "_FETCH_TIME", 0.1), self.assertRaises(c8auth.UnreachableError) as caught:
            c8auth.Source(API).token()
        text = str(caught.exception)
        self.assertOwnWords(text)
        self.assertIn("HTTP 407", text)
        self.assertIn("the proxy is " + proxy, text)
        self.assertNotIn("user:", text)
        self.assertEqual(asked[0][:2], ("CONNECT", "c8auth0api.execute-api.eu-central-1.amazonaws.com:443"))

    def test_certificates(self):
        ca = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1").configure_cert(context)
        self.api = self.serve(self.answer_api, context) + "/v1"
        with mock.patch.object(c8auth, "_FETCH_TIME", 0.1), self.assertRaisesRegex(c8auth.UnreachableError, "unknown authority"):
            self.source().token()
        with ca.cert_pem.tempfile() as bundle, mock.patch.dict(os.environ, {"AWS_CA_BUNDLE": bundle}):
            self.assertEqual(self.source().token().value, "token-1")

    def test_descriptions(self):
        def verification(code):
            error = ssl.SSLCertVerificationError(1, "MARK")
            error.verify_code = code
            return botocore.exceptions.SSLError(endpoint_url="MARK", error=error)

        for failure, want in (
            (botocore.exceptions.EndpointConnectionError(endpoint_url="MARK", error=socket.gaierror("MARK")), "cannot be reached: its name"),
            (botocore.exceptions.EndpointConnectionError(endpoint_url="MARK", error=ConnectionRefusedError("MARK")), "cannot be reached: the connection is refused"),
            (botocore.exceptions.EndpointConnectionError(endpoint_url="MARK", error="MARK"), "cannot be reached"),
            (botocore.exceptions.ConnectTimeoutError(endpoint_url="MARK", error="MARK"), "did not answer in time"),
            (botocore.exceptions.ReadTimeoutError(endpoint_url="MARK", error="MARK"), "did not answer in time"),
            (TimeoutError(), "did not answer in time"),
            (botocore.exceptions.ConnectionClosedError(endpoint_url="MARK", error="MARK", request=None), "broke the connection off"),
            (ConnectionResetError("MARK"), "broke the connection off"),
            (verification(10), "shows a certificate that has expired"),
            (verification(62), "shows a certificate for another name"),
            (verification(18), "shows a certificate of an unknown authority"),
            (botocore.exceptions.SSLError(endpoint_url="MARK", error="MARK"), "and this machine do not agree on TLS"),
            (botocore.exceptions.HTTPClientError(error=ValueError("MARK")), "broke the connection off, or did not speak HTTP"),
        ):
            with self.subTest(failure):
                text = c8auth._describe(failure)
                self.assertTrue(text.startswith(want), text)
                self.assertOwnWords(text)

    def test_credentials(self):
        known = botocore.exceptions
        for failure, want, temporary in (
            (None, "give none", False),
            (known.ProfileNotFound(profile="MARK"), "AWS_PROFILE", False),
            (known.PartialCredentialsError(provider="MARK", cred_var="MARK"), "malformed or incomplete", False),
            (known.UnauthorizedSSOTokenError(), "aws sso login", False),
            (known.TokenRetrievalError(provider="sso", error_msg="MARK"), "aws sso login", False),
            (known.CredentialRetrievalError(provider="custom-process", error_msg="MARK"), "fails", True),
            (known.ClientError({"Error": {"Message": "MARK"}}, "AssumeRole"), "AWS STS", True),
            (ValueError("MARK"), "fails", True),
        ):
            with self.subTest(failure), self.assertRaises(c8auth.CredentialsError) as caught:
                c8auth._keys(mock.Mock(get_credentials=mock.Mock(side_effect=failure, return_value=None)))
            self.assertOwnWords(str(caught.exception))
            self.assertIn(want, str(caught.exception))
            self.assertEqual(caught.exception._temporary, temporary)

    def test_errors_are_short_and_printable(self):
        text = str(c8auth._error(c8auth.TenantError, "\x1b[2J\u202e" + "a" * 1000))
        self.assertEqual((len(text), text.isprintable()), (400, True))


if __name__ == "__main__":
    unittest.main()
