package harness_test

// Nothing secret is ever written where it does not belong.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/internal/harness"
)

const (
	force     = `{"tenant":"default","force":true}`
	probePath = "/int/v1/broadcast"
	// oneAttempt is a setting of the SDK: where every request fails, it would only wait.
	oneAttempt = "AWS_MAX_ATTEMPTS=1"

	storeUnavailable = "the secret store is unavailable"
	// proxyRefuses is what is said of a proxy that wants a password.
	proxyRefuses = "cannot be reached: the proxy wants a user and a password (HTTP 407), or does not accept those that HTTPS_PROXY holds; the proxy is http://127.0.0.1:"
)

// TestNoLeak takes every path of both real binaries, good and bad, with marked secrets. A mark
// may be in the Authorization header of a request to Communic8, in Secrets Manager's values, and
// in the access_token of vend's 200. Searched is all that the functions print, all that they
// answer, errors too, and all that they send.
func TestNoLeak(t *testing.T) {
	// Most of the time is spent in waiting: for a retry, for a deadline.
	var running sync.WaitGroup
	places := make(chan struct{}, 32)
	for _, cases := range []leakCases{rotations(), upstreamAnswers(), wireFaults(), malformedCredentials(), events(), storeFaults(), vends(), reports(), settings()} {
		for name, run := range cases {
			running.Go(func() {
				places <- struct{}{}
				defer func() { <-places }()
				t.Run(name, func(t *testing.T) {
					o := observe(t)
					run(o)
					o.check()
				})
			})
		}
	}
	running.Wait()
}

// leakCases are paths through the functions.
type leakCases map[string]func(o *observed)

// rotations are the paths of rotate on which Communic8 answers as documented.
func rotations() leakCases {
	cases := leakCases{
		"waiting": func(o *observed) {
			o.rotates(heartbeat, `"waiting"`)
		},
		"every reason for a new token": func(o *observed) {
			o.Communic8.AddAccessKey(accessToken)
			o.store(o.oauth())
			o.rotates(heartbeat, `"first_token"`)
			o.rotates(heartbeat, `"fresh"`)
			o.rotates(force, `"fresh"`) // too soon
			o.put(o.token(time.Now().Add(-2*time.Minute), 24*time.Hour))
			o.rotates(force, `"forced"`)
			o.put(o.token(time.Now().Add(-13*time.Hour), 24*time.Hour))
			o.rotates(heartbeat, `"half_life"`)
			o.store(o.oauth())
			o.rotates(heartbeat, `"credentials_changed"`)
			revoke(o.Stack)
			o.rotates(heartbeat, `"rejected"`)
			for _, stored := range unreadableTokens(o) {
				o.put(stored)
				o.rotates(heartbeat, `"unreadable_token"`)
			}
		},
		"access key, then OAuth 2": func(o *observed) {
			o.Communic8.AddAccessKey(accessKey)
			o.store(o.bearer())
			o.rotates(heartbeat, `"first_token"`)
			o.rotates(heartbeat, `"fresh"`)
			o.store(o.oauth())
			o.rotates(heartbeat, `"credentials_changed"`)
		},
		"access key rejected": func(o *observed) {
			o.store(o.bearer())
			o.rotates(heartbeat, "credentials refused")
		},
		"issued token with a mark of ours": func(o *observed) {
			o.store(o.oauth())
			o.Communic8.AddAccessKey(accessToken)
			o.at(c8test.TokenPath, func(string) *c8test.Fault {
				return &c8test.Fault{Body: fmt.Sprintf(`{"access_token":%s,"token_type":"Bearer","expires_in":86400}`, quote(accessToken))}
			})
			o.rotates(heartbeat, `"first_token"`)
			o.vends("default", nil, http.StatusOK, "")
		},
		"fallback": func(o *observed) {
			o.store(o.oauth())
			o.rotates(heartbeat, `"first_token"`)
			o.store(fmt.Sprintf(`{"base_url":%q,"client_id":"unknown","client_secret":%s}`, o.c8URL, quote(clientSecret)))
			time.Sleep(time.Second) // a token's age is known to the second
			o.rotates(heartbeat, `"credentials_changed"`)
			o.rotates(heartbeat, `"fresh"`)
		},
		"fallback to malformed credentials": func(o *observed) {
			o.Communic8.RemoveClient(clientID)
			o.store(quote(clientSecret))
			o.store(o.oauth())
			o.rotates(heartbeat, "refuses the credentials")
		},
		"lost race": func(o *observed) {
			o.store(o.oauth())
			o.Communic8.AddAccessKey(accessToken)
			o.onStore("PutSecretValue", func(echo string) *smtest.Fault {
				o.put(o.valid()) // by the winner
				return &smtest.Fault{Status: 400, Type: "ResourceExistsException", Message: echo}
			})
			o.rotates(heartbeat, `"fresh"`)
		},
	}
	for _, refusal := range []c8test.Refusal{c8test.Refuse401, c8test.Refuse400, c8test.Refuse200, c8test.Refuse200Error, c8test.Refuse404} {
		cases[fmt.Sprintf("both refused, form %d", refusal)] = func(o *observed) {
			o.Communic8.Set(func(b *c8test.Behaviour) { b.Refusal = refusal })
			o.Communic8.RemoveClient(clientID)
			o.store(o.oauth())
			o.store(o.oauth())
			o.rotates(heartbeat, "and with the previous ones")
		}
	}
	return cases
}

