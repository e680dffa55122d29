"""Calls Communic8 with the token that c8auth keeps.

    import c8auth

    source = c8auth.Source("https://<api>.execute-api.<region>.amazonaws.com/v1", "acme")
    with source.open("/int/v1/broadcast?limit=1") as response:
        print(response.read())

A Source fetches the tenant's token from the API, and holds the token until shortly before
it expires. The requests are signed with the AWS credentials of the program. Concurrent
calls share one request. While the API fails, the held token is used until it expires.

The token is sent to its base URL and nowhere else. When Communic8 answers 401, the
rejection is reported, the token is fetched again, and the request is repeated. With
requests or httpx, use RequestsAuth and httpx_auth instead of Source.open.

Make one Source for each tenant and keep it, because it holds the token. No log line and
no error contains a token. IAM decides which programs get which token; see docs/calling.md.
"""

from __future__ import annotations

import email.utils
import http.client
import itertools
import json
import os
import random
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import weakref
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import (
    TYPE_CHECKING, Any, AsyncGenerator, Callable, Generator, Iterator, Mapping, NamedTuple, Optional, cast,
)

import botocore.auth
import botocore.awsrequest
import botocore.exceptions
import botocore.httpsession
import botocore.session
import botocore.utils

if TYPE_CHECKING:
    import httpx
    import requests
    from typing_extensions import TypeGuard

__all__ = [
    "CredentialsError", "DeniedError", "Error", "HostError", "KeptError", "NoTokenError",
    "RequestsAuth", "Source", "TenantError", "Token", "UnreachableError", "httpx_auth",
]

# All times are seconds. State that outlives a call is compared with time.time(), because
# time.monotonic() stands still while a Lambda sandbox is frozen; monotonic time bounds a
# single call.
_MARGIN = 10.0  # least remaining lifetime of a usable token
_EARLY = 240.0  # longest time before the expiry at which the next token is fetched
_GET_TIMEOUT, _REPORT_TIMEOUT = 10.0, 30.0  # API Gateway waits 29 seconds for the function
_FETCH_TIME, _RENEW_TIME = 15.0, 45.0  # bounds of a fetch, and of report and fetch after a rejection
_FIRST_PAUSE, _MAX_PAUSE = 0.25, 4.0  # between retries, doubling
_MIN_RETRY, _LONG_RETRY = 1.0, 10.0  # least time after a failed fetch; the second, if it is not temporary
_MAX_BACKOFF = 120.0  # longest time between two attempts
_MAX_RETRY_AFTER = 60.0
_MAX_BODY = 64 << 10  # bytes of an answer of the API
_REPETITIONS = 2  # of a request; two are needed if the new token is rejected as well


class Error(Exception):
    """Base class of the errors. The text says what failed and what to do. It has at most 500
    printable characters, no secret, and nothing that the other side sent."""

    _temporary = False  # whether a retry may succeed
    _retry_after = 0.0  # least time until a retry, from the API
    _signature = False  # whether the signature or its key is refused


class CredentialsError(Error):
    """There are no usable AWS credentials to sign with."""


class DeniedError(Error):
    """IAM denies the request, and the text names what a policy must grant; or the signature
    is not accepted."""


class TenantError(Error):
    """c8auth has no tenant of that name, or the name is malformed."""


class NoTokenError(Error):
    """c8auth has no valid token for the tenant now: none is stored yet, the stored one has
    expired, or c8auth cannot read the store."""


class UnreachableError(Error):
    """The API does not answer, or another server or a proxy answers."""


class HostError(Error):
    """The request is not for the token's base URL. Nothing was sent."""


class KeptError(Error):
    """c8auth has no newer token than the rejected one: Communic8 accepts the rejected one
    after all, or c8auth cannot get another one now."""


@dataclass(frozen=True)
class Token:
    """A token, to be sent to base_url and nowhere else. Its repr does not show the value."""

    value: str = field(repr=False)
    version: str
    base_url: str  # scheme, host and port
    expiry: Optional[float]  # comparable with time.time(); None: the token does not expire
    _refresh: Optional[float] = field(repr=False, default=None)  # when to fetch the next one

    def _usable(self, now: float) -> bool:
        return self.expiry is None or self.expiry - now >= _MARGIN

    def _due(self, now: float) -> bool:
        return self._refresh is not None and now >= self._refresh


