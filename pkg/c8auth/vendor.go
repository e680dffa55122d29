package c8auth

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// pause is how long the store is left alone after a read that failed, and after
	// any read when a caller wants a fresh one.
	pause = time.Second
	// readTimeout bounds a read of the store, retries included, when a caller can
	// have nothing else; staleTimeout, when a living token is at hand.
	readTimeout  = 5 * time.Second
	staleTimeout = time.Second
	// readReserve is what a read leaves of the caller's deadline.
	readReserve = 500 * time.Millisecond
)

// Vendor gives out living tokens from memory and reads the store when it must. It
// may be used concurrently, and must not be copied.
type Vendor struct {
	Store *Store
	TTL   time.Duration // how long a token that was read is given out before it is read again; at least a second

	mu      sync.Mutex
	tenants map[string]entry
	flight  singleflight.Group
}

// entry is what is known of one tenant.
type entry struct {
	token   Token // the newest living one that was read; zero if none was
	version string
	read    time.Time // when the store answered last, or failed to
	err     error     // what came of that; nil if it gave a living token
	reads   int       // since they were last taken
}

// Vending is a token as given out now.
type Vending struct {
	Token     Token
	Version   string        // VersionId of the token secret
	Remaining time.Duration // life left; zero if the token does not expire
	StoreErr  error         // why the store could not confirm it at the last read; nil if it did
}

// Vend returns the tenant's token, which is alive. fresh asks for one that the store
// holds now; more often than once a second it is not asked.
//
// The error is an [ErrTenantName], [ErrUnknownTenant], [ErrNoToken], [ErrExpired],
// [ErrUnreadable] or [ErrUnavailable]. While a living token is in memory, only the
// first two occur: a tenant that was taken away is not served from memory.
func (v *Vendor) Vend(ctx context.Context, tenant string, fresh bool) (Vending, error) {
	if err := CheckTenant(tenant); err != nil {
		return Vending{}, err
	}
	e := v.look(tenant)
	if e.stale(now(), v.TTL, fresh) {
		// All who come while one reads wait for what it gets.
		result, _, _ := v.flight.Do(tenant, func() (any, error) {
			return v.read(ctx, tenant, fresh), nil
		})
		e = result.(entry)
	}
	return e.answer(now())
}

// TakeReads returns how often the tenant's secret was read since the last call.
func (v *Vendor) TakeReads(tenant string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	e, known := v.tenants[tenant]
	reads := e.reads
	if known {
		e.reads = 0
		v.tenants[tenant] = e
	}
	return reads
}

// Forget drops what is remembered of the tenant, a failure for instance.
func (v *Vendor) Forget(tenant string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.tenants, tenant)
}

// stale decides whether the store must be read before a caller is answered.
func (e entry) stale(now time.Time, ttl time.Duration, fresh bool) bool {
	age := now.Sub(e.read)
	switch {
	case e.read.IsZero(), age < 0: // never read, or the clock was put back
		return true
	case e.err == nil && !e.token.Alive(now): // alive when it was read: its successor may be there
		return true
	case age < pause:
		return false
	case e.err != nil, fresh:
		return true
	}
	return age >= ttl
}

// answer decides what a caller gets.
func (e entry) answer(now time.Time) (Vending, error) {
	switch {
	case e.token.Alive(now):
		vending := Vending{Token: e.token, Version: e.version, StoreErr: e.err}
		if e.token.Expires() {
			vending.Remaining = e.token.Remaining(now)
		}
		return vending, nil
	case e.err != nil:
		return Vending{}, e.err
	}
	return Vending{}, ErrExpired
}

// read asks the store, unless somebody just has, and returns what is known then.
func (v *Vendor) read(ctx context.Context, tenant string, fresh bool) entry {
	e := v.look(tenant)
	start := now()
	if !e.stale(start, v.TTL, fresh) {
		return e
	}
	timeout := readTimeout
	if e.token.Alive(start.Add(staleTimeout)) { // or it is at hand no more when the read is given up
		timeout = staleTimeout
	}
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline)-readReserve)
	}
	// Others wait for this read: it does not end with the request that began it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	token, version, err := v.Store.Token(ctx, tenant)
	return v.remember(tenant, token, version, err)
}

// remember merges what was read with what was known. A living token is given up
// only for another living one, or when its tenant is gone.
func (v *Vendor) remember(tenant string, token Token, version string, err error) entry {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.tenants[tenant]
	e.read, e.err = now(), err
	e.reads++
	switch {
	case err == nil && token.Alive(e.read):
		e.token, e.version = token, version
	case err == nil:
		e.err = ErrExpired
	case errors.Is(err, ErrUnknownTenant):
		e.token, e.version = Token{}, ""
	}
	if v.tenants == nil {
		v.tenants = make(map[string]entry)
	}
	v.tenants[tenant] = e
	v.sweep(e.read)
	return e
}

// sweep forgets tenants that came to nothing, so that callers who make up names
// cannot fill the memory.
func (v *Vendor) sweep(now time.Time) {
	for tenant, e := range v.tenants {
		if !e.token.Alive(now) && now.Sub(e.read) >= pause {
			delete(v.tenants, tenant)
		}
	}
}

func (v *Vendor) look(tenant string) entry {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tenants[tenant]
}