// upstreamAnswers are undocumented answers of Communic8, all of which repeat what was sent to
// it: each at the token endpoint first, then at the probe path.
func upstreamAnswers() leakCases {
	const (
		refused      = "refuses the credentials"
		rotated      = `"rotated"`
		unreadable   = "not the documented JSON"
		busy         = "busy or out of order"
		rejected     = "new token rejected"
		noToken      = "gives no token"
		tooShort     = "expires in under 30 seconds"
		unusable     = "without a usable access_token"
		disconnected = "broke the connection off"
	)
	status := func(status int, format string) func(echo string) *c8test.Fault {
		return func(echo string) *c8test.Fault {
			body := format
			if strings.Contains(format, "%s") {
				body = fmt.Sprintf(format, quote(echo))
			}
			return &c8test.Fault{Status: status, Body: body, Header: http.Header{
				"Retry-After": {"3600"}, "Www-Authenticate": {`Bearer realm=` + quote(echo)}, "Set-Cookie": {"a=" + url.QueryEscape(echo)},
			}}
		}
	}
	location := func(format string) func(echo string) *c8test.Fault {
		return func(echo string) *c8test.Fault {
			return &c8test.Fault{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {fmt.Sprintf(format, url.QueryEscape(echo))}}}
		}
	}
	cases := make(leakCases)
	const grant = `{"access_token":"0123456789abcdef","token_type":"Bearer","expires_in":`
	for _, answer := range []struct {
		name           string
		fault          func(echo string) *c8test.Fault
		request, probe string
	}{
		{"401", status(401, `%s`), refused, rejected},
		{"401 invalid_client", status(401, `{"error":"invalid_client","error_description":%s}`), refused, rejected},
		{"400 invalid_client", status(400, `{"error":"invalid_client","error_description":%s}`), refused, rotated},
		{"400 unknown error", status(400, `{"error":%s}`), refused, rotated},
		{"400 HTML", status(400, `<p>%s</p>`), noToken, rotated},
		{"403", status(403, `{"message":%s}`), refused, rotated},
		{"404 HTML", status(404, `<p>%s</p>`), noToken, rotated},
		{"200 unsuccessful", status(200, `{"success":false,"message":%s}`), refused, rotated},
		{"200 HTML", status(200, `<html>%s</html>`), unreadable, rotated},
		{"200 nothing", status(200, ``), unreadable, rotated},
		{"200 other JSON", status(200, `[%s]`), unreadable, rotated},
		{"200 success of another kind", status(200, `{"success":%s}`), unusable, rotated},
		{"200 with an error", status(200, `{"error":%s,"access_token":"0123456789abcdef"}`), refused, rotated},
		{"404 unsuccessful", status(404, `{"success":false,"message":%s}`), refused, rotated},
		{"a key that is a secret", status(200, `{"access_token":"0123456789abcdef","expires_in":60,%s:1}`), rejected, rotated},
		{"redirect with the token", location("https://elsewhere.invalid/?token=%s"), "redirects", rotated},
		{"redirect to a path", location("/%s"), "redirects", rotated},
		{"redirect to nowhere", location("http://[::%s"), disconnected, rotated},
		{"429", status(429, `{"message":%s}`), busy, rotated},
		{"500", status(500, `{"message":%s}`), busy, rotated},
		{"503", status(503, `<p>%s</p>`), busy, rotated},
		{"Retry-After is a secret", func(echo string) *c8test.Fault {
			return &c8test.Fault{Status: 503, Header: http.Header{"Retry-After": {echo}}}
		}, busy, rotated},
		{"broken", func(echo string) *c8test.Fault { return &c8test.Fault{Body: `{"message":` + quote(echo), Break: true} }, disconnected, rotated},
		{"cut off before it begins", func(string) *c8test.Fault { return &c8test.Fault{Break: true, After: true} }, disconnected, rotated},
		{"huge", func(echo string) *c8test.Fault {
			return &c8test.Fault{Body: `{"message":` + quote(strings.Repeat(echo, 1000)) + `}`}
		}, unreadable, rotated},
		{"endless", func(echo string) *c8test.Fault { return &c8test.Fault{Body: echo, Endless: true} }, unreadable, rotated},
		{"access_token with white space", status(200, `{"access_token":%s,"token_type":"Bearer","expires_in":86400}`), unusable, rotated},
		{"token_type is a secret", status(200, `{"access_token":"0123456789abcdef","token_type":%s,"expires_in":86400}`), "token_type is not Bearer", rotated},
		{"expires_in is a secret", status(200, grant+`%s}`), rejected, rotated},
		{"expires_in is an object", status(200, grant+`{"value":%s}}`), rejected, rotated},
		{"expires_in is 0", status(200, grant+`0,"message":%s}`), rejected, rotated},
		{"expires_in is negative", status(200, grant+`-1,"message":%s}`), rejected, rotated},
		{"expires_in is 29", status(200, grant+`29,"message":%s}`), tooShort, rotated},
		{"expires_in is absurd", status(200, grant+`1e400,"message":%s}`), rejected, rotated},
	} {
		cases["Communic8 answers: "+answer.name] = func(o *observed) {
			o.store(o.oauth())
			o.at(c8test.TokenPath, answer.fault)
			o.rotates(heartbeat, answer.request)
			o.store(o.oauth()) // for which no Retry-After counts
			o.at(probePath, answer.fault)
			o.rotates(heartbeat, answer.probe)
			if answer.probe == rotated {
				o.rotates(heartbeat, `"fresh"`) // the stored token is probed as well
			}
		}
	}
	return cases
}