class Source:
    """Returns the token of one tenant. It may be used by several threads, and after a fork.

    url is the stack's output Url. session has the AWS credentials and, if url does not name
    it, the region; None means the ambient configuration. Raises a ValueError if url or the
    region is malformed.
    """

    def __init__(
        self, url: str, tenant: str = "default", *, session: Optional[botocore.session.Session] = None
    ) -> None:
        self._api = _parse_api(url, session or botocore.session.Session())
        self._tenant = tenant
        self._given = session
        self._session = session  # in use; None: read the configuration
        self._held: Optional[Token] = None
        self._failed: Optional[Error] = None  # of the last fetch
        self._retry_at = 0.0  # when the next fetch may begin
        self._replaced = ""  # the version that was replaced last because it was rejected
        self._lookups = _Backoff()  # for a newer token than a rejected one
        self._reports = _Backoff()  # of a rejected token
        self._opener = urllib.request.build_opener(_Redirects)
        self._after_fork()
        _sources.add(self)

    def token(self) -> Token:
        """Returns a token that is valid for ten seconds at least. A held token is returned at
        once; otherwise one is fetched, which takes 15 seconds at most, or 25 if a server sends
        its answer byte by byte or the provider of the AWS credentials hangs. Raises a
        CredentialsError, DeniedError, TenantError, NoTokenError or UnreachableError."""
        return self._held_token() or self._wait("fetch", self._fetch, _FETCH_TIME)

    def reject(self, token: Token) -> None:
        """Reports that Communic8 rejects the token. If it raises no error, token() returns
        another one from then on. It is for rejections with another status than 401, which
        open, RequestsAuth and httpx_auth report by themselves. It takes 45 seconds at most,
        or 55 for the same reasons. Raises a KeptError, or what token() raises."""
        self._renew(token.version, report=True)

    def open(
        self, url: str, data: Optional[bytes] = None, *, method: Optional[str] = None,
        headers: Optional[Mapping[str, str]] = None, timeout: float = 30.0,
    ) -> http.client.HTTPResponse:
        """Sends a request to Communic8, by urllib.request. url must be a path, or begin with the
        token's base URL; for any other URL, also that of a redirect, it raises a HostError. The
        request is repeated after HTTP 401, and after 403 if there is a newer token. timeout is
        in seconds, for each operation of the socket. Raises also what token() and
        urllib.request.urlopen raise, such as HTTPError for a status of 400 or more."""
        token = self.token()
        for repeated in itertools.count():
            request = urllib.request.Request(_resolve(url, token.base_url), data, dict(headers or {}), method=method)
            request.add_header("Authorization", "Bearer " + token.value)
            try:
                return cast(http.client.HTTPResponse, self._opener.open(request, timeout=timeout))
            except urllib.error.HTTPError as e:
                newer = self._replacement(e.code, token) if repeated < _REPETITIONS else None
                if newer is None:
                    raise
                e.close()  # unread: its body may be endless
                token = newer
        raise AssertionError  # for type checkers

    def _replacement(self, status: int, token: Token) -> Optional[Token]:
        """Returns the token for a repetition of a request that was answered with the status;
        None if there is none. 403 is not reported, because the user may lack rights."""
        if status not in (401, 403):
            return None
        try:
            return self._renew(token.version, report=status == 401)
        except Error:
            return None  # the caller gets the answer of Communic8

    def _held_token(self) -> Optional[Token]:
        """Returns the held token while it is usable, and starts a fetch if the next one is
        due."""
        now = time.time()
        with self._lock:
            held, pausing = self._held, _pending(self._retry_at)
        if held is None or not held._usable(now):
            return None
        if held._due(now) and not pausing:
            self._start("fetch", self._fetch)
        return held

    def _start(self, key: str, work: Callable[[], Token]) -> Future[Token]:
        """Starts the work in a thread, and returns its future. If work with that key is in
        progress, its future is returned."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is None:
                flight = Future()
                threading.Thread(target=self._run, args=(key, flight, work), daemon=True, name="c8auth").start()
                self._flights[key] = flight
            return flight

    def _run(self, key: str, flight: Future[Token], work: Callable[[], Token]) -> None:
        try:
            token, failed = work(), None
        except BaseException as e:
            token, failed = None, e
        self._forget(key, flight)
        flight.set_exception(failed) if token is None else flight.set_result(token)

    def _forget(self, key: str, flight: Future[Token]) -> None:
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]

    def _wait(self, key: str, work: Callable[[], Token], bound: float) -> Token:
        """Starts the work or joins it, and waits for the result."""
        flight = self._start(key, work)
        try:
            return flight.result(bound + _GET_TIMEOUT)
        except Error as e:
            failed = _copy(e)  # raising adds a traceback to an error, so threads must not share one
        except FutureTimeout:  # see token
            self._forget(key, flight)
            failed = _error(UnreachableError, self._api.host + " did not answer in time")
        raise failed

    def _after_fork(self) -> None:
        """Removes the work of the parent's threads, and the lock that they may have held."""
        self._lock = threading.Lock()
        self._flights: dict[str, Future[Token]] = {}

    def _fetch(self) -> Token:
        """Fetches the token, and retries after temporary failures. Until the next fetch may
        begin, it raises the last failure."""
        with self._lock:
            held, failed, pausing = self._held, self._failed, _pending(self._retry_at)
        now = time.time()
        if held is not None and held._usable(now) and not held._due(now):  # another fetch has just ended
            return held
        if failed is not None and pausing:
            raise _copy(failed)
        deadline = time.monotonic() + _FETCH_TIME
        for n in itertools.count():
            try:
                return self._hold(self._get(False, deadline), "")
            except Error as e:
                last = e
            if not last._temporary or not _sleep(last._retry_after + _pause(n), deadline):
                break
        with self._lock:
            retry = _MIN_RETRY if last._temporary else _LONG_RETRY
            self._failed, self._retry_at = _copy(last), time.time() + max(retry, last._retry_after)
        raise last

    def _hold(self, token: Token, instead: str) -> Token:
        """Keeps the token, and returns the one that is held then. instead is the rejected
        version that token replaces, or empty. A fetch that began before the rejection can
        return that version late; the newer token is then kept."""
        with self._lock:
            self._failed, self._retry_at = None, 0.0
            self._replaced = instead or self._replaced
            if token.version != self._replaced or self._held is None or not self._held._usable(time.time()):
                self._held = token
            return self._held

    def _renew(self, rejected: str, report: bool) -> Token:
        """Returns a token of another version than the rejected one."""

        def work() -> Token:
            with self._lock:
                held = self._held
                reporting = report and self._reports.allows(rejected)
                lookup = reporting or self._lookups.allows(rejected)
            if held is not None and held.version != rejected and held._usable(time.time()):
                return held  # another call has renewed it
            if not lookup:
                raise KeptError("no newer token")
            deadline = time.monotonic() + _RENEW_TIME
            for n in itertools.count():
                try:
                    return self._renew_once(rejected, reporting, deadline)
                except Error as e:
                    failed = e
                if not failed._temporary or not _sleep(failed._retry_after + _pause(n), deadline):
                    break
            with self._lock:
                self._lookups.fail(rejected, _MIN_RETRY)
                if reporting:
                    self._reports.fail(rejected, max(_LONG_RETRY, failed._retry_after))
            raise failed

        return self._wait(f"renew {report} {rejected}", work, _RENEW_TIME)

    def _renew_once(self, rejected: str, report: bool, deadline: float) -> Token:
        kept, unreported, failed = not report, None, None
        if report:
            try:
                kept = self._report(rejected, deadline)
            except Error as e:
                unreported = e
        try:
            token = self._get(True, deadline)
            if token.version != rejected:
                return self._hold(token, rejected)
        except Error as e:
            failed = e
        if failed is not None and not failed._temporary:
            raise failed
        if kept:
            raise KeptError("no newer token")
        if unreported is None:  # c8auth has a newer token, but vend returned a cached one, or failed
            raise _error(KeptError, "no newer token", temporary=True, retry_after=_MIN_RETRY)
        wait = max(_MIN_RETRY, unreported._retry_after)
        raise _error(KeptError, f"no newer token: {unreported}", unreported._temporary and wait <= _MAX_PAUSE, wait)

    # Exchanges with the API.

    def _get(self, fresh: bool, deadline: float) -> Token:
        """Fetches the token. With fresh, it sends no-cache, so that vend reads the store again."""
        sent = time.time()
        headers = {"Cache-Control": "no-cache"} if fresh else {}
        answer = self._exchange("GET", "", headers, b"", min(deadline, time.monotonic() + _GET_TIMEOUT))
        token = _parse_token(answer, sent)
        if not token._usable(time.time()):
            raise _error(NoTokenError, "the API gives one that has expired, or will within ten seconds", temporary=True)
        return token

    def _report(self, version: str, deadline: float) -> bool:
        """Reports that Communic8 rejects the version. Returns whether c8auth keeps it."""
        headers, body = {"Content-Type": "application/json"}, json.dumps({"version": version}).encode()
        until = min(deadline, time.monotonic() + _REPORT_TIMEOUT)
        outcome = _object(self._exchange("POST", "/rejections", headers, body, until)).get("outcome")
        if not isinstance(outcome, str):
            raise _error(UnreachableError, "the answer to a report is not the documented JSON")
        return outcome == "kept"

    def _exchange(self, method: str, tail: str, headers: dict[str, str], body: bytes, deadline: float) -> bytes:
        """Sends a signed request and returns the body of a 200. If the signature is refused,
        it reads the AWS configuration again, and signs and sends the request once more. The
        credentials may have been renewed, or the process may have been frozen after signing."""
        session = self._session = self._session or botocore.session.Session()
        try:
            return self._send(session, method, tail, headers, body, deadline)
        except Error as e:
            failed = e
        if not failed._signature:
            raise failed
        session = self._session = self._given or botocore.session.Session()
        return self._send(session, method, tail, headers, body, deadline)

    def _send(
        self, session: Any, method: str, tail: str, headers: dict[str, str], body: bytes, deadline: float
    ) -> bytes:
        keys = _keys(session)
        what = "/tokens/" + urllib.parse.quote(self._tenant, safe="") + tail
        headers = {"Accept": "application/json", **headers}
        request = botocore.awsrequest.AWSRequest(method, self._api.url + what, headers, body, stream_output=True)
        botocore.auth.SigV4Auth(keys, "execute-api", self._api.region).add_auth(request)
        proxies = botocore.utils.get_environ_proxies(request.url)
        carrier = botocore.httpsession.URLLib3Session(
            verify=session.get_config_variable("ca_bundle") or True,
            proxies=proxies,
            timeout=max(0.1, deadline - time.monotonic()),
        )
        try:
            response = carrier.send(request.prepare())
            answer = _read(response, deadline)
        except Exception as e:
            text = f"{self._api.host} {_describe(e)}{_through(proxies.get(self._api.scheme))}"
            failed: Optional[Error] = _error(UnreachableError, text, temporary=True)
        else:
            failed = self._classify(response.status_code, response.headers, answer, method + what)
        finally:
            carrier.close()
        if failed is not None:
            raise failed
        return answer

    def _classify(self, status: int, headers: Mapping[str, str], body: bytes, what: str) -> Optional[Error]:
        """Returns the error that an answer means; None for a 200. Of the answer it shows the
        status and a known error type."""
        if status == 200:
            return None
        kind = headers.get("x-amzn-ErrorType", "").partition(":")[0]
        if kind not in _ERROR_TYPES:
            kind = "no known x-amzn-ErrorType"
        code = _object(body).get("error")  # only answers of c8auth have it, not those of API Gateway
        # An invalid key comes with more than one type, but always with these words in the body.
        invalid = kind == "AccessDeniedException" and b"security token included in the request" in body
        error: type[Error] = UnreachableError
        temporary = signature = False
        if status == 403 and (kind in _SIGNATURE_TYPES or invalid):
            error, signature = DeniedError, True
            text = (f"the signature is not accepted ({kind}): are the AWS credentials valid, is the clock right, "
                    f"and is {self._api.region} the API's region?")
        elif status == 403 and kind == "AccessDeniedException":
            error, text = DeniedError, f"a policy must grant execute-api:Invoke on {self._api.resource}{what}"
        elif status == 403 and kind == "MissingAuthenticationTokenException":
            text = ("there is no such route (url must be the stack's output Url, with the stage at its end), or a "
                    "proxy on the way strips the header Authorization")
        elif status == 403 and kind == "ForbiddenException":
            text = (f"API Gateway forbids the request before it checks the signature ({kind}): by a rule of AWS "
                    "WAF, or because the domain name is not mapped to the API")
        elif status == 403:
            text = f"something on the way forbids the request (HTTP 403, {kind}): a firewall, or a proxy?"
        elif status == 407:
            text = "a proxy wants a user and a password (HTTP 407): see HTTP_PROXY and HTTPS_PROXY"
        elif status == 404 and code == "unknown_tenant":
            error, text = TenantError, f"unknown tenant {self._tenant}"
        elif status == 400 and code == "invalid_request":
            error, text = TenantError, f"the tenant {self._tenant}, or what was reported of it, is malformed"
        elif status >= 500 and isinstance(code, str):
            error, text, temporary = NoTokenError, f"c8auth answers {status}; its log says why", True
        else:
            text, temporary = f"it answers {status} ({kind})", status >= 500 or status == 429
        failed = _error(error, text, temporary, _retry_after(headers.get("Retry-After", "")))
        failed._signature = signature
        return failed


