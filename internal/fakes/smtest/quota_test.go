package smtest_test

// The quota for the versions of a secret. AWS's user guide, "AWS Secrets Manager quotas":
// unlabelled versions are removed when there are more than 100, but not in the 24 hours
// after they were created; who writes more often reaches the quota.

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"

	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

const full = "LimitExceededException: The request failed because it would exceed one of the Secrets Manager quotas."

// nth is the ClientRequestToken of the nth version.
func nth(n int) string { return fmt.Sprintf("%032d", n) }

// A secret holds 100 versions. A write beyond them is refused and changes nothing, while
// repeating an earlier one succeeds. There is room again when the oldest is a day old.
func TestVersionQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store smtest.Server
		store.Create("s")
		c := client("http://store", memory{&store})
		begin := time.Now()
		for n := range 100 {
			must(c.PutSecretValue(ctx, put("s", "v", nth(n))))
			time.Sleep(time.Minute)
		}
		before := labels(c, "s")
		for range 2 {
			for _, stages := range [][]string{nil, {"CUSTOM"}} {
				_, err := c.PutSecretValue(ctx, put("s", "v", nth(100), stages...))
				if got := refusal(err); got != full || !is[*types.LimitExceededException](err) {
					t.Errorf("the 101st version, labels %q: %v", stages, err)
				}
			}
			must(c.PutSecretValue(ctx, put("s", "v", nth(50))))
			if diff := cmp.Diff(before, labels(c, "s")); diff != "" || store.Versions("s") != 100 {
				t.Errorf("%d versions, labels (-want +got)\n%s", store.Versions("s"), diff)
			}
			time.Sleep(time.Until(begin.Add(24*time.Hour - time.Nanosecond))) // none is a day old
		}
		time.Sleep(time.Nanosecond)
		must(c.PutSecretValue(ctx, put("s", "v", nth(100))))
		if _, err := c.PutSecretValue(ctx, put("s", "v", nth(101))); refusal(err) != full {
			t.Errorf("the second write after a day: %v", err)
		}
		_, err := c.GetSecretValue(ctx, get("s", nth(0), ""))
		if got := refusal(err); got != "ResourceNotFoundException: Secrets Manager can't find the specified secret value for VersionId: "+nth(0) {
			t.Errorf("the version that was removed: %v", err)
		}
		must(c.GetSecretValue(ctx, get("s", nth(1), "")))
	})
}

// A version with a label stays, however old it is.
func TestLabelledVersionsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store smtest.Server
		store.Create("s")
		c := client("http://store", memory{&store})
		for n := range 100 {
			must(c.PutSecretValue(ctx, put("s", "v", nth(n))))
		}
		must(c.UpdateSecretVersionStage(ctx, move("s", "CUSTOM", "", nth(0))))
		time.Sleep(24 * time.Hour)
		for n := range 99 { // each replaces one of the others
			must(c.PutSecretValue(ctx, put("s", "v", nth(100+n))))
		}
		if _, err := c.PutSecretValue(ctx, put("s", "v", nth(199))); refusal(err) != full {
			t.Errorf("a write when only the labelled version is a day old: %v", err)
		}
		must(c.GetSecretValue(ctx, get("s", "", "CUSTOM")))
	})
}

// The SDK takes the error for throttling, and repeats the request as often as it may.
func TestQuotaIsRetriedBySDK(t *testing.T) {
	var store smtest.Server
	for range 100 {
		store.Put("s", "v")
	}
	c := connect(t, &store)
	if _, err := c.PutSecretValue(ctx, put("s", "v", token1)); refusal(err) != full {
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
			c := client("http://store", memory{&store})
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

// A failed RotateSecret leaves an empty version under AWSPENDING: it is described, cannot
// be read, and neither moves AWSCURRENT nor goes with it. AWS's API reference, RotateSecret.
func TestRotateLeavesAnEmptyVersion(t *testing.T) {
	var store smtest.Server
	v1 := store.Put("s", "one")
	c := connect(t, &store)
	empty := store.Rotate("s")
	if diff := cmp.Diff(map[string]string{v1: "AWSCURRENT", empty: "AWSPENDING"}, labels(c, "s")); diff != "" {
		t.Errorf("labels (-want +got)\n%s", diff)
	}
	for what, in := range map[string][2]string{"staging label: AWSPENDING": {"", "AWSPENDING"}, "VersionId: " + empty: {empty, ""}} {
		_, err := c.GetSecretValue(ctx, get("s", in[0], in[1]))
		if got, want := refusal(err), "ResourceNotFoundException: Secrets Manager can't find the specified secret value for "+what; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	must(c.PutSecretValue(ctx, put("s", "two", token1)))
	if diff := cmp.Diff(map[string]string{v1: "AWSPREVIOUS", token1: "AWSCURRENT", empty: "AWSPENDING"}, labels(c, "s")); diff != "" {
		t.Errorf("labels after a write (-want +got)\n%s", diff)
	}
}