// wireFaults are answers of Communic8 that are not HTTP, or not of one request.
func wireFaults() leakCases {
	cases := leakCases{
		"Communic8 does not speak TLS": func(o *observed) {
			o.store(strings.Replace(o.oauth(), "http:", "https:", 1))
			o.rotates(heartbeat, "not speak")
		},
		"Communic8 shows a certificate of its own": func(o *observed) {
			for _, names := range hostileNames {
				o.store(strings.Replace(o.oauth(), o.c8URL, selfSigned(o.T, names), 1))
				o.rotates(heartbeat, "shows a certificate")
			}
		},
		"a proxy wants a password": func(o *observed) {
			o.Rotate.Env = append(o.Rotate.Env, "HTTPS_PROXY="+refusing(o.T))
			o.store(strings.Replace(o.oauth(), o.c8URL, "https://acme.communic8.com", 1))
			o.rotates(heartbeat, proxyRefuses)
		},
		"Communic8 is not there": func(o *observed) {
			o.store(strings.Replace(o.oauth(), o.c8URL, "http://127.0.0.1:1", 1)) // a port that was free could be somebody's now
			o.rotates(heartbeat, "cannot be reached")
		},
	}
	const (
		notHTTP = "did not speak HTTP"
		head    = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
		body    = `{"success":true,"access_token":"0123456789abcdef","token_type":"Bearer","expires_in":86400}`
	)
	for _, answer := range []struct{ name, format, want string }{
		{"a status line that is a secret", "%s\r\n\r\n", notHTTP},
		{"a status that is a secret", "HTTP/1.1 %s\r\n\r\n", notHTTP},
		{"a reason that is a secret", "HTTP/1.1 401 %s\r\nContent-Length: 0\r\n\r\n", "refuses the credentials"},
		{"a header that is none", head + "/%s\r\n\r\n", notHTTP},
		{"a length that is a secret", head + "Content-Length: %s\r\n\r\n", notHTTP},
		{"an encoding that is a secret", head + "Transfer-Encoding: %s\r\n\r\n", notHTTP},
		{"a chunk that is none", head + "Transfer-Encoding: chunked\r\n\r\n%s\r\n", notHTTP},
		{"more than was announced", head + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body + "%s", `"rotated"`},
	} {
		cases["Communic8 sends "+answer.name] = func(o *observed) {
			o.store(o.oauth())
			o.raw.Store(&answer.format)
			o.rotates(heartbeat, answer.want)
		}
	}
	return cases
}

