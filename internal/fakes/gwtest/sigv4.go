package gwtest

// Signature Version 4, checked by signing the request again:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	service   = "execute-api"
	basicTime = "20060102T150405Z" // ISO 8601, of X-Amz-Date
	maxSkew   = 5 * time.Minute
)

// authorization is the header of that name.
type authorization struct {
	keyID, date, region, service, terminator string   // Credential
	headers                                  []string // SignedHeaders
	signature                                string
}

// parseAuthorization reads
//
//	AWS4-HMAC-SHA256 Credential=key/date/region/service/aws4_request, SignedHeaders=a;b, Signature=hex
func parseAuthorization(header string) (a authorization, ok bool) {
	parameters, ok := strings.CutPrefix(header, "AWS4-HMAC-SHA256 ")
	if !ok {
		return a, false
	}
	values := make(map[string]string)
	for parameter := range strings.SplitSeq(parameters, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		values[name] = value
	}
	scope := strings.Split(values["Credential"], "/")
	if len(scope) != 5 || values["SignedHeaders"] == "" || values["Signature"] == "" {
		return a, false
	}
	return authorization{
		keyID:      scope[0],
		date:       scope[1],
		region:     scope[2],
		service:    scope[3],
		terminator: scope[4],
		headers:    strings.Split(values["SignedHeaders"], ";"),
		signature:  values["Signature"],
	}, true
}

// authenticate returns the id of the key that the request is signed with.
func (g *Gateway) authenticate(r *http.Request, body []byte) (string, *failure) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return "", missingToken
	}
	a, ok := parseAuthorization(header)
	if !ok {
		return "", forbidden("IncompleteSignature", "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter.")
	}
	key, ok := g.Keys[a.keyID]
	if !ok || !equal(key.SessionToken, r.Header.Get("X-Amz-Security-Token")) {
		return "", forbidden("UnrecognizedClient", "The security token included in the request is invalid.")
	}
	date, err := time.Parse(basicTime, r.Header.Get("X-Amz-Date"))
	if err != nil {
		return "", forbidden("IncompleteSignature", "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	if reason := g.refuse(a, date, time.Now().UTC()); reason != "" {
		return "", forbidden("InvalidSignature", reason)
	}
	should := sign(r, body, a, aws.Credentials{AccessKeyID: a.keyID, SecretAccessKey: key.SecretAccessKey}, date)
	if !equal(should.signature, a.signature) || !slices.Equal(should.headers, a.headers) {
		return "", forbidden("InvalidSignature", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return a.keyID, nil
}

// refuse says what is wrong with the claims that a signature makes, whether or
// not it is genuine.
func (g *Gateway) refuse(a authorization, date, now time.Time) string {
	var scope strings.Builder // several things may be wrong with it
	if a.region != g.region() {
		scope.WriteString("Credential should be scoped to a valid region. ")
	}
	if a.service != service {
		fmt.Fprintf(&scope, "Credential should be scoped to correct service: '%s'. ", service)
	}
	if a.terminator != "aws4_request" {
		scope.WriteString("Credential should be scoped with a valid terminator: 'aws4_request'. ")
	}
	if a.date != date.Format("20060102") {
		scope.WriteString("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP. ")
	}
	earliest, latest := now.Add(-maxSkew), now.Add(maxSkew)
	switch {
	case scope.Len() > 0:
		return scope.String()
	case date.Before(earliest):
		return fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - 5 min.)",
			date.Format(basicTime), earliest.Format(basicTime), now.Format(basicTime))
	case date.After(latest):
		return fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + 5 min.)",
			date.Format(basicTime), latest.Format(basicTime), now.Format(basicTime))
	case !slices.Contains(a.headers, "host"):
		return "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
	case !slices.Contains(a.headers, "x-amz-date"):
		return "'X-Amz-Date' must be a 'SignedHeader' in the AWS Authorization."
	}
	return ""
}

// sign is the authorization that the request should have: that of a copy with
// the signed headers and no others. The session token is one of them or not,
// as the caller chose; User-Agent cannot be, because the library leaves it out.
func sign(r *http.Request, body []byte, a authorization, credentials aws.Credentials, date time.Time) authorization {
	address := *r.URL
	again := &http.Request{Method: r.Method, Host: r.Host, URL: &address, Header: make(http.Header)}
	for _, name := range a.headers {
		if name == "content-length" {
			again.ContentLength = r.ContentLength
		}
		name = http.CanonicalHeaderKey(name)
		if values, ok := r.Header[name]; ok {
			again.Header[name] = slices.Clone(values)
		}
	}
	digest := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(r.Context(), credentials, again, hex.EncodeToString(digest[:]), service, a.region, date); err != nil {
		return authorization{} // which no request has
	}
	should, _ := parseAuthorization(again.Header.Get("Authorization"))
	return should
}

// equal takes the same time wherever its arguments differ.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func forbidden(kind, message string) *failure {
	return &failure{http.StatusForbidden, kind + "Exception", message}
}
