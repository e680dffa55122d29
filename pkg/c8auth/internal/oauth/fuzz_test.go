package oauth_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{"", "0", "7", "4294967296", "99999999999999999999", "-1", "1.5", "Sat, 01 Jan 2000 00:01:00 GMT", "Fri, 31 Dec 1999 23:59:59 GMT", "Sat, 01 Jan 9999 00:00:00 GMT"} {
		f.Add(value)
	}
	at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		got := oauth.RetryAfter(http.Header{"Retry-After": {value}}, at)
		if got < 0 || got > 24*time.Hour {
			t.Errorf("%q is %v", value, got)
		}
		if date, err := http.ParseTime(value); err == nil && got != min(max(0, date.Sub(at)), 24*time.Hour) {
			t.Errorf("%q is %v", value, got)
		}
	})
}
