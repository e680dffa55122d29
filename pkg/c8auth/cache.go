package c8auth

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// minRead is the least time between two reads of a tenant's secret after one that
	// failed, and after any read when a caller asks for a fresh token.
	minRead = time.Second
	// readTimeout bounds a read of the store, retries included, if no valid token is cached;
	// staleTimeout, if one is.
	readTimeout  = 5 * time.Second
	staleTimeout = time.Second
	// readReserve is the time before the caller's deadline that a read leaves for the answer.
	readReserve = 500 * time.Millisecond
)

// Cache vends valid tokens from memory, and reads the store when they are older than TTL. It
// may be used concurrently, and must not be copied.
type Cache struct {
	Store *Store        // must not be nil
	TTL   time.Duration // how long a token is vended before it is read again; less than a second counts as one

	mu      sync.Mutex
	tenants map[string]entry
	flight  singleflight.Group
}

// entry is what the cache holds of one tenant.
type entry struct {
	token   Token     // the latest valid one that was read; zero if none was
	version string    // VersionId of the token secret that holds token
	read    time.Time // when the store was last read
	err     error     // of that read; nil if it returned a valid token
	reads   int       // reads of the store that no CachedToken has counted yet
}

// CachedToken is a vended token, and what the log line about it needs.
type CachedToken struct {
	Token     Token
	Version   string        // VersionId of the token secret
	Remaining time.Duration // lifetime left; zero if the token does not expire
	StoreErr  error         // why the last read gave no valid token; nil if it gave one
	Reads     int           // reads of the store since the last call for this tenant; set with an error as well
}

// Token returns the tenant's valid token. With fresh, the store is read even if the cached
// token is younger than TTL, but at most once a second.
//
// The error is an [ErrTenantName], [ErrUnknownTenant], [ErrNoToken], [ErrExpired],
// [ErrUnreadable] or [ErrUnavailable]. While a valid token is cached, only the first two
// occur: the token of a tenant that was deleted is not vended.
func (c *Cache) Token(ctx context.Context, tenant string, fresh bool) (CachedToken, error) {
	if err := CheckTenant(tenant); err != nil {
		return CachedToken{}, err
	}
	e := c.load(tenant)
	if e.stale(now(), c.TTL, fresh) {
		result, _, _ := c.flight.Do(tenant, func() (any, error) {
			return c.read(ctx, tenant, fresh), nil
		})
		e = result.(entry)
	}
	token, err := e.answer(now())
	token.Reads = c.takeReads(tenant)
	return token, err
}

// Prefetch reads the tokens of the tenants concurrently, and returns when all reads have
// ended. A failed read is not cached, so that the first request reads again and returns the
// error. The names must be those of tenants (see [CheckTenant]).
func (c *Cache) Prefetch(ctx context.Context, tenants []string) {
	var reading sync.WaitGroup
	for _, tenant := range tenants {
		reading.Go(func() {
			if e := c.read(ctx, tenant, false); e.err != nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				delete(c.tenants, tenant)
			}
		})
	}
	reading.Wait()
}

// stale decides whether the store must be read before a caller is answered.
func (e entry) stale(now time.Time, ttl time.Duration, fresh bool) bool {
	age := now.Sub(e.read)
	switch {
	case e.read.IsZero(), age < 0: // never read, or the clock was set back
		return true
	case e.err == nil && !e.token.Valid(now): // it has expired since the read, and may have been replaced
		return true
	case age < minRead:
		return false
	case e.err != nil, fresh:
		return true
	}
	return age >= ttl
}

// answer decides whether a caller gets the token or an error.
func (e entry) answer(now time.Time) (CachedToken, error) {
	switch {
	case e.token.Valid(now):
		cached := CachedToken{Token: e.token, Version: e.version, StoreErr: e.err}
		if e.token.Expires() {
			cached.Remaining = e.token.Remaining(now)
		}
		return cached, nil
	case e.err != nil:
		return CachedToken{}, e.err
	}
	return CachedToken{}, ErrExpired
}

// read reads the store and returns the new entry. It does not read if another call has read
// since this one found the entry stale.
func (c *Cache) read(ctx context.Context, tenant string, fresh bool) entry {
	e := c.load(tenant)
	start := now()
	if !e.stale(start, c.TTL, fresh) {
		return e
	}
	timeout := readTimeout
	if e.token.Valid(start.Add(staleTimeout)) { // still valid when a read that fails has ended
		timeout = staleTimeout
	}
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline)-readReserve)
	}
	// Other calls share this read, so the cancellation of the first one must not end it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	token, version, err := c.Store.Token(ctx, tenant)
	return c.update(tenant, token, version, err)
}

// update stores the result of a read in the entry. A valid token is replaced only by another
// valid one, and removed only if the tenant was deleted.
func (c *Cache) update(tenant string, token Token, version string, err error) entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.tenants[tenant]
	e.read, e.err = now(), err
	e.reads++
	switch {
	case err == nil && token.Valid(e.read):
		e.token, e.version = token, version
	case err == nil:
		e.err = ErrExpired
	case errors.Is(err, ErrUnknownTenant):
		e.token, e.version = Token{}, ""
	}
	if c.tenants == nil {
		c.tenants = make(map[string]entry)
	}
	c.tenants[tenant] = e
	c.sweep(e.read)
	return e
}

// sweep removes entries without a valid token, so that requests for unknown tenants cannot
// exhaust the memory.
func (c *Cache) sweep(now time.Time) {
	for tenant, e := range c.tenants {
		if !e.token.Valid(now) && now.Sub(e.read) >= minRead {
			delete(c.tenants, tenant)
		}
	}
}

func (c *Cache) load(tenant string) entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tenants[tenant]
}

// takeReads returns how often the tenant's secret was read since the last call.
func (c *Cache) takeReads(tenant string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.tenants[tenant]
	reads := e.reads
	if ok {
		e.reads = 0
		c.tenants[tenant] = e
	}
	return reads
}