_sources: weakref.WeakSet[Source] = weakref.WeakSet()


def _after_fork() -> None:
    for source in list(_sources):
        source._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class RequestsAuth:
    """Authorizes the requests of the library requests:

        session = requests.Session()
        session.auth = c8auth.RequestsAuth(source)

    A request that is not for the token's base URL raises a HostError. The library itself
    removes the token when it follows a redirect to another host. A request whose body is
    not an iterator is repeated as by Source.open. It may be used by several threads.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body: Any = request.body
        start = body.tell() if hasattr(body, "seek") else None
        repetitions = _REPETITIONS if start is not None or isinstance(body, (str, bytes, type(None))) else 0
        token = self._source.token()

        def authorize(request: requests.PreparedRequest, token: Token) -> None:
            _same_origin(request.url or "", token.base_url)
            request.headers["Authorization"] = "Bearer " + token.value

        def answered(response: Any, **sending: Any) -> Any:
            used = token
            for _ in range(repetitions):
                if _origin(response.url) != _origin(used.base_url):  # redirected
                    break
                newer = self._source._replacement(response.status_code, used)
                if newer is None:
                    break
                response.close()  # unread: its body may be endless
                if start is not None:
                    body.seek(start)
                used, again, history = newer, response.request.copy(), [*response.history, response]
                authorize(again, used)
                response = response.connection.send(again, **sending)
                response.request, response.history = again, history
            return response

        authorize(request, token)
        request.register_hook("response", answered)  # type: ignore[no-untyped-call]
        return request


def httpx_auth(source: Source) -> httpx.Auth:
    """Authorizes the requests of the library httpx, for Client and AsyncClient:

        client = httpx.Client(auth=c8auth.httpx_auth(source))

    A request that is not for the token's base URL raises a HostError. The library itself
    removes the token when it follows a redirect to another host. A request whose body is in
    memory is repeated as by Source.open.
    """
    import anyio.to_thread  # a dependency of httpx
    import httpx

    def authorized(request: httpx.Request, token: Token) -> httpx.Request:
        _same_origin(str(request.url), token.base_url)
        request.headers["Authorization"] = "Bearer " + token.value
        return request

    def rejected(response: httpx.Response, token: Token, repeated: int) -> bool:
        return (
            response.status_code in (401, 403)
            and _origin(str(response.url)) == _origin(token.base_url)  # not redirected
            and repeated < _REPETITIONS
            and isinstance(response.request.stream, httpx.ByteStream)
        )

    def empty(response: httpx.Response) -> None:
        # httpx reads a response to its end before it repeats a request. The body may be endless.
        response.stream, response.is_closed = httpx.ByteStream(b""), False

    class Auth(httpx.Auth):
        def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            token = source.token()
            for repeated in itertools.count():
                response = yield authorized(request, token)
                newer = None
                if rejected(response, token, repeated):
                    newer = source._replacement(response.status_code, token)
                if newer is None:
                    return
                response.close()
                empty(response)
                token = newer

        async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
            def wait(work: Callable[..., Any], *args: Any) -> Any:
                return anyio.to_thread.run_sync(work, *args, abandon_on_cancel=True)

            token: Token = source._held_token() or await wait(source.token)
            for repeated in itertools.count():
                response = yield authorized(request, token)
                newer = None
                if rejected(response, token, repeated):
                    newer = await wait(source._replacement, response.status_code, token)
                if newer is None:
                    return
                await response.aclose()
                empty(response)
                token = newer

    return Auth()


class _Backoff:
    """Delays attempts for a version of the token after failed ones."""

    def __init__(self) -> None:
        self.version, self.failures, self.until = "", 0, 0.0

    def allows(self, version: str) -> bool:
        return version != self.version or not _pending(self.until)

    def fail(self, version: str, first: float) -> None:
        """Counts a failure. The delay after it is first, doubled with every failure before."""
        if version != self.version:
            self.version, self.failures = version, 0
        self.until = time.time() + min(first * 2.0 ** min(self.failures, 10), _MAX_BACKOFF)
        self.failures += 1


def _pending(until: float) -> bool:
    """Reports whether a time is in the future. If it is more than _MAX_BACKOFF ahead, the
    clock was set back, and the time counts as past."""
    return 0.0 < until - time.time() <= _MAX_BACKOFF


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to the same scheme, host and port, and raises a HostError for others."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Optional[urllib.request.Request]:
        _same_origin(newurl, f"{req.type}://{req.host}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _origin(url: str) -> Optional[tuple[str, str, int]]:
    """Returns scheme, host and port (RFC 6454, section 4). It returns None for a URL without
    them, or with characters that parsers read differently."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    if not parts.hostname or port is None or re.search(r"[\s\\@\x00-\x1f]", parts.netloc):
        return None
    return parts.scheme, parts.hostname, port


