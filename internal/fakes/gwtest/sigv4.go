package gwtest

// Signature Version 4, checked by signing the request again:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

import (
	"crypto/sha256"
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

// authorization is the header of that name:
//
//	AWS4-HMAC-SHA256 Credential=key/date/region/service/aws4_request, SignedHeaders=a;b, Signature=hex
type authorization struct{ credential, headers, signature string }

func parseAuthorization(header string) (a authorization, ok bool) {
	parameters, ok := strings.CutPrefix(header, "AWS4-HMAC-SHA256 ")
	for parameter := range strings.SplitSeq(parameters, ",") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(parameter), "="); name {
		case "Credential":
			a.credential = value
		case "SignedHeaders":
			a.headers = value
		case "Signature":
			a.signature = value
		}
	}
	return a, ok && a.credential != "" && a.headers != "" && a.signature != ""
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
	keyID, _, _ := strings.Cut(a.credential, "/")
	key, ok := g.Keys[keyID]
	if !ok || key.SessionToken != r.Header.Get("X-Amz-Security-Token") {
		return "", forbidden("UnrecognizedClient", "The security token included in the request is invalid.")
	}
	date, err := time.Parse(basicTime, r.Header.Get("X-Amz-Date"))
	if err != nil {
		return "", forbidden("IncompleteSignature", "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	now := time.Now().UTC()
	earliest, latest := now.Add(-maxSkew), now.Add(maxSkew)
	switch {
	case date.Before(earliest):
		return "", forbidden("InvalidSignature", fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - 5 min.)",
			date.Format(basicTime), earliest.Format(basicTime), now.Format(basicTime)))
	case date.After(latest):
		return "", forbidden("InvalidSignature", fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + 5 min.)",
			date.Format(basicTime), latest.Format(basicTime), now.Format(basicTime)))
	case sign(r, body, a.headers, aws.Credentials{AccessKeyID: keyID, SecretAccessKey: key.SecretAccessKey}, date) != a:
		return "", forbidden("InvalidSignature", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return keyID, nil
}

// sign is the authorization that the request should have: that of a copy with
// the signed headers and no others. The session token is one of them or not,
// as the caller chose; User-Agent cannot be, because the library leaves it out.
func sign(r *http.Request, body []byte, headers string, credentials aws.Credentials, date time.Time) authorization {
	address := *r.URL
	again := &http.Request{Method: r.Method, Host: r.Host, URL: &address, Header: make(http.Header)}
	for name := range strings.SplitSeq(headers, ";") {
		if name == "content-length" {
			again.ContentLength = r.ContentLength
		}
		name = http.CanonicalHeaderKey(name)
		if values, ok := r.Header[name]; ok {
			again.Header[name] = slices.Clone(values)
		}
	}
	digest := sha256.Sum256(body)
	_ = v4.NewSigner().SignHTTP(r.Context(), credentials, again, hex.EncodeToString(digest[:]), service, region, date) // if it fails, there is none
	should, _ := parseAuthorization(again.Header.Get("Authorization"))
	return should
}

func forbidden(kind, message string) *failure {
	return &failure{http.StatusForbidden, kind + "Exception", message}
}