// hostileNames are what certificates are for.
var hostileNames = [][]string{nil, {plainSecret}, {accessToken, "\x1b[2J" + plainSecret}}

// selfSigned returns the URL of a server whose certificate is signed by nobody, is for the names,
// and has marks wherever else a name can be. If the names are nil, it is for 127.0.0.1. Else the
// URL has a name, as crypto/x509 quotes those of a certificate only for a name.
func selfSigned(t *testing.T, names []string) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	name := pkix.Name{CommonName: plainSecret, Organization: []string{accessKey}}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: name, Issuer: name, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if names == nil {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	if names == nil {
		return server.URL
	}
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
}

// refusing returns the URL of a proxy that wants another password than that in it.
func refusing(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Proxy-Authenticate", "Basic realm="+quote(plainSecret))
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "//", "//user:"+plainSecret+"@", 1)
}

// malformedCredentials are what people store by mistake.
func malformedCredentials() leakCases {
	s, k := quote(clientSecret), quote(accessKey)
	malformed := []string{
		clientSecret, accessKey, s, "[" + s + "]", "null " + accessKey, `{"client_secret":` + s,
		`{` + clientSecret + `}`, `{"base_url":` + clientSecret + `}`, `{"client_id":"id" ` + s,
		`{"base_url":"https://localhost","client_id":"id","client_secret":` + s + `} ` + clientSecret,
		`{"base_url":"https://localhost","client_id":"id","client_secret":` + s + `,"client_secret":` + s + `}`,
		`{"base_url":"https://localhost","client_id":"id","client_secret":{"value":` + s + `}}`,
		`{"base_url":"https://localhost","client_id":"id","client_secret":[` + s + `]}`,
		`{"base_url":"https://localhost","client_id":"id","client_secret":` + quote(" "+clientSecret) + `}`,
		`{"base_url":"https://localhost","client_id":"id","client_secret":` + quote(clientSecret+"\n") + `}`,
		`{"base_url":"https://localhost","client_id":"","client_secret":` + s + `}`,
		`{"base_url":"https://localhost","client_id":` + quote("id:"+clientSecret) + `,"client_secret":` + s + `}`,
		`{"base_url":"https://localhost","client_secret":` + s + `}`,
		`{"base_url":"https://localhost","client_id":` + s + `}`,
		`{"client_id":"id","client_secret":` + s + `}`,
		`{"access_key":` + k + `}`,
		`{"base_url":"https://localhost","access_key":` + k + `,"client_id":"id","client_secret":` + s + `}`,
		`{"base_url":"https://localhost","access_key":` + k + `,"client_secret":` + s + `}`,
		`{"base_url":"https://localhost","access_key":` + quote(accessKey+" "+accessKey) + `}`,
		`{"base_url":"https://localhost","access_key":` + quote("Bearer "+accessKey) + `}`,
		`{"base_url":"https://localhost","access_key":` + s + `}`,
		`{"base_url":"https://localhost","token":` + k + `}`,
		`{"base_url":"https://localhost","` + plainSecret + `":"x"}`,
		`{"base_url":"https://localhost","client_id":"id","client_secret":` + s + `,"comment":` + s + `}`,
		`{"base_url":"https://localhost","client_id":"id","Client_Secret":` + s + `}`,
	}
	for _, base := range []string{
		accessKey, clientSecret, "https://" + accessKey, "https://user:" + accessKey + "@localhost", "https://user:" + url.QueryEscape(accessKey) + "@localhost",
		"https://localhost/" + url.PathEscape(accessKey), "https://localhost?token=" + url.QueryEscape(accessKey), "https://localhost#" + url.QueryEscape(accessKey),
		"https://localhost:" + accessKey, "http://user:" + url.QueryEscape(accessKey) + "@acme.invalid", "https://[" + accessKey + "]", "https://[::1%25" + url.QueryEscape(accessKey) + "]",
	} {
		malformed = append(malformed,
			`{"base_url":`+quote(base)+`,"access_key":`+k+`}`,
			`{"base_url":`+quote(base)+`,"client_id":"id","client_secret":`+s+`}`)
	}
	return leakCases{"malformed credentials": func(o *observed) {
		for _, text := range malformed {
			o.store(text)
			o.rotates(heartbeat, "malformed credentials")
		}
	}}
}

