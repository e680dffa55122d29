package smtest_test

// What can go wrong, and that the SDK's own retries and a token make it right.

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// once makes the first call of the operation fail.
func once(op string, f smtest.Fault) func(string, string) *smtest.Fault {
	return func(called, _ string) *smtest.Fault {
		if called != op {
			return nil
		}
		op = ""
		return &f
	}
}

// Whatever becomes of the first attempt, the SDK tries again under the same
// token, and there is one version in the end.
func TestRetriedPutIsWrittenOnce(t *testing.T) {
	for why, fault := range map[string]smtest.Fault{
		"refused":                      {},
		"throttled":                    {Status: 400, Type: "ThrottlingException", Message: "Rate exceeded"},
		"written, answered with 500":   {After: true},
		"written, answered with 503":   {After: true, Status: 503, Body: "<html>busy</html>"},
		"written, connection broken":   {After: true, Break: true},
		"not written, connection lost": {Break: true},
	} {
		t.Run(why, func(t *testing.T) {
			store := smtest.Server{Fault: once("PutSecretValue", fault)}
			store.Create("s")
			out, err := connect(t, &store).PutSecretValue(ctx, put("s", "v", ""))
			if err != nil {
				t.Fatal(err)
			}
			value, version := store.Value("s")
			if value != "v" || version != *out.VersionId || store.Versions("s") != 1 {
				t.Errorf("%d versions, %s of which is current; answered %s", store.Versions("s"), version, *out.VersionId)
			}
			if n := store.Calls("PutSecretValue"); n != 2 {
				t.Errorf("%d calls, want one that fails and one that succeeds", n)
			}
		})
	}
}

func TestFaultIsDecoded(t *testing.T) {
	for why, test := range map[string]struct {
		fault smtest.Fault
		want  string
		calls int
	}{
		"unmodelled":       {smtest.Fault{Status: 400, Type: "AccessDeniedException", Message: "no kms:Decrypt"}, "AccessDeniedException: no kms:Decrypt", 1},
		"modelled":         {smtest.Fault{Status: 400, Type: "DecryptionFailure", Message: "key"}, "DecryptionFailure: key", 1},
		"the service's":    {smtest.Fault{}, "InternalServiceError: ", 3},
		"garbage, refused": {smtest.Fault{Status: 400, Body: "<html>"}, "no API error", 1},
		"garbage, success": {smtest.Fault{Status: 200, Body: "<html>"}, "no API error", 1},
	} {
		store := smtest.Server{Fault: func(string, string) *smtest.Fault { return &test.fault }}
		store.Put("s", "v")
		_, err := connect(t, &store).GetSecretValue(ctx, get("s", "", ""))
		if got := refusal(err); got != test.want {
			t.Errorf("%s: got %s, %v; want %s", why, got, err, test.want)
		}
		if n := store.Calls("GetSecretValue"); n != test.calls {
			t.Errorf("%s: %d calls, want %d", why, n, test.calls)
		}
	}
}

func TestFaultIsAsked(t *testing.T) {
	var store smtest.Server
	var asked []string
	store.Fault = func(op, name string) *smtest.Fault {
		asked = append(asked, op+" "+name)
		store.Value(name) // no lock is held
		return nil
	}
	c := connect(t, &store)
	arn := must(c.CreateSecret(ctx, create("a/b", "v", ""))).ARN
	must(c.GetSecretValue(ctx, get(*arn, "", "")))
	must(c.GetSecretValue(ctx, get((*arn)[:len(*arn)-7], "", "")))
	_, _ = c.GetSecretValue(ctx, get("none", "", ""))
	want := []string{"CreateSecret a/b", "GetSecretValue a/b", "GetSecretValue a/b", "GetSecretValue none"}
	for i, w := range want {
		if len(asked) != len(want) || asked[i] != w {
			t.Fatalf("asked %q, want %q", asked, want)
		}
	}
}

// Over a socket, a handler that hangs ends with its client: otherwise the test
// would not end.
func TestHangOverSocket(t *testing.T) {
	gone, cancel := context.WithCancel(ctx)
	var store smtest.Server
	store.Create("s")
	store.Fault = func(string, string) *smtest.Fault {
		cancel()
		return &smtest.Fault{Hang: true}
	}
	_, err := connect(t, &store).PutSecretValue(gone, put("s", "v", ""))
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if store.Versions("s") != 0 {
		t.Error("a request that hung was performed")
	}
}

func TestHangInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store smtest.Server
		store.Create("s")
		store.Fault = once("PutSecretValue", smtest.Fault{Hang: true, After: true})
		c := client("http://store", memory{&store})

		begin := time.Now()
		hour, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		go store.Put("other", "while the other request hangs")
		_, err := c.PutSecretValue(hour, put("s", "v", token1))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Hour {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		if out := must(c.PutSecretValue(ctx, put("s", "v", token1))); out.VersionStages[0] != "AWSCURRENT" || store.Versions("s") != 1 {
			t.Error("what was written and not answered was written again")
		}
		out := must(c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String("s")}))
		if !out.LastChangedDate.Equal(begin) {
			t.Errorf("changed at %v, want the bubble's time %v", out.LastChangedDate, begin)
		}
	})
}

// A fault that is to follow the operation hides what came of it.
func TestFaultHidesRefusal(t *testing.T) {
	store := smtest.Server{Fault: once("GetSecretValue", smtest.Fault{Status: 400, Type: "DecryptionFailure", After: true})}
	_, err := connect(t, &store).GetSecretValue(ctx, get("none", "", ""))
	if !is[*types.DecryptionFailure](err) {
		t.Error(err)
	}
}