def _same_origin(url: str, base_url: str) -> None:
    if _origin(url) != _origin(base_url):
        raise HostError(f"nothing was sent, as the request is not for {base_url}")


def _resolve(url: str, base_url: str) -> str:
    """Returns the URL of a request. url is a path, or begins with the base URL."""
    try:
        target = urllib.parse.urljoin(base_url + "/", url)
    except ValueError:
        target = ""
    _same_origin(target, base_url)
    parts = urllib.parse.urlsplit(target)
    return base_url + (parts.path or "/") + ("?" + parts.query if parts.query else "")


class _API(NamedTuple):
    url: str  # without a slash at the end
    scheme: str
    host: str
    region: str
    resource: str  # prefix of the ARNs that a policy must grant; the account is *, as it is not known


_API_HOST = re.compile(r"([a-z0-9]+)(?:-vpce-[0-9a-f]+)?\.execute-api(?:-fips)?\.([a-z0-9-]+)\.(.+)")


def _parse_api(url: str, session: botocore.session.Session) -> _API:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        parts = urllib.parse.urlsplit("")
    if not _confidential(parts) or parts.query or parts.fragment:
        raise ValueError(
            "c8auth: url must be the stack's output Url, "
            "such as https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1"
        )
    host = parts.netloc.lower()
    url = urllib.parse.urlunsplit(parts._replace(netloc=host)).rstrip("/")
    named = _API_HOST.fullmatch(parts.hostname or "")
    if named:
        api, region, suffix = named.groups()
        partition, suffixes = _partition(session, region)
        if suffix in suffixes:
            resource = f"arn:{partition}:execute-api:{region}:*:{api}/{parts.path.strip('/')}/"
            return _API(url, parts.scheme, host, region, resource)
    region = os.environ.get("AWS_REGION") or session.get_config_variable("region") or ""
    if not re.fullmatch("[a-z0-9-]+", region):
        raise ValueError(
            "c8auth: url names no AWS region, and the configured one is empty or malformed: set AWS_REGION"
        )
    return _API(url, parts.scheme, host, region, f"arn:{_partition(session, region)[0]}:execute-api:{region}:*:*/*/")