// events are inputs of both functions with secrets in the wrong place.
func events() leakCases {
	inPath := strings.Trim(quote(accessToken), `"`)
	// Of a proxy request, everything but the caller's identity may hold anything.
	hostile := fmt.Sprintf(`{"resource":%[1]s,"path":"/%[4]s/tokens/TENANT","httpMethod":%[1]s,"body":%[1]s,
		"headers":{"Authorization":%[1]s,"X-Amz-Security-Token":%[2]s,"Cookie":%[1]s,"Cache-Control":%[1]s,%[1]s:%[1]s},
		"multiValueHeaders":{"Authorization":[%[1]s],"X-Amz-Security-Token":[%[2]s],"Cookie":[%[1]s],"Cache-Control":[%[1]s]},
		"queryStringParameters":{"access_token":%[1]s},"multiValueQueryStringParameters":{"access_token":[%[1]s]},
		"stageVariables":{"token":%[1]s},"pathParameters":{"tenant":"TENANT"},
		"requestContext":{"stage":"v1","path":%[1]s,"identity":{"userArn":%[3]q,"accountId":"123456789012","sourceIp":"192.0.2.1","userAgent":%[1]s}}}`,
		quote(accessToken), quote(callerSession), harness.Caller, inPath)
	about := func(tenant string) string { return strings.ReplaceAll(hostile, "TENANT", tenant) }
	return leakCases{
		"unknown events": func(o *observed) {
			o.store(o.oauth())
			for _, secret := range []string{clientSecret, accessKey, accessToken} {
				q := quote(secret)
				for _, event := range []string{
					q, "[" + q + "]", `{` + q + `:` + q + `}`, `{"tenant":"default",` + q + `:true}`, `{"tenant":"default","token":` + q + `}`,
					`{"tenant":` + q + `}`, `{"tenant":[` + q + `]}`, `{"tenant":"default","force":` + q + `}`, `{"tenant":"default","scheduled_time":[` + q + `]}`,
					`{"detail-type":` + q + `,"detail":{"token":` + q + `}}`, `{"Records":[{"body":` + q + `}]}`,
					secret, `{"tenant":` + q, `{"tenant":"default","force":true}` + secret,
				} {
					o.rotates(event, "expected")
				}
			}
			o.rotates(`{"detail-type":"Scheduled Event","detail":{"token":`+quote(accessToken)+`}}`, `"first_token"`)
		},
		"requests that are none": func(o *observed) {
			for _, event := range []string{accessToken, quote(accessToken), `{` + quote(accessToken) + `:` + quote(accessToken) + `}`, `{"pathParameters":` + quote(accessToken) + `}`} {
				o.answers(o.Vend, event, http.StatusBadRequest, "")
			}
		},
		"requests full of secrets": func(o *observed) {
			o.answers(o.Vend, strings.Replace(hostile, `"TENANT"`, quote(accessToken), 1), http.StatusBadRequest, "")
			o.answers(o.Vend, strings.Replace(about("default"), "/tokens/default", "/tokens/"+inPath, 1), http.StatusBadRequest, "")
			o.answers(o.Vend, strings.Replace(about("default"), `"v1"`, `"test-invoke-stage"`, 1), http.StatusBadRequest, "")
			o.answers(o.Vend, about("nobody"), http.StatusNotFound, "")
			o.answers(o.Vend, about("default"), http.StatusServiceUnavailable, "")
			o.put(o.valid())
			time.Sleep(1100 * time.Millisecond) // a failure is remembered for a second
			o.answers(o.Vend, about("default"), http.StatusOK, "")
		},
	}
}

