package c8auth

import (
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
)

func TestDue(t *testing.T) {
	day := Token{AccessToken: NewSecret("t"), IssuedAt: noon, ExpiresAt: noon.Add(24 * time.Hour), CredentialsVersion: "v1"}
	key := Token{AccessToken: NewSecret("t"), IssuedAt: noon, CredentialsVersion: "v1"}
	for _, test := range []struct {
		name    string
		after   time.Duration // since it was issued
		stored  Token
		readErr error
		current string
		force   bool
		want    Reason
	}{
		{"none is stored", 0, Token{}, ErrNoToken, "v1", false, FirstToken},
		{"none is stored, and forced", 0, Token{}, ErrNoToken, "v1", true, FirstToken},
		{"what is stored cannot be read", 0, Token{}, explain(ErrUnreadable, "x"), "v1", false, UnreadableToken},
		{"new", 0, day, nil, "v1", false, ""},
		{"just before half of the lifetime", 12*time.Hour - 1, day, nil, "v1", false, ""},
		{"half of the lifetime", 12 * time.Hour, day, nil, "v1", false, HalfLife},
		{"expired", 48 * time.Hour, day, nil, "v1", false, HalfLife},
		{"dated ahead by as much as clocks may be apart", -time.Minute, day, nil, "v1", false, ""},
		{"the same, forced", -time.Minute, day, nil, "v1", true, ""},
		{"dated further ahead", -time.Minute - 1, day, nil, "v1", false, UnreadableToken},
		{"dated further ahead, forced", -time.Minute - 1, day, nil, "v1", true, UnreadableToken},
		{"dated a year ahead", -365 * 24 * time.Hour, day, nil, "v1", false, UnreadableToken},
		{"an access key, dated ahead", -time.Hour, key, nil, "v1", false, UnreadableToken},
		{"no lifetime", 0, Token{AccessToken: NewSecret("t"), IssuedAt: noon, ExpiresAt: noon, CredentialsVersion: "v1"}, nil, "v1", false, HalfLife},
		{"an access key never ages", 1e6 * time.Hour, key, nil, "v1", false, ""},
		{"other credentials", 0, day, nil, "v2", false, CredentialsChanged},
		{"other credentials, and forced", time.Hour, day, nil, "v2", true, CredentialsChanged},
		{"another access key", 0, key, nil, "v2", false, CredentialsChanged},
		{"half of the lifetime, and other credentials", 12 * time.Hour, day, nil, "v2", false, HalfLife},
		{"forced", time.Minute + 1, day, nil, "v1", true, Forced},
		{"forced, but just a minute old", time.Minute, day, nil, "v1", true, ""},
		{"forced twice", 10 * time.Second, day, nil, "v1", true, ""},
		{"an access key, forced", time.Hour, key, nil, "v1", true, Forced},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := due(noon.Add(test.after), test.stored, test.readErr, test.current, test.force); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A token is due at half of its lifetime. For a lifetime of 14 to 28 minutes it is due
// later: as late as the next heartbeat lets it, or after three heartbeats.
func TestDueAge(t *testing.T) {
	for lifetime, want := range map[time.Duration]time.Duration{
		0: 0, -time.Hour: -30 * time.Minute, 2 * time.Minute: time.Minute, 14 * time.Minute: 7 * time.Minute,
		15 * time.Minute: 8 * time.Minute, 20 * time.Minute: 13 * time.Minute, 21 * time.Minute: 14 * time.Minute,
		25 * time.Minute: 14 * time.Minute, 28 * time.Minute: 14 * time.Minute, 29 * time.Minute: 14*time.Minute + 30*time.Second,
		time.Hour: 30 * time.Minute, 24 * time.Hour: 12 * time.Hour,
	} {
		if got := dueAge(lifetime); got != want {
			t.Errorf("%v: got %v, want %v", lifetime, got, want)
		}
	}
}

// With a heartbeat every five minutes, each up to a minute late, a token with a lifetime of 14
// minutes or more is replaced while it has a minute left, and its remaining lifetime is at no
// other heartbeat below the alarm's 25 %. From 17 minutes on there are fewer than 100 versions a
// day, and fillsQuota says whether there are.
func TestDueLeavesTime(t *testing.T) {
	for lifetime := 2 * time.Minute; lifetime <= 3*time.Hour; lifetime += 10 * time.Second {
		for phase := time.Duration(0); phase < heartbeat; phase += 20 * time.Second {
			for late := time.Duration(0); late <= time.Minute; late += 20 * time.Second {
				stored := Token{IssuedAt: noon, ExpiresAt: noon.Add(lifetime)}
				age := phase // of the token at a heartbeat, the next of which is late
				for due(noon.Add(age), stored, nil, "", false) == "" {
					if percent := 100 * float64(lifetime-age) / float64(lifetime); percent < 25 && lifetime >= 14*time.Minute {
						t.Fatalf("%v: not due with %.0f %% left", lifetime, percent)
					}
					age += heartbeat
				}
				if age > phase && lifetime >= 14*time.Minute && lifetime-(age+late) < time.Minute {
					t.Fatalf("%v: due with %v left, by heartbeats at %v", lifetime, lifetime-age-late, phase)
				}
			}
		}
		interval := heartbeat
		for interval < dueAge(lifetime) {
			interval += heartbeat
		}
		if full := 24*time.Hour/interval >= 100; full != fillsQuota(lifetime) || full != (lifetime <= 17*time.Minute) {
			t.Errorf("%v: %d rotations a day, and fillsQuota is %t", lifetime, 24*time.Hour/interval, fillsQuota(lifetime))
		}
	}
}

// A token that is dated ahead of the clock is replaced, whether or not it is forced or there is
// a probe path, and also when it is reported and the probe is inconclusive.
func TestTokenDatedAhead(t *testing.T) {
	forEach(t, map[string]func(e *env, version string) (Result, error){
		"by a heartbeat": func(e *env, _ string) (Result, error) { return e.rotate(false) },
		"forced":         func(e *env, _ string) (Result, error) { return e.rotate(true) },
		"without a probe path": func(e *env, _ string) (Result, error) {
			e.rotator.Endpoint.ProbePath = ""
			return e.rotate(false)
		},
		"reported": func(e *env, version string) (Result, error) {
			e.probeFault(c8test.Fault{Status: 403})
			return e.report(version)
		},
	}, func(e *env, replace func(e *env, version string) (Result, error)) {
		e.start(client)
		if result, err := replace(e, e.shift(48*time.Hour)); err != nil || result.Outcome != Rotated {
			e.Errorf("got %+v, %v", result, err)
		}
		e.mustRotate(Fresh, "")
	})
}