def _partition(session: botocore.session.Session, region: str) -> tuple[str, tuple[str, ...]]:
    """Returns the partition of the region and the suffixes of its hosts, from botocore's data."""
    for partition in session.get_data("partitions")["partitions"]:
        if region in partition["regions"] or re.match(partition["regionRegex"], region):
            return partition["id"], (partition["outputs"]["dnsSuffix"], partition["outputs"]["dualStackDnsSuffix"])
    return "aws", ()


def _confidential(parts: urllib.parse.SplitResult) -> bool:
    """Reports whether requests cannot be read on the network: by https, or to this machine."""
    host = parts.hostname or ""
    local = host in ("localhost", "::1", "host.docker.internal") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None
    return _origin(parts.geturl()) is not None and (parts.scheme == "https" or parts.scheme == "http" and local)


def _parse_token(body: bytes, sent: float) -> Token:
    """Reads an answer of the API. sent is when its request was sent."""
    answer = _object(body)
    value, version, kind = answer.get("access_token"), answer.get("version"), answer.get("token_type")
    life = answer.get("expires_in")  # in seconds; left out for a token that does not expire
    bearer = str(kind).lower() == "bearer" and type(life) in (int, type(None))
    if not _printable(value) or not _printable(version) or not bearer:
        raise _error(UnreachableError, "the answer is not the documented JSON; is url the stack's output Url?")
    base_url = str(answer.get("base_url"))
    if not _BASE_URL.fullmatch(base_url) or not _confidential(urllib.parse.urlsplit(base_url)):
        raise _error(UnreachableError, "the answer has no base_url to send a token to; is url the stack's output Url?")
    if life is None:
        return Token(value, version, base_url, None)
    life = min(max(0, life), 1 << 31)
    # The time is random, in the first half of the window, so that programs with the same token
    # do not fetch the next one all at once.
    window = min(_EARLY, life / 4)
    refresh = sent + life - _MARGIN - window + random.uniform(0, window / 2)
    return Token(value, version, base_url, sent + life, max(refresh, sent + _MIN_RETRY))