// unavailabilities are ways in which Secrets Manager repeats what it must not.
func unavailabilities(echo string) []*smtest.Fault {
	q := quote(echo)
	return []*smtest.Fault{
		{Status: 400, Type: "ThrottlingException", Message: echo},
		{Status: 400, Type: "ValidationException", Message: echo},
		{Status: 400, Type: "AccessDeniedException", Message: echo},
		{Status: 400, Type: "InvalidParameterException", Message: echo},
		{Status: 400, Type: "DecryptionFailure", Message: echo},
		{Status: 400, Type: echo, Message: echo},
		{Status: 400, Type: accessToken},
		{Status: 400, Type: plainSecret},
		{Status: 400, Header: http.Header{"X-Amzn-Errortype": {echo}}, Message: echo},
		{Status: 400, Header: http.Header{"X-Amzn-Errortype": {plainSecret + ":" + accessToken}}, Message: echo},
		{Status: 400, Header: http.Header{"X-Amzn-Query-Error": {plainSecret + ";" + accessToken}}, Message: echo},
		{Status: 400, Type: "InvalidRequestException", Message: echo},
		{Status: 500, Type: "InternalServiceError", Message: echo},
		{Status: 500, Body: "<p>" + echo + "</p>"},
		{Status: 400, Body: `{"__type":` + q + `,"message":[` + q + `]}`},
		{Status: 400, Body: `{"code":` + q + `,"message":` + q + `}`},
		{Status: 413, Body: q},
		{Status: 301, Body: q},
		{Status: 200, Body: echo},
		{Status: 200, Body: `{"ARN":[` + q + `]}`},
		{Status: 200, Body: `{"VersionIdsToStages":` + q + `,"VersionStages":` + q + `,"SecretString":` + q},
		{Break: true},
		{Break: true, After: true},
		{Hang: true},
	}
}

// storeFaults are Secrets Manager's failures during a rotation.
func storeFaults() leakCases {
	cases := leakCases{
		"Secrets Manager throttles once": func(o *observed) {
			o.store(o.oauth())
			o.onStore("PutSecretValue", func(echo string) *smtest.Fault {
				if o.Secrets.Calls("PutSecretValue") > 1 {
					return nil
				}
				return &smtest.Fault{Status: 400, Type: "ThrottlingException", Message: echo, After: true}
			})
			o.rotates(heartbeat, `"first_token"`)
		},
		"Secrets Manager takes no more versions": func(o *observed) {
			o.store(o.oauth())
			o.onStore("PutSecretValue", func(echo string) *smtest.Fault {
				return &smtest.Fault{Status: 400, Type: "LimitExceededException", Message: echo}
			})
			o.rotates(heartbeat, "too many versions")
			o.rotates(heartbeat, "too many versions")
		},
		"Secrets Manager writes and says that another did": func(o *observed) {
			o.store(o.oauth())
			o.onStore("PutSecretValue", func(echo string) *smtest.Fault {
				return &smtest.Fault{Status: 400, Type: "ResourceExistsException", Message: echo, After: true}
			})
			o.rotates(heartbeat, `"fresh"`)
		},
	}
	for _, op := range []string{"GetSecretValue", "DescribeSecret", "PutSecretValue"} {
		cases["Secrets Manager fails: "+op] = func(o *observed) {
			o.Rotate.Env = append(o.Rotate.Env, oneAttempt)
			fails := func(want string, fault func(echo string) *smtest.Fault) {
				o.store(o.oauth())
				if op == "DescribeSecret" { // which is asked about credentials whose token is not due
					o.put(o.valid())
				}
				o.onStore(op, fault)
				o.rotates(heartbeat, want)
				o.Secrets.Destroy(tokenName) // in case that it was written
				o.Secrets.Create(tokenName)
			}
			for n := range unavailabilities("") {
				fails(storeUnavailable, func(echo string) *smtest.Fault { return unavailabilities(echo)[n] })
			}
			for kind, message := range map[string]string{"ResourceNotFoundException": "", "InvalidRequestException": "marked for deletion"} {
				fails("unknown tenant", func(echo string) *smtest.Fault {
					return &smtest.Fault{Status: 400, Type: kind, Message: message + echo}
				})
			}
		}
	}
	return cases
}

