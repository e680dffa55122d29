// Communic8 is a fake of Communic8 as a Lambda function with a URL, for a deployment that
// is tried on AWS: rotate has to reach it there. It keeps no state, as Lambda may run any
// number of it: a token is its time of issue with a signature. Tokens that were issued
// before the setting NOT_BEFORE are revoked.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambdaurl"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
)

func main() {
	notBefore, err := strconv.ParseInt(os.Getenv("NOT_BEFORE"), 10, 64)
	if err != nil {
		panic("NOT_BEFORE is not a Unix time in microseconds")
	}
	lambdaurl.Start(&instance{secret: os.Getenv("CLIENT_SECRET"), notBefore: notBefore}, lambdaurl.WithDetectContentType(true))
}

// instance is the Communic8 instance.
type instance struct {
	secret    string // of the one client; it is an access key, too
	notBefore int64  // Unix time in microseconds; tokens issued before it are rejected
}

// ServeHTTP leaves it to c8test what Communic8 answers, and replaces its tokens.
func (i *instance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fake := new(c8test.Server)
	fake.AddClient(clientID, i.secret)
	fake.AddAccessKey(i.secret)
	if token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); i.takes(token) {
		fake.AddAccessKey(token)
	}
	answer := httptest.NewRecorder()
	fake.ServeHTTP(answer, r)
	body := answer.Body.String()
	for _, token := range fake.Issued() {
		body = strings.ReplaceAll(body, token, i.sign(time.Now().UnixMicro()))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(answer.Code)
	_, _ = io.WriteString(w, body)
}

// clientID is the ID of the one client.
const clientID = "4711"

// sign returns the token that is issued at a Unix time in microseconds.
func (i *instance) sign(issued int64) string {
	mac := hmac.New(sha256.New, []byte(i.secret))
	fmt.Fprint(mac, issued)
	return fmt.Sprintf("%x.%s", issued, hex.EncodeToString(mac.Sum(nil)))
}

// takes reports whether a token was issued here and not revoked since.
func (i *instance) takes(token string) bool {
	hexadecimal, _, _ := strings.Cut(token, ".")
	issued, err := strconv.ParseInt(hexadecimal, 16, 64)
	return err == nil && issued >= i.notBefore && hmac.Equal([]byte(token), []byte(i.sign(issued)))
}