_BASE_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]{1,261}")


def _printable(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and re.fullmatch("[!-~]+", value) is not None


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _retry_after(value: str) -> float:
    """Reads Retry-After, a number of seconds or a date (RFC 9110, section 10.2.3). Returns
    seconds, a minute at most, and 0 if it is missing or malformed."""
    if re.fullmatch("[0-9]+", value):
        return min(float(value), _MAX_RETRY_AFTER)
    try:
        date = email.utils.parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0.0
    return min(max(0.0, date - time.time()), _MAX_RETRY_AFTER)


def _read(response: Any, deadline: float) -> bytes:
    """Reads the body of an answer, up to _MAX_BODY."""
    body: bytes = b""
    try:
        for chunk in response.raw.stream(4096, decode_content=True):
            body += chunk
            if len(body) >= _MAX_BODY:
                return body
            if time.monotonic() > deadline:
                raise TimeoutError
    finally:
        response.raw.close()
    if len(body) < int(response.headers.get("Content-Length") or 0):
        raise ConnectionResetError
    return body


_SIGNATURE_TYPES = frozenset(
    "ExpiredTokenException IncompleteSignatureException InvalidClientTokenIdException InvalidSignatureException "
    "RequestExpiredException SignatureDoesNotMatchException UnrecognizedClientException".split()
)
# The values of x-amzn-ErrorType that are shown. Another value could be a secret.
_ERROR_TYPES = _SIGNATURE_TYPES | frozenset(
    "AccessDeniedException BadRequestException ForbiddenException InternalFailureException "
    "InternalServerErrorException LimitExceededException MissingAuthenticationTokenException NotFoundException "
    "RequestEntityTooLargeException ServiceUnavailableException ThrottlingException TooManyRequestsException "
    "UnauthorizedException UnsupportedMediaTypeException".split()
)


def _keys(session: Any) -> Any:
    """Returns the AWS credentials. The types of its errors follow those of botocore's,
    whose texts may hold what a credential_process printed."""
    known, keys, temporary = botocore.exceptions, None, True
    text = "the environment, the shared files, the container and the instance give none"
    try:
        credentials = session.get_credentials()
        keys = credentials.get_frozen_credentials() if credentials else None
        if keys is None:
            temporary = os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true"
    except known.ProfileNotFound:
        text, temporary = "the AWS profile does not exist: is AWS_PROFILE right?", False
    except (known.PartialCredentialsError, known.InvalidConfigError, known.ConfigParseError):
        text, temporary = "the AWS configuration is malformed or incomplete", False
    except (known.SSOError, known.TokenRetrievalError):
        text, temporary = "the AWS sign-in has expired: aws sso login", False
    except known.ClientError:
        text = "AWS STS gives none for the role; aws sts get-caller-identity says more"
    except Exception:
        text = "the provider that the AWS configuration names fails; aws sts get-caller-identity says more"
    if keys is None:
        raise _error(CredentialsError, "no AWS credentials: " + text, temporary)
    parts = {"access key ID": keys.access_key, "secret access key": keys.secret_key, "session token": keys.token or "-"}
    for name, value in parts.items():
        if not _printable(value):
            text = f"the AWS {name} is empty or has a character that none has, such as a newline at its end"
            raise _error(CredentialsError, text)
    return keys


def _describe(failure: BaseException) -> str:
    """Describes a failed exchange by the types of its causes, whose texts quote what the
    other side sent."""
    known, causes = botocore.exceptions, list(_causes(failure))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            if cause.verify_code in (9, 10):
                return "shows a certificate that has expired or is not valid yet; or this machine's clock is wrong"
            if cause.verify_code == 62:
                return "shows a certificate for another name"
            return "shows a certificate of an unknown authority, or one that is not valid; see AWS_CA_BUNDLE"
        if isinstance(failure, known.ProxyConnectionError) and " 407 " in str(cause):
            return ("cannot be reached: the proxy wants a user and a password (HTTP 407), "
                    "or does not accept those in HTTPS_PROXY")
    table: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
        ((socket.gaierror,), "cannot be reached: its name cannot be resolved"),
        ((ConnectionRefusedError,), "cannot be reached: the connection is refused"),
        ((TimeoutError, socket.timeout, known.ConnectTimeoutError, known.ReadTimeoutError), "did not answer in time"),
        ((ConnectionError, known.ConnectionClosedError, http.client.IncompleteRead), "broke the connection off"),
        ((ssl.SSLError, known.SSLError), "and this machine do not agree on TLS"),
        ((OSError, known.ConnectionError), "cannot be reached"),
    )
    for types, text in table:
        if any(isinstance(cause, types) for cause in causes):
            return text
    return "broke the connection off, or did not speak HTTP"