// unreadableTokens are stored values that hold a secret and are no tokens.
func unreadableTokens(o *observed) []string {
	q := quote(accessToken)
	return []string{
		accessToken, q, "{" + q + ":" + q + "}", `{"access_token":` + q, `{"access_token":` + q + `}`,
		strings.Replace(o.token(time.Now(), time.Hour), `"Bearer"`, q, 1),
		strings.Replace(o.token(time.Now(), time.Hour), o.c8URL, "https://user:"+url.QueryEscape(accessToken)+"@localhost", 1),
		fmt.Sprintf(`{"base_url":%q,"access_token":%s,"token_type":"Bearer","issued_at":%[2]s}`, o.c8URL, q),
		fmt.Sprintf(`{"base_url":%q,"access_token":%s,"token_type":"Bearer","issued_at":"2026-01-02T03:04:05Z","expires_at":%[2]s}`, o.c8URL, q),
	}
}

// vends are the paths of vend, through the gateway.
func vends() leakCases {
	noCache := http.Header{"Cache-Control": {"no-cache"}}
	return leakCases{
		"vend": func(o *observed) {
			o.put(o.valid())
			o.vends("default", nil, http.StatusOK, "")
			o.vends("default", noCache, http.StatusOK, "")
			o.vends("default", http.Header{"Cookie": {"token=" + url.QueryEscape(accessToken)}, "X-Token": {accessToken}}, http.StatusOK, "")
			o.vends("default?access_token="+url.QueryEscape(accessToken), nil, http.StatusOK, "")
		},
		"vend of an access key": func(o *observed) {
			o.Communic8.AddAccessKey(accessKey)
			o.store(o.bearer())
			o.rotates(heartbeat, `"rotated"`)
			o.vends("default", nil, http.StatusOK, "")
		},
		"vend: a secret in the place of the tenant": func(o *observed) {
			for _, secret := range marks {
				o.vends(url.PathEscape(secret), nil, http.StatusBadRequest, "invalid_request")
			}
		},
		"vend: no valid token": func(o *observed) {
			o.vends("nobody", nil, http.StatusNotFound, "unknown_tenant")
			o.vends("default", nil, http.StatusServiceUnavailable, "no token has been stored yet")
			o.Secrets.Put(harness.TokenName("acme"), o.token(time.Now().Add(-time.Hour), time.Hour))
			o.vends("acme", nil, http.StatusServiceUnavailable, "expired")
		},
		"vend: unreadable": func(o *observed) {
			for i, stored := range unreadableTokens(o) {
				tenant := fmt.Sprintf("t%d", i)
				o.Secrets.Put(harness.TokenName(tenant), stored)
				o.vends(tenant, nil, http.StatusInternalServerError, "server_error")
			}
		},
		"vend: Secrets Manager fails": func(o *observed) {
			o.Vend.Env = append(o.Vend.Env, oneAttempt)
			for n := range unavailabilities("") {
				tenant := fmt.Sprintf("t%d", n)
				o.Secrets.Put(harness.TokenName(tenant), o.token(time.Now(), time.Hour))
				o.onStore("", func(echo string) *smtest.Fault { return unavailabilities(echo)[n] })
				o.vends(tenant, nil, http.StatusServiceUnavailable, "temporarily_unavailable")
			}
		},
		"vend: Secrets Manager fails after it worked": func(o *observed) {
			o.Vend.Env = append(o.Vend.Env, oneAttempt, "C8AUTH_CACHE_TTL=1s", "C8AUTH_PREFETCH=default")
			o.put(o.valid())
			o.vends("default", nil, http.StatusOK, "")
			for _, hang := range []bool{false, true} {
				o.onStore("", func(echo string) *smtest.Fault {
					return &smtest.Fault{Status: 400, Type: "ValidationException", Message: echo, Hang: hang}
				})
				time.Sleep(1100 * time.Millisecond)
				o.vends("default", noCache, http.StatusOK, "")
			}
		},
		"vend: dump of all goroutines": func(o *observed) {
			o.put(o.valid())
			o.vends("default", nil, http.StatusOK, "")
			o.Vend.Kill(syscall.SIGQUIT)
			o.Vend.Stop()
			o.shows("SIGQUIT")
		},
	}
}

