package smtest_test

// The quota for the versions of a secret. AWS's user guide, "AWS Secrets Manager quotas":
// unlabelled versions are removed when there are more than 100, but not in the 24 hours after
// they were created; who writes more often reaches the quota.

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

const full = "LimitExceededException: The request failed because it would exceed one of the Secrets Manager quotas."

// nth is the client request token of the nth version.
func nth(n int) string { return fmt.Sprintf("%032d", n) }

// A secret holds 100 versions. A write beyond them is refused and changes nothing, while
// repeating an earlier one succeeds. There is room again when the oldest without a label is a
// day old.
func TestVersionQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store smtest.Server
		store.Create("s")
		c := connect(&store)
		for n := range 100 {
			var stages []string // AWSCURRENT
			if n == 1 {
				stages = []string{"KEPT"}
			}
			must(c.PutSecretValue(ctx, put("s", "v", nth(n), stages...)))
		}
		for _, wait := range []time.Duration{0, 24*time.Hour - time.Nanosecond} {
			time.Sleep(wait)
			_, err := c.PutSecretValue(ctx, put("s", "v", nth(100)))
			if _, limit := errors.AsType[*types.LimitExceededException](err); refusal(err) != full || !limit {
				t.Errorf("the 101st version: %v", err)
			}
			must(c.PutSecretValue(ctx, put("s", "v", nth(50))))
			if _, current := store.Value("s"); current != nth(99) || store.Versions("s") != 100 {
				t.Errorf("%d versions, AWSCURRENT is %s", store.Versions("s"), current)
			}
		}
		time.Sleep(time.Nanosecond)
		must(c.PutSecretValue(ctx, put("s", "v", nth(100))))
		if _, err := c.GetSecretValue(ctx, get("s", nth(0), "")); err == nil {
			t.Error("the oldest version was not removed")
		}
		must(c.GetSecretValue(ctx, get("s", "", "KEPT")))
	})
}

// The SDK takes the error for throttling, and repeats the request as often as it may.
func TestQuotaIsRetriedBySDK(t *testing.T) {
	var store smtest.Server
	for range 100 {
		store.Put("s", "v")
	}
	if _, err := connect(&store).PutSecretValue(ctx, put("s", "v", token1)); refusal(err) != full {
		t.Error(err)
	}
	if n := store.Calls("PutSecretValue"); n != 3 {
		t.Errorf("%d calls, want the 3 of the client's retryer", n)
	}
}

// A hundredth of a day between two writes is enough, and less is not.
func TestSustainedWrites(t *testing.T) {
	for pause, refused := range map[time.Duration]bool{
		14 * time.Minute:                true,
		14*time.Minute + 24*time.Second: false,
	} {
		synctest.Test(t, func(t *testing.T) {
			var store smtest.Server
			store.Create("s")
			c := connect(&store)
			var err error
			for n := 0; n < 1000 && err == nil; n++ {
				_, err = c.PutSecretValue(ctx, put("s", "v", nth(n)))
				time.Sleep(pause)
			}
			if (err != nil) != refused {
				t.Errorf("a write every %v: %v", pause, err)
			}
		})
	}
}