def _through(proxy: Optional[str]) -> str:
    """Returns the part of an error that names the proxy, without its user and password."""
    if not proxy:
        return ""
    scheme, _, rest = proxy.rpartition("://")
    return f"; the proxy is {scheme or 'http'}://{rest.rpartition('@')[2]}"


def _causes(failure: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = [failure]
    for cause in seen:
        yield cause
        below = [getattr(cause, "kwargs", {}).get("error"), getattr(cause, "reason", None), *cause.args]
        below += [cause.__cause__, cause.__context__]
        seen.extend(e for e in below if isinstance(e, BaseException) and not any(e is known for known in seen))


def _error(kind: type[Error], text: str, temporary: bool = False, retry_after: float = 0.0) -> Error:
    """Returns an error whose text has at most 400 printable characters."""
    out = kind("".join(c if c.isprintable() else "?" for c in text)[:400])
    out._temporary, out._retry_after = temporary, retry_after
    return out


def _copy(failed: Error) -> Error:
    return type(failed)(*failed.args)


def _pause(n: int) -> float:
    """Returns the seconds to wait after the nth failure, counted from 0, with jitter."""
    return random.uniform(0.5, 1.0) * min(_MAX_PAUSE, _FIRST_PAUSE * 2.0 ** min(n, 10))


def _sleep(seconds: float, deadline: float) -> bool:
    """Waits, and returns True. If the deadline is earlier, it returns False at once."""
    if time.monotonic() + seconds > deadline:
        return False
    time.sleep(seconds)
    return True
