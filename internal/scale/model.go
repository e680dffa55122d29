package main

// What a load needs of AWS. The numbers that are assumed and not measured are constants, each
// with its reason; the page prints them.

import "time"

// load is a steady load of one stack.
type load struct {
	tenants int
	vends   float64 // a second, of all tenants together
}

const (
	heartbeat = 5 * time.Minute // of each tenant: tenant.yaml
	cacheTTL  = time.Minute     // of vend: template.yaml
	lifetime  = 24 * time.Hour  // of a token, as in Communic8's documentation
	day       = 24 * time.Hour
	month     = 730 * time.Hour // AWS's own calculators take this many

	// vendTime and rotateTime are the billed durations of an invocation, and memory is that of
	// both functions. vend's is what `make bench` measures, rounded up to the millisecond that
	// Lambda bills. rotate's is two calls of Secrets Manager and one of Communic8.
	vendTime   = time.Millisecond
	rotateTime = 200 * time.Millisecond
	memory     = 0.125 // GB

	// perSandbox is how many requests a second Lambda sends to one sandbox, by its quota.
	perSandbox = 10

	// Log lines in bytes, with the 26 that CloudWatch adds to each. A line of the function was
	// measured (TestSimulatedDay); two lines of Lambda's and one of API Gateway's were not.
	rotateLine   = 750 + 26
	vendLine     = 700 + 26
	platformLine = 250 + 26
	accessLine   = 450 + 26

	// Resources of the templates (TestResources).
	alarms, alarmsPerTenant = 8, 3
	secretsPerTenant        = 2
	policiesPerTenant       = 2
)

// A tenant's day without failures, in requests. Each heartbeat reads the token, and each but
// those that rotate checks whether the credentials were replaced, and probes the token. A
// rotation reads the credentials, requests a token, probes it and stores it.
const (
	heartbeatsPerDay = int(day / heartbeat)
	rotationsPerDay  = int(day / (lifetime / 2))
	getsPerDay       = heartbeatsPerDay + rotationsPerDay
	describesPerDay  = heartbeatsPerDay - rotationsPerDay
	putsPerDay       = rotationsPerDay
	probesPerDay     = heartbeatsPerDay
	requestsPerDay   = rotationsPerDay // of tokens
)

// perSecond returns the rate of what happens n times a day for each tenant.
func (l load) perSecond(n int) float64 { return float64(l.tenants*n) / day.Seconds() }

// sandboxes returns how many sandboxes of vend there are: the most that Lambda's quota makes
// of the rate.
func (l load) sandboxes() float64 { return max(1, l.vends/perSandbox) }

// vendReads returns how often a second all sandboxes of vend read the store.
func (l load) vendReads() float64 { return reads(l.vends, l.sandboxes()*float64(l.tenants)) }

// reads returns how often a second the store is read for vends that are spread evenly over a
// number of cached tokens, which is the worst case: a cache reads a token once, then not for
// cacheTTL, then again with the next vend of it.
func reads(vends, cached float64) float64 {
	if vends == 0 {
		return 0
	}
	return cached / (cacheTTL.Seconds() + cached/vends)
}

func (l load) heartbeats() float64 { return l.perSecond(heartbeatsPerDay) }
func (l load) storeReads() float64 { return l.perSecond(getsPerDay+describesPerDay) + l.vendReads() }
func (l load) storeWrites() float64 {
	return l.perSecond(putsPerDay)
}

// keyUses returns the requests to KMS a second: one for each GetSecretValue, two for each
// PutSecretValue. DescribeSecret decrypts nothing.
func (l load) keyUses() float64 { return l.perSecond(getsPerDay+2*putsPerDay) + l.vendReads() }

// concurrency returns the concurrent executions of both functions.
func (l load) concurrency() float64 { return l.sandboxes() + l.heartbeats()*rotateTime.Seconds() }

// quota is one of AWS's, by its default, in an account and Region.
type quota struct {
	name   string
	used   func(load) float64
	limit  float64
	remedy string
}

// quotas are those that a load can reach.
var quotas = []quota{
	{"API Gateway, requests a second", func(l load) float64 { return l.vends }, 10_000,
		"can be raised; 2,500 in some Regions. The template's own limit comes first: raise `ThrottleRate` (100) and `ThrottleBurst` (200)"},
	{"Lambda, concurrent executions", load.concurrency, 1_000,
		"can be raised to tens of thousands. A new account begins lower"},
	{"Secrets Manager, reads a second", load.storeReads, 10_000,
		"cannot be raised. Spread the tenants over Regions or accounts, or have callers hold tokens longer: a client of [Calling](calling.md) fetches one about once a lifetime"},
	{"Secrets Manager, writes a second", load.storeWrites, 50,
		"cannot be raised. Ask Communic8 for a longer lifetime, or spread the tenants"},
	{"KMS, symmetric requests a second", load.keyUses, 10_000,
		"can be raised; 20,000 or 100,000 in large Regions"},
	{"Scheduler, invocations a second", load.heartbeats, 1_000,
		"can be raised; lower in small Regions"},
	{"CloudFormation, stacks", func(l load) float64 { return float64(l.tenants + 1) }, 2_000,
		"can be raised. Else spread the tenants over Regions or accounts"},
	{"IAM, customer managed policies", func(l load) float64 { return float64(policiesPerTenant * l.tenants) }, 1_500,
		"can be raised to 5,000 or more. Else spread the tenants over accounts"},
}

// hit returns the quota of which the load uses the largest share.
func (l load) hit() (most quota, share float64) {
	for _, q := range quotas {
		if s := q.used(l) / q.limit; s > share {
			most, share = q, s
		}
	}
	return most, share
}
