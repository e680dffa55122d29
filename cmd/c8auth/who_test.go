package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/gwtest"
)

// What the real vend logs is what who shows, of that tenant, version and time alone.
func TestWho(t *testing.T) {
	s := operate(t)
	s.Secrets.Create("c8auth/token/acme")
	s.store("default", s.oauth(clientSecret))
	s.rotates("default")
	s.c8auth("who", "default")
	const program, reports = "arn:aws:sts::123456789012:assumed-role/payroll/i-0123456789abcdef0", "arn:aws:iam::210987654321:user/reports"
	first := "11111111-6f0b-4f5e-9a3c-0d5d3a6e1b7f"
	s.vend(72*time.Hour-time.Minute, reports, "00000000-6f0b-4f5e-9a3c-0d5d3a6e1b7f")
	s.vend(23*time.Hour, program, first)
	s.vend(20*time.Hour, program, first)
	s.vend(3*time.Hour, reports, first)
	api := s.gateway(gwtest.Key{ARN: program, Tenants: []string{"*"}})
	for _, tenant := range []string{"default", "acme", "nobody"} { // 200, 503, 404
		run(t.Context(), []string{"token", tenant, "--url", api + "/v1"}, strings.NewReader(""), io.Discard, io.Discard)
	}
	s.c8auth("who", "default")
	s.c8auth("who", "default", "--version", first)
	s.c8auth("who", "default", "--since", "72h", "--json")
	s.c8auth("who", "acme")
	s.c8auth("who", "acmee")
	s.c8auth("who", "default", "--version", `"; x`)
	s.c8auth("who", "default", "--since", "0s")
	s.golden("who", squeeze)
}

// vend adds a line to vend's log.
func (s *session) vend(age time.Duration, caller, version string) {
	s.Helper()
	if _, err := fmt.Fprintf(s.AWS.Log("/aws/lambda/c8auth-vend"), `{"timestamp":%q,"level":"INFO","message":"vend","requestId":"c4a1e5e2-6f0b-4f5e-9a3c-0d5d3a6e1b7f","status":200,"caller":%q,"account":"123456789012","source":"198.51.100.7","apiRequestId":"11f0ab0e-93ad-4d5b-9d0e-6a9a5be16f3b","tenant":"default","version":%q,"expires_in":43000,"Stack":"c8auth","Tenant":"default","Vended":1,"_aws":{"Timestamp":1764360000000,"CloudWatchMetrics":[{"Namespace":"c8auth","Dimensions":[["Stack","Tenant"]],"Metrics":[{"Name":"Vended","Unit":"Count"}]}]}}`+"\n",
		time.Now().Add(-age).UTC().Format(time.RFC3339Nano), caller, version); err != nil {
		s.Fatal(err)
	}
}

// Of a day with many vends, CloudWatch sends those that are asked for, once.
func TestWhoAsksForNoMore(t *testing.T) {
	const lines, callers, page = 900, 30, 100
	s := operate(t)
	s.AWS.PageEvents = page
	for i := range lines {
		s.vend(time.Duration(lines-i)*20*time.Second, fmt.Sprintf("arn:aws:sts::123456789012:assumed-role/caller-%d/session", i%callers), "306a4d88-cec6-8b9b-b6b8-5825ad19c40b")
		s.vend(25*time.Hour, "arn:aws:iam::123456789012:user/yesterday", "")
	}
	var requests, sent atomic.Int64
	t.Setenv("AWS_ENDPOINT_URL", s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := httptest.NewRecorder()
		s.AWS.ServeHTTP(out, r)
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".FilterLogEvents") {
			requests.Add(1)
			sent.Add(int64(out.Body.Len()))
		}
		maps.Copy(w.Header(), out.Header())
		w.WriteHeader(out.Code)
		_, _ = w.Write(out.Body.Bytes())
	})))
	var out bytes.Buffer
	if status := run(t.Context(), []string{"who", "default", "--json"}, strings.NewReader(""), &out, io.Discard); status != 0 {
		t.Fatalf("status %d, %s", status, &out)
	}
	var w vends
	if err := json.Unmarshal(out.Bytes(), &w); err != nil || len(w.Callers) != callers {
		t.Fatalf("%d callers (%v)", len(w.Callers), err)
	}
	for _, v := range w.Callers {
		if v.Count != lines/callers || v.Last.Sub(v.First) < time.Hour {
			t.Errorf("%+v", v)
		}
	}
	if n := requests.Load(); n > 2*lines/page+1 || sent.Load() > lines*900 {
		t.Errorf("%d requests, %d bytes", n, sent.Load())
	}
}