// reports are the paths of rotate that begin at the API, with marks for what callers should not
// send and for what Communic8 and the store repeat.
func reports() leakCases {
	reporting := func(version string) string { return `{"version":` + quote(version) + `}` }
	// rejected makes a token that Communic8 rejects, and returns its version.
	rejected := func(o *observed) string {
		o.store(o.oauth())
		o.rotates(heartbeat, `"first_token"`)
		revoke(o.Stack)
		_, version := o.Secrets.Value(tokenName)
		return version
	}
	return leakCases{
		"reports of all kinds": func(o *observed) {
			first := rejected(o)
			o.reported(reporting(first), http.StatusOK, `"rotated"`)
			_, second := o.Secrets.Value(tokenName)
			o.reported(reporting(second), http.StatusOK, `"kept"`)
			o.reported(reporting(first), http.StatusOK, `"superseded"`)
			o.reported(reporting(accessToken), http.StatusOK, `"superseded"`)
			for _, body := range []string{`{"access_token":` + quote(accessToken) + `}`, quote(accessToken), accessToken} {
				o.reported(body, http.StatusBadRequest, "invalid_request")
			}
		},
		"a report while Communic8 repeats all that it is sent": func(o *observed) {
			first := rejected(o)
			o.at(c8test.TokenPath, func(echo string) *c8test.Fault {
				return &c8test.Fault{Status: http.StatusUnauthorized, Body: echo}
			})
			o.reported(reporting(first), http.StatusServiceUnavailable, "no new one yet")
			o.reported(reporting(first), http.StatusServiceUnavailable, "another report")
		},
		"a report while the store repeats all that it is sent": func(o *observed) {
			first := rejected(o)
			o.onStore("PutSecretValue", func(echo string) *smtest.Fault {
				return &smtest.Fault{Status: http.StatusBadRequest, Type: "EncryptionFailure", Message: echo}
			})
			o.reported(reporting(first), http.StatusServiceUnavailable, "cannot be reached")
		},
	}
}

// settings are those of each function, with a secret in the wrong place, or with a server in the
// place of Secrets Manager, or before it, that sends one.
func settings() leakCases {
	const endpoint = "AWS_ENDPOINT_URL_SECRETS_MANAGER"
	cases := make(leakCases)
	for _, name := range []string{"rotate", "vend"} {
		function := func(o *observed) *lambdatest.Function {
			return map[string]*lambdatest.Function{"rotate": o.Rotate, "vend": o.Vend}[name]
		}
		cases["settings of "+name] = func(o *observed) {
			f := function(o)
			environment := slices.Clone(f.Env)
			for _, variable := range []string{"C8AUTH_STACK", "C8AUTH_PROBE_PATH", "C8AUTH_CACHE_TTL", "C8AUTH_PREFETCH", endpoint} {
				for _, value := range []string{clientSecret, accessToken, "http://user:" + accessToken + "@localhost"} {
					f.Env = append(slices.Clone(environment), variable+"="+value)
					_, err := f.Invoke(o.Context(), []byte(heartbeat))
					if failure := o.failure(f, err); !failure.Init {
						o.Errorf("%s=%s: got %v, want an init error", variable, value, err)
					}
				}
			}
			o.shows("C8AUTH_STACK")
		}
		unavailable := func(o *observed, why string, variables ...string) {
			f := function(o)
			f.Stop() // which has the former environment
			f.Env = append(append(f.Env, oneAttempt), variables...)
			if name == "rotate" {
				o.rotates(heartbeat, why)
			} else {
				o.vends("default", nil, http.StatusServiceUnavailable, "temporarily_unavailable")
				o.shows(why)
			}
		}
		cases["a password in the endpoint of "+name] = func(o *observed) {
			unavailable(o, "Secrets Manager cannot be reached", endpoint+"=http://user:"+url.QueryEscape(accessToken)+"@127.0.0.1:1")
		}
		cases["Secrets Manager shows a certificate of its own to "+name] = func(o *observed) {
			for _, names := range hostileNames {
				unavailable(o, "Secrets Manager shows a certificate", endpoint+"="+selfSigned(o.T, names))
			}
		}
		cases["a proxy before Secrets Manager wants a password of "+name] = func(o *observed) {
			unavailable(o, "Secrets Manager "+proxyRefuses, endpoint+"=https://secretsmanager.invalid", "HTTPS_PROXY="+refusing(o.T))
		}
	}
	return cases
}
